"""Collections that come through the package `ir_datasets`, which downloads and reads them."""

from __future__ import annotations

import locale
import logging
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from optical_mteb.collection import Entry, Qrels
from optical_mteb.collection.arrow_corpus import corpus_dataset
from optical_mteb.collection.published_data import offline
from optical_mteb.collection.split import documents_among, retrieval_split
from optical_mteb.errors import InputError
from optical_mteb.mteb_compat import download_place

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, tarfile.TarError, zlib.error)
_log = logging.getLogger(__name__)


def irds_split(name: str, dataset_id: str, *, corpus_id: str, query_field: str = "text") -> RetrievalSplitData:
    """One subset and split, from a data set of ir_datasets; its corpus is a memory-mapped file in the cache.

    Judgements of documents that are not there or have no text are left out, and so are queries without text or
    relevant document; both numbers are logged. Files are looked up, and downloaded to, where ir_datasets has them:
    `IR_DATASETS_HOME`, `~/.ir_datasets` by default. With `HF_HUB_OFFLINE` nothing is downloaded.

    Args:
        name: What to call it in error messages, `WikiCLIRRetrieval/eng-swh/test`.
        dataset_id: The data set of the queries and judgements, as in `ir_datasets.load`.
        corpus_id: The data set of the documents; subsets that name the same one share the file in the cache.
        query_field: The field of a query that is its text.

    Raises:
        InputError: ir_datasets is not installed or has no such data set, a file is not here and cannot be downloaded,
            cannot be read, or holds an id twice.
    """
    corpus = corpus_dataset(corpus_id, _fingerprint(corpus_id), lambda: _documents(corpus_id))
    qrels: dict[str, dict[str, int]] = {}
    for judgement in _read(dataset_id, "qrels"):
        judged = qrels.setdefault(judgement.query_id, {})
        judged[judgement.doc_id] = max(judgement.relevance, judged.get(judgement.doc_id, 0))
    queries = [
        Entry(query.query_id, getattr(query, query_field), where=f"{dataset_id}, query {number}")
        for number, query in enumerate(_read(dataset_id, "queries"), start=1)
    ]
    return retrieval_split(name, corpus, *_answerable(name, corpus, queries, qrels))


def _documents(corpus_id: str) -> Iterator[Entry]:
    for number, document in enumerate(_read(corpus_id, "docs"), start=1):
        title = getattr(document, "title", "")
        yield Entry(document.doc_id, document.text, title=title, where=f"{corpus_id}, document {number}")


def _answerable(
    name: str, corpus: Dataset, queries: Sequence[Entry], qrels: Qrels
) -> tuple[list[Entry], dict[str, dict[str, int]]]:
    """The queries that have text and a relevant document, and their judgements."""
    positive = {query: [key for key, grade in judged.items() if grade > 0] for query, judged in qrels.items()}
    known = documents_among(corpus, {key for keys in positive.values() for key in keys})
    relevant = {query: {key: qrels[query][key] for key in keys if key in known} for query, keys in positive.items()}
    asked = [query for query in queries if query.text.strip() and relevant.get(query.id)]
    lost = sum(len(keys) for keys in positive.values()) - sum(len(judged) for judged in relevant.values())
    if lost or len(asked) < len(queries):
        _log.warning(
            "%s: left out %d judgements of documents that are not there or have no text, "
            "and %d of %d queries, which have no text or no relevant document",
            name,
            lost,
            len(queries) - len(asked),
            len(queries),
        )
    return asked, {query.id: relevant[query.id] for query in asked}


def _fingerprint(corpus_id: str) -> str:
    """What the documents depend on: who reads which file."""
    ir_datasets = _ir_datasets()
    try:
        file = Path(ir_datasets.load(corpus_id).docs_path()).stat()
    except InputError:
        raise
    except _UNREADABLE as error:
        raise _unreadable(f"{corpus_id}: its documents cannot be loaded", error) from error
    return f"ir_datasets {ir_datasets.__version__} {file.st_size} {file.st_mtime_ns}"


def _read(dataset_id: str, kind: str) -> Iterator[Any]:
    """What `docs_iter`, `queries_iter` or `qrels_iter` of a data set yields."""
    done = 0
    try:
        for record in getattr(_ir_datasets().load(dataset_id), f"{kind}_iter")():
            yield record
            done += 1
    except InputError:
        raise
    except _UNREADABLE as error:
        raise _unreadable(f"{dataset_id}: its {kind} cannot be read after number {done:,}", error) from error


def _unreadable(what: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"{what} ({reason}); if a download was broken, delete its files in {_ir_datasets().util.home_path()} "
        "and run this again"
    )


def _ir_datasets() -> ModuleType:
    """The package, which heeds `HF_HUB_OFFLINE` from here on."""
    try:
        ir_datasets = import_module("ir_datasets")
    except ImportError as error:
        raise InputError(
            "this task's data come through ir_datasets, which is not installed; "
            "run: pip install 'optical-mteb[ir-datasets]'"
        ) from error
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.lower().replace("-", "") != "utf8":
        raise InputError(f"ir_datasets reads files in this system's encoding, {encoding}; set PYTHONUTF8=1 for UTF-8")
    _heed_offline(ir_datasets.util.Download, ir_datasets.util.LocalDownload)
    return ir_datasets


def _heed_offline(download_class: Any, local_class: Any) -> None:  # noqa: ANN401 - classes without types
    if getattr(download_class, "_optical_mteb", False):
        return
    fetch = download_class.path

    def path(download: Any, force: bool = True) -> Any:  # noqa: ANN401
        if not (force and offline()):
            return fetch(download, force)
        mirrors = download.mirrors
        local = [mirror for mirror in mirrors if isinstance(mirror, local_class)]
        places = [mirror.path(force=False) for mirror in local]
        kept = download_place(download)
        places += [kept] if kept else []
        if not any(place.exists() for place in places):
            urls = " or ".join(mirror.url for mirror in mirrors if hasattr(mirror, "url"))
            there = f", or get it elsewhere and put it at {places[0]}" if places else ""
            raise InputError(f"{urls or 'a file'} is not here and HF_HUB_OFFLINE is set; unset it{there}")
        # A local copy with a wrong checksum would send ir_datasets on to the next mirror.
        download.mirrors = local
        try:
            return fetch(download, force)
        finally:
            download.mirrors = mirrors

    download_class.path = path
    download_class._optical_mteb = True
