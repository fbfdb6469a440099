"""A run of codes: dense vectors of the training texts, a coder learned from them, a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsr.dense_encoder import load_dense_encoder
from lsr.index.disk import reported

from .card import write_card
from .checkpoints import keep_newest, write_folder
from .recipe import Recipe

if TYPE_CHECKING:
    from lsr.dense_encoder import DenseEncoder

    from .csr import CsrLoss
    from .prepared import Prepared
    from .run_log import RunLog

Array = npt.NDArray[np.float32]
Say = Callable[[str], None]
#: Texts that are encoded at a time.
_BATCH = 512


def train_codes(
    recipe: Recipe, data: Prepared, folder: Path, log: RunLog, *, start: Path | None = None
) -> tuple[int, str, int]:
    """Write `folder/model` with a coder learned from the examples' vectors.

    Returns the steps done, why they ended early ("" if they did not), and those asked for. `start`
    is a checkpoint to go on from.

    `model.init` is the dense encoder. Every example gives two rows, its query and its first
    document, each the other's positive; with `csr.supervised` rows of one document are. Vectors
    are kept in the folder of the run, so that a run that is resumed does not encode again.
    """
    from .csr import CoderFit, fit_coder

    encoder = load_dense_encoder(
        recipe.model.init,
        threads=recipe.train.threads,
        max_seq_length=recipe.model.document_length,
    )
    documents = _vectors(folder / "documents.npy", data.document_texts(), encoder, True, log)
    queries = _vectors(folder / "queries.npy", data.query_texts(), encoder, False, log)
    first = data.documents[data.indptr[:-1]]
    rows = np.concatenate([queries, documents[first]])
    positives = np.concatenate([documents[first], queries])
    labels = np.concatenate([first, first]).astype(np.int64)
    settings = recipe.train
    steps = settings.steps or max(1, round(settings.epochs * len(rows) / settings.batch_size))
    started = time.monotonic()

    def on_step(step: int, loss: CsrLoss) -> None:
        if (step + 1) % settings.log_steps and step + 1 < steps:
            return
        values = {name: round(float(part), 6) for name, part in loss._asdict().items()}
        seconds = time.monotonic() - started
        line = f"step {step + 1:,} of {steps:,}: loss {values['total']:.4f}, {seconds:.0f} s"
        log.event("step", {"step": step + 1, **values}, line)

    saved, done, why = started, 0, ""

    def on_fit(fit: CoderFit) -> bool:
        nonlocal saved, done, why
        done, now = fit.step, time.monotonic()
        limit, every = settings.max_minutes, settings.checkpoint_steps
        if limit is not None and done < steps and now - started >= 60 * limit:
            why = "time"
        due = now - saved >= 60 * settings.checkpoint_minutes
        if why or due or (every is not None and done % every == 0):
            write_folder(folder / "checkpoints" / f"checkpoint-{done}", fit.save)
            keep_newest(folder / "checkpoints", settings.keep_checkpoints)
            log.event("checkpoint", {"step": done})
            saved = now
        return bool(why)

    coder = fit_coder(
        rows,
        recipe.csr,
        steps=steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        seed=settings.seed,
        positives=None if recipe.csr.supervised else positives,
        labels=labels if recipe.csr.supervised else None,
        on_step=on_step,
        on_fit=on_fit,
        start=start,
    )
    done = done or steps  # a checkpoint of the last step leaves nothing to do

    def fill(target: Path) -> None:
        coder.save(target, dense=recipe.model.init)
        write_card(target, recipe, data, {}, step=done)

    write_folder(folder / "model", fill)
    log.event("end", {"step": done, "why": why})
    return done, why, steps


def _vectors(
    file: Path, texts: Iterable[str], encoder: DenseEncoder, documents: bool, log: RunLog
) -> Array:
    """Return a dense vector for each text, from the file when a run before has written it."""
    if file.is_file():
        kept: Array = np.load(file)
        return kept
    encode = encoder.encode_documents if documents else encoder.encode_queries
    parts = []
    done = 0
    for batch in _batches(texts):
        parts.append(encode(batch))
        done += len(batch)
        if done % (20 * _BATCH) == 0:
            log.event("encode", {"file": file.name, "texts": done}, f"{done:,} texts encoded")
    vectors = np.concatenate(parts)
    partial = file.with_name(f"partial-{file.name}")
    with reported(file, "write"):
        np.save(partial, vectors)
        partial.replace(file)
    return vectors


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while batch := list(islice(rest, _BATCH)):
        yield batch
