"""Names of the CLDR and their split."""

import subprocess
import sys

import pytest

from optical_mteb.bitext import BitextSource, ParallelCorpus
from optical_mteb.bitext.cldr import CldrName, cldr_names, split_of
from tests.collection.conftest import refused

LANGUAGES = ("swh", "som", "fil", "mar", "yor", "hau", "ibo", "zul", "amh", "fra", "spa", "por")


def test_names_of_each_kind():
    """Guards against other spellings of keys, blanks that are not normalised, and long forms of units that CLDR stores as short ones."""
    swahili = {name.key: name for name in cldr_names("sw")}
    assert swahili["territory/TR"] == CldrName("territory/TR", "Türkiye", "Uturuki")
    assert swahili["language/sw"].name == "Kiswahili"
    assert swahili["script/Latn"].name == "Kilatini"
    assert swahili["currency/KES"].name == "Shilingi ya Kenya"
    assert (swahili["unit/length-meter"].english, swahili["unit/length-meter"].name) == ("meters", "mita")
    assert swahili["month/1"].name == "Januari"
    assert {name.key: name for name in cldr_names("am")}["city/America/St_Johns"].name == "ቅዱስ ዮሐንስ"


def test_names_inherited_from_the_root_are_left_out():
    """Guards against unit symbols that pass as names of a language, as all of Bemba's units would."""
    assert "unit/mass-kilogram" not in {name.key for name in cldr_names("yor")}
    assert {name.kind for name in cldr_names("bem")} == {"language", "territory", "month", "weekday"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_sorted_and_complete(language):
    """Guards against nested values of Babel that come through as text, and an order that depends on the platform."""
    names = cldr_names(language)
    keys = [name.key for name in names]
    assert keys == sorted(set(keys))
    assert 1_000 <= len(names) <= 1_800
    assert len([name for name in names if name.kind == "month"]) == 12
    assert all(name.name == " ".join(name.name.split()) and "{" not in name.english + name.name for name in names)


@pytest.mark.long
def test_a_language_does_not_depend_on_those_asked_before():
    """Guards against Babel's shared aliases, which gave French the weekdays of whichever locale was loaded first."""
    show = "print([n.name for n in cldr_names({0!r}) if n.kind in ('month', 'weekday')])"
    script = "from optical_mteb.bitext.cldr import cldr_names\n" + show.format("swh") + "\n" + show.format("fra")
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'Jumatatu'" in output.splitlines()[0]
    assert "'lundi'" in output.splitlines()[1]
    assert "'janvier'" in output.splitlines()[1]


def test_split_is_fixed():
    """Guards against a change of the split, which would make published scores incomparable."""
    keys = [name.key for name in cldr_names("eng")]
    share = sum(split_of(key) == "test" for key in keys) / len(keys)
    assert 0.27 < share < 0.33
    assert {key: split_of(key) for key in SPLIT} == SPLIT


# First two bytes by `printf %s KEY | sha256sum`: 9f93, cdd8, 5b36, 2590, 98f0; below 4ccc (30 %) is test.
SPLIT = {
    "currency/KES": "train",
    "unit/length-meter": "train",
    "month/1": "train",
    "city/Africa/Nairobi": "test",
    "territory/UG": "train",
}


def test_length_filter_spares_names():
    """Guards against a length filter made for sentences that drops short names or syllabic scripts."""
    sources = [BitextSource(source=f"cldr:{language}") for language in LANGUAGES]
    corpus = ParallelCorpus.load(sources)
    assert sum(report.length_ratio for report in corpus.report.sources) == 0
    assert corpus.languages == sorted(LANGUAGES)


def test_source_reads_training_names_only():
    """Guards against a reader that hands out test names or names spelled as in English; ids are keys."""
    corpus = ParallelCorpus.load([BitextSource(source="cldr:sw", exclude_ids=["currency/*"])])
    assert {split_of(pair.id) for pair in corpus} == {"train"}
    assert not [pair.id for pair in corpus if pair.id.startswith("currency/")]
    assert corpus.report.sources[0].excluded > 50
    assert corpus.report.sources[0].identical == 0


@pytest.mark.parametrize("language", ["tgl", "twi"])
def test_language_without_names_is_refused(language):
    """Guards against an empty corpus where CLDR lacks the language, and `tl` read as Filipino, as Babel would."""
    with refused(rf"cldr:{language}: CLDR has no names in .*; it has swh, som"):
        cldr_names(language)
