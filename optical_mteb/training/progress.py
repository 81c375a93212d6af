"""The line that a training shows while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optical_mteb.progress import ProgressLine


class TrainingProgress(TrainerCallback):
    """Moves a progress line on step by step, with the last loss, and says what was found on the dev split.

    Args:
        line: The line.
        say: Takes the lines about the dev split.
    """

    def __init__(self, line: ProgressLine, say: Callable[[str], None]) -> None:
        self._line, self._say, self._step = line, say, 0

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the parent's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """A step more; the first one may come after those of an earlier run."""
        self._line(state.global_step - self._step)
        self._step = state.global_step

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """The loss beside the line, and a line of its own for the dev split."""
        logs = logs or {}
        if "loss" in logs:
            self._line(0, note=f"loss {logs['loss']:.3f}")
        if "dev_accuracy" in logs:
            self._say(f"step {state.global_step:,}: translation accuracy {logs['dev_accuracy']:.1%} on the dev split")
