"""TMX, the Translation Memory eXchange format (1.1 to 1.4b), streamed in constant memory.

Built on expat itself: `xml.etree.ElementTree.iterparse` hides the line numbers and lets entity declarations pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from optical_mteb.bitext.records import Malformed, RawRecords, Record
from optical_mteb.collection.packed import open_unpacked
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language

_BLOCK = 1 << 16
# Expat starts a tag anew with every block until it is whole.
_LONGEST = 1 << 22
# Their content is formatting code of the editor the text came from, not text (TMX 1.4b, section 4.3).
_PAIRED = frozenset({"bpt", "ept"})
# These stand for something between words: a line break, an image.
_ALONE = frozenset({"ph", "it", "ut"})
_CODE = _PAIRED | _ALONE


def read_tmx(path: Path, language: str, *, english_tag: str = "en", translation_tag: str | None = None) -> RawRecords:
    """Translation units in the file's order; the id is `tuid`, or the line of the unit where it has none.

    A unit that lacks a side is malformed. Of several variants in one language the first counts.

    Args:
        path: The file.
        language: ISO 639-3 code of the other side; regional tags match it (`es-LA`, `pt-BR`). Where no tag of the file
            does, and it has a single language besides English, under a tag that is not a known other language's, that one
            is meant.
        english_tag: `xml:lang` of the English side; a bare `en` matches `en-US` too.
        translation_tag: `xml:lang` of the other side, in the place of the language's.

    Raises:
        InputError: The file is not well-formed XML, declares entities or an unknown encoding, or is no TMX.
    """
    tag = translation_tag or _only_other(path, language, english_tag)
    for unit in _units(path):
        english = [text for other, text in unit.sides if _is_tag(other, english_tag)]
        translation = [
            text for other, text in unit.sides if (_is_tag(other, tag) if tag else _is_language(other, language))
        ]
        if english and translation:
            yield Record(unit.id, english[0], translation[0], unit.line)
            continue
        lacking, key = (tag or language, "translation_tag") if english else (english_tag, "english_tag")
        tags = ", ".join(other or "no language" for other, _ in unit.sides) or "no text"
        yield Malformed(
            f"{path}:{unit.line}",
            f"unit {unit.id!r} has {tags}, expected a side in {lacking}; {key} can name another tag",
        )


class _Unit(NamedTuple):
    """A translation unit: its id, its line, and the tag and text of each side."""

    id: str
    line: int
    sides: Sequence[tuple[str, str]]


def _only_other(path: Path, language: str, english_tag: str) -> str | None:
    """The tag of the only language besides English, where the file does not have the wanted one under its own tag."""
    others: set[str] = set()
    for unit in _units(path):
        for tag, _ in unit.sides:
            if _is_language(tag, language):
                return None
            if not _is_tag(tag, english_tag):
                others.add(_primary(tag))
    return others.pop() if len(others) == 1 and not any(map(_code, others)) else None


def _units(path: Path) -> Iterator[_Unit]:
    parser = _Parser(path)
    with open_unpacked(path) as stream:
        while True:
            block = stream.read(_BLOCK)
            yield from parser.feed(block)
            if not block:
                break
    if not parser.is_tmx:
        raise InputError(f"{path}:1: no <tmx> element; expected a translation memory in TMX")


class _Parser:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_tmx = False
        self._finished: list[_Unit] = []
        self._id, self._line = "", 0
        self._sides: list[tuple[str, str]] = []
        self._tag = ""
        self._text: list[str] | None = None
        self._code_depth = 0
        self._fed = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._refuse_unknown_entity

    def feed(self, block: bytes) -> list[_Unit]:
        """The units that end in this block; an empty block ends the file."""
        self._finished = []
        try:
            self._parser.Parse(block, not block)
        except expat.ExpatError as error:
            raise InputError(
                f"{self.path}:{error.lineno}: not well-formed XML ({expat.ErrorString(error.code)}); "
                "fix the line or fetch the file again"
            ) from error
        except (LookupError, ValueError) as error:
            # What Python says of the encoding that the XML declaration names.
            raise InputError(
                f"{self.path}:1: cannot be read in the encoding that it declares ({error}); convert it to UTF-8"
            ) from error
        self._fed += len(block)
        if self._fed - self._parser.CurrentByteIndex > _LONGEST:
            raise InputError(
                f"{self.path}:{self._parser.CurrentLineNumber}: a tag or comment of more than {_LONGEST >> 20} MB; "
                "expected a translation memory in TMX; fetch the file again"
            )
        return self._finished

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "tmx":
            self.is_tmx = True
        elif name == "tu":
            self._line, self._sides = self._parser.CurrentLineNumber, []
            self._id = attributes.get("tuid") or str(self._line)
        elif name == "tuv":
            # TMX before 1.4 spells the attribute `lang`.
            self._tag = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif name == "seg":
            self._text, self._code_depth = [], 0
        elif name in _CODE:
            if self._text is not None and not self._code_depth and name in _ALONE:
                self._text.append(" ")
            self._code_depth += 1

    def _end(self, name: str) -> None:
        if name == "seg" and self._text is not None:
            self._sides.append((self._tag, "".join(self._text)))
            self._text = None
        elif name in _CODE:
            self._code_depth -= 1
        elif name == "tu":
            self._finished.append(_Unit(self._id, self._line, self._sides))

    def _characters(self, text: str) -> None:
        if self._text is not None and not self._code_depth:
            self._text.append(text)

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise InputError(
            f"{self.path}:{self._parser.CurrentLineNumber}: declares the entity {name!r}; such files can grow without "
            "bound when read and are refused; write the texts out and remove the declarations"
        )

    def _refuse_unknown_entity(self, name: str, *_: object) -> None:
        raise InputError(
            f"{self.path}:{self._parser.CurrentLineNumber}: entity &{name}; is not defined in the file; "
            "write the character itself"
        )


def _is_tag(tag: str, wanted: str) -> bool:
    tag, wanted = (spelling.lower().replace("_", "-") for spelling in (tag, wanted))
    return tag == wanted or tag.partition("-")[0] == wanted


def _is_language(tag: str, language: str) -> bool:
    primary = _primary(tag)
    return primary == language or language in (_code(tag.replace("_", "-")), _code(primary))


def _primary(tag: str) -> str:
    return tag.replace("_", "-").partition("-")[0].lower()


def _code(spelling: str) -> str | None:
    try:
        return find_language(spelling).code
    except InputError:
        return None
