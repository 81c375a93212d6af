"""Validation of `[[bitext]]` tables and the lookup of their files."""

import pytest
from pydantic import ValidationError

from optical_mteb.bitext import BitextSource
from optical_mteb.bitext.reading import check_files, find_file
from tests.collection.conftest import refused

SHIFTED = {"source": "a.tsv", "language": "sw"}
COLUMNS = {"english_column": "en", "translation_column": "sw"}


@pytest.mark.parametrize(
    ("table", "kind", "code"),
    [
        ({"source": "cldr:sw"}, "cldr", "swh"),
        ({"source": "cldr:sw", "language": "swa"}, "cldr", "swh"),
        ({"source": "hub:o/n", "language": "sw", "config": "c", "revision": "r", **COLUMNS}, "hub", "swh"),
        ({"source": "a.tmx", "language": "es-LA"}, "tmx", "spa"),
        ({"source": "a.tmx", "language": "fas-Arab"}, "tmx", "pes"),
        ({"source": "en-ln.tmx.gz", "language": "lin-Latn", "translation_tag": "ln"}, "tmx", "lin"),
        ({"source": "a.tsv.XZ", "language": "sw"}, "tsv", "swh"),
        ({"source": "a.TSV", "language": "kik-Latn"}, "tsv", "kik"),
        ({"source": "a.json", "language": "sw", **COLUMNS}, "jsonl", "swh"),
        ({"source": "eng.txt", "translation": "som.txt", "language": "so"}, "moses", "som"),
        ({"source": "mar.txt", "format": "tsv", "language": "mr", "id_column": 0}, "tsv", "mar"),
    ],
)
def test_valid_tables(table, kind, code):
    """Guards against a wrongly inferred kind or language, and a dumped source that does not read back equal."""
    source = BitextSource(**table)
    assert (source.kind, source.language_code) == (kind, code)
    assert BitextSource(**source.model_dump()) == source


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"source": "a.tmx"}, "a.tmx: language is missing"),
        ({"source": "a.tmx", "language": "en"}, "language is English"),
        ({"source": "cldr:en"}, "language is English"),
        ({"source": "a.tmx", "language": "xx"}, "language 'xx' is unknown"),
        ({"source": "cldr:xx"}, "language 'xx' is unknown"),
        ({"source": "cldr:sw", "language": "fr"}, "language is fra; remove it, cldr: names swh itself"),
        ({"source": "hub:", "language": "sw", **COLUMNS}, "nothing follows the colon"),
        ({"source": "a.txt", "language": "sw"}, "suffix '.txt' tells no format; set format"),
        ({"source": "a.gz", "language": "sw"}, "suffix '' tells no format; set format"),
        ({"source": "a.txt", "language": "sw", "format": "moses"}, "format moses needs translation"),
        ({"source": "a.tsv", "language": "sw", "format": "tsv", "translation": "b"}, "translation is for moses"),
        ({"source": "a.tmx", "language": "sw", "english_column": 0}, "english_column is for tsv, jsonl, hub"),
        ({"source": "a.tmx", "language": "sw", "keep": {"a": ["b"]}}, "keep is for tsv, jsonl, hub"),
        ({"source": "a.tsv", "language": "sw", "split": "test"}, "split is for hub, but this is tsv"),
        ({"source": "a.tsv", "language": "sw", "english_tag": "eng"}, "english_tag is for tmx"),
        ({"source": "a.tsv", "language": "sw", "translation_tag": "sw"}, "translation_tag is for tmx"),
        ({"source": "a.jsonl", "language": "sw", "header": True, **COLUMNS}, "header is for tsv"),
        ({"source": "a.jsonl", "language": "sw"}, "jsonl needs english_column as a field name"),
        ({"source": "hub:o/n", "language": "sw", **COLUMNS, "id_column": 0}, "hub needs id_column as a field name"),
        ({"source": "hub:o/n", "language": "sw", **COLUMNS, "format": "tsv"}, "format is for files, but this is hub"),
        ({"source": "a.tsv", "language": "sw", "english_column": -1}, "column -1 is negative"),
        ({"source": "a.tsv", "language": "sw", "max_length_ratio": 0.5}, "greater than or equal to 1"),
        ({"source": "cldr:sw", "shift": [{"first": 1, "last": 2, "by": -1}]}, "shift is for moses, tsv, tmx, jsonl"),
        ({**SHIFTED, "shift": [{"first": 2, "last": 1, "by": -1}]}, "last is before first"),
        ({**SHIFTED, "shift": [{"first": 1, "last": 2, "by": 0}]}, "by is 0, which shifts nothing"),
        ({**SHIFTED, "shift": [{"first": 1, "last": 2, "by": -2}]}, "would be before the file's first unit"),
        (
            {**SHIFTED, "shift": [{"first": 5, "last": 9, "by": 1}, {"first": 1, "last": 5, "by": 1}]},
            "shift {first = 1, last = 5, by = 1} and shift {first = 5, last = 9, by = 1} overlap",
        ),
        ({"source": "a.tsv", "language": "sw", "limit": 0}, "greater than or equal to 1"),
        ({**SHIFTED, "url": "https://example.org/a.tsv"}, "url and sha256 go together"),
        ({**SHIFTED, "url": "file:///etc/passwd", "sha256": "0" * 64}, "should match pattern '^https?://'"),
        ({"source": "a.tsv", "language": "sw", "langauge": "sw"}, "Extra inputs are not permitted"),
    ],
)
def test_contradictions_are_named(table, message):
    """Guards against options that would be ignored in silence."""
    with pytest.raises(ValidationError) as caught:
        BitextSource(**table)
    assert message in str(caught.value)


def test_files_are_looked_up_in_order(tmp_path, monkeypatch):
    """Guards against a wrong order of places: the recipe's folder, OPTICAL_MTEB_DATA, the working folder."""
    recipe, data, here = (tmp_path / name for name in ("recipe", "data", "here"))
    for folder in (recipe, data, here):
        folder.mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(data))
    monkeypatch.chdir(here)
    for folder in (here, data, recipe):
        (folder / "a.tsv").touch()
        assert find_file("a.tsv", recipe) == folder / "a.tsv"
    assert find_file(str(here / "a.tsv"), recipe) == here / "a.tsv"


def test_missing_file_says_where_it_was_sought(tmp_path, monkeypatch):
    """Guards against a bare FileNotFoundError, and a hint at OPTICAL_MTEB_DATA where it is set."""
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with refused(rf"^b\.tsv: no such file in {tmp_path}; .* set OPTICAL_MTEB_DATA"):
        find_file("b.tsv")
    with refused("no such file there"):
        find_file(str(tmp_path / "b.tsv"))


def test_a_file_is_missed_before_anything_is_read_or_fetched(tmp_path, monkeypatch):
    """Guards against half a minute of imports before a wrong path is named, and against a download that is not due."""
    monkeypatch.chdir(tmp_path)
    published = BitextSource(source="a.tsv", language="swh", url="https://example.org/a.tsv", sha256="0" * 64)
    check_files([BitextSource(source="cldr:sw"), BitextSource(source="hub:a/b", language="sw", **COLUMNS), published])
    (tmp_path / "en.txt").touch()
    with refused(r"^sw\.txt: no such file in"):
        check_files([published, BitextSource(source="en.txt", translation="sw.txt", language="swh")])
