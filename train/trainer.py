"""The loop: the Trainer of transformers, taught to train sparse encoders and to go on exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from lsr.errors import ConfigError, LsrError

from .batches import Batches
from .checkpoints import checkpoints, keep_newest, write_folder
from .encoded import Encoded, TokenBatch
from .gather import gather
from .gradcache import cached_backward, split
from .model import SparseModel
from .objective import Candidates, Loss, Objective
from .run_log import Averages, RunLog
from .settings_run import TrainSettings
from .watch import Watch

#: Examples of a batch that an error names.
_SHOWN = 3


class BothSides(nn.Module):
    """One forward pass for queries and documents, as wrappers (DDP, autocast) want it."""

    def __init__(self, model: SparseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, queries: TokenBatch, documents: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return the vectors of both."""
        return self.model.encode("query", queries), self.model.encode("document", documents)


class SparseTrainer(Trainer):
    """Trains a SparseModel on Batches by an Objective; made by `lsr.train.run`.

    The batches of a run are one sequence that depends on the seed alone, so a resumed run begins
    in the middle of it and reads nothing twice. The objective's ramps follow the step of the
    optimiser.
    """

    objective: Objective

    def __init__(
        self,
        model: SparseModel,
        objective: Objective,
        batches: Batches,
        settings: TrainSettings,
        folder: Path,
        log: RunLog,
        *,
        steps: int,
        group: int,
        watch: Watch,
    ) -> None:
        super().__init__(
            model=BothSides(model),
            args=arguments(settings, folder, steps),
            callbacks=[watch],
        )
        self.remove_callback(PrinterCallback)
        self.sparse = model
        self.objective = objective
        self.batches = batches
        self.settings = settings
        self.run_folder = folder
        self.log_file = log
        self.group = group
        self.watch = watch
        watch.trainer = self
        self.means = Averages()
        #: What callbacks want to find again after a restart; plain values.
        self.memory: dict[str, Any] = {}
        self._examples: list[int] = []
        # Ours is a mean over the batch; the Trainer divides it by the number of batches of a step.
        self.loss_is_scaled_for_ga = False

    @property
    def checkpoint_folder(self) -> Path:
        """Where checkpoints are."""
        return self.run_folder / "checkpoints"

    def get_train_dataloader(self) -> Any:
        """Return the batches from where the run stands; they need no loader around them."""
        return self.batches

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return AdamW with the groups of the model: weights, biases and norms, the query table."""
        if self.optimizer is None:
            settings = self.settings
            table_lr = settings.lr if settings.table_lr is None else settings.table_lr
            groups = self.sparse.parameter_groups(settings.lr, table_lr, settings.weight_decay)
            self.optimizer = torch.optim.AdamW(groups, fused=True)
        return self.optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the loss of a batch after its backward pass, by GradCache when it is asked for."""
        chunk = self.settings.cache_chunk
        if chunk is None:
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss
        model.train()
        inputs = self._prepare_inputs(inputs)
        steps = self.current_gradient_accumulation_steps

        def backward(total: Tensor) -> None:
            self.accelerator.backward(total / steps)

        with self.accelerator.autocast():
            found = cached_backward(
                self.sparse.encode,
                split(inputs["queries"], chunk),
                split(inputs["documents"], chunk),
                lambda queries, documents: self.judge(queries, documents, inputs),
                backward=backward,
            )
        if self.args.world_size > 1:
            # The parts did not go through DDP, so nobody has taken the mean of the gradients yet.
            for parameter in self.sparse.parameters():
                if parameter.grad is not None:
                    torch.distributed.all_reduce(parameter.grad)
                    parameter.grad /= self.args.world_size
        return found / steps

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch; a loss that is not finite stops the run."""
        queries, documents = model(inputs["queries"], inputs["documents"])
        loss = self.judge(queries, documents, inputs)
        return (loss, (queries, documents)) if return_outputs else loss

    def judge(self, queries: Encoded, documents: Encoded, inputs: dict[str, Any]) -> Tensor:
        """Return the loss of vectors, after a look at whether it can be learned from."""
        candidates = Candidates(
            self.group, teacher=inputs["teacher"], duplicates=inputs["duplicates"]
        )
        if self.args.world_size > 1:
            queries, documents, candidates = gather(queries, documents, candidates)
        loss: Loss = self.objective(queries, documents, candidates, self.state.global_step)
        if not bool(torch.isfinite(loss.total)):
            parts = ", ".join(f"{name} {value:g}" for name, value in loss.parts.items())
            raise self.failed(f"the loss is {loss.total.item()} ({parts})", inputs["examples"])
        self._examples = [*self._examples, *np.asarray(inputs["examples"]).tolist()]
        self.means.add({"loss": loss.total.item(), **loss.parts, **loss.statistics})
        # DDP takes the mean of the processes' gradients, and each has only its share of them.
        total: Tensor = loss.total * self.args.world_size
        return total

    def failed(self, what: str, examples: Any) -> LsrError:
        """Return the error that names the step, the examples of the batch and the way on."""
        data = self.batches.data
        numbers = np.asarray(examples).tolist()
        shown = ", ".join(data.place(int(one)) for one in numbers[:_SHOWN])
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        last = checkpoints(self.checkpoint_folder)
        kept = f"the last good checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        return LsrError(
            f"step {self.state.global_step + 1}: {what}, with the examples {shown}{more}; {kept}",
            hint="look at these examples; lower train.lr or train.max_grad_norm; "
            f"then lsr train --resume --out {self.run_folder}",
        )

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self.args.device.type == "cpu":
            return inputs
        return {name: _moved(value, self.args.device) for name, value in inputs.items()}

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm: Any = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        value = float(norm)
        if not np.isfinite(value) and self.settings.precision != "fp16":
            raise self.failed(f"the length of the gradient is {value}", self._examples)
        self._examples = []
        self.means.add({"gradient": value})
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Pass what the Trainer measures on to the callbacks; they write the log."""
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint that is whole or not there, and keep the newest few."""
        target = self.checkpoint_folder / f"checkpoint-{self.state.global_step}"
        if not self.args.should_save:
            return
        write_folder(target, self._fill)
        keep_newest(self.checkpoint_folder, self.settings.keep_checkpoints)

    def _fill(self, folder: Path) -> None:
        self.sparse.save(folder / "model")
        save_model(self.sparse, str(folder / "weights.safetensors"))
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / "trainer_state.json"))
        _save_state(self.objective.state_dict(), folder)
        (folder / "memory.json").write_text(json.dumps(self.memory), "utf-8")

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        folder = Path(resume_from_checkpoint)
        load_model(self.sparse, str(folder / "weights.safetensors"))
        self.objective.load_state_dict(_load_state(folder))
        self.memory = json.loads((folder / "memory.json").read_text("utf-8"))
        step = json.loads((folder / "trainer_state.json").read_text("utf-8"))["global_step"]
        self.batches.start = int(step) * self.settings.accumulate


def arguments(settings: TrainSettings, folder: Path, steps: int) -> TrainingArguments:
    """Return the settings of the loop as transformers spells them."""
    on_cpu = not torch.cuda.is_available()
    if settings.precision == "fp16" and on_cpu:
        raise ConfigError(
            "train.precision is fp16, and there is no GPU here", hint='--set train.precision="bf16"'
        )
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.lr,
        lr_scheduler_type=settings.schedule
        if settings.schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=settings.warmup,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        use_cpu=on_cpu,
        seed=settings.seed,
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        # Batches know where a run stands; nothing has to be read and thrown away.
        ignore_data_skip=True,
    )


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, TokenBatch):
        return TokenBatch(*(part.to(device) for part in value))
    return value


def _save_state(state: dict[str, Any], folder: Path) -> None:
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in state.items() if name not in tensors}
    (folder / "objective.json").write_text(json.dumps(plain), "utf-8")
    if tensors:
        save_file(tensors, str(folder / "objective.safetensors"))


def _load_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "objective.json").read_text("utf-8"))
    tensors = folder / "objective.safetensors"
    return {**state, **load_file(str(tensors))} if tensors.is_file() else state
