"""Sides from MTEB's results repository: found in its layout, compared by their means, never tested."""

import json
import shutil
import subprocess

import pytest
from mteb import ResultCache
from typer.testing import CliRunner

from optical_mteb.cli import app
from optical_mteb.errors import InputError
from optical_mteb.report.collect import collect
from optical_mteb.report.site import write_report
from optical_mteb.scores.published import published_results
from tests.scores.conftest import draw

TASK = "BelebeleRetrieval"
SUBSETS = ("eng_Latn-som_Latn", "eng_Latn-swh_Latn")


@pytest.fixture
def repository(tmp_path, cache, write, monkeypatch):
    """A copy of the results repository with one model in two revisions, beside the results of a student."""
    wide = draw((*SUBSETS, "eng_Latn-fra_Latn"), seed=1)
    write("BAAI/bge-m3", wide, revision="5617a9f61b028005a4858fdac845db406aefb181", task=TASK, data="moved", keep=False)
    write("BAAI/bge-m3", wide, revision="external", task=TASK, data="moved", keep=False)
    write("BAAI/bge-m3", wide, revision="external", task="STS22", data="moved", keep=False)
    write("other/model", wide, revision="r1", task=TASK, keep=False)
    write("other/model", wide, revision="r2", task=TASK, keep=False)
    remote = tmp_path / "mteb" / "remote"
    remote.parent.mkdir()
    shutil.move(cache, remote)
    monkeypatch.setenv("MTEB_CACHE", str(remote.parent))
    write("optical-mteb/a-student", draw(SUBSETS), task=TASK, data="now")
    return remote


def test_the_revision_that_mteb_runs_is_found(repository):
    """Guards against results of another revision, and a choice between revisions that nobody made."""
    found = published_results("BAAI/bge-m3", [TASK])
    assert (found.revision, found.published) == ("5617a9f61b028005a4858fdac845db406aefb181", True)
    assert found.folder.is_relative_to(repository)
    assert published_results("BAAI/bge-m3", ["STS22"]).revision == "external"
    assert published_results("other/model@r2", [TASK]).revision == "r2"
    for name, expected in (("other/model", "several revisions"), ("no/model", "no results of no/model")):
        with pytest.raises(InputError, match=f"--published {name}: .*{expected}") as caught:
            published_results(name, [TASK])
        assert "run: mteb" not in str(caught.value)


def test_compared_by_means_alone(repository, cache):
    """Guards against a refusal for subsets or data that only MTEB has, and a test of significance without queries."""
    args = ["compare", "optical-mteb/a-student", "--published", "BAAI/bge-m3", "--results", str(cache)]
    done = CliRunner().invoke(app, [*args, "--format", "json"])
    assert done.exit_code == 0, done.output
    (comparison,) = json.loads(done.output)["comparisons"]
    assert comparison["model"]["published"]
    rows = {row["name"]: row for row in comparison["rows"] if row["metric"] == "ndcg_at_10"}
    assert set(rows) == {*SUBSETS, "all"}
    folder = repository / "results" / "BAAI__bge-m3" / "5617a9f61b028005a4858fdac845db406aefb181"
    stored = {row["hf_subset"]: row for row in json.loads((folder / f"{TASK}.json").read_text())["scores"]["test"]}
    for subset in SUBSETS:
        assert rows[subset]["model"] == stored[subset]["ndcg_at_10"]
        assert rows[subset]["significance"] is None
    notes = " ".join(comparison["notes"])
    assert "published means" in notes
    assert "the data may differ" in notes
    assert "--predictions" not in notes
    assert CliRunner().invoke(app, args[:2]).exit_code != 0


def test_beside_the_others_on_the_page(repository, cache, tmp_path):
    """Guards against hundreds of published subsets on the page, and published scores that pass for our own."""
    collection = collect(cache, published=["BAAI/bge-m3"])
    (scores,) = collection.models[1].scores.values()
    assert set(scores.values) == set(SUBSETS)
    write_report(cache, tmp_path / "site", published=["BAAI/bge-m3"])
    page = (tmp_path / "site" / "index.html").read_text()
    assert "bge-m3 (published)" in page
    assert "published means" in page
    assert "eng_Latn-fra_Latn" not in page


def test_a_repository_that_is_not_here(tmp_path, monkeypatch):
    """Guards against a traceback without network, and a download though it is forbidden."""
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))

    def fail(*_, **__):
        raise subprocess.CalledProcessError(128, ["git", "clone"])

    monkeypatch.setattr(ResultCache, "download_from_remote", fail)
    for value, expected in (("1", "HF_HUB_OFFLINE is set"), ("", "cannot be fetched")):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        with pytest.raises(InputError, match=f"{expected}.*git clone --depth 1"):
            published_results("BAAI/bge-m3")
