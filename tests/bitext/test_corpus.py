"""Cleaning, filters, report, limit and fingerprint of a corpus."""

import gzip
import lzma
from dataclasses import asdict

import pytest

from optical_mteb.bitext import BitextSource, Pair, ParallelCorpus, Report
from optical_mteb.bitext.cleaning import clean, lengths_agree, same_text
from tests.collection.conftest import refused

ROWS = [
    ("D:1", "cc", "Good  morning ", "Habari\u00a0ya asubuhi"),
    ("D:2", "nc", "Good night", "Usiku mwema"),
    ("X:3", "cc", "Bye", "Kwaheri"),
    ("D:4", "cc", "", "Tupu"),
    ("D:5", "cc", "COVID-19", "covid-19"),
    ("D:6", "cc", "Hi", "a" * 29),
    ("D:7", "cc", "Hi", "a" * 28),
    ("D:8", "cc", "Good morning", "Habari ya asubuhi"),
    ("D:9", "cc", "Good morning", "Cafe\u0301"),
]
DROPPED = ["excluded", "malformed", "empty", "identical", "length_ratio", "duplicate"]


@pytest.fixture
def folder(tmp_path):
    lines = ["\t".join(row) for row in ROWS]
    lines.insert(2, "short\trow")
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def source(**options):
    columns = {"english_column": 2, "translation_column": 3, "id_column": 0, "language": "sw"}
    return BitextSource(**{"source": "a.tsv", "keep": {"1": ["cc"]}, "exclude_ids": ["X:*"], **columns, **options})


def test_every_filter_is_counted(folder):
    """Guards against records that vanish without a count: what is read is what is kept plus what is left out."""
    corpus = ParallelCorpus.load([source()], base_folder=folder)
    assert list(corpus) == [
        Pair("Good morning", "Habari ya asubuhi", "swh", "a.tsv", "D:1"),
        Pair("Hi", "a" * 28, "swh", "a.tsv", "D:7"),
        Pair("Good morning", "Café", "swh", "a.tsv", "D:9"),
    ]
    assert [asdict(source) for source in corpus.report.sources] == [
        {
            "source": "a.tsv",
            "language": "swh",
            "read": 10,
            "kept": 3,
            "excluded": 2,
            "malformed": 1,
            "empty": 1,
            "identical": 1,
            "length_ratio": 1,
            "duplicate": 1,
            "malformed_at": [f"{folder / 'a.tsv'}:3: 2 columns, expected 4 as on the first line"],
        }
    ]


def test_report_is_a_table(folder):
    """Guards against misaligned columns, totals that do not add up, and malformed records without their place."""
    report = ParallelCorpus.load([source(), source(language="so", limit=1)], base_folder=folder).report
    assert isinstance(report, Report)
    header, first, second, total, malformed = str(report).splitlines()
    assert header.split() == ["source", "language", "read", "kept", *DROPPED]
    assert first.split() == ["a.tsv", "swh", "10", "3", "2", "1", "1", "1", "1", "1"]
    assert second.split() == ["a.tsv", "som", "1", "1", "0", "0", "0", "0", "0", "0"]
    assert total.split() == ["total", "11", "4", "2", "1", "1", "1", "1", "1"]
    assert len({len(header), len(first), len(second), len(total)}) == 1
    assert malformed == f"malformed: {folder / 'a.tsv'}:3: 2 columns, expected 4 as on the first line"


def test_duplicates_count_across_sources_of_one_language(folder):
    """Guards against a text that weighs double because two publishers have it, and languages that share a translation."""
    (folder / "b.tsv").write_text("Good morning\tHabari ya asubuhi\nDog\tMbwa\n")
    again = {"source": "b.tsv", "english_column": 0, "translation_column": 1, "id_column": None, "keep": {}}
    corpus = ParallelCorpus.load([source(), source(**again), source(**again, language="so")], base_folder=folder)
    assert [report.duplicate for report in corpus.report.sources] == [1, 1, 0]
    assert corpus.counts == {"som": 2, "swh": 4}
    assert corpus.languages == ["som", "swh"]


