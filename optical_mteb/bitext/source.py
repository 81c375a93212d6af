"""`[[bitext]]`: the description of one source of parallel text as it stands in a training recipe."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePath
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from optical_mteb.bitext.shifted import Shift
from optical_mteb.collection.packed import unpacked_suffix
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language
from optical_mteb.toml_file import MOST, Count

Kind = Literal["moses", "tsv", "tmx", "jsonl", "hub", "cldr"]

_KIND_OF_SUFFIX: dict[str, Kind] = {".tmx": "tmx", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl"}
_KINDS_OF_FIELD: dict[str, tuple[Kind, ...]] = {
    "translation": ("moses",),
    "english_column": ("tsv", "jsonl", "hub"),
    "translation_column": ("tsv", "jsonl", "hub"),
    "id_column": ("tsv", "jsonl", "hub"),
    "keep": ("tsv", "jsonl", "hub"),
    "header": ("tsv",),
    "english_tag": ("tmx",),
    "translation_tag": ("tmx",),
    "config": ("hub",),
    "split": ("hub",),
    "revision": ("hub",),
    "url": ("moses", "tsv", "tmx", "jsonl"),
    "sha256": ("moses", "tsv", "tmx", "jsonl"),
    "translation_url": ("moses",),
    "translation_sha256": ("moses",),
    "shift": ("moses", "tsv", "tmx", "jsonl"),
}


class BitextSource(BaseModel):
    """One source of parallel text of English with one other language.

    Attributes:
        source: `cldr:<language>`, `hub:<owner/name or folder>`, or a file (of a Moses pair: the English one), which may be
            packed by gzip, bzip2, xz or zstd.
        language: The other language; `cldr:` names it itself.
        translation: Second file of a line-aligned Moses pair.
        url: Where the file is published, by itself or in a zip or tar archive, for who has no copy of it.
        sha256: What the published file hashes to, in hex, out of its archive; a copy of the user's own is not checked.
        translation_url: As `url`, of the second file.
        translation_sha256: As `sha256`, of the second file.
        format: Format of the file where its suffix does not tell.
        english_column: Field of the English side: for tsv a 0-based number, or a name with `header`; for jsonl and hub a
            name, dotted where nested. Default for tsv: 0.
        translation_column: Field of the other side. Default for tsv: 1.
        id_column: Field of the publisher's record id; default: the line number (tmx: `tuid`, cldr: the key,
            line-aligned files: `ARTICLE:LINE`).
        header: Whether the first line of a tsv names its columns.
        english_tag: `xml:lang` of the English side of a tmx.
        translation_tag: `xml:lang` of the other side of a tmx; default: that of the language, or else the only other one.
        config: Configuration of a hub data set.
        split: Split of a hub data set.
        revision: Commit, tag or branch of a hub data set.
        shift: Ranges of units (records in the file's order, counted from 0) whose translations stand in other units:
            `{first = 1159, last = 1699, by = -1}` takes the translation of unit i from unit i - 1. A translation is
            used once: a unit whose own was taken, and that takes none, counts as empty.
        exclude_ids: Globs; records whose id matches one are left out (`PubMed_8:*`).
        keep: Column to allowed values; records with another value are left out.
        limit: Take only the first pairs that are kept, this many.
        max_length_ratio: The longer side has at most this many times the characters of the shorter, plus a slack of 20.
        max_malformed: This many unreadable records are skipped; one more is an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: str = Field(min_length=1)
    language: str | None = None
    translation: str | None = None
    url: str | None = Field(default=None, pattern=r"^https?://")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    translation_url: str | None = Field(default=None, pattern=r"^https?://")
    translation_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    format: Literal["moses", "tsv", "tmx", "jsonl"] | None = None
    english_column: str | int | None = None
    translation_column: str | int | None = None
    id_column: str | int | None = None
    header: bool = False
    english_tag: str = "en"
    translation_tag: str | None = Field(default=None, min_length=1)
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    shift: list[Shift] = []
    exclude_ids: list[str] = []
    keep: dict[str, list[str]] = {}
    limit: Count | None = None
    max_length_ratio: float = Field(default=4.0, ge=1.0, le=1e6)
    max_malformed: int = Field(default=100, ge=0, le=MOST)

    @field_validator("language")
    @classmethod
    def _known_language(cls, spelling: str | None) -> str | None:
        return None if spelling is None else _spelling(spelling)

    @field_validator("url", "translation_url")
    @classmethod
    def _url_parses(cls, url: str | None) -> str | None:
        if url is not None and not _has_host(url):
            raise ValueError("expected an address with a host, as https://example.org/file.zip")
        return url

    @field_validator("english_column", "translation_column", "id_column")
    @classmethod
    def _column_exists(cls, column: str | int | None) -> str | int | None:
        if isinstance(column, int) and column < 0:
            raise ValueError(f"column {column} is negative; columns are counted from 0")
        if isinstance(column, int) and column > MOST:
            raise ValueError(f"expected a column up to {MOST}; columns are counted from 0")
        return column

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kind = self.kind
        if not self.place:
            raise ValueError(f"{self.source}: nothing follows the colon; write hub:owner/name or cldr:sw")
        for name, kinds in _KINDS_OF_FIELD.items():
            if kind not in kinds and getattr(self, name) != type(self).model_fields[name].get_default(
                call_default_factory=True
            ):
                raise ValueError(f"{self.source}: {name} is for {', '.join(kinds)}, but this is {kind}; remove {name}")
        if kind == "moses" and self.translation is None:
            raise ValueError(f"{self.source}: format moses needs translation, the file with the other side")
        for url, checksum in (("url", "sha256"), ("translation_url", "translation_sha256")):
            if (getattr(self, url) is None) != (getattr(self, checksum) is None):
                raise ValueError(f"{self.source}: {url} and {checksum} go together; add the other one, or remove both")
        if kind in ("cldr", "hub") and self.format is not None:
            raise ValueError(f"{self.source}: format is for files, but this is {kind}; remove format")
        if kind in ("jsonl", "hub"):
            self._check_field_names(kind)
        for before, after in pairwise(sorted(self.shift, key=lambda shift: shift.first)):
            if after.first <= before.last:
                raise ValueError(f"{self.source}: {before} and {after} overlap; a unit has one translation")
        self._check_language()
        return self

    def _check_field_names(self, kind: Kind) -> None:
        for name in ("english_column", "translation_column", "id_column"):
            column = getattr(self, name)
            if isinstance(column, int) or (column is None and name != "id_column"):
                raise ValueError(f"{self.source}: {kind} needs {name} as a field name, such as 'translation.en'")

    def _check_language(self) -> None:
        if self.kind == "cldr":
            named = _spelling(self.place)
            if self.language not in (None, named):
                raise ValueError(f"{self.source}: language is {self.language}; remove it, cldr: names {named} itself")
        elif self.language is None:
            raise ValueError(f"{self.source}: language is missing; name the language of the translations")
        if self.language_code == "eng":
            raise ValueError(f"{self.source}: language is English; name the language of the other side")

    @property
    def kind(self) -> Kind:
        """What reads it: the format of the file, `hub` or `cldr`.

        Raises:
            ValueError: The suffix does not tell the format and `format` is not set.
        """
        if self.source.startswith("cldr:"):
            return "cldr"
        if self.source.startswith("hub:"):
            return "hub"
        if self.format:
            return self.format
        suffix = unpacked_suffix(PurePath(self.source))
        kind = "moses" if self.translation is not None else _KIND_OF_SUFFIX.get(suffix)
        if kind is None:
            raise ValueError(
                f"{self.source}: suffix {suffix!r} tells no format; set format to tsv, tmx, jsonl or moses, "
                "or translation to the second file of a moses pair"
            )
        return kind

    @property
    def place(self) -> str:
        """`source` without its `cldr:` or `hub:`."""
        return self.source.removeprefix("cldr:").removeprefix("hub:")

    @property
    def language_code(self) -> str:
        """ISO 639-3 code of the other language."""
        return find_language(self.language or self.place).code

    @property
    def language_tag(self) -> str:
        """Language-script tag of the other language, as MTEB writes it."""
        return find_language(self.language or self.place).tag


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _spelling(spelling: str) -> str:
    """The code, or the language-script tag where the code alone is not understood again."""
    language = find_language(spelling)
    try:
        return language.code if find_language(language.code) == language else language.tag
    except InputError:
        return language.tag
