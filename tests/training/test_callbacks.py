"""The best step and the end of patience, also across a restart."""

import json
import math
from dataclasses import asdict

import pytest

from optical_mteb.training.callbacks import BestCheckpoint


@pytest.mark.parametrize(
    ("scores", "improved", "stops"),
    [
        ([0.2, 0.5, 0.5, 0.1, 0.6, 0.3], [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]),
        ([0.1, 0.1, 0.2, 0.1, 0.2, 0.0], [1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]),
        ([math.nan, 0.0, math.nan], [0, 1, 0], [0, 0, 0]),
    ],
)
def test_the_best_step_and_the_end_of_patience(scores, improved, stops):
    """Guards against a tie or a NaN that is best, a stop too early or too late, and a restart that forgets any of it."""
    best = BestCheckpoint()
    for step, (score, better, stop) in enumerate(zip(scores, improved, stops, strict=True)):
        best = BestCheckpoint(**json.loads(json.dumps(asdict(best), allow_nan=False)))
        assert best.update(step, score) == better
        assert best.should_stop(3) == stop
        assert not best.should_stop(None)
    last = max(step for step, better in enumerate(improved) if better)
    assert (best.step, best.score, best.evaluations_since) == (last, scores[last], len(scores) - 1 - last)
