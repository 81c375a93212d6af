"""What long work says: plain lines now and then, one line at a time, and a line a task for evaluations."""

from itertools import pairwise

import mteb
import pytest
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from rich.console import Console

from optical_mteb import progress
from optical_mteb.cli.task_lines import evaluate_by_lines
from optical_mteb.errors import InputError
from optical_mteb.progress import duration, progress_line
from tests.collection.test_one_pass import SharedRetrieval


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_plain_lines_now_and_then(clock, capsys):
    """Guards against bars in a log file, a line for every step, and silence for hours."""
    with progress_line("train", 1000, unit="steps") as line:
        for step in range(1, 1001):
            clock[0] += 1
            line(note=f"loss {step}")
        with progress_line("inner", 10) as inner:
            clock[0] += 5000
            inner(10)
        line.total = 10_000
        line(1)
    output, errors = capsys.readouterr()
    *lines, last = errors.splitlines()
    assert output == ""
    assert lines[0] == "train: 200 of 1,000 steps, loss 200, 13 min left"
    assert lines[-1] == "train: 1,000 of 1,000 steps, loss 1000, 0 s left"
    assert len(lines) == 5
    assert last.startswith("train: 1,001 of 10,000 steps")
    assert [duration(seconds) for seconds in (4.4, 89, 90, 3599, 3661)] == [
        "4 s",
        "89 s",
        "2 min",
        "1 h 0 min",
        "1 h 1 min",
    ]


def test_a_terminal_gets_one_line_that_goes(monkeypatch, capsys):
    """Guards against names that are read as markup, and against two lines at once, which rich refuses."""
    monkeypatch.setattr(progress, "Console", lambda **_: Console(stderr=True, force_terminal=True, width=100))
    with progress_line("[bold]", 4, 1, unit="steps") as line, progress_line("inner", 3) as inner:
        inner(1)
        line(1, note="loss [2]")
    shown = capsys.readouterr().err
    assert "[bold]" in shown
    assert "2/4 steps" in shown
    assert "loss [2]" in shown
    assert "inner" not in shown


def test_an_evaluation_says_what_is_left_and_what_came_out(monkeypatch, tmp_path, capsys, tiny_model):
    """Guards against mteb's bars, documents counted for every subset, lines that a second command doubles, and scores of before."""
    monkeypatch.setattr(mteb, "evaluate", mteb.evaluate)
    for limit in ("SECONDS", "SHARE"):
        monkeypatch.setattr(progress, limit, 0.0)
    model, cache = SentenceTransformerEncoderWrapper(tiny_model()), mteb.ResultCache(tmp_path)
    evaluate_by_lines()
    evaluate_by_lines()
    part, whole = SharedRetrieval(), SharedRetrieval()
    part.hf_subsets = ["swh-eng", "eng-swh"]
    for task, texts in ((part, 60 + 30 + 8 + 9), (whole, 60 + 10 + 11), (whole, None)):
        capsys.readouterr()
        result = mteb.evaluate(model, [task], cache=cache, co2_tracker=False, encode_kwargs={"batch_size": 4})
        output, errors = capsys.readouterr()
        lines = [line for line in errors.splitlines() if line.startswith("SharedRetrieval")]
        if texts is not None:
            assert lines[-1].startswith(f"SharedRetrieval: {texts} of {texts} texts")
            assert all(before != after for before, after in pairwise(lines))
        assert "Batches" not in errors
        assert "corpus chunks" not in errors
        score = f"SharedRetrieval: ndcg_at_10 {result.task_results[0].get_score():.4f} over "
        [row] = [line for line in output.splitlines() if line.startswith(score)]
        assert row.endswith("scored before") == (texts is None)
    with pytest.raises(InputError, match="no task matches"):
        mteb.evaluate(model, [])
