"""What the tests of the tasks share: a data folder in the publisher's layout, and an evaluation whose result is checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import mteb
import pytest

from optical_mteb.storage import local_data


def real_data(place: str) -> tuple[Path, pytest.MarkDecorator]:
    """A folder of OPTICAL_MTEB_DATA, and the mark that skips a test where it is absent."""
    folder = (local_data() or Path("nowhere")) / place
    return folder, pytest.mark.skipif(not folder.is_dir(), reason=f"OPTICAL_MTEB_DATA is not set, or has no {place}")


def replace_in(path: Path, old: bytes, new: bytes) -> None:
    """Change a file at a place that has to be there."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def texts(dataset) -> dict[str, str]:
    """Documents or queries by their ids."""
    return dict(zip(dataset["id"], dataset["text"], strict=True))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of OPTICAL_MTEB_DATA."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def evaluate(tiny_model, tmp_path: Path) -> Callable[..., dict[str, dict[str, dict]]]:
    """Evaluates a tiny model; gives the scores by split and subset as read back from the result cache, means checked."""

    def run(task) -> dict[str, dict[str, dict]]:
        cache = mteb.ResultCache(tmp_path / "results")
        fresh = mteb.evaluate(tiny_model(), task, cache=cache, show_progress_bar=False).task_results[0]
        (file,) = (tmp_path / "results").rglob(f"{task.metadata.name}.json")
        before, after = (by_subset(result) for result in (fresh, mteb.TaskResult.from_disk(file)))
        assert before.keys() == after.keys()
        for key, scores in after.items():
            assert scores["main_score"] == before[key]["main_score"] == scores["ndcg_at_10"]
            assert scores["map_at_100"] == before[key]["map_at_100"]
            for name in ("ndcg_at_10", "map_at_100"):
                per_query = scores["per_query"][name]
                # MTEB rounds what it stores to six digits.
                assert per_query == pytest.approx(before[key]["per_query"][name], abs=1e-6)
                assert fmean(per_query.values()) == pytest.approx(scores[name], abs=1e-5)
        return {split: {subset: after[split, subset] for each, subset in after if each == split} for split, _ in after}

    return run


def by_subset(result: mteb.TaskResult) -> dict[tuple[str, str], dict]:
    return {(split, scores["hf_subset"]): scores for split, entries in result.scores.items() for scores in entries}
