"""What happens beside the steps: log lines, checkpoints by the clock, dev sets, stopping."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lsr.encoder import load_encoder
from lsr.output import duration

from .checkpoints import write_folder
from .dev import DevScore
from .settings_run import DevSettings, TrainSettings

if TYPE_CHECKING:
    from lsr.encoder import Encoder

    from .trainer import SparseTrainer

Measure = Callable[["Encoder"], dict[str, DevScore]]


class Watch(TrainerCallback):
    """Told of every step; `trainer` is set when the trainer is made.

    `why` says why training ended before its last step: `signal`, `time`, `patience`, or nothing.
    The best dev value and how long ago it was travel with checkpoints, in the trainer's memory.
    """

    def __init__(self, settings: TrainSettings, dev: DevSettings, measure: Measure | None) -> None:
        self.settings = settings
        self.dev = dev
        self.measure = measure
        self.trainer: SparseTrainer
        self.why = ""
        self._asked = False
        self._before: dict[int, Any] = {}
        self._started = self._saved = time.monotonic()
        self._logged = (0, time.monotonic())

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Note the time, take care of signals, and measure what training begins with."""
        self._started = self._saved = time.monotonic()
        self._logged = (state.global_step, self._started)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        if state.global_step == 0 and self.measure is not None:
            self._evaluate(0)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Give the signals back."""
        self.release()

    def release(self) -> None:
        """Give the signals back, however training ended."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Decide whether it is time for a dev set, a checkpoint, or the end."""
        step, last = state.global_step, state.global_step >= state.max_steps
        minutes = (time.monotonic() - self._started) / 60
        if self.measure is not None and (last or step % self.dev.every_steps == 0):
            self._evaluate(step)
            patience = self.dev.patience
            waited = self.trainer.memory.get("since_best", 0)
            if patience is not None and self._together(waited >= patience):
                self.why, control.should_training_stop = "patience", True
        if self._together(self._asked):
            self.why, control.should_training_stop = "signal", True
        limit = self.settings.max_minutes
        if not last and limit is not None and self._together(minutes >= limit):
            self.why, control.should_training_stop = "time", True
        every = self.settings.checkpoint_steps
        control.should_save = (
            last
            or control.should_training_stop
            or (every is not None and step % every == 0)
            or self._together(
                time.monotonic() - self._saved >= 60 * self.settings.checkpoint_minutes
            )
        )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Note the time of a checkpoint."""
        self._saved = time.monotonic()
        self.trainer.log_file.event("checkpoint", {"step": state.global_step})

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Write a line of the log."""
        logs = others.get("logs") or {}
        means = self.trainer.means.take()
        if not means:
            return
        now = time.monotonic()
        step, (before, then) = state.global_step, self._logged
        self._logged = (step, now)
        examples = self.settings.batch_size * self.settings.accumulate * args.world_size
        rate = (step - before) / max(now - then, 1e-9)
        values = {
            "step": step,
            **{name: round(value, 6) for name, value in means.items()},
            "lr": logs.get("learning_rate", 0.0),
            "examples_per_second": round(rate * examples, 2),
        }
        left = duration((state.max_steps - step) / rate) if rate else "?"
        terms = means.get("document_terms", 0.0)
        line = (
            f"step {step:,} of {state.max_steps:,}: loss {means.get('loss', 0.0):.4f}, "
            f"{terms:.0f} terms a document, {rate * examples:.1f} examples/s, {left} left"
        )
        self.trainer.log_file.event("step", values, line)

    def _evaluate(self, step: int) -> None:
        """Measure the dev sets with the folder that would be saved, and keep the best one."""
        trainer, measure = self.trainer, self.measure
        if measure is None or not trainer.is_world_process_zero():
            return
        candidate = trainer.run_folder / "candidate"
        write_folder(candidate, lambda folder: trainer.sparse.save(folder / "model"))
        encoder = load_encoder(candidate / "model", threads=self.settings.threads)
        found = measure(encoder)
        mean = sum(score.value for score in found.values()) / len(found)
        memory = trainer.memory
        is_best = mean > memory.get("best", float("-inf"))
        memory["since_best"] = 0 if is_best else memory.get("since_best", 0) + 1
        if is_best:
            memory.update(best=mean, best_step=step, best_sets=plain(found))
            _take(candidate, trainer.run_folder / "best")
        shutil.rmtree(candidate, ignore_errors=True)
        parts = ", ".join(f"{name} {score.value:.4f}" for name, score in found.items())
        terms = sum(score.document_terms for score in found.values()) / len(found)
        values = {"step": step, "mean": mean, "best": is_best, "sets": plain(found)}
        trainer.log_file.event(
            "dev",
            values,
            f"step {step:,}: {self.dev.measure} {mean:.4f}{' (best)' if is_best else ''}: {parts}; "
            f"{terms:.0f} terms a document",
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._asked:  # asked twice: at once, without a checkpoint
            raise KeyboardInterrupt
        self._asked = True

    def _together(self, mine: bool) -> bool:
        """Return what the first process decides, so that all do the same."""
        if self.trainer.args.world_size <= 1:
            return mine
        import torch

        flag = torch.tensor([int(mine)], device=self.trainer.args.device)
        torch.distributed.broadcast(flag, src=0)
        return bool(flag.item())


def plain(found: dict[str, DevScore]) -> dict[str, dict[str, float]]:
    """Return dev scores as plain values for a log."""
    return {name: score._asdict() for name, score in found.items()}


def _take(candidate: Path, target: Path) -> None:
    def fill(folder: Path) -> None:
        (candidate / "model").rename(folder / "model")

    write_folder(target, fill)
