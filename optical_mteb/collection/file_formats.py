"""How a collection is written: BEIR's JSON lines and tables, or TREC's SGML, topics and qrels."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from optical_mteb.collection import Entry
from optical_mteb.collection.beir import CORPUS, HEAD, QUERIES


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
