"""Documents in TREC's SGML: `<DOC>` elements with a `<DOCNO>`, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optical_mteb.collection import Entry
from optical_mteb.collection.lines import read_lines
from optical_mteb.collection.sgml import plain, split_tags
from optical_mteb.errors import InputError

_FIX = "get the file again, or fix the document"


def read_documents(
    path: Path, *, texts: Sequence[str], titles: Sequence[str] = (), otherwise: str | None = None
) -> Iterator[Entry]:
    """The documents of a file, as they come; one is held in memory at a time.

    A chosen element ends at its end tag, where another chosen one begins, or with the document. Tags within it are
    taken out, entities resolved. A document that has none of the elements has an empty text.

    Args:
        path: The file; packed where its name says so, see `open_unpacked`.
        texts: Elements that are the text, `TEXT`.
        titles: Elements that are the title, `HEADLINE`.
        otherwise: Encoding of lines that are not valid UTF-8; None to refuse them.

    Raises:
        InputError: A line is not valid UTF-8, a document does not end or has no `<DOCNO>` or two, or there is no
            document.
    """
    roles = (
        {"DOCNO": "id"} | dict.fromkeys(map(str.upper, titles), "title") | dict.fromkeys(map(str.upper, texts), "text")
    )
    document: _Draft | None = None
    empty = True
    for number, line in enumerate(read_lines(path, otherwise=otherwise), start=1):
        for tag, text in split_tags(line):
            if tag == "DOC":
                if document is not None:
                    raise InputError(
                        f"{path}:{number}: a document begins before the one at {document.where} ends; {_FIX}"
                    )
                document, empty = _Draft(f"{path}:{number}"), False
            elif tag == "/DOC":
                if document is None:
                    raise InputError(f"{path}:{number}: a document ends that did not begin; {_FIX}")
                yield document.entry()
                document = None
            elif document is not None:
                if tag in roles:
                    document.begin(roles[tag], f"{path}:{number}")
                elif tag.startswith("/") and roles.get(tag[1:]) == document.role:
                    document.role = ""
                document.add(text)
    if document is not None:
        raise InputError(f"{document.where}: the document does not end; {_FIX}")
    if empty:
        raise InputError(f"{path}: holds no <DOC>; get the file again, or take it out of the folder")


@dataclass
class _Draft:
    """A document that is being read."""

    where: str
    role: str = ""
    parts: dict[str, list[str]] = field(default_factory=lambda: {"id": [], "title": [], "text": []})

    def begin(self, role: str, where: str) -> None:
        if role == "id" and self.parts["id"]:
            raise InputError(f"{where}: the document that begins at {self.where} has a second <DOCNO>; {_FIX}")
        self.role = role

    def add(self, text: str) -> None:
        if self.role:
            self.parts[self.role].append(text)

    def entry(self) -> Entry:
        number = plain(self.parts["id"])
        if not number or len(number.split()) > 1:
            raise InputError(f"{self.where}: expected a document with a <DOCNO>, found {number[:40]!r}; {_FIX}")
        return Entry(number, plain(self.parts["text"]), title=plain(self.parts["title"]), where=self.where)
