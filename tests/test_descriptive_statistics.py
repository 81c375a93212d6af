"""Descriptive statistics that ship with the tasks: there, in MTEB's form, and those of the data."""

import json
from pathlib import Path

import mteb
import pytest

from optical_mteb import tasks
from optical_mteb.storage import local_data
from tests.conftest import from_cldr_47

FILES = sorted((Path(tasks.__file__).parent / "descriptive_stats" / "Retrieval").glob("*.json"))


pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_mteb_reads_them(path: Path):
    """Guards against statistics that no task finds, or that lack a split."""
    metadata = mteb.get_task(path.stem).metadata
    assert metadata.descriptive_stats == json.loads(path.read_text())
    assert metadata.n_samples
    assert set(metadata.n_samples) <= set(metadata.eval_splits)


@pytest.mark.long
@from_cldr_47
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_subset_has_the_numbers_of_its_data(path: Path):
    """Guards against statistics of other data than the task loads, by plain sums over one subset."""
    ((split, found),) = json.loads(path.read_text()).items()
    subset = next(iter(found["hf_subset_descriptive_stats"]))
    if path.stem != "CLDRNameRetrieval" and local_data() is None:
        pytest.skip("OPTICAL_MTEB_DATA is not set")
    task = mteb.get_task(path.stem, hf_subsets=[subset], eval_splits=[split])
    task.load_data()
    data = task.dataset[subset][split]
    counted = found["hf_subset_descriptive_stats"][subset]
    assert counted["num_queries"] == len(data["queries"])
    assert counted["num_documents"] == len(data["corpus"])
    assert counted["relevant_docs_statistics"]["num_relevant_docs"] == sum(map(len, data["relevant_docs"].values()))
    assert counted["queries_text_statistics"]["total_text_length"] == sum(map(len, data["queries"]["text"]))


def test_only_the_chosen_subsets_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against statistics that load every subset there is, and a task whose metadata stays narrowed."""
    task = mteb.get_task("CLDRNameRetrieval", hf_subsets=["som-eng", "zul-eng"])
    whole = task.metadata
    written = tmp_path / "Retrieval" / "CLDRNameRetrieval.json"
    monkeypatch.setattr(type(whole), "descriptive_stat_path", property(lambda _: written))
    found = task.calculate_descriptive_statistics(overwrite_results=True)
    assert list(found["test"]["hf_subset_descriptive_stats"]) == ["som-eng", "zul-eng"]
    assert json.loads(written.read_text()) == found
    assert task.metadata is whole
