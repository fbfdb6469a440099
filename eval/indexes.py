"""Indexes of an evaluation: given by the user, or built once and found again by content."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.errors import DataError
from lsr.output import Output, counted, duration

from .analyzers import folder_part
from .datasets import CorpusFacts, Dataset
from .settings import LEGS, EvalSettings

if TYPE_CHECKING:
    from lsr.index.legs import Leg


@dataclass(frozen=True, slots=True)
class Opened:
    """Where an index of the dataset is, how long it took to build, and what is to be said.

    `leg_seconds` has what it took to add each leg to the index as it was built.
    """

    path: Path
    build_seconds: float | None = None
    build_peak: int | None = None
    notes: tuple[str, ...] = ()
    leg_seconds: Mapping[str, float] = field(default_factory=dict)


def ready_index(
    dataset: Dataset, facts: CorpusFacts, settings: EvalSettings, work: Path, output: Output
) -> Opened:
    """Return the index that was given, or the one in `work` for this corpus and model.

    It is built when it is not there, and a build that was interrupted goes on where it stood.
    """
    if settings.index is not None:
        return _given(dataset, facts, settings.index)
    from lsr.index.manifest import FORMAT

    # An index of an older format would have to be made again, so it is another index.
    sparse = "sparse" in settings.families
    model = model_fingerprint(settings.model) if sparse else "no-model"
    if settings.dense_model is not None and "dense" in settings.families:
        model += f"-{dense_fingerprint(settings.dense_model)}"
    # Another analyzer is another index, too: who reads this one must not find its words changed.
    if "bm25" in settings.families:
        model += folder_part(settings.analyzer_of(dataset.name))
    folder = work / "indexes" / f"{facts.corpus_hash}-{model}-format{FORMAT}"
    made = folder / "made.json"
    if not made.exists():
        _build(dataset, facts, settings, folder, output)
    _add_legs(dataset, folder, settings, output)
    found: dict[str, Any] = json.loads(made.read_text("utf-8"))
    legs = found.get("legs", {})
    return Opened(folder / "index", found["seconds"], found["peak"], leg_seconds=legs)


def model_fingerprint(name: str) -> str:
    """Return the fingerprint of a model without loading it."""
    from lsr.model_files import find_model, fingerprint
    from lsr.model_folder import read_model_folder

    return fingerprint(read_model_folder(find_model(name)))


def dense_fingerprint(name: str) -> str:
    """Return the fingerprint of a dense model without loading it."""
    from lsr.dense_encoder import fingerprint
    from lsr.dense_folder import read_dense_folder
    from lsr.model_files import find_model

    return fingerprint(read_dense_folder(find_model(name)))


def _build(
    dataset: Dataset, facts: CorpusFacts, settings: EvalSettings, folder: Path, output: Output
) -> None:
    from lsr.index.build import BuildProgress, BuildSettings, build
    from lsr.index.index import Index
    from lsr.index.source import CorpusSource
    from lsr.rejects import Rejects

    path = folder / "index"
    folder.mkdir(parents=True, exist_ok=True)
    begun = (path / "manifest.json").exists()
    # Without sparse vectors the first leg is that of the build; the others are added to it.
    sparse = "sparse" in settings.families
    legs = ["sparse"] if sparse else [_leg(_first_leg(settings), dataset, settings)]
    index = Index.open(path) if begun else Index.create(path, encoder=settings.model, legs=legs)
    if index.generation and len(index) == facts.n_documents:  # complete, but for the note of it
        _note(folder, None, None)
        return
    how = BuildSettings(memory=settings.memory, threads=settings.threads, resume=True)
    with output.progress(f"documents of {dataset.name} indexed", facts.n_documents) as bar:

        def show(progress: BuildProgress) -> None:
            bar.update(progress.documents, progress.this_run)

        sources = [CorpusSource(dataset.corpus)]
        try:
            report = build(index, sources, how, rejects=Rejects(dataset.on_error), progress=show)
        finally:
            index.close()
    # An interrupted build has not measured itself: what was done before is not in its seconds.
    whole = report.resumed_documents == 0
    _note(folder, report.seconds if whole else None, report.peak_memory if whole else None)
    output.note(
        f"{dataset.name}: indexed {report.documents:,} documents in {duration(report.seconds)}"
    )


def _add_legs(dataset: Dataset, folder: Path, settings: EvalSettings, output: Output) -> None:
    """Add the legs that are asked for and that an index of an evaluation has not got yet."""
    from lsr.index.index import Index

    made = folder / "made.json"
    for leg in LEGS:
        if leg not in settings.families:
            continue
        index = Index.open(folder / "index")
        try:
            if leg in index.legs:
                continue
            started = time.perf_counter()
            with output.progress(f"documents of leg {leg}", len(index)) as bar:
                index.add_leg(_leg(leg, dataset, settings, bar.update))
            found = json.loads(made.read_text("utf-8"))
            seconds = time.perf_counter() - started
            found["legs"] = {**found.get("legs", {}), leg: seconds}
            made.write_text(json.dumps(found), "utf-8")
        finally:
            index.close()


def _leg(
    name: str,
    dataset: Dataset,
    settings: EvalSettings,
    progress: Callable[[int, int], None] | None = None,
) -> str | Leg:
    """Return a leg to make; `progress` is told of the documents encoded, and encoded now."""
    if name == "bm25":
        from lsr.index.bm25 import Bm25Leg

        return Bm25Leg(analyzer=settings.analyzer_of(dataset.name))
    if settings.dense_model is None:
        return name
    from lsr.index.dense import DenseLeg

    leg = DenseLeg(settings.dense_model, threads=settings.threads)
    if progress is not None:
        leg.on_progress = counted(lambda done: progress(done, done - leg.n_taken_up))
    return leg


def _first_leg(settings: EvalSettings) -> str:
    return next(leg for leg in LEGS if leg in settings.families)


def _note(folder: Path, seconds: float | None, peak: int | None) -> None:
    (folder / "made.json").write_text(json.dumps({"seconds": seconds, "peak": peak}), "utf-8")


def _given(dataset: Dataset, facts: CorpusFacts, path: Path) -> Opened:
    from lsr.index.index import Index

    index = Index.open(path)
    judged = {document for of in dataset.qrels.grades.values() for document in of}
    missing = sum(document not in index for document in judged)
    if missing == len(judged):
        raise DataError(
            f"none of the {len(judged):,} judged documents of {dataset.name} is in {path}",
            hint="give the index of this dataset, or leave out --index to have one built",
        )
    notes = []
    if missing:
        notes.append(f"{missing:,} of {len(judged):,} judged documents are not in {path}")
    if len(index) != facts.n_documents:
        notes.append(
            f"{path} has {len(index):,} documents, the corpus {facts.n_documents:,}; BM25 ranks "
            "those of the corpus"
        )
    return Opened(path, notes=tuple(notes))
