"""How fast and in how much memory we train beside sentence-transformers, on the same batches."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lsr.encoder import count_threads
from lsr.errors import ConfigError, LsrError
from lsr.model_files import find_model

from .examples import Example

OURS = "lsr"
PEER = "sentence-transformers"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainerRun:
    """One trainer: queries a second (median step), and the peak memory of its process."""

    name: str
    version: str
    examples_per_second: float
    peak_mb: float
    grown_mb: float
    seconds: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrainReport:
    """The runs side by side.

    `grown_mb` of a run is what memory grew by from just before the first step: the model and the
    libraries, which both hold, are not in it.
    """

    model: str
    batch_size: int
    max_seq_length: int
    steps: int
    threads: int
    runs: tuple[TrainerRun, ...]

    @property
    def speedup(self) -> float | None:
        """Our examples a second over those of the peer."""
        if len(self.runs) < 2:
            return None
        return self.runs[0].examples_per_second / self.runs[1].examples_per_second

    @property
    def memory_share(self) -> float | None:
        """Our peak memory over that of the peer."""
        return None if len(self.runs) < 2 else self.runs[0].peak_mb / self.runs[1].peak_mb

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "speedup": self.speedup, "memory_share": self.memory_share}

    def to_markdown(self) -> str:
        """Return a table, and the ratios in a sentence."""
        lines = [
            "| trainer | examples/s | peak memory | of it for steps | first loss | last loss |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {run.name} {run.version} | {run.examples_per_second:.1f} | {run.peak_mb:.0f} MB "
            f"| {run.grown_mb:.0f} MB | {run.losses[0]:.3f} | {run.losses[-1]:.3f} |"
            for run in self.runs
        ]
        about = (
            f"{self.steps} steps of {self.batch_size} pairs, documents cut at "
            f"{self.max_seq_length} tokens, {self.threads} threads; the median step counts"
        )
        if self.speedup is None or self.memory_share is None:
            return "\n".join([*lines, "", f"{about}."])
        return "\n".join(
            [
                *lines,
                "",
                f"{about}: {self.speedup:.1f}x the examples a second at "
                f"{self.memory_share:.2f} of the peak memory.",
            ]
        )


def bench_train(
    model: str,
    examples: Sequence[Example],
    *,
    batch_size: int = 32,
    max_seq_length: int = 128,
    steps: int = 6,
    threads: int | None = None,
    peers: bool = True,
    on_progress: Say | None = None,
) -> TrainReport:
    """Train a siamese encoder for some steps with our loop, and with `SparseEncoderTrainer`.

    Both take the same pairs in the same order, in-batch negatives, FLOPS on both sides with the
    same weights, AdamW with the same rate, and have dropout off, so that their losses agree: that
    is what shows that both do the same work. Each runs in a process of its own, one after the
    other; the first step is a warm-up.
    """
    if steps < 2:
        raise ConfigError(f"steps is {steps}; at least 2 are needed, the first is a warm-up")
    wanted = batch_size * steps
    if len(examples) < wanted:
        raise ConfigError(
            f"{steps} steps of {batch_size} need {wanted} pairs; there are {len(examples)}",
            hint="fewer --steps, a smaller --batch-size, or more pairs",
        )
    say = on_progress or (lambda line: None)
    settings = {
        "model": str(find_model(model)),
        "batch_size": batch_size,
        "max_seq_length": max_seq_length,
        "steps": steps,
        "threads": count_threads(threads),
    }
    runs = []
    with tempfile.TemporaryDirectory(prefix="lsr-bench-") as name:
        pairs = Path(name) / "pairs.jsonl"
        pairs.write_text(
            "".join(
                json.dumps({"query": one.query, "positive": one.documents[0]}) + "\n"
                for one in examples[:wanted]
            ),
            "utf-8",
        )
        for trainer in [OURS, PEER] if peers else [OURS]:
            found = _measure(trainer, {**settings, "pairs": str(pairs), "work": name})
            run = _summary(trainer, found, batch_size)
            say(f"{trainer}: {run.examples_per_second:.1f} examples/s, {run.peak_mb:.0f} MB")
            runs.append(run)
    return TrainReport(
        model=model,
        batch_size=batch_size,
        max_seq_length=max_seq_length,
        steps=steps,
        threads=count_threads(threads),
        runs=tuple(runs),
    )


def _summary(trainer: str, found: dict[str, Any], batch_size: int) -> TrainerRun:
    seconds = found["seconds"][1:]
    return TrainerRun(
        name=trainer,
        version=found["version"],
        examples_per_second=batch_size / statistics.median(seconds),
        peak_mb=found["peak_mb"],
        grown_mb=found["peak_mb"] - found["before_mb"],
        seconds=tuple(seconds),
        losses=tuple(found["losses"]),
    )


def _measure(trainer: str, settings: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"])}
    done = subprocess.run(
        [sys.executable, "-m", "lsr.train.bench_worker", trainer],
        input=json.dumps(settings),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise LsrError(f"the process that runs {trainer} ended: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise ConfigError(answer["error"], hint=answer.get("hint"))
    return answer
