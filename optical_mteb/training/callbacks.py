"""What happens at the steps of a training: scores on the dev split, the best student so far, the clock, and the log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optical_mteb.progress import ProgressLine
from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.evaluation import DevEvaluator
from optical_mteb.training.recipe import EvaluationSettings

TIE_BREAK = 1e-4
"""Weight of the transport cost in the score that picks the best student: it decides between equal accuracies only."""


@dataclass
class BestCheckpoint:
    """The best dev score of a training, and how long ago it was.

    Attributes:
        step: Step of the best score, None before the first.
        score: The best score, None before the first; higher is better.
        evaluations_since: Evaluations after it, none of them better.
    """

    step: int | None = None
    score: float | None = None
    evaluations_since: int = 0

    def update(self, step: int, score: float) -> bool:
        """Take in the score of a step.

        Returns:
            Whether it is the best so far: above all before it. NaN never is.
        """
        best = not math.isnan(score) and (self.score is None or score > self.score)
        if best:
            self.step, self.score, self.evaluations_since = step, score, 0
        else:
            self.evaluations_since += 1
        return best

    def should_stop(self, patience: int | None) -> bool:
        """Whether `patience` evaluations in a row were no better than the best before them; None never stops."""
        return patience is not None and self.evaluations_since >= patience


class DevEvaluation(TrainerCallback):
    """Scores the student every some steps, keeps the weights of the best one, and ends a training that gets no better.

    One process evaluates, and tells the others. The progress of the checkpoints holds which weights are the best.
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
        self.best = BestCheckpoint(**checkpoints.progress.get("best", {}))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
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
        self._checkpoints.progress["best"] = asdict(self.best)
        if self.best.should_stop(self._settings.patience):
            control.should_training_stop = True


class Clock(TrainerCallback):
    """Counts the seconds of a training, those before a restart too, and puts them into its checkpoints."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._started: float = time.perf_counter() - checkpoints.progress.get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self._started

    def on_step_end(self, *_: Any, **kwargs: Any) -> None:
        """Keep them for the next checkpoint."""
        self._checkpoints.progress["seconds"] = self.seconds


class LogLastStep(TrainerCallback):
    """Logs the last step, which the logging interval may miss."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a log line after the last step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class TrainingProgress(TrainerCallback):
    """Moves a progress line on step by step, with the last loss, and says what was found on the dev split."""

    def __init__(self, line: ProgressLine, say: Callable[[str], None]) -> None:
        self._line, self._say, self._step = line, say, 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step more; the first one may come after those of an earlier run."""
        self._line(state.global_step - self._step)
        self._step = state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """The loss beside the line, and a line of its own for the dev split."""
        logs = logs or {}
        if "loss" in logs:
            self._line(0, note=f"loss {logs['loss']:.3f}")
        if "dev_accuracy" in logs:
            self._say(f"step {state.global_step:,}: translation accuracy {logs['dev_accuracy']:.1%} on the dev split")
