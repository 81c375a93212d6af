"""Names of the Unicode CLDR that Babel ships: territories, languages, scripts, currencies, units, cities, dates.

People of each language community wrote them, under the Unicode license. A split by key, the same for all languages,
sets about 30 % aside for tests; the training names share no name with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from optical_mteb.bitext.cleaning import clean
from optical_mteb.bitext.records import RawRecords, Record
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language

if TYPE_CHECKING:
    from babel import Locale

EVALUATED = ("swh", "som", "fil", "mar", "yor", "hau", "ibo", "zul", "amh", "fra", "spa", "por")
"""Languages whose test names no training name of any language is spelled like."""

_TEST_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class CldrName:
    """A thing's name in English and in another language.

    Attributes:
        key: The thing, the same in all languages: `territory/KE`, `unit/length-meter`, `city/Africa/Nairobi`.
        english: Its English name.
        name: Its name in the other language.
    """

    key: str
    english: str
    name: str

    @property
    def kind(self) -> str:
        """First part of the key: territory, language, script, variant, currency, unit, city, month or weekday."""
        return self.key.partition("/")[0]


def cldr_names(language: str) -> list[CldrName]:
    """All things that CLDR names both in English and in `language`, sorted by key.

    Names that the language only inherits from CLDR's root (`kg`, `M01`) are none of its own and left out.

    Args:
        language: Any spelling that `find_language` knows.

    Raises:
        InputError: CLDR has no names in the language.
    """
    found = find_language(language)
    # CLDR's identifier is the two-letter code wherever a language has one.
    identifier = next((alias for alias in found.aliases if len(alias) == 2), found.code)
    english, names = _names("en"), _names(identifier)
    if not names:
        raise InputError(
            f"cldr:{language}: CLDR has no names in {found.name} ({identifier}); it has {', '.join(EVALUATED)}"
        )
    return [CldrName(key, english[key], names[key]) for key in sorted(english.keys() & names.keys())]


def split_of(key: str) -> Literal["train", "test"]:
    """The side of the split a key is on: a hash of the key alone decides, so that languages and releases agree."""
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    return "test" if place < _TEST_SHARE else "train"


def read_cldr(language: str) -> RawRecords:
    """The names that training may see, by key; the key is the id, so that `exclude_ids` can leave kinds out (`currency/*`).

    Left out are the test keys; names spelled the same in both languages but for case; and every pair with a side that
    is spelled like the name of a test key in English, in `language` or in any evaluated language ("Lao" is a language
    and a script; a city has one name in many languages).

    Args:
        language: Any spelling that `find_language` knows.

    Raises:
        InputError: CLDR has no names in the language.
    """
    names = cldr_names(language)
    held_out = _test_spellings() | {name.name.casefold() for name in names if split_of(name.key) == "test"}

    def may_be_seen(name: CldrName) -> bool:
        sides = {name.english.casefold(), name.name.casefold()}
        return split_of(name.key) == "train" and len(sides) == 2 and held_out.isdisjoint(sides)

    for number, name in enumerate(filter(may_be_seen, names), start=1):
        yield Record(name.key, name.english, name.name, number)


@lru_cache(maxsize=1)
def _test_spellings() -> frozenset[str]:
    """Names of all test keys, in English and in the evaluated languages, case folded."""
    languages = ("eng", *EVALUATED)
    names = (name for language in languages for name in cldr_names(language) if split_of(name.key) == "test")
    return frozenset(name.name.casefold() for name in names)


@lru_cache(maxsize=32)
def _names(identifier: str) -> Mapping[str, str]:
    from babel import Locale, UnknownLocaleError

    try:
        locale = Locale(identifier)
    except UnknownLocaleError:
        return {}
    # English is the reference: its names are its own even where the root spells them the same.
    root = {} if identifier == "en" else dict(_entries(Locale("root")))
    return {key: name for key, name in _entries(locale) if root.get(key) != name}


def _entries(locale: Locale) -> Iterator[tuple[str, str]]:
    tables: tuple[tuple[str, Mapping[object, object]], ...] = (
        ("territory", locale.territories),
        ("language", locale.languages),
        ("script", locale.scripts),
        ("variant", locale.variants),
        ("currency", locale.currencies),
        ("unit", {key: _long(forms) for key, forms in locale.unit_display_names.items()}),
        ("city", {key: names["city"] for key, names in locale.time_zones.items() if "city" in names}),
        # Not "stand-alone": Babel 2.18 resolves that alias once, for whichever locale asks first, and hands it to all.
        ("month", locale.months["format"]["wide"]),
        ("weekday", locale.days["format"]["wide"]),
    )
    for kind, table in tables:
        for key, name in table.items():
            if isinstance(name, str) and name.strip():
                yield f"{kind}/{key}", clean(name)


def _long(forms: Mapping[str, object]) -> object:
    # CLDR's root aliases long to short, and a locale omits what equals the inherited form: short is then the long name.
    return forms.get("long", forms.get("short"))
