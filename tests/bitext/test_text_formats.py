"""Readers of line-based files: Moses, TSV, JSON lines."""

from pathlib import Path

import pytest

from optical_mteb.bitext.fields import Fields
from optical_mteb.bitext.jsonl import read_jsonl
from optical_mteb.bitext.lines import count_lines, read_lines
from optical_mteb.bitext.moses import read_moses
from optical_mteb.bitext.records import Malformed, Record
from optical_mteb.bitext.tsv import read_tsv
from tests.collection.conftest import refused


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "b"]),
        ("a\u2028b\x85c\n\nd\n".encode(), ["a\u2028b\x85c", "", "d"]),
    ],
)
def test_lines_end_at_newlines_only(tmp_path, content, lines):
    """Guards against shifted alignments by U+2028, kept carriage returns and byte order marks, and a lost last line."""
    path = write(tmp_path / "a.txt", content)
    assert list(read_lines(path)) == list(enumerate(lines, start=1))
    assert count_lines(path) == len(lines)


def test_moses_pairs_lines_and_keeps_blank_ones(tmp_path):
    """Guards against blank lines that are skipped on one side only, which would shift every later pair."""
    english = write(tmp_path / "eng.txt", "one\r\n\r\nthree\r\n")
    somali = write(tmp_path / "som.txt", "kow\n\nsaddex")
    assert list(read_moses(english, somali)) == [
        Record("0:1", "one", "kow", 1),
        Record("0:2", "", "", 2),
        Record("1:3", "three", "saddex", 3),
    ]


def test_moses_counts_articles_by_lines_that_are_blank_on_both_sides(tmp_path):
    """Guards against evaluation articles in the training: borders at one-sided gaps, doubled borders, one before the first article."""
    english = write(tmp_path / "eng.txt", "\na\n\nb\n \n\nc\n")
    swahili = write(tmp_path / "swh.txt", "\nx\ny\nz\n\n\nw\n")
    ids = [record.id for record in read_moses(english, swahili) if record.english or record.translation]
    assert ids == ["0:2", "0:3", "0:4", "0:5", "1:7"]


def test_moses_refuses_unequal_lengths_before_reading(tmp_path):
    """Guards against training on misaligned text up to the end of the shorter file."""
    english, somali = write(tmp_path / "eng.txt", "a\nb\nc\n"), write(tmp_path / "som.txt", "x\ny\n")
    with refused(r"eng\.txt has 3 lines and .*som\.txt 2:"):
        next(read_moses(english, somali))


@pytest.mark.parametrize("broken_side", [0, 1])
def test_moses_names_the_broken_line_and_stays_aligned(tmp_path, broken_side):
    """Guards against a decoding error that ends the run, or drops a line on one side only."""
    contents = [b"a\nb\nc\n", b"x\ny\nz\n"]
    contents[broken_side] = contents[broken_side][:2] + b"\xff\n" + contents[broken_side][4:]
    paths = [write(tmp_path / name, content) for name, content in zip(("e", "t"), contents, strict=True)]
    records = list(read_moses(*paths))
    assert records[1] == Malformed(f"{paths[broken_side]}:2", "byte 1 of the line is not UTF-8; save the file as UTF-8")
    assert records[2] == Record("0:3", "c", "z", 3)


def test_tsv_takes_quotes_as_text(tmp_path):
    """Guards against CSV quoting, which would swallow rows after a lone quote."""
    path = write(tmp_path / "a.tsv", '"Go\tNenda\tx\nRun"\tKimbia\ty\n')
    assert list(read_tsv(path)) == [Record("1", '"Go', "Nenda", 1), Record("2", 'Run"', "Kimbia", 2)]


def test_tsv_columns_by_number_in_any_order(tmp_path):
    """Guards against swapped sides where the translation stands before the English text."""
    path = write(tmp_path / "a.tsv", "0001\tcc\tMbwa\tDog\n0002\tnc\tPaka\tCat\n")
    records = read_tsv(path, english_column=3, translation_column=2, id_column=0, keep_columns=["1"])
    assert list(records) == [
        Record("0001", "Dog", "Mbwa", 1, {"1": "cc"}),
        Record("0002", "Cat", "Paka", 2, {"1": "nc"}),
    ]


