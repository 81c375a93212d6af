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

    def record(self, row: object, line: int, where: str) -> Record | Malformed:
        """The record of one row; null texts are empty, anything else that is not text is malformed.

        Args:
            row: The decoded row.
            line: Its 1-based number.
            where: Its place, for messages.
        """
        if not isinstance(row, Mapping):
            return Malformed(where, f"{type(row).__name__} found, expected an object with fields")
        names = (self.english, self.translation, *([self.id] if self.id else []), *self.keep)
        missing = [name for name in names if not has_field(row, name)]
        if missing:
            return Malformed(where, f"no field {missing[0]!r}; the row has {', '.join(map(str, row)) or 'none'}")
        texts = [field_value(row, name) for name in (self.english, self.translation)]
        for name, text in zip((self.english, self.translation), texts, strict=True):
            if text is not None and not isinstance(text, str):
                return Malformed(where, f"field {name!r} holds {type(text).__name__}, expected a text")
            if text is not None and not _is_unicode(text):
                return Malformed(where, f"field {name!r} holds half of a surrogate pair, expected Unicode text")
        return Record(
            str(line) if self.id is None else str(field_value(row, self.id)),
            str(texts[0] or ""),
            str(texts[1] or ""),
            line,
            {name: str(field_value(row, name)) for name in self.keep},
        )


def has_field(row: Mapping[str, object], name: str) -> bool:
    """Whether the row has the field of that dotted name."""
    head, _, rest = name.partition(".")
    if name in row:
        return True
    inner = row.get(head)
    return bool(rest) and isinstance(inner, Mapping) and has_field(inner, rest)


def field_value(row: Mapping[str, object], name: str) -> object:
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
    return field_value(inner, rest)


def _is_unicode(text: str) -> bool:
    # JSON escapes can spell lone surrogates (RFC 8259, section 8.2), which no tokenizer or UTF-8 file takes.
    return not any("\ud800" <= character <= "\udfff" for character in text)
