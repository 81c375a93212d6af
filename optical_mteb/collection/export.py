"""Any text retrieval task of MTEB as files that other programs read: a folder for every subset.

The formats are BEIR's JSON lines and tables, and TREC's SGML, topics and qrels.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from optical_mteb.collection import Entry
from optical_mteb.collection.beir import CORPUS, HEAD, QUERIES
from optical_mteb.collection.download import progress_bar
from optical_mteb.collection.text_retrieval import chosen_of, load_subsets, text_retrieval_task
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

BATCH = 1_000
"""Documents that are held in memory while writing."""

_BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@dataclass(frozen=True)
class FileFormat:
    """A folder of three kinds of files.

    Attributes:
        corpus: Name of the file of documents.
        queries: Name of the file of queries.
        qrels: Name of a split's file of judgements, with `{split}` in it.
        qrels_head: First line of that, where it has one.
        document: A document as it is written.
        query: A query as it is written.
        judgement: A query's id, a document's id and the grade as they are written.
        no_id: What an id may not have in it.
        id_rule: The same in words.
    """

    corpus: str
    queries: str
    qrels: str
    qrels_head: str
    document: Callable[[Entry], str]
    query: Callable[[Entry], str]
    judgement: Callable[[str, str, int], str]
    no_id: re.Pattern[str]
    id_rule: str


def _beir_document(document: Entry) -> str:
    return _json_line({"_id": document.id, "title": document.title, "text": document.text})


def _beir_query(query: Entry) -> str:
    return _json_line({"_id": query.id, "text": query.text})


def _json_line(record: dict[str, str]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


# No line of a topics file, and no element of XML, can hold them.
_CONTROL = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF} - {ord("\t"), ord("\n")}, " ")


def _trec_document(document: Entry) -> str:
    title = f"<TITLE>{_trec_line(_trec_text(document.title))}</TITLE>\n" if document.title else ""
    text = _trec_text(document.text)
    return f"<DOC>\n<DOCNO>{document.id}</DOCNO>\n{title}<TEXT>\n{text}\n</TEXT>\n</DOC>\n"


def _trec_query(query: Entry) -> str:
    return f"{query.id}\t{_trec_line(query.text.translate(_CONTROL))}\n"


def _trec_text(text: str) -> str:
    return html.escape(text.translate(_CONTROL), quote=False)


def _trec_line(text: str) -> str:
    return " ".join(text.split())


FORMATS = {
    "beir": FileFormat(
        corpus=CORPUS,
        queries=QUERIES,
        qrels="qrels/{split}.tsv",
        qrels_head="\t".join(HEAD) + "\n",
        document=_beir_document,
        query=_beir_query,
        judgement=lambda query, document, grade: f"{query}\t{document}\t{grade}\n",
        no_id=re.compile(r'^[\s"]|\s$|[\t\n\r]'),
        id_rule="no tab, line end or outer white space, and no quotation mark at its beginning",
    ),
    "trec": FileFormat(
        corpus="docs.trec",
        queries="topics.tsv",
        qrels="qrels/{split}.txt",
        qrels_head="",
        document=_trec_document,
        query=_trec_query,
        judgement=lambda query, document, grade: f"{query} 0 {document} {grade}\n",
        no_id=re.compile(r"[\s<>&\x00-\x20\x7f-\xa0]"),
        id_rule="no white space, control character, '<', '>' or '&'",
    ),
}
"""The formats by name.

