"""The reader of Hub data sets, on a local folder of JSON lines."""

import json

import datasets
import pytest

from optical_mteb.bitext import BitextSource, ParallelCorpus
from optical_mteb.bitext.fields import Fields
from optical_mteb.bitext.hub import read_hub
from optical_mteb.bitext.records import Record
from tests.collection.conftest import refused

FIELDS = Fields("translation.en", "translation.sw", id="id")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    target = tmp_path / "owner" / "name"
    target.mkdir(parents=True)
    for split, words in (("train", [("Dog", "Mbwa"), ("Cat", "Paka"), ("Cow", None)]), ("test", [("Egg", "Yai")])):
        rows = [{"id": f"{split}-{n}", "translation": {"en": e, "sw": s}} for n, (e, s) in enumerate(words)]
        (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return target


def test_reads_a_split_of_a_folder(folder):
    """Guards against errors on nested fields, null texts, ids and the choice of the split."""
    assert list(read_hub(str(folder), FIELDS)) == [
        Record("train-0", "Dog", "Mbwa", 1),
        Record("train-1", "Cat", "Paka", 2),
        Record("train-2", "Cow", "", 3),
    ]
    assert list(read_hub(str(folder), FIELDS, split="test")) == [Record("test-0", "Egg", "Yai", 1)]


def test_recipe_names_a_folder_beside_it(folder, tmp_path):
    """Guards against a local folder that is not found, and a keep filter that ignores nested fields."""
    source = BitextSource(
        source="hub:owner/name",
        language="sw",
        english_column="translation.en",
        translation_column="translation.sw",
        keep={"translation.en": ["Dog", "Cow"]},
    )
    corpus = ParallelCorpus.load([source], base_folder=tmp_path)
    assert [(pair.english, pair.translation, pair.id, pair.source) for pair in corpus] == [
        ("Dog", "Mbwa", "1", "hub:owner/name")
    ]
    assert (corpus.report.sources[0].excluded, corpus.report.sources[0].empty) == (1, 1)


def test_missing_field_names_those_there_are(folder):
    """Guards against a hundred malformed rows reported where the field name is wrong."""
    with refused(r"name\[train\]: no field 'en'; the rows have id, translation"):
        list(read_hub(str(folder), Fields("en", "translation.sw")))


@pytest.mark.parametrize("options", [{"split": "dev"}, {"config": "nothing"}])
def test_missing_split_or_config_is_one_line(folder, options):
    """Guards against a traceback of the client library."""
    with refused("cannot be read"):
        list(read_hub(str(folder), FIELDS, **options))


def test_unreachable_hub_is_one_line(monkeypatch):
    """Guards against a traceback where the network is down, code of a data set that is run, and a lost revision."""
    asked = {}

    def unreachable(*args, **options):
        asked.update(options, args=args)
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\nlong trace")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with refused(r"^hub:owner/name/sw\[train\]: cannot be read \(ConnectionError: Couldn't"):
        list(read_hub("owner/name", FIELDS, config="sw", revision="abc"))
    assert asked == {"args": ("owner/name", "sw"), "split": "train", "revision": "abc", "streaming": True}
