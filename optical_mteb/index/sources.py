"""Where a corpus comes from: files, MTEB tasks, data sets of the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optical_mteb.errors import InputError
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.corpus_files import ID_KEYS, TEXT_KEYS, find_queries, read_corpus
from optical_mteb.storage import expanded, local_data

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "hub:"


def open_corpus(source: str, *, subset: str | None = None, split: str | None = None) -> Corpus:
    """Find and check a corpus.

    Args:
        source: A folder or file (see `read_corpus`), `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`, or an MTEB task.
        subset: Of a Hub data set or a task; its only one by default.
        split: Likewise; the first that a task evaluates, or `corpus` or `train` of a data set.

    Raises:
        InputError: It cannot be loaded, or something is wrong with it.
    """
    path = expanded(source)
    if source.startswith(HUB):
        return Corpus(source, hub_documents(source.removeprefix(HUB), subset, split))
    if path.exists() or path.suffix or len(path.parts) > 1:
        if subset or split:
            raise InputError(
                f"{source}: files have no subsets and splits; leave them out, or name a task or {HUB} data set"
            )
        return Corpus(str(path), read_corpus(path), queries=[query.text for query in find_queries(path)])
    return task_corpus(source, subset, split)


def task_corpus(name: str, subset: str | None = None, split: str | None = None) -> Corpus:
    """The documents of a retrieval task, with its queries.

    Args:
        name: Of the task, in MTEB's registry.
        subset: One of its subsets; its only one by default.
        split: One of its splits; the first that it evaluates by default.

    Raises:
        InputError: There is no such task, subset or split, the task has no documents, or its data cannot be loaded.
    """
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    try:
        about = mteb.get_task(name).metadata
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise InputError(f"corpus {name}: no such file or folder, and as a task: {reason}") from error
    subset = _among(f"task {name}", "subset", subset, list(about.hf_subsets), several=True)
    split = _among(f"task {name}", "split", split, list(about.eval_splits))
    task = mteb.get_task(name, eval_splits=[split], hf_subsets=[subset])
    if not isinstance(task, AbsTaskRetrieval):
        raise InputError(f"task {name}: is {about.type}, which has no documents; name a retrieval task")
    try:
        task.load_data()
    except OSError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"task {name}: its data cannot be loaded ({reason}); fix that, or get the data first"
        ) from error
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    data = task.dataset[subset][split]
    queries = data["queries"]["text"]
    texts = [text for text in queries if isinstance(text, str)]
    return Corpus(f"{name}/{subset}/{split}", data["corpus"], queries=texts, task=about)


def hub_documents(spec: str, subset: str | None = None, split: str | None = None) -> Dataset:
    """The documents of a data set, as columns `id`, `text` and perhaps `title`.

    A folder of that name in `OPTICAL_MTEB_DATA` is looked at before the Hub. No code of the data set is run.

    Args:
        spec: `OWNER/NAME`, or `OWNER/NAME@REVISION`.
        subset: Its configuration, where it has several.
        split: `corpus`, or else its only split, by default.

    Raises:
        InputError: It cannot be loaded, or has no column of ids or of texts.
    """
    import datasets

    repository, _, revision = spec.partition("@")
    local = local_data()
    own = local / repository if local is not None and (local / repository).is_dir() else None
    try:
        found = datasets.load_dataset(str(own or repository), subset, revision=None if own else revision or None)
    # Nothing narrower: the client lets errors of its HTTP, file system and parser libraries through unchanged.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"{HUB}{spec}: cannot be read ({reason}); check name, --subset, network and HF_HUB_OFFLINE, "
            "or download it and give the files"
        ) from error
    names = list(map(str, found))
    default = "corpus" if "corpus" in names else None
    documents = found[_among(f"{HUB}{spec}", "split", split or default, names, several=True)]
    columns = {"id": ID_KEYS, "text": TEXT_KEYS}
    for wanted, keys in columns.items():
        key = next((key for key in keys if key in documents.column_names), None)
        if key is None:
            raise InputError(
                f"{HUB}{spec}: has the columns {', '.join(documents.column_names)}, expected one of {', '.join(keys)}; "
                "write its documents as JSON lines"
            )
        if key != wanted:
            documents = documents.rename_column(key, wanted)
    return documents


def _among(where: str, kind: str, asked: str | None, there: list[str], *, several: bool = False) -> str:
    """The one that is asked for, else the first; where there are several of which one has to be named, it must be."""
    if asked is None and (len(there) == 1 or not several):
        return there[0]
    if asked not in there:
        found = f"has no {kind} {asked!r}" if asked else f"has several {kind}s"
        raise InputError(f"{where}: {found}; name one by --{kind}: {', '.join(there)}")
    return asked
