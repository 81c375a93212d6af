"""SGML as TREC and CLEF write it: tags among text, without a prologue, often without end tags."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator


def split_tags(line: str) -> Iterator[tuple[str, str]]:
    """Cut a line at its tags.

    Yields:
        A tag's name in capitals, `/NAME` for an end tag, and the text up to the next tag; before them all, the text
        that the line begins with, under an empty name. Attributes are left out. A `<` that begins no tag is text.
    """
    beginning, *pieces = line.split("<")
    name, text = "", [beginning]
    for piece in pieces:
        inside, bracket, after = piece.partition(">")
        if bracket and (inside[:1].isalpha() or inside[:1] in ("/", "!", "?")):
            yield name, "".join(text)
            name, text = inside.split(maxsplit=1)[0].upper(), [after]
        else:
            text += ["<", piece]
    yield name, "".join(text)


def plain(parts: Iterable[str]) -> str:
    """Pieces of text as one, entities resolved and white space made single blanks."""
    return " ".join(html.unescape(" ".join(parts)).split())
