"""A tiny student in the store, two tiny tasks, and its results on them as `mteb run --output-folder` writes them."""

import json
import shutil
from types import SimpleNamespace

import mteb
import numpy as np
import pytest
from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.get_tasks import _TASKS_REGISTRY
from mteb.results.task_result import TaskResult

from optical_mteb.bases import base_revision
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.registry import register
from optical_mteb.students import student_path
from optical_mteb.submission import SubmissionCheck, package, push, upstream
from tests.conftest import build_tiny_model
from tests.test_registry import sidecar_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TASK = "PublicWordsRetrieval"
SUBSETS = {"som-eng": ["som-Latn", "eng-Latn"], "swh-eng": ["swh-Latn", "eng-Latn"]}


def metadata(name):
    return TaskMetadata(
        name=name,
        description="Words.",
        dataset={"path": "nowhere", "revision": "d1"},
        type="Retrieval",
        category="t2t",
        eval_splits=["test"],
        eval_langs=SUBSETS,
        main_score="ndcg_at_10",
    )


class Words(CollectionRetrieval):
    """Documents of which a query is the first letters."""

    loaded: list = []  # noqa: RUF012 - what was asked for, by any instance

    def load_split(self, subset, split):
        self.loaded.append((self.metadata.name, subset))
        generator = np.random.default_rng(sum(map(ord, subset)))
        letters = list("abcdefghij")
        texts = ["".join(generator.choice(letters, 12)) for _ in range(30)]
        return RetrievalSplitData(
            corpus=Dataset.from_list([{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]),
            queries=Dataset.from_list([{"id": f"q{i}", "text": text[:6]} for i, text in enumerate(texts)]),
            relevant_docs={f"q{i}": {f"d{i}": 1} for i in range(30)},
            top_ranked=None,
        )


class LocalWordsRetrieval(Words):
    """A task that lives only here."""

    metadata = metadata("LocalWordsRetrieval")


class PublicWordsRetrieval(Words):
    """A task that MTEB has."""

    metadata = metadata("PublicWordsRetrieval")


PublicWordsRetrieval.__module__ = "mteb.tasks.retrieval"


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    """The two tasks, in MTEB's registry."""
    Words.loaded.clear()
    for task in (LocalWordsRetrieval, PublicWordsRetrieval):
        monkeypatch.setitem(_TASKS_REGISTRY, task.metadata.name, task)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a student, and its sidecar."""
    folder = tmp_path_factory.mktemp("students") / "tiny-student"
    model = build_tiny_model()
    model.model_card_data.language = ["eng", "som"]
    model.model_card_data.license = "mit"
    model.model_card_data.tags = ["mteb"]
    model.save_pretrained(str(folder), model_name="optical-mteb/tiny-student")
    bitext = [{"source": "cldr:som", "language": "som", "read": 9, "kept": 8}]
    sidecar = sidecar_of(base_revision(str(folder)), bitext=bitext, mteb_tasks=["LocalWordsRetrieval"])
    sidecar.write(folder)
    return folder, sidecar


@pytest.fixture
def student(own_home, checkpoint):
    """Sidecar of a student in the store, registered with MTEB."""
    folder, sidecar = checkpoint
    shutil.copytree(folder, student_path("tiny-student"))
    register()
    return sidecar


@pytest.fixture
def write(tmp_path, student):
    """Writes a result of the student, MTEB's way; returns its folder."""

    def write_result(task=TASK, experiment=None, scores=(0.25, 0.5)):
        rows = {}
        for subset, score in zip(SUBSETS, scores, strict=True):
            by_query = {"q0": score, "q1": score}
            metrics = {"main_score": score, "ndcg_at_10": score, "map_at_100": score}
            rows[subset] = metrics | {"per_query": {"ndcg_at_10": by_query, "map_at_100": dict(by_query)}}
        result = TaskResult.from_task_results(_TASKS_REGISTRY[task], {"test": rows}, evaluation_time=1.0)
        meta = mteb.get_model_meta("optical-mteb/tiny-student").model_copy(update={"experiment_kwargs": experiment})
        cache = mteb.ResultCache(tmp_path / "cache")
        cache.save_to_cache(result, meta, encode_kwargs={"batch_size": 32})
        return cache.get_task_result_path(task, meta).parent

    return write_result


def change(path, edit):
    """Change a file of JSON."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def result(edit):
    """What changes the result in a folder."""
    return lambda folder: change(folder / f"{TASK}.json", edit)


def recorded(**fields):
    """What changes the record of the model in a folder of results."""
    return lambda folder: change(folder / "model_meta.json", lambda meta: meta.update(fields))


def row(content, subset):
    """The scores of a subset in a result."""
    return next(row for row in content["scores"]["test"] if row["hf_subset"] == subset)


lose_a_subset = result(lambda content: content["scores"]["test"].pop())


@pytest.fixture
def prepare(tmp_path, student):
    """Prepares a submission of the student in `made`, of its results in `cache`, of which none is run again."""

    def run(model="tiny-student", output="made", *, cache="cache", **options):
        return package.prepare(model, tmp_path / output, cache=tmp_path / cache, rerun=False, **options)

    return run


@pytest.fixture
def quick(monkeypatch):
    """Leaves out what takes seconds: MTEB's mock tasks, and the process without this package."""
    monkeypatch.setattr(package, "check_mock_run", lambda model, report: SubmissionCheck.of("mock run", []))
    monkeypatch.setattr(package, "check_isolated", lambda *given: SubmissionCheck.of("isolated", []))


@pytest.fixture
def online(monkeypatch):
    """The Hub and mteb's submission, standing in, and all that they ask for; lists what they are asked for."""
    asked = []

    class Hub:
        def create_repo(self, name, *, exist_ok, repo_type="model"):
            asked.append(("create", repo_type, name))

        def upload_folder(self, *, repo_id, folder_path, commit_message, repo_type="model"):
            asked.append(("upload", repo_type, repo_id, (folder_path / "model.safetensors").is_file()))
            return SimpleNamespace(oid=COMMIT)

    class Cache:
        def __init__(self, folder):
            asked.append(("cache", folder))

        def submit_results(self, models, *, tasks, create_pr):
            asked.append(("submit", models, tasks, create_pr))
            return {"status": "pr_created", "pr_url": "https://github.com/pull/1"}

    for module in (push, upstream):
        monkeypatch.setattr(module, "HfApi", Hub)
    monkeypatch.setattr(push, "ResultCache", Cache)
    monkeypatch.setattr(push.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(push, "get_token", lambda: "token")
    monkeypatch.setattr(push, "check_pull_request_tools", lambda: "token")
    return asked