def test_tsv_columns_by_name(tmp_path):
    """Guards against a header line that is read as a pair, also behind a byte order mark."""
    path = write(tmp_path / "a.tsv", "\ufeffsw\ten\r\nMbwa\tDog\r\n")
    records = read_tsv(path, english_column="en", translation_column="sw", header=True)
    assert list(records) == [Record("2", "Dog", "Mbwa", 2)]


def test_tsv_reports_rows_with_another_column_count(tmp_path):
    """Guards against silently truncated rows; a blank line is an empty record, not a malformed one."""
    path = write(tmp_path / "a.tsv", b"a\tx\nb\n\nc\tz\tq\nd\t\xfe\ne\tw\n")
    records = list(read_tsv(path))
    assert [str(record) for record in records if isinstance(record, Malformed)] == [
        f"{path}:2: 1 columns, expected 2 as on the first line",
        f"{path}:4: 3 columns, expected 2 as on the first line",
        f"{path}:5: byte 3 of the line is not UTF-8; save the file as UTF-8",
    ]
    assert [record for record in records if isinstance(record, Record)] == [
        Record("1", "a", "x", 1),
        Record("3", "", "", 3),
        Record("6", "e", "w", 6),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"translation_column": 5}, r"a\.tsv:1: no column 5; the line has 2, counted from 0"),
        ({"english_column": "en"}, r"a\.tsv:1: column 'en' is a name; set header = true"),
        ({"english_column": "en", "header": True}, r"a\.tsv:1: no column 'en'; the header has a, b"),
        ({"keep_columns": ["2"]}, r"a\.tsv:1: no column 2;"),
    ],
)
def test_tsv_refuses_columns_that_do_not_exist(tmp_path, options, message):
    """Guards against an IndexError or KeyError where the recipe is wrong."""
    path = write(tmp_path / "a.tsv", "a\tb\n")
    with refused(message):
        list(read_tsv(path, **options))


def test_jsonl_reads_nested_fields(tmp_path):
    """Guards against errors on dotted names, keys that contain a dot, null texts and blank lines."""
    lines = (
        '{"id": 7, "translation": {"en": "Dog", "sw": "Mbwa"}}\n\n'
        '{"id": 8, "translation": {"en": "Cat", "sw": null}}\n'
        '{"id": 9, "translation.en": "Cow", "translation": {"sw": "Ng\\u2019ombe"}}\n'
    )
    path = write(tmp_path / "a.jsonl", lines)
    fields = Fields("translation.en", "translation.sw", id="id", keep=("id",))
    assert list(read_jsonl(path, fields)) == [
        Record("7", "Dog", "Mbwa", 1, {"id": "7"}),
        Record("8", "Cat", "", 3, {"id": "8"}),
        Record("9", "Cow", "Ng\u2019ombe", 4, {"id": "9"}),
    ]


def test_jsonl_reports_what_is_no_record(tmp_path):
    """Guards against a wrong line that passes, or an error without its place."""
    lines = '{"en": "a"\n[1]\n{"en": "a"}\n{"en": 3, "sw": "b"}\n{"en": "\\ud800", "sw": "b"}\n{"en": "a", "sw": "b"}\n'
    path = write(tmp_path / "a.jsonl", lines)
    *malformed, good = read_jsonl(path, Fields("en", "sw"))
    assert [str(record).removeprefix(f"{path}:") for record in malformed] == [
        "1: not JSON (Expecting ',' delimiter: line 1 column 11 (char 10)), expected one object a line",
        "2: list found, expected an object with fields",
        "3: no field 'sw'; the row has en",
        "4: field 'en' holds int, expected a text",
        "5: field 'en' holds half of a surrogate pair, expected Unicode text",
    ]
    assert good == Record("6", "a", "b", 6)