def test_limit_counts_kept_pairs(folder):
    """Guards against a limit that counts records which the filters drop."""
    corpus = ParallelCorpus.load([source(limit=2)], base_folder=folder)
    assert [pair.id for pair in corpus] == ["D:1", "D:7"]


def test_too_many_malformed_records_are_an_error(tmp_path):
    """Guards against a wrong description that silently loses most of a file."""
    (tmp_path / "b.tsv").write_text("a\tx\n" + "b\n" * 5)
    table = {"source": "b.tsv", "language": "sw"}
    assert (
        ParallelCorpus.load([BitextSource(**table, max_malformed=5)], base_folder=tmp_path).report.sources[0].kept == 1
    )
    with refused() as caught:
        ParallelCorpus.load([BitextSource(**table, max_malformed=4)], base_folder=tmp_path)
    places = "; ".join(f"{tmp_path / 'b.tsv'}:{n}: 1 columns, expected 2 as on the first line" for n in (2, 3, 4))
    assert str(caught.value).startswith(f"b.tsv: more than 4 malformed records: {places}; correct")


def test_source_without_pairs_is_an_error(tmp_path):
    """Guards against a training run that quietly lacks a language."""
    (tmp_path / "b.tsv").write_text("a\tA\nb\t\n")
    with refused(r"b\.tsv: no pair kept of 2 records \(empty 1, identical 1\)"):
        ParallelCorpus.load([BitextSource(source="b.tsv", language="sw")], base_folder=tmp_path)
    (tmp_path / "b.tsv").write_text("")
    with refused("no pair kept of 0 records"):
        ParallelCorpus.load([BitextSource(source="b.tsv", language="sw")], base_folder=tmp_path)


def corpus_of(*pairs):
    return ParallelCorpus([Pair(e, t, code, spec, "1") for e, t, code, spec in pairs], Report())


def test_fingerprint_is_stable():
    """Guards against a changed digest; the expected one is computed with coreutils: printf the length-prefixed texts into sha256sum."""
    assert corpus_of(("Dog", "Mbwa", "swh", "a.tsv")).fingerprint == FINGERPRINT
    assert corpus_of(("Dog", "Mbwa", "swh", "/elsewhere/a.tsv")).fingerprint == FINGERPRINT


FINGERPRINT = "0687a063ddf9296843abb992521c02aa189dfdb885aac8a313931f124120048f"


def test_fingerprint_tells_corpora_apart():
    """Guards against two corpora that pass for the same, and a digest that ignores the order of the pairs, which batches follow."""
    dog, cat = ("Dog", "Mbwa", "swh", "a"), ("Cat", "Paka", "swh", "a")
    others = [("Dog", "Mbwa", "som", "a"), ("DogM", "bwa", "swh", "a"), ("Mbwa", "Dog", "swh", "a"), ("dog", *dog[1:])]
    corpora = [[], [dog], *([each] for each in others), [dog, cat], [cat, dog]]
    assert len({corpus_of(*pairs).fingerprint for pairs in corpora}) == len(corpora)


