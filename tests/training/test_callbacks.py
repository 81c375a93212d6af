"""The best step and the end of patience, also across a restart."""

import json
import math
from dataclasses import asdict

from optical_mteb.training.callbacks import BestCheckpoint


def test_the_best_is_the_first_maximum():
    """Guards against a tie that counts as an improvement, and a later worse step that takes the best one's place."""
    best = BestCheckpoint()
    scores = [0.2, 0.5, 0.5, 0.1, 0.6, 0.3]
    assert [best.update(10 * n, score) for n, score in enumerate(scores)] == [
        score > max(scores[:n], default=-1) for n, score in enumerate(scores)
    ]
    assert (best.step, best.score, best.evaluations_since) == (40, 0.6, 1)


def test_patience_counts_evaluations_without_improvement():
    """Guards against a stop one evaluation early or late, a count that an improvement does not reset, and None that stops."""
    best = BestCheckpoint()
    stops = []
    for step, score in enumerate([0.1, 0.1, 0.2, 0.1, 0.2, 0.0]):
        best.update(step, score)
        stops.append(best.should_stop(3))
    assert stops == [False, False, False, False, False, True]
    assert not best.should_stop(None)


def test_a_score_that_is_no_number_is_never_best():
    """Guards against a NaN at the start that no later score is above."""
    best = BestCheckpoint()
    assert not best.update(1, math.nan)
    assert best.update(2, 0.0)
    assert not best.update(3, math.nan)
    assert (best.step, best.evaluations_since) == (2, 1)


def test_a_restart_goes_on_where_it_was():
    """Guards against a state that JSON cannot hold, or that forgets the best score or the patience used up."""
    for scores in ([], [0.4, 0.3]):
        best = BestCheckpoint()
        for step, score in enumerate(scores):
            best.update(step, score)
        state = json.loads(json.dumps(asdict(best), allow_nan=False))
        restarted = BestCheckpoint(**state)
        assert restarted == best
        assert restarted.update(5, 0.35) == best.update(5, 0.35)
        assert restarted.should_stop(2) == best.should_stop(2) == bool(scores)
