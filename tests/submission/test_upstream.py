"""A task for mteb's repository: loaded by mteb alone, from files alone, it gives the scores of the package's task."""

import json
import os
import subprocess
import sys

import mteb
import pyarrow.parquet as pq
import pytest
import yaml

from optical_mteb.errors import InputError
from optical_mteb.submission import push
from optical_mteb.submission.upstream import next_steps, push_upstream, write_upstream
from tests.conftest import from_cldr_47
from tests.submission.conftest import COMMIT

NAME, SUBSETS = "CLDRNameRetrieval", ("som-eng", "swh-eng")
MODEL = "mteb/baseline-random-encoder"

ELSEWHERE = """
import json, runpy, sys
sys.modules["optical_mteb"] = None  # no import of it succeeds
import mteb
source, hub, name, model = sys.argv[1:]
task = runpy.run_path(source)[name]()
task.metadata.dataset["path"] = hub
result = mteb.evaluate(mteb.get_model(model), task, cache=None, show_progress_bar=False)[0]
print(json.dumps(result.scores))
"""


pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The names in two languages, which share their documents; nobody changes it."""
    return write_upstream(NAME, tmp_path_factory.mktemp("upstream") / "names", subsets=SUBSETS)


@pytest.mark.long
def test_the_same_scores_without_this_package(written, tmp_path):
    """Guards against a task that needs this package, and data that mteb's stock loader reads otherwise."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(written.source), str(written.folder / "hub"), NAME, MODEL],
        env=os.environ | {"OPTICAL_MTEB_DISABLE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {row["hf_subset"]: row for row in json.loads(done.stdout.splitlines()[-1])["test"]}
    task = mteb.get_task(NAME, hf_subsets=list(SUBSETS))
    ours = mteb.evaluate(mteb.get_model(MODEL), task, cache=None, show_progress_bar=False)[0].scores["test"]
    assert {row["hf_subset"] for row in ours} == found.keys() == set(SUBSETS)
    for row in ours:
        assert row["ndcg_at_10"] > 0
        row.pop("per_query")
        other = found[row["hf_subset"]]
        assert other.keys() == row.keys()
        for metric, value in row.items():
            # Of what is not defined, both have NaN; the measures of abstention are left out here, by conftest.
            assert other[metric] == value or value != value or metric.startswith("nauc"), metric
    assert "optical" not in written.source.read_text()


@from_cldr_47
def test_card_and_statistics(written):
    """Guards against a card without licence, source or configurations, documents twice, and statistics of other data."""
    card = (written.folder / "hub" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    files = {each["config_name"]: each["data_files"] for each in head["configs"]}
    assert set(files) == {f"{subset}-{kind}" for subset in SUBSETS for kind in ("corpus", "queries", "qrels")}
    assert (
        files["som-eng-corpus"] == files["swh-eng-corpus"] == [{"split": "test", "path": "som-eng-corpus/test.parquet"}]
    )
    assert len(list(written.folder.glob("hub/*/*.parquet"))) == 5
    corpus = pq.read_table(written.folder / "hub" / files["swh-eng-corpus"][0]["path"])
    assert corpus.column_names == ["id", "title", "text"]
    assert head["license"] == "other"
    assert "- License: https://www.unicode.org/license.txt" in card
    assert "- Source: https://cldr.unicode.org/" in card
    shipped = mteb.get_task(NAME).metadata.descriptive_stats["test"]["hf_subset_descriptive_stats"]
    path = written.folder / "mteb" / "descriptive_stats" / "Retrieval" / f"{NAME}.json"
    counted = json.loads(path.read_text())["test"]["hf_subset_descriptive_stats"]
    assert counted == {subset: shipped[subset] for subset in SUBSETS}
    assert written.source.relative_to(written.folder).as_posix() == (
        "mteb/tasks/retrieval/multilingual/cldr_name_retrieval.py"
    )


def test_what_mteb_cannot_take_is_refused(tmp_path):
    """Guards against a task whose missing split mteb's loader fills with another one, and a folder that is overwritten."""
    (tmp_path / "mine").mkdir()
    for name, options, expected in (
        ("NoRetrieval", {}, "NoRetrieval"),
        ("BelebeleRetrieval", {}, "is in mteb already"),
        ("AfriQARetrieval", {"subsets": ["hau-eng", "swh-eng"], "splits": ["dev"]}, "swh-eng has no split 'dev'"),
        (NAME, {"subsets": ["xxx-eng"]}, "has no subset 'xxx-eng'"),
        (NAME, {"hub_id": "mine"}, "expected OWNER/NAME"),
        (NAME, {}, "holds something else"),
    ):
        with pytest.raises(InputError, match=expected):
            write_upstream(name, tmp_path / "mine", **options)
    assert not list((tmp_path / "mine").iterdir())


def test_pushed_only_where_it_may_be(written, tmp_path, monkeypatch, online):
    """Guards against data that are published without a licence or a token, and a file without the commit."""
    told = []
    push_upstream(written, say=told.append)
    assert "read first whether its license allows it" in told[-1]
    free = write_upstream(NAME, tmp_path / "out", hub_id="me/names", subsets=SUBSETS[:1])
    free.task.metadata.license = "cc-by-4.0"
    with monkeypatch.context() as patch:
        patch.setattr(push, "get_token", lambda: None)
        push_upstream(free, say=told.append)
    assert told[-1].endswith("https://huggingface.co/datasets/me/names (no token: hf auth login)")
    assert len(next_steps(free)) == 3
    assert not online
    push_upstream(free, say=told.append)
    assert online == [("create", "dataset", "me/names"), ("upload", "dataset", "me/names", False)]
    assert f'"revision": "{COMMIT}"' in free.source.read_text()
    assert len(next_steps(free)) == 2
