"""The process in which one trainer is measured; `bench` gives it JSON and reads JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lsr.errors import ConfigError, LsrError

from .prepared import Prepared
from .recipe import Recipe
from .sampling import BatchPlan, Numbers

_LR = 2e-5
_LAMBDAS = (5e-5, 3e-5)


class Steps:
    """Seconds and loss of each step, and the memory before the first."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.losses: list[float] = []
        self.before_mb = 0.0
        self._last = self._cpu = 0.0

    def begin(self) -> None:
        """Note where the first step begins."""
        self.before_mb = memory_mb("VmRSS")
        self._last, self._cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Note that a step has ended."""
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds.append(now - self._last)
        self.cpu_seconds.append(cpu - self._cpu)
        self._last, self._cpu = now, cpu


def memory_mb(name: str) -> float:
    """Return the resident size of this process, now (VmRSS) or at its largest (VmHWM)."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6


def ours(settings: dict[str, Any]) -> tuple[str, Steps]:
    """Run our loop."""
    import transformers

    from lsr import __version__

    from .run import prepare_trainer

    recipe = Recipe.model_validate(
        {
            "model": {
                "init": settings["model"],
                "document_length": settings["max_seq_length"],
                "query_length": settings["max_seq_length"],
                "query": {"kind": "mlm"},
                "document": {"kind": "mlm"},
            },
            "rank": {"infonce": {"weight": 1.0}},
            "regularise": {
                "query": {"kind": "flops", "weight": _LAMBDAS[0], "ramp_steps": 0},
                "document": {"kind": "flops", "weight": _LAMBDAS[1], "ramp_steps": 0},
            },
            "data": {"sources": [{"path": settings["pairs"]}], "documents_per_query": 1},
            "train": {
                "steps": settings["steps"],
                "batch_size": settings["batch_size"],
                "lr": _LR,
                "warmup": 0,
                "schedule": "constant",
                "threads": settings["threads"],
                "log_steps": 1,
                "checkpoint_minutes": 1e6,
            },
        }
    )
    trainer = prepare_trainer(recipe, Path(settings["work"]) / "ours")
    _switch_off_dropout(trainer.sparse)
    trainer.batches.plan = _InOrder(trainer.batches.data, recipe, settings["batch_size"])
    steps = Steps()

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *given: Any, **others: Any) -> None:
            if not steps.before_mb:
                steps.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            steps.end()
            steps.losses.append(trainer.means.take()["loss"])
            control.should_save = False  # the last step's checkpoint is no part of a step

    trainer.add_callback(Clock())
    trainer.train()
    return __version__, steps


class _InOrder(BatchPlan):
    """The batches as the file has them, as the peer takes them."""

    def __init__(self, data: Prepared, recipe: Recipe, size: int) -> None:
        super().__init__(data, recipe.data, size, 0)
        self._count = len(data) // size

    def batches(self, start: int = 0) -> Iterator[tuple[int, int, Numbers]]:
        size = self._size
        for at in range(start, self._count):
            yield 0, at, np.arange(at * size, (at + 1) * size)


def peer(settings: dict[str, Any]) -> tuple[str, Steps]:
    """Run `SparseEncoderTrainer` with `SpladeLoss`."""
    for name in ("sentence_transformers", "datasets"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"{name} is not installed; the peer of this measurement needs it",
                hint="pip install 'lsr-engine[bench]', or leave the peers out",
            )
    import sentence_transformers as st
    import torch
    import transformers
    from datasets import Dataset
    from sentence_transformers.sparse_encoder import losses

    torch.set_num_threads(int(settings["threads"]))
    model = st.SparseEncoder(settings["model"], device="cpu")
    model.max_seq_length = settings["max_seq_length"]
    _switch_off_dropout(model)
    steps = Steps()
    rank = losses.SparseMultipleNegativesRankingLoss(model)
    loss = losses.SpladeLoss(
        model, rank, query_regularizer_weight=_LAMBDAS[0], document_regularizer_weight=_LAMBDAS[1]
    )
    rows = [json.loads(line) for line in Path(settings["pairs"]).read_text("utf-8").splitlines()]
    pairs = Dataset.from_dict({name: [row[name] for row in rows] for name in ("query", "positive")})

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *given: Any, **others: Any) -> None:
            if not steps.before_mb:
                steps.begin()

        def on_step_end(self, *given: Any, **others: Any) -> None:
            steps.end()

    class InOrder(st.SparseEncoderTrainer):
        def compute_loss(self, *given: Any, **others: Any) -> Any:
            found = super().compute_loss(*given, **others)
            value = found[0] if isinstance(found, tuple) else found
            steps.losses.append(float(value))
            return found

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(  # no shuffling: both see the same batches
                pairs, batch_size=settings["batch_size"], collate_fn=self.data_collator
            )

    arguments = st.SparseEncoderTrainingArguments(
        output_dir=str(Path(settings["work"]) / "peer"),
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch_size"],
        learning_rate=_LR,
        lr_scheduler_type="constant",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = InOrder(
        model=model, args=arguments, train_dataset=pairs, loss=loss, callbacks=[Clock()]
    )
    # It adds a ramp of its own; ours has none here.
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ == "SpladeRegularizerWeightSchedulerCallback":
            trainer.remove_callback(callback)
    trainer.train()
    return st.__version__, steps


def _switch_off_dropout(model: Any) -> None:
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout_prob", None), float):
            module.dropout_prob = 0.0


def main() -> None:
    """Read settings from stdin, run the trainer that is named, write what was measured."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    settings = json.load(sys.stdin)
    try:
        version, steps = {"lsr": ours}.get(sys.argv[1], peer)(settings)
        answer: dict[str, Any] = {
            "version": version,
            "seconds": steps.seconds,
            "cpu_seconds": steps.cpu_seconds,
            "losses": steps.losses,
            "before_mb": steps.before_mb,
            "peak_mb": memory_mb("VmHWM"),
        }
    except LsrError as error:
        answer = {"error": error.message, "hint": error.hint}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
