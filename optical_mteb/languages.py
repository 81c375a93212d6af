"""Language codes: one spelling inside (ISO 639-3), every usual spelling at the door."""

from __future__ import annotations

import re
from dataclasses import dataclass

from optical_mteb.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Language:
    """A language as data sets and MTEB name it.

    Attributes:
        code: ISO 639-3, as in MTEB's task metadata.
        script: ISO 15924.
        name: English name.
        aliases: Other codes for it: ISO 639-1, macrolanguages, publishers' habits.
    """

    code: str
    script: str
    name: str
    aliases: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The language-script tag that MTEB uses, `swh-Latn`."""
        return f"{self.code}-{self.script}"


_KNOWN = (
    Language("eng", "Latn", "English", ("en",)),
    Language("swh", "Latn", "Swahili", ("sw", "swa")),
    Language("som", "Latn", "Somali", ("so",)),
    Language("tgl", "Latn", "Tagalog", ("tl",)),
    Language("fil", "Latn", "Filipino"),
    Language("mar", "Deva", "Marathi", ("mr",)),
    Language("yor", "Latn", "Yoruba", ("yo",)),
    Language("hau", "Latn", "Hausa", ("ha",)),
    Language("ibo", "Latn", "Igbo", ("ig",)),
    Language("zul", "Latn", "Zulu", ("zu",)),
    Language("amh", "Ethi", "Amharic", ("am",)),
    Language("bem", "Latn", "Bemba"),
    Language("kin", "Latn", "Kinyarwanda", ("rw",)),
    Language("twi", "Latn", "Twi", ("tw",)),
    Language("fra", "Latn", "French", ("fr",)),
    Language("spa", "Latn", "Spanish", ("es", "es-la")),
    Language("por", "Latn", "Portuguese", ("pt", "pt-br")),
    Language("deu", "Latn", "German", ("de",)),
)
_BY_CODE = {spelling: language for language in _KNOWN for spelling in (language.code, *language.aliases)}
_TAG = re.compile(r"([a-z]{3})-([A-Z][a-z]{3})")


def find_language(spelling: str) -> Language:
    """The language of a code: ISO 639-1 or 639-3 (`sw`, `swh`), an alias (`pt-BR`) or any MTEB tag (`kik-Latn`).

    Raises:
        InputError: The code is unknown and is not a language-script tag.
    """
    known = _BY_CODE.get(spelling.lower())
    if known:
        return known
    tag = _TAG.fullmatch(spelling)
    if tag:
        by_code = _BY_CODE.get(tag[1])
        return by_code if by_code and by_code.script == tag[2] else Language(tag[1], tag[2], tag[1])
    hint = did_you_mean(spelling, _BY_CODE)
    raise InputError(
        f"language {spelling!r} is unknown; {hint}{' ' * bool(hint)}write an ISO 639-3 code with its script for any other language, as in 'kik-Latn'"
    )
