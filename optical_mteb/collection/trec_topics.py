"""Topics, the queries of TREC and CLEF: in SGML, as tables, or as labelled lines. A query is title and description."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from optical_mteb.collection import Entry
from optical_mteb.collection.lines import read_lines
from optical_mteb.collection.sgml import plain, split_tags
from optical_mteb.errors import InputError

_FIELDS = {"NUM": "number:", "TITLE": "topic:", "DESC": "description:", "NARR": "narrative:"}
"""Elements of a topic, and the label that TREC's early years have inside them."""

_LINE_LABELS = {"query_id": "NUM", "title": "TITLE", "description": "DESC", "narrative": "NARR"}

_FIX = "get the file again, or fix the topic"


def read_topics(path: Path, *, otherwise: str | None = None) -> list[Entry]:
    """The topics of a file in any of three formats, told apart by its first line that is not empty.

    - `<top>` elements with `<num>`, `<title>`, `<desc>` and `<narr>`. They may bear a language as CLEF's do,
      `<EN-title>`; they end at their end tag or where the next one begins.
    - Lines with a label: `query_id: C001`, `title: ...`, `description: ...`. The translations of CLEF's topics into
      Swahili and Somali come so.
    - A table, see `read_topics_tsv`.

    Args:
        path: The file.
        otherwise: Encoding of lines that are not valid UTF-8; None to refuse them.

    Raises:
        InputError: The file has none of the formats, or no topic; a line is not valid UTF-8; a topic has no number,
            neither title nor description, or an element twice; or an id appears twice.
    """
    for number, line in enumerate(read_lines(path, otherwise=otherwise), start=1):
        if line.startswith("<"):
            return _unique(path, _sgml_topics(path, otherwise))
        if _label(line)[0] == "NUM":
            return _unique(path, _labelled_topics(path, otherwise))
        if "\t" in line:
            return read_topics_tsv(path, otherwise=otherwise)
        if line:
            raise InputError(
                f"{path}:{number}: expected '<top>', 'query_id: ...', or an id, a tab and a text, "
                f"found {line[:40]!r}; {_FIX}"
            )
    raise InputError(f"{path}: holds no topic; get the file again")


def read_topics_tsv(path: Path, *, otherwise: str | None = None) -> list[Entry]:
    """Topics as a table without a head: an id, a tab, a title, and perhaps a tab and a description.

    Quotation marks are text; empty lines are passed over.

    Args:
        path: The file.
        otherwise: Encoding of lines that are not valid UTF-8; None to refuse them.

    Raises:
        InputError: A line is not valid UTF-8 or does not have two or three columns, an id appears twice, or there is no
            topic.
    """

    def topics() -> Iterator[Entry]:
        for number, line in enumerate(read_lines(path, otherwise=otherwise), start=1):
            if not line:
                continue
            columns = [column.strip() for column in line.split("\t")]
            if len(columns) not in (2, 3) or not columns[0]:
                raise InputError(
                    f"{path}:{number}: expected an id, a tab and a text, found {line[:40]!r}; "
                    "get the file again, or fix the line"
                )
            key, title, *description = columns
            yield Entry(key, " ".join([title, *description]).strip(), where=f"{path}:{number}")

    return _unique(path, topics())


def _sgml_topics(path: Path, otherwise: str | None) -> Iterator[Entry]:
    """Topics in `<top>` elements; other elements are passed over, and so are labels like `Number:`."""
    draft: _Draft | None = None
    for number, line in enumerate(read_lines(path, otherwise=otherwise), start=1):
        for tag, text in split_tags(line):
            element = tag.rpartition("-")[2]
            if tag in ("TOP", "/TOP"):
                if draft is not None:
                    yield draft.topic()
                draft = _Draft(f"{path}:{number}") if tag == "TOP" else None
            elif draft is not None:
                if element in _FIELDS and not tag.startswith("/"):
                    draft.begin(element, f"{path}:{number}")
                elif tag and not tag.startswith(("!", "?")):
                    draft.element = ""
                draft.add(text)
    if draft is not None:
        yield draft.topic()


def _labelled_topics(path: Path, otherwise: str | None) -> Iterator[Entry]:
    """Topics as lines with a label; a line without one goes on with the one before."""
    draft: _Draft | None = None
    for number, line in enumerate(read_lines(path, otherwise=otherwise), start=1):
        element, text = _label(line)
        if element == "NUM":
            if draft is not None:
                yield draft.topic()
            draft = _Draft(f"{path}:{number}")
        if draft is None:
            continue
        # A description in two lines may have the label in both.
        if element and not element == draft.element == "DESC":
            draft.begin(element, f"{path}:{number}")
        draft.add(text)
    if draft is not None:
        yield draft.topic()


def _label(line: str) -> tuple[str, str]:
    """The element that a line's label stands for, and what follows it; an empty name where it has none."""
    label, colon, text = line.partition(":")
    element = _LINE_LABELS.get(label.strip().lower(), "") if colon else ""
    return (element, text) if element else ("", line)


@dataclass
class _Draft:
    """A topic that is being read."""

    where: str
    element: str = ""
    parts: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, element: str, where: str) -> None:
        if element in self.parts:
            raise InputError(f"{where}: the topic that begins at {self.where} has a second {element.lower()}; {_FIX}")
        self.parts[element] = []
        self.element = element

    def add(self, text: str) -> None:
        if self.element:
            self.parts[self.element].append(text)

    def topic(self) -> Entry:
        number, title, description = (self._value(element) for element in ("NUM", "TITLE", "DESC"))
        if not number or len(number.split()) > 1:
            raise InputError(f"{self.where}: expected a topic with a number, found {number[:40]!r}; {_FIX}")
        if not title and not description:
            raise InputError(f"{self.where}: topic {number!r} has neither title nor description; {_FIX}")
        return Entry(number, f"{title} {description}".strip(), where=self.where)

    def _value(self, element: str) -> str:
        value, label = plain(self.parts.get(element, [])), _FIELDS[element]
        return value[len(label) :].lstrip() if value.lower().startswith(label) else value


def _unique(path: Path, topics: Iterable[Entry]) -> list[Entry]:
    by_id: dict[str, Entry] = {}
    for topic in topics:
        first = by_id.setdefault(topic.id, topic)
        if first is not topic:
            raise InputError(
                f"{topic.where}: topic {topic.id!r} appears twice, the first at {first.where}; take one of them out"
            )
    if not by_id:
        raise InputError(f"{path}: holds no topic; get the file again")
    return list(by_id.values())
