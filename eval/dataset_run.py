"""One dataset through every system: runs, measures, speed, tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.errors import ConfigError
from lsr.output import Output

from . import bm25_peer, results
from .analyzers import folder_part
from .bm25_leg import Bm25LegSystem
from .datasets import CorpusFacts, Dataset, scan_corpus
from .examples import pick_examples
from .hybrid_system import LegsSystem, hybrid_rows
from .indexes import Opened, model_fingerprint, ready_index
from .measures import mean, measure_run
from .results import DatasetResult, Loss, SystemResult
from .runs import (
    Run,
    check_overlap,
    cut,
    finite,
    identical_hits,
    tied_queries,
    without_identical,
    write_run,
)
from .settings import LEGS, EvalSettings
from .speed import TIMED_K, measure_shape, measure_speed
from .statistics import Comparison, compare
from .systems import Ranking, SparseSystem, System, recall_against, sweep

if TYPE_CHECKING:
    from lsr.index.index import Index

#: Measures of the judgements rather than of a system; no difference in them is tested.
UNTESTED = ("Judged",)

_BATCH = 256


@dataclass(slots=True)
class _Exact:
    """What the exact system of a family found, for its approximate ones to be held against."""

    name: str
    rankings: Sequence[Ranking]


def evaluate_dataset(
    dataset: Dataset,
    settings: EvalSettings,
    out: Path | None,
    work: Path,
    output: Output,
    resume: bool,
) -> DatasetResult:
    """Return every system's figures on one dataset; keep them in `work` for `resume`."""
    started = time.perf_counter()
    facts = _scan(dataset, settings, output)
    key = _key(facts, settings, dataset.name)
    kept = work / "results" / f"{dataset.slug}-{key}.json"
    if resume and kept.exists():
        finished = results.load(kept)
        if _runs_are_there(finished, out):
            output.note(f"{dataset.name}: taken over from the interrupted evaluation")
            return finished
    opened = _opened(dataset, facts, settings, work, output)
    makers, skipped = _makers(dataset, facts, settings, opened, work, output)
    if not makers:
        raise ConfigError(
            f"{dataset.name}: no system can be run: "
            + "; ".join(f"{name}: {why}" for name, why in skipped.items())
        )
    found: list[SystemResult] = []
    runs: dict[str, Run] = {}
    exact: dict[str, _Exact] = {}
    for make in makers:
        one, run = _evaluate_system(dataset, facts, settings, make, exact, out, output)
        found.append(one)
        runs[one.name] = run
    baseline = _baseline(settings, found)
    index = None
    if opened is not None and "sparse" in settings.families:
        index = _open(opened)
    result = DatasetResult(
        name=dataset.name,
        split=dataset.split,
        source=dataset.corpus,
        hash=facts.hash,
        n_documents=facts.n_documents,
        n_queries=len(dataset.queries),
        n_judgements=dataset.qrels.n_judgements,
        encoder={} if index is None else _about_encoder(index),
        baseline=baseline,
        systems=tuple(found),
        comparisons=tuple(_comparisons(found, baseline, settings)),
        examples=pick_examples(dataset, found, runs, baseline, settings.measures[0]),
        skipped=skipped,
        curve=() if index is None else tuple(sweep(index, list(dataset.queries.values()))),
        notes=(*dataset.notes, *facts.notes, *(opened.notes if opened else ())),
        seconds=time.perf_counter() - started,
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    results.save(result, kept)
    return result


def _runs_are_there(result: DatasetResult, out: Path | None) -> bool:
    """Return whether a finished result has the runs that a report in `out` would point to."""
    return out is None or all(one.run and (out / one.run).exists() for one in result.systems)


def _scan(dataset: Dataset, settings: EvalSettings, output: Output) -> CorpusFacts:
    with output.progress(f"documents of {dataset.name} read") as bar:
        facts = scan_corpus(dataset, settings.identical, bar.update)
    output.note(
        f"{dataset.name} ({dataset.split}): {facts.n_documents:,} documents, "
        f"{len(dataset.queries):,} judged queries"
    )
    for note in (*dataset.notes, *facts.notes):
        output.note(f"{dataset.name}: {note}")
    return facts


def _opened(
    dataset: Dataset, facts: CorpusFacts, settings: EvalSettings, work: Path, output: Output
) -> Opened | None:
    if not set(settings.families) & {"sparse", *LEGS}:
        return None
    output.on_interrupt = (
        "what was built and finished is kept; the same command with --resume goes on"
    )
    return ready_index(dataset, facts, settings, work, output)


def _makers(
    dataset: Dataset,
    facts: CorpusFacts,
    settings: EvalSettings,
    opened: Opened | None,
    work: Path,
    output: Output,
) -> tuple[list[Callable[[], System]], dict[str, str]]:
    """Return what opens each system, and the systems that cannot be run with the reason."""
    makers: list[Callable[[], System]] = []
    skipped: dict[str, str] = {}
    if "bm25" in settings.families and opened is not None:
        if "bm25" in _open(opened).legs:
            seconds = opened.leg_seconds.get("bm25", opened.build_seconds)
            makers.append(lambda: Bm25LegSystem(_open(opened), build_seconds=seconds))
        else:
            skipped["BM25"] = f"{opened.path} has no such leg (lsr legs {opened.path} --add bm25)"
            output.note(f"{dataset.name}: BM25 is left out: {skipped['BM25']}")
    if "bm25s" in settings.families:
        analyzer = settings.analyzer_of(dataset.name)
        folder = work / "bm25" / f"{facts.corpus_hash}{folder_part(analyzer)}"
        if (why := bm25_peer.missing()) is not None:
            skipped["BM25 (bm25s)"] = why
            output.note(f"{dataset.name}: BM25 by bm25s is left out: {why}")
        else:
            with output.progress(f"documents of {dataset.name} for BM25", facts.n_documents) as bar:
                bm25_peer.Bm25System.make(dataset, folder, analyzer, bar.update)
            makers.append(lambda: bm25_peer.Bm25System(folder, analyzer))
    if opened is not None and "sparse" in settings.families:
        makers += [
            lambda recall=recall: _sparse(opened, recall)  # type: ignore[misc]
            for recall in (None, *settings.recalls)
        ]
    if opened is not None:
        makers += _legs_together(dataset, settings, opened, skipped, output)
    return makers, skipped


def _legs_together(
    dataset: Dataset,
    settings: EvalSettings,
    opened: Opened,
    skipped: dict[str, str],
    output: Output,
) -> list[Callable[[], System]]:
    """Return what opens the dense leg, feedback on the legs, and their fusions."""
    families, legs = set(settings.families), _open(opened).legs
    missing = {
        "dense": "dense" not in legs and f"{opened.path} has no such leg",
        "hybrid": len(legs) < 2 and f"{opened.path} has one leg, {legs[0]}",
    }
    for family, why in missing.items():
        if family in families and why:
            skipped[family] = why
            output.note(f"{dataset.name}: {family} is left out: {why}")
    rows = hybrid_rows(legs, settings.fusions, settings.feedback, families)
    return [
        lambda row=row: LegsSystem(  # type: ignore[misc]
            _open(opened), row[0], fusion=row[1], feedback=row[2]
        )
        for row in rows
    ]


def _sparse(opened: Opened, recall: float | None) -> SparseSystem:
    index = _open(opened)
    return SparseSystem(
        index, recall=recall, build_seconds=opened.build_seconds, build_peak=opened.build_peak
    )


def _open(opened: Opened) -> Index:
    from lsr.index.index import Index

    # Its files were checked, or written, by this process a moment ago.
    return Index.open(opened.path, verify=False)


def _evaluate_system(
    dataset: Dataset,
    facts: CorpusFacts,
    settings: EvalSettings,
    make: Callable[[], System],
    exact: dict[str, _Exact],
    out: Path | None,
    output: Output,
) -> tuple[SystemResult, Run]:
    texts = list(dataset.queries.values())
    system, speed, timed = measure_speed(make, texts, threads=settings.threads)
    run = _search(dataset, system, settings, facts, output)
    notes, values = _measured(dataset, facts, settings, run)
    kept = cut(without_identical(run) if facts.drop_identical else run, settings.depth)
    lists = system.lists(texts)
    loss = None
    if system.is_exact:
        exact[system.family] = _Exact(system.name, timed)
    elif system.family in exact:
        loss = _loss(exact[system.family], timed)
    result = SystemResult(
        name=system.name,
        family=system.family,
        title=system.title,
        settings=dict(system.settings),
        means={name: mean(one) for name, one in values.items()},
        per_query=values,
        run=_write(dataset, system, kept, out),
        speed=speed,
        shape=None if lists is None else measure_shape(lists),
        loss=loss,
        notes=tuple(notes),
    )
    first = settings.measures[0]
    output.note(
        f"{dataset.name}: {system.name}: {first} {result.means[first]:.4f}, {speed.p50:.2f} ms"
    )
    return result, kept


def _search(
    dataset: Dataset, system: System, settings: EvalSettings, facts: CorpusFacts, output: Output
) -> Run:
    # One more, so that a run without identical ids is as deep as the others.
    depth = settings.depth + facts.shares_ids
    ids, texts = list(dataset.queries), list(dataset.queries.values())
    run: Run = {}
    with output.progress(f"queries of {dataset.name} by {system.name}", len(ids)) as bar:
        for at in range(0, len(ids), _BATCH):
            part = texts[at : at + _BATCH]
            rankings = system.search_many(part, depth, settings.threads)
            for query, ranking in zip(ids[at : at + _BATCH], rankings, strict=True):
                finite(ranking.scores, f"{system.name}, query {query!r}")
                run[query] = dict(zip(ranking.ids, ranking.scores, strict=True))
            bar.update(at + len(part))
    return run


def _measured(
    dataset: Dataset, facts: CorpusFacts, settings: EvalSettings, run: Run
) -> tuple[list[str], Mapping[str, Mapping[str, float]]]:
    """Return what is to be said about a run, and its values by measure and query."""
    grades = dataset.qrels.grades
    kept = cut(run, settings.depth)
    without = cut(without_identical(run), settings.depth)
    chosen = without if facts.drop_identical else kept
    values = measure_run(grades, chosen, settings.measures)
    found = {query: hits for query, hits in chosen.items() if hits}
    notes = check_overlap(found, grades, "the run") if found else ["it found nothing"]
    if tied := tied_queries(chosen):
        notes.append(f"in {tied:,} queries equal scores leave the order of the first 10 open")
    if same := identical_hits(kept):
        first = settings.measures[0]
        with_all = mean(measure_run(grades, kept, [first])[first])
        with_none = mean(measure_run(grades, without, [first])[first])
        notes.append(
            f"hits with the id of their query: {same:,}; {first} is {with_none:.4f} without and "
            f"{with_all:.4f} with them"
        )
    return notes, values


def _loss(exact: _Exact, found: Sequence[Ranking]) -> Loss:
    pairs = list(zip(exact.rankings, found, strict=True))
    recalls = [recall_against(true, one, TIMED_K) for true, one in pairs]
    same = [list(true.ids) == list(one.ids) for true, one in pairs]
    return Loss(exact.name, sum(recalls) / len(pairs), sum(same) / len(pairs))


def _write(dataset: Dataset, system: System, run: Run, out: Path | None) -> str | None:
    if out is None:
        return None
    name = f"{dataset.slug}.{system.name.replace(' ', '-').replace('~', '')}.txt.gz"
    (out / "runs").mkdir(exist_ok=True)
    write_run(out / "runs" / name, run, f"lsr-{system.name}")
    return f"runs/{name}"


def _baseline(settings: EvalSettings, found: Sequence[SystemResult]) -> str:
    names = [one.name for one in found]
    if settings.baseline is None:
        return "BM25" if "BM25" in names else names[0]
    if settings.baseline not in names:
        raise ConfigError(
            f"the baseline {settings.baseline!r} is not among the systems: {', '.join(names)}"
        )
    return settings.baseline


def _comparisons(
    found: Sequence[SystemResult], baseline: str, settings: EvalSettings
) -> list[Comparison]:
    """Return each system against the baseline, and approximate ones against their exact one."""
    tests: list[Comparison] = []
    groups = [(baseline, [one.name for one in found])]
    for family in dict.fromkeys(one.family for one in found):
        names = [one.name for one in found if one.family == family]
        if names[0] != baseline and len(names) > 1:
            groups.append((names[0], names))
    if len(next(iter(found[0].per_query.values()))) < 2:
        return []
    for measure in settings.measures:
        if measure.startswith(UNTESTED):
            continue
        for against, names in groups:
            values = {one.name: one.per_query[measure] for one in found if one.name in names}
            tests += compare(
                values, against, measure, resamples=settings.resamples, seed=settings.seed
            )
    return tests


def _about_encoder(index: Index) -> dict[str, object]:
    encoder = index.encoder
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "licence": encoder.licence,
        "vocab_size": encoder.vocab_size,
        "max_seq_length": encoder.max_seq_length,
    }


def _key(facts: CorpusFacts, settings: EvalSettings, dataset: str) -> str:
    """Return a hash of all that the result of a dataset depends on."""
    import xxhash

    from lsr import __version__

    model = "none"
    if settings.index:
        model = str(settings.index)
    elif "sparse" in settings.families:
        model = model_fingerprint(settings.model)
    matter = {**settings.that_matter(), "analyzers": dict(settings.analyzer_of(dataset))}
    parts = [__version__, results.FORMAT, facts.hash, model, matter]
    return xxhash.xxh3_64_hexdigest(json.dumps(parts, sort_keys=True).encode())
