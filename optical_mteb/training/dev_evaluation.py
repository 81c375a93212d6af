"""Evaluation while training: scores on the dev split, the best student so far, and an early end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.evaluation import DevEvaluator
from optical_mteb.training.model_selection import BestCheckpoint
from optical_mteb.training.recipe import EvaluationSettings

TIE_BREAK = 1e-4
"""Weight of the transport cost in the score that picks the best student: it decides between equal accuracies only."""


class DevEvaluation(TrainerCallback):
    """Scores the student every some steps and keeps the weights of the best one.

    One process evaluates, and tells the others.

    Args:
        evaluate: The evaluator.
        settings: `[evaluation]` of the recipe.
        checkpoints: Where the best weights go; its progress holds which they are.
        log: Takes the figures.
    """

    def __init__(
        self,
        evaluate: DevEvaluator,
        settings: EvaluationSettings,
        checkpoints: Checkpoints,
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self._evaluate = evaluate
        self._settings = settings
        self._checkpoints = checkpoints
        self._log = log
        self.best = BestCheckpoint.from_state(checkpoints.progress.get("best", {}))

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401 - the model among them
    ) -> None:
        """Evaluate after every `every` steps and after the last."""
        if state.global_step % self._settings.every and state.global_step < state.max_steps:
            return
        found: list[Any] = [None]
        if args.process_index == 0:
            found = [self._evaluate().figures()]
        figures = broadcast_object_list(found)[0]
        # Logging counts as this step's log line, which would lose the loss.
        due = control.should_log
        self._log(figures)
        control.should_log = due
        score = figures["dev_accuracy"] - TIE_BREAK * figures["dev_transport_cost"]
        if self.best.update(state.global_step, score) and args.should_save:
            self._checkpoints.save_best(kwargs["model"], state.global_step)
        self._checkpoints.progress["best"] = self.best.state()
        if self.best.should_stop(self._settings.patience):
            control.should_training_stop = True
