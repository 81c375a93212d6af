"""The results in the repository: an MTEB result cache whose files agree with each other."""

import json
from pathlib import Path

import mteb
import pytest

from optical_mteb.collection import PER_QUERY
from optical_mteb.registry import package_tasks
from optical_mteb.scores.per_query import read_scores, splits_of
from optical_mteb.scores.results import find_results
from tests.conftest import from_cldr_47

RESULTS = Path(__file__).parents[2] / "results"
FOLDERS = sorted({path.parent for path in RESULTS.glob("results/*/*/*.json")})


@pytest.mark.long
def test_mteb_reads_them():
    """Guards against published results that MTEB passes over."""
    files = {path for path in RESULTS.glob("results/*/*/*.json") if path.name != "model_meta.json"}
    read = mteb.ResultCache(RESULTS).load_results(include_remote=False).model_results
    found = {(of.model_name, of.model_revision, result.task_name) for of in read for result in of.task_results}
    assert found == {(path.parts[-3].replace("__", "/"), path.parts[-2], path.stem) for path in files}


@pytest.mark.long
@from_cldr_47
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_they_are_whole(folder):
    """Guards against results without their model's record or scores by query, of other data, or edited by hand."""
    meta = json.loads((folder / "model_meta.json").read_text())
    assert (meta["name"].replace("/", "__"), meta["revision"]) == (folder.parent.name, folder.name)
    installed = {task.metadata.name: task for task in package_tasks()}
    results = find_results(str(folder), RESULTS)
    for task in results.tasks:
        for split in splits_of(results, task):
            scores = read_scores(results, task, list(PER_QUERY), split=split)
            assert scores.data_revision == installed[task].metadata.revision
            assert all(found.keys() == PER_QUERY.keys() for found in scores.per_query.values())