def test_sequence_texts_and_dataset():
    """Guards against wrong views of a corpus for training and vocabulary pruning."""
    corpus = corpus_of(("Dog", "Mbwa", "swh", "a"), ("Cat", "Bisad", "som", "b"))
    assert (len(corpus), corpus[1].english, corpus[-2].english) == (2, "Cat", "Dog")
    assert [pair.translation for pair in corpus[:1]] == ["Mbwa"]
    assert list(corpus.texts()) == ["Dog", "Mbwa", "Cat", "Bisad"]
    dataset = corpus.to_dataset()
    assert dataset.column_names == ["english", "translation", "language", "source"]
    assert dataset[1] == {"english": "Cat", "translation": "Bisad", "language": "som", "source": "b"}
    assert repr(corpus) == "ParallelCorpus(2 pairs: som 1, swh 1)"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (' "Cafe\u0301"\t\u2009१२ \n', '"Café" १२'),
        ("\ufeffone\ufeff two", "one two"),
        ("\u200b\u00ad \u2060\ufeff\u3164\u2800\ufe0f\x07\u200e", ""),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"),
        ("\u0301", "\u0301"),
    ],
)
def test_clean_normalises_and_nothing_else(text, cleaned):
    """Guards against decomposed accents, odd blanks and byte order marks in texts, and sides that show nothing as texts."""
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Yes.", "yes!", True),
        ("\u201cYes\u201d", "YES", True),
        ("\u00bfS\u00ed?", "s\u00ed", True),
        ("\u0939\u094b\u0964", "\u0939\u094b", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("Yes, sir", "Yes sir", False),
        ("5%", "5$", False),
        ("...", "?", False),
        ("-5 \u00b0C", "5 \u00b0F", False),
    ],
)
def test_texts_that_say_the_same(one, other, same):
    """Guards against texts told apart by case or outer punctuation, and different ones taken for the same."""
    assert (same_text(clean(one)) == same_text(clean(other))) is same


@pytest.mark.parametrize(
    ("first", "header"),
    [
        ("en\tsw", True),
        ("English\tSwahili", True),
        ("sentence_eng_Latn\tsentence_swh_Latn", True),
        ("source\ttarget", True),
        ("English\tKikuyu", True),
        ("English\tKiingereza", False),
        ("source\tchanzo", False),
        ("I speak English\tswahili yangu", False),
    ],
)
def test_a_header_that_is_not_declared(tmp_path, first, header):
    """Guards against names of columns that are trained on as a pair, and a first pair that is taken for names."""
    (tmp_path / "b.tsv").write_text(f"{first}\nDog\tMbwa\n")
    corpus = ParallelCorpus.load([BitextSource(source="b.tsv", language="sw")], base_folder=tmp_path)
    assert len(corpus) == (1 if header else 2)
    where = f"{tmp_path / 'b.tsv'}:1: {first.split(chr(9))[0]!r} and "
    (report,) = corpus.report.sources
    assert report.malformed == len(report.malformed_at) == header
    assert all(line.startswith(where) and line.endswith("set header = true") for line in report.malformed_at)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_sources(tmp_path, pack):
    """Guards against packed bytes read as text: tables, line-aligned files, translation memories."""
    suffix = ".gz" if pack is gzip.compress else ".xz"
    unit = '<tu><tuv xml:lang="en"><seg>Dog</seg></tuv><tuv xml:lang="sw"><seg>Mbwa</seg></tuv></tu>'
    files = {"a.tsv": "Dog\tMbwa\n", "a.en": "Dog\n", "a.sw": "Mbwa\n", "a.tmx": f"<tmx><body>{unit}</body></tmx>"}
    for name, content in files.items():
        (tmp_path / f"{name}{suffix}").write_bytes(pack(content.encode()))
    tables = [{"source": f"a.tsv{suffix}"}, {"source": f"a.en{suffix}", "translation": f"a.sw{suffix}"}]
    for table in [*tables, {"source": f"a.tmx{suffix}"}]:
        (pair,) = ParallelCorpus.load([BitextSource(language="sw", **table)], base_folder=tmp_path)
        assert (pair.english, pair.translation) == ("Dog", "Mbwa")


@pytest.mark.parametrize(
    ("shorter", "longer", "agree"), [(2, 28, True), (2, 29, False), (100, 420, True), (100, 421, False), (0, 20, True)]
)
def test_length_ratio_has_slack_for_names(shorter, longer, agree):
    """Guards against a wrong threshold: both sides of it, in both directions."""
    assert lengths_agree("a" * shorter, "b" * longer, max_ratio=4.0) is agree
    assert lengths_agree("a" * longer, "b" * shorter, max_ratio=4.0) is agree
