"""TMX, the Translation Memory eXchange format (1.1 to 1.4b), streamed in constant memory.

Built on expat itself: `xml.etree.ElementTree.iterparse` hides the line numbers and lets entity declarations pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.parsers import expat

from optical_mteb.bitext.records import Malformed, RawRecords, Record
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language

_BLOCK = 1 << 16
# Their content is formatting code of the editor the text came from, not text (TMX 1.4b, section 4.3).
_CODE = frozenset({"bpt", "ept", "ph", "it", "ut"})


def read_tmx(path: Path, language: str, *, english_tag: str = "en") -> RawRecords:
    """Translation units in the file's order; the id is `tuid`, or the line of the unit where it has none.

    A unit that lacks a side is malformed. Of several variants in one language the first counts.

    Args:
        path: The file.
        language: ISO 639-3 code of the other side; regional tags match it (`es-LA`, `pt-BR`).
        english_tag: `xml:lang` of the English side; a bare `en` matches `en-US` too.

    Raises:
        InputError: The file is not well-formed XML, declares entities, or is no TMX.
    """
    units = _Units(path, language, english_tag)
    with path.open("rb") as stream:
        while True:
            block = stream.read(_BLOCK)
            yield from units.feed(block)
            if not block:
                break
    if not units.is_tmx:
        raise InputError(f"{path}:1: no <tmx> element; expected a translation memory in TMX")


class _Units:
    def __init__(self, path: Path, language: str, english_tag: str) -> None:
        self.path, self.language, self.english_tag = path, language, english_tag
        self.is_tmx = False
        self._finished: list[Record | Malformed] = []
        self._id, self._line = "", 0
        self._sides: list[tuple[str, str]] = []
        self._tag = ""
        self._text: list[str] | None = None
        self._code_depth = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._refuse_unknown_entity

    def feed(self, block: bytes) -> list[Record | Malformed]:
        """The units that end in this block; an empty block ends the file."""
        self._finished = []
        try:
            self._parser.Parse(block, not block)
        except expat.ExpatError as error:
            raise InputError(
                f"{self.path}:{error.lineno}: not well-formed XML ({expat.ErrorString(error.code)}); "
                "fix the line or fetch the file again"
            ) from error
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
            self._code_depth += 1

    def _end(self, name: str) -> None:
        if name == "seg" and self._text is not None:
            self._sides.append((self._tag, "".join(self._text)))
            self._text = None
        elif name in _CODE:
            self._code_depth -= 1
        elif name == "tu":
            self._finished.append(self._unit())

    def _characters(self, text: str) -> None:
        if self._text is not None and not self._code_depth:
            self._text.append(text)

    def _unit(self) -> Record | Malformed:
        english = [text for tag, text in self._sides if _is_english(tag, self.english_tag)]
        translation = [text for tag, text in self._sides if _is_language(tag, self.language)]
        if english and translation:
            return Record(self._id, english[0], translation[0], self._line)
        lacking = self.language if english else self.english_tag
        tags = ", ".join(tag or "no language" for tag, _ in self._sides) or "no text"
        return Malformed(f"{self.path}:{self._line}", f"unit {self._id!r} has {tags}, expected a side in {lacking}")

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


def _is_english(tag: str, english_tag: str) -> bool:
    tag, wanted = (spelling.lower().replace("_", "-") for spelling in (tag, english_tag))
    return tag == wanted or tag.partition("-")[0] == wanted


def _is_language(tag: str, language: str) -> bool:
    spelling = tag.replace("_", "-")
    primary = spelling.partition("-")[0].lower()
    return primary == language or language in (_code(spelling), _code(primary))


def _code(spelling: str) -> str | None:
    try:
        return find_language(spelling).code
    except InputError:
        return None
