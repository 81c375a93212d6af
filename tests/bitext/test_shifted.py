"""Translations that stand in other units than their English text."""

import pytest

from optical_mteb.bitext import BitextSource
from optical_mteb.bitext.reading import read_source
from optical_mteb.bitext.records import Malformed
from tests.collection.conftest import refused


def units(tmp_path, lines, *shifts):
    (tmp_path / "a.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    shift = [dict(zip(("first", "last", "by"), numbers, strict=True)) for numbers in shifts]
    source = BitextSource(source="a.tsv", language="sw", shift=shift)
    return [
        "malformed" if isinstance(record, Malformed) else (record.english, record.translation)
        for record in read_source(source, base_folder=tmp_path)
    ]


@pytest.mark.parametrize(
    ("lines", "shifts", "expected"),
    [
        (["a\tA", "b\tC", "c\tD", "d\tD", "e\tE"], [(2, 3, -1)], ["aA", "b", "cC", "dD", "eE"]),
        (["a\tX", "b\tA", "c\tB", "d\tD", "e\tF", "f\t-"], [(5, 5, -1), (0, 1, 1)], ["aA", "bB", "c", "dD", "e", "fF"]),
        (["a\tB", "lacks a side", "c\tC", "d\tD"], [(1, 3, -1)], ["a", "malformed", "c", "dC"]),
    ],
)
def test_translations_return_to_their_units(tmp_path, lines, shifts, expected):
    """Guards against a range that is off by one, a translation used twice, and places that skip unreadable records."""
    assert ["".join(pair) for pair in units(tmp_path, lines, *shifts)] == expected


@pytest.mark.parametrize("shift", [(1, 3, -1), (0, 2, 1)])
def test_a_range_beyond_the_file_is_refused(tmp_path, shift):
    """Guards against an IndexError, or a silent stop, where another edition of the file has fewer units."""
    message = (
        r"^a\.tsv: shift \{first = .*\} reaches unit 3, but the file has 3 units, counted from 0; correct the range"
    )
    with refused(message):
        units(tmp_path, ["a\tA", "b\tB", "c\tC"], shift)