`beir` loses nothing. `trec` writes `<`, `>` and `&` of a text as entities, control characters as blanks, and the white
space in a topic as single ones.
"""


def export_task(
    name: str,
    file_format: str,
    output: Path,
    *,
    subsets: Sequence[str] = (),
    splits: Sequence[str] = (),
    say: Callable[[str], None],
) -> list[Path]:
    """Write a task as MTEB evaluates it: all documents, the queries that are judged, and their judgements.

    Args:
        name: Name of the task.
        file_format: A name of `FORMATS`.
        output: Gets a folder for every subset, all of them complete or none.
        subsets: Those to write; those that `mteb run` runs by default.
        splits: Those to write, likewise. Splits of a subset share its documents.
        say: Told what the files cannot say.

    Returns:
        The folders.

    Raises:
        InputError: There is no such task, subset, split or format; it is not a task that has texts and judgements alone;
            its data cannot be loaded; a folder is there already; an id cannot be written; or two splits of a subset have
            other documents, or another query under one id.
    """
    if file_format not in FORMATS:
        raise InputError(f"format {file_format!r} is unknown; write one of {', '.join(FORMATS)}")
    task = text_retrieval_task(name)
    chosen, wanted = chosen_of(task, subsets, splits)
    folders = [output / subset for subset in chosen]
    for folder in folders:
        if folder.exists():
            raise InputError(f"{folder}: is there already; remove it, or choose another folder by --output")
    if task.ignore_identical_ids:
        say(f"{name}: MTEB takes a query's own id out of its ranking before it scores; do so, too")
    if task.skip_first_result:
        say(f"{name}: MTEB takes the first document out of each ranking before it scores; do so, too")
    written: list[Path] = []
    try:
        for subset, folder in zip(chosen, folders, strict=True):
            data = load_subsets(name, [subset], wanted)[subset]
            _write(data, FORMATS[file_format], folder, f"{name}/{subset}")
            written.append(folder)
    except BaseException:
        # What is there would have the same command refused once it can go on.
        for folder in written:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            output.rmdir()
        raise
    return folders


def _write(splits: dict[str, RetrievalSplitData], file_format: FileFormat, folder: Path, name: str) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder, replace=False) as scratch:
            (scratch / "qrels").mkdir()
            digests: dict[str, str] = {}
            asked: dict[str, str] = {}
            with (
                _writing(scratch / file_format.corpus) as documents,
                _writing(scratch / file_format.queries) as queries,
            ):
                for split, data in splits.items():
                    digests[split] = _write_documents(data["corpus"], file_format, None if digests else documents, name)
                    written = _write_queries(data, file_format, queries, asked, name)
                    _write_qrels(written, data, file_format, scratch / file_format.qrels.format(split=split))
            if len(set(digests.values())) > 1:
                one = next(iter(splits))
                raise InputError(
                    f"{name}: the splits {', '.join(splits)} have different documents; "
                    f"export one at a time, as by --split {one}"
                )
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write there ({error.strerror or error}); choose another --output"
        ) from error
    finally:
        with suppress(OSError):
            folder.parent.rmdir()


def _writing(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


def _write_documents(corpus: Dataset, file_format: FileFormat, file: TextIO | None, name: str) -> str:
    """Write the documents, where there is a file; returns a digest of them."""
    digest = hashlib.sha256()
    with progress_bar(*_BAR) as progress:
        bar = progress.add_task(name, total=len(corpus))
        for document in _entries(corpus):
            _check_id("document", document.id, file_format, name)
            written = file_format.document(document)
            digest.update(written.encode())
            if file is not None:
                file.write(written)
            progress.advance(bar)
    return digest.hexdigest()


def _write_queries(
    data: RetrievalSplitData, file_format: FileFormat, file: TextIO, asked: dict[str, str], name: str
) -> list[str]:
    """Write the judged queries that are not in `asked` from another split; returns the ids of all judged ones."""
    judged = []
    for query in _entries(data["queries"]):
        if not data["relevant_docs"].get(query.id):
            continue
        judged.append(query.id)
        if query.id not in asked:
            _check_id("query", query.id, file_format, name)
            file.write(file_format.query(query))
        elif asked[query.id] != query.text:
            raise InputError(
                f"{name}: query {query.id!r} has another text in another split; export one at a time by --split"
            )
        asked[query.id] = query.text
    return judged


def _write_qrels(queries: Sequence[str], data: RetrievalSplitData, file_format: FileFormat, path: Path) -> None:
    with _writing(path) as file:
        file.write(file_format.qrels_head)
        for query in queries:
            judged = data["relevant_docs"][query]
            file.writelines(file_format.judgement(query, document, int(grade)) for document, grade in judged.items())


def _entries(dataset: Dataset) -> Iterator[Entry]:
    columns = [column for column in ("id", "text", "title") if column in dataset.column_names]
    for batch in dataset.select_columns(columns).iter(BATCH):
        titles = batch.get("title") or [""] * len(batch["id"])
        for key, text, title in zip(batch["id"], batch["text"], titles, strict=True):
            yield Entry(str(key), text or "", title or "")


def _check_id(kind: str, key: str, file_format: FileFormat, name: str) -> None:
    if not key or file_format.no_id.search(key):
        raise InputError(
            f"{name}: {kind} id {key!r} cannot be written; in this format it may have {file_format.id_rule}"
        )
