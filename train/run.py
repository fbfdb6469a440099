"""A run: from a recipe to a model folder, by way of data, teachers, the loop and a card."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsr import __version__
from lsr.encoder import count_threads
from lsr.errors import ConfigError, DataError
from lsr.index.disk import replace, reported

from .card import write_card
from .checkpoints import checkpoints, step_of, write_folder
from .dev import dev_measurer
from .prepared import Prepared, prepare
from .recipe import Recipe, describe
from .run_log import RunLog
from .sampling import BatchPlan
from .settings_run import DataSettings
from .sources import resolve, source_name
from .teacher_cache import Progress, teacher_scores

if TYPE_CHECKING:
    from torch import Tensor

    from .trainer import SparseTrainer

Say = Callable[[str], None]

#: Settings that a resumed run may change without becoming another run.
_FREE = ("train.max_minutes", "train.threads", "train.checkpoint_minutes", "train.checkpoint_steps",
         "train.keep_checkpoints", "train.log_steps", "data.folder", "teachers.cache")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `finished`, or `why` not (`signal`, `time`); `model` is the folder."""

    folder: Path
    model: Path
    step: int
    steps: int
    why: str
    best: float | None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to resume."""
        return self.why not in ("signal", "time")


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    base: Path | None = None,
    resume: bool = False,
    say: Say | None = None,
    on_score: Progress | None = None,
) -> Outcome:
    """Train the recipe's model; return where it is.

    `out` gets `model/` (the folder to load: the best on the dev sets, else the last), `best/`,
    `checkpoints/`, `log.jsonl`, `recipe.json` and `data/`. Relative paths of data begin at
    `data.folder`, which itself begins at `base` (the recipe's folder). With `resume` a run that
    was interrupted goes on: on a CPU its weights are, bit for bit, those of a run that was not.
    Raises ConfigError when `out` holds a run and `resume` is false, DataError for bad data,
    LsrError that names the batch when the loss is not finite, StorageError when the disk is full.

    >>> from lsr.train import read_recipe, train
    >>> outcome = train(read_recipe(tiny_recipe), "tiny-run")
    >>> (outcome.model / "config.json").is_file()
    True
    """
    folder = Path(out)
    state = _processes()
    speak = say if say is not None and state.is_main_process else (lambda line: None)
    with state.main_process_first():
        if state.is_main_process:
            _open_run(recipe, folder, resume, speak)
    kept = checkpoints(folder / "checkpoints") if resume else []
    last = kept[-1] if kept else None
    if recipe.model.document.kind == "csr":
        return _codes(recipe, folder, base, speak, last)
    trainer = prepare_trainer(recipe, folder, base=base, say=speak, on_score=on_score)
    data, log = trainer.batches.data, trainer.log_file
    event, line = _beginning(trainer, data, last)
    log.event(event, {"step": step_of(last) if last else 0, "version": __version__}, line)
    try:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    finally:
        trainer.watch.release()
        log.close()
    return _finish(trainer, recipe, data, folder)


def _codes(recipe: Recipe, folder: Path, base: Path | None, say: Say, last: Path | None) -> Outcome:
    """Return how a run of codes ended; `last` is the checkpoint it goes on from."""
    from .csr_run import train_codes

    _set_threads(recipe.train.threads)
    data = prepare_data(recipe, folder, data_root(recipe.data, base), say)
    log = RunLog(folder, say)
    try:
        if last is not None:
            step = step_of(last)
            log.event("resume", {"step": step}, f"going on behind step {step:,}")
        done, why, steps = train_codes(recipe, data, folder, log, start=last)
    finally:
        log.close()
    return Outcome(folder, folder / "model", done, steps, why, None)


def prepare_trainer(
    recipe: Recipe,
    folder: Path,
    *,
    base: Path | None = None,
    say: Say | None = None,
    on_score: Progress | None = None,
) -> SparseTrainer:
    """Return the recipe's trainer, ready for its first step: data, scores and model are there."""
    speak = say or (lambda line: None)
    _set_threads(recipe.train.threads)
    root = data_root(recipe.data, base)
    with _processes().main_process_first():  # the others find data and scores ready
        data = prepare_data(recipe, folder, root, speak)
        scores = score_data(recipe, data, folder, on_score)
    return _trainer(recipe, folder, data, scores, root, speak)


def score_data(
    recipe: Recipe, data: Prepared, folder: Path, on_score: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Return (teachers, candidates) float32 scores, computed where the cache lacks them."""
    cache = Path(recipe.teachers.cache or folder / "teachers").expanduser()
    threads = count_threads(recipe.train.threads)
    return teacher_scores(data, recipe.teachers, cache, threads=threads, on_progress=on_score)


def data_root(settings: DataSettings, base: Path | None) -> Path | None:
    """Return the folder at which relative paths of data begin."""
    if settings.folder is None:
        return base
    folder = Path(settings.folder).expanduser()
    return folder if base is None else base / folder


def prepare_data(
    recipe: Recipe, folder: Path, root: Path | None, say: Say | None = None
) -> Prepared:
    """Return the recipe's examples, prepared in the folder of the run."""
    if not recipe.data.sources:
        raise ConfigError(
            "the recipe names no data", hint='[[data.sources]] with path = "pairs.jsonl"'
        )
    fields = [one.field for one in recipe.teachers.models if one.kind == "precomputed"]
    speak = say or (lambda line: None)

    def count(done: int) -> None:
        if done % 50_000 == 0:
            speak(f"{done:,} examples read")

    try:
        found = prepare(
            recipe.data,
            folder / "data",
            folder=root,
            score_fields=list(dict.fromkeys(fields)),
            seed=recipe.train.seed,
            on_progress=count,
        )
    except DataError as error:
        if error.hint and "--on-error" in error.hint:  # a setting of the recipe, here
            error.hint = 'mend that record, or --set data.on_error="skip"'
        raise
    for note in found.notes:
        speak(note)
    _check_group(recipe, found)
    return found


def count_steps(recipe: Recipe, plan: BatchPlan) -> int:
    """Return the number of optimiser steps of a run."""
    if recipe.train.steps:
        return recipe.train.steps
    batches = math.ceil(recipe.train.epochs * len(plan.epoch(0)))
    return max(1, batches // recipe.train.accumulate)


def _open_run(recipe: Recipe, folder: Path, resume: bool, say: Say) -> None:
    """See that the folder is one to begin or to resume in; write the recipe down."""
    file = folder / "recipe.json"
    # The log begins with the first step; data that could not be read leave nothing to resume.
    if (folder / "log.jsonl").is_file() and not resume:
        raise ConfigError(
            f"{folder} already holds a run",
            hint=f"lsr train ... --out {folder} --resume goes on with it; or give another --out",
        )
    if resume and not file.is_file():
        raise ConfigError(f"{folder} holds no run to resume", hint="leave out --resume to begin")
    if resume:
        before = json.loads(file.read_text("utf-8"))
        changed = _changes(before, recipe.model_dump(mode="json"))
        for name, old, new in changed:
            if name not in _FREE:
                say(f"resumed with another {name}: {old!r} before, {new!r} now")
    with reported(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
    replace(file, json.dumps(recipe.model_dump(mode="json"), indent=2).encode("utf-8"))


def _changes(before: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted(before.keys() | now.keys()):
            found += _changes(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        return found
    return [] if before == now else [(name, before, now)]


def _set_threads(wanted: int | None) -> int:
    import torch

    threads = count_threads(wanted)
    torch.set_num_threads(threads)
    return threads


def _check_group(recipe: Recipe, data: Prepared) -> None:
    group, in_batch = recipe.data.documents_per_query, recipe.rank.infonce
    alone = recipe.train.batch_size == 1 or len(data) == 1
    contrasts = bool(in_batch.weight) and in_batch.in_batch and not alone
    distils = recipe.rank.kl.weight or recipe.rank.marginmse.weight
    if group == 1 and (distils or (in_batch.weight and not contrasts)):
        raise ConfigError(
            "with one document for each query there is nothing to rank: "
            + ("teachers compare documents of one query" if distils else "no negatives are left"),
            hint="--set data.documents_per_query=2, or a larger train.batch_size",
        )


def _trainer(
    recipe: Recipe,
    folder: Path,
    data: Prepared,
    scores: npt.NDArray[np.float32],
    data_folder: Path | None,
    say: Say,
) -> SparseTrainer:
    from transformers import set_seed

    from .batches import Batches
    from .guard import check_start
    from .model import build_model
    from .objective import Objective
    from .trainer import SparseTrainer
    from .watch import Watch

    settings, group = recipe.train, recipe.data.documents_per_query
    state = _processes()
    world, rank = state.num_processes, state.process_index
    idf = corpus_idf(recipe, data)
    set_seed(settings.seed)  # new weights are the same, whatever was drawn before
    model = build_model(recipe, idf=idf)
    check_start(model, list(islice(data.document_texts(), 100)))
    plan = BatchPlan(data, recipe.data, settings.batch_size * world, settings.seed)
    steps = count_steps(recipe, plan)
    batches = Batches(
        data, plan, model, scores, group=group, seed=settings.seed, share=(rank, world)
    )
    watch = Watch(settings, recipe.dev, dev_measurer(recipe.dev, data_folder, settings.threads))
    trainer = SparseTrainer(
        model,
        Objective(recipe, idf, total_steps=steps),
        batches,
        settings,
        folder,
        RunLog(folder, say, write=rank == 0),
        steps=steps,
        group=group,
        watch=watch,
    )
    return trainer


def _processes() -> Any:
    """Return accelerate's state: how many processes were started, and which this is."""
    if importlib.util.find_spec("accelerate") is None:
        raise ConfigError(
            "accelerate is not installed, and training needs it",
            hint="pip install 'lsr-engine[train]'",
        )
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def _beginning(trainer: SparseTrainer, data: Prepared, last: Path | None) -> tuple[str, str]:
    settings = trainer.settings
    parts = sum(one.numel() for one in trainer.sparse.parameters() if one.requires_grad)
    if last is not None:
        return "resume", f"going on behind step {step_of(last):,} of {trainer.args.max_steps:,}"
    return "start", (
        f"{len(data):,} examples, {data.n_documents:,} documents, {parts:,} weights; "
        f"{trainer.args.max_steps:,} steps of {settings.batch_size} queries with "
        f"{trainer.group} documents each"
    )


def _finish(trainer: SparseTrainer, recipe: Recipe, data: Prepared, folder: Path) -> Outcome:
    """Write the model folder and its card, and return how the run ended."""
    best = folder / "best" / "model"
    watch, step = trainer.watch, int(trainer.state.global_step)
    target = folder / "model"
    if trainer.is_world_process_zero():

        def fill(partial: Path) -> None:
            if best.is_dir():
                shutil.copytree(best, partial, dirs_exist_ok=True)
            else:
                trainer.sparse.save(partial)
            write_card(partial, recipe, data, trainer.memory, step=step)

        write_folder(target, fill)
        values = {"step": step, "why": watch.why, "best": trainer.memory.get("best")}
        trainer.log_file.event("end", values)
    best_value = trainer.memory.get("best")
    return Outcome(folder, target, step, int(trainer.args.max_steps), watch.why, best_value)


def corpus_idf(recipe: Recipe, data: Prepared) -> Tensor | None:
    """Return the idf of every term over the training documents, None when nothing asks for it."""
    query, regularise = recipe.model.query, recipe.regularise
    wanted = query.kind == "table" and query.table in ("idf", "learned")
    wanted = wanted or recipe.model.document.frequency > 0
    if not wanted and "idf" not in (regularise.query.vector, regularise.document.vector):
        return None
    import torch

    from lsr.model_files import find_model
    from lsr.tokens import TextTokenizer, read_json

    from .idf import count_frequencies

    folder = find_model(recipe.model.init)
    tokenizer = TextTokenizer(folder, length=recipe.model.document_length, special=False)
    size = int(read_json(folder / "config.json").get("vocab_size") or tokenizer.size)
    found = count_frequencies(data.document_texts(), tokenizer, max(size, tokenizer.size))
    return torch.from_numpy(found.idf())


def explain(recipe: Recipe, base: Path | None = None) -> Iterator[str]:
    """Yield the lines of a dry run: every setting with its meaning, `*` where it was chosen.

    Then the data and teachers: what would be read, and what cannot be found.
    """
    for name, value, about, is_default in describe(recipe):
        yield f"{' ' if is_default else '*'} {name} = {_shown(value)}  # {about}"
    yield ""
    root = data_root(recipe.data, base)
    for source in recipe.data.sources:
        path = resolve(source.path, root)
        there = path.startswith("irds:") or Path(path).exists()
        yield f"source {source_name(source)}: {path}{'' if there else '  (NOT FOUND)'}"
    for teacher in recipe.teachers.models:
        yield f"teacher {teacher.kind}: {teacher.model or teacher.field}"
    group, train = recipe.data.documents_per_query, recipe.train
    steps = f"{train.steps:,} steps" if train.steps else f"{train.epochs:g} epoch(s)"
    yield (
        f"{steps} of {train.batch_size * train.accumulate} queries with {group} documents each, "
        f"on each device"
    )


def _shown(value: Any) -> str:
    if isinstance(value, list) and value and hasattr(value[0], "model_dump"):
        return repr([one.model_dump(exclude_defaults=True) for one in value])
    return repr(value)
