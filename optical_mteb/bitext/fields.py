"""Fields of nested rows by dotted name, shared by the formats whose rows are mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optical_mteb.bitext.records import Malformed, Record


@dataclass(frozen=True)
class Fields:
    """Which fields of a row make a record.

    Attributes:
        english: Dotted name of the English side, `translation.en`.
        translation: Dotted name of the other side.
        id: Dotted name of the record id; the line number stands in for it.
        keep: Dotted names of the fields that the record carries along.
    """

    english: str
    translation: str
    id: str | None = None
    keep: Sequence[str] = ()

    def missing(self, row: Mapping[str, object]) -> str | None:
        """The first field that a row lacks."""
        for name in (self.english, self.translation, *([self.id] if self.id else []), *self.keep):
            try:
                _value(row, name)
            except KeyError:
                return name
        return None

    def record(self, row: object, line: int, where: str) -> Record | Malformed:
        """The record of one row; null texts are empty, anything else that is not text is malformed."""
        if not isinstance(row, Mapping):
            return Malformed(where, f"{type(row).__name__} found, expected an object with fields")
        missing = self.missing(row)
        if missing is not None:
            return Malformed(where, f"no field {missing!r}; the row has {', '.join(map(str, row)) or 'none'}")
        texts = [_value(row, name) for name in (self.english, self.translation)]
        for name, text in zip((self.english, self.translation), texts, strict=True):
            if text is not None and not isinstance(text, str):
                return Malformed(where, f"field {name!r} holds {type(text).__name__}, expected a text")
            if text is not None and not _is_unicode(text):
                return Malformed(where, f"field {name!r} holds half of a surrogate pair, expected Unicode text")
        return Record(
            str(line) if self.id is None else str(_value(row, self.id)),
            str(texts[0] or ""),
            str(texts[1] or ""),
            line,
            {name: str(_value(row, name)) for name in self.keep},
        )


def _value(row: Mapping[str, object], name: str) -> object:
    """Value of the field of that dotted name; a key that contains the dots itself goes first.

    Raises:
        KeyError: There is no such field.
    """
    if name in row:
        return row[name]
    head, _, rest = name.partition(".")
    inner = row[head]
    if not rest or not isinstance(inner, Mapping):
        raise KeyError(name)
    return _value(inner, rest)


def _is_unicode(text: str) -> bool:
    # JSON escapes can spell lone surrogates (RFC 8259, section 8.2), which no tokenizer or UTF-8 file takes.
    return not any("\ud800" <= character <= "\udfff" for character in text)
