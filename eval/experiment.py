"""evaluate: datasets in, a report out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lsr.errors import ConfigError, LsrError
from lsr.index.fusion import METHODS
from lsr.output import Output
from lsr.rejects import OnError

from .analyzers import check_datasets
from .dataset_run import evaluate_dataset
from .datasets import Dataset, Identical, dataset_name, load_dataset
from .indexes import model_fingerprint
from .measures import DEFAULT_MEASURES
from .provenance import provenance
from .results import DatasetResult, Report
from .settings import DEFAULT_FAMILIES, EvalSettings, checked_settings
from .statistics import RESAMPLES, SEED


def evaluate(
    datasets: Sequence[str | Dataset] | str | Dataset,
    *,
    model: str = "bundled",
    index: str | Path | None = None,
    systems: Sequence[str] = DEFAULT_FAMILIES,
    recalls: Sequence[float] = (0.9, 0.99),
    measures: Sequence[str] = DEFAULT_MEASURES,
    split: str | None = None,
    queries: str | None = None,
    qrels: str | None = None,
    depth: int = 1000,
    identical: Identical = "auto",
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    out: str | Path | None = None,
    work: str | Path | None = None,
    threads: int | None = None,
    memory: int | None = None,
    dense_model: str | None = None,
    fusions: Sequence[str] = METHODS,
    feedback: Sequence[str] = (),
    analyzer: str | Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    resume: bool = False,
    output: Output | None = None,
) -> Report:
    """Evaluate systems on datasets; return measures, tests, speed and provenance of all.

    Args:
        datasets: BEIR folders, `irds:` ids, corpora (then `queries` and `qrels` say the rest), or
            Dataset objects. One that fails is in `Report.failed`, and the others go on.
        model: the encoder that indexes are built with; `index` is an index to take instead.
        systems: `bm25`, the leg of that name; `sparse`, exact, and approximate at each of
            `recalls`; `bm25s`, the peer of that name, left out with a reason where it is missing.
            Of `dense` (which `dense_model` encodes for) and `hybrid` there is a row for each of
            `fusions`, and for `feedback` (pre, post, both): on each leg alone, and around the
            first fusion.
        analyzer: what makes the words of BM25, for all datasets or by a dataset's name (`*` is
            all others): a language or its code, `standard` or `hf:TOKENIZER`; default english.
        depth: hits of each query that are measured. `identical` says what becomes of a hit with
            the id of its query: `auto` drops it where query and document have one text, too.
        baseline: the system that others are tested against; default BM25, or the first.
        out: a folder for report.html, report.md, report.json, mteb/, runs/ and per-query values.
        work: where indexes are kept, to be found again by corpus, model and
            analyzer; default in `out`.
        on_error: `skip` leaves bad records of a corpus out, counted, instead of stopping there.
        resume: take over datasets that an interrupted evaluation with `out` has finished.

    Every value equals what `ir_measures` prints for the qrels and the saved run. Latency is
    measured one query at a time in this process, so let it run alone; numpy may use several
    threads to encode a query, unless OMP_NUM_THREADS says otherwise.

    >>> _ = Path("corpus.jsonl").write_text('{"_id": "a", "text": "cats purr"}\\n'
    ...     '{"_id": "b", "text": "dogs bark"}\\n')
    >>> _ = Path("q.jsonl").write_text('{"_id": "1", "text": "purring cat"}\\n'
    ...     '{"_id": "2", "text": "barking dog"}\\n')
    >>> _ = Path("qrels.txt").write_text("1 0 a 1\\n2 0 b 1\\n")
    >>> report = lsr.eval.evaluate("corpus.jsonl", queries="q.jsonl", qrels="qrels.txt",
    ...     systems=["sparse"], measures=["RR@10"])
    >>> report.table("RR@10")["sparse exact"]
    {'corpus': 1.0}
    """
    settings = checked_settings(
        model=model,
        index=index,
        systems=systems,
        recalls=recalls,
        measures=measures,
        depth=depth,
        identical=identical,
        baseline=baseline,
        resamples=resamples,
        seed=seed,
        threads=threads,
        memory=memory,
        dense_model=dense_model,
        fusions=fusions,
        feedback=feedback,
        analyzer=analyzer,
    )
    wanted = [datasets] if isinstance(datasets, str | Dataset) else list(datasets)
    if not wanted:
        raise ConfigError("no dataset is given", hint="give a BEIR folder or irds:<id>")
    if len(wanted) > 1 and (index or queries or qrels):
        raise ConfigError("an index, queries or qrels belong to one dataset; give one at a time")
    names = [dataset_name(one) if isinstance(one, str) else one.name for one in wanted]
    check_datasets(settings.analyzers, names)
    output = output or Output(quiet=True)
    done: list[DatasetResult] = []
    failed: dict[str, str] = {}
    with _folders(out, work) as (results, kept):
        for one in wanted:
            name = one if isinstance(one, str) else one.name
            try:
                dataset = one
                if isinstance(dataset, str):
                    dataset = load_dataset(
                        dataset, queries=queries, qrels=qrels, split=split, on_error=on_error
                    )
                done.append(evaluate_dataset(dataset, settings, results, kept, output, resume))
            except (LsrError, OSError, MemoryError) as error:
                failed[name] = str(error) or type(error).__name__
                told = failed[name] if name in failed[name] else f"{name}: {failed[name]}"
                output.error(told, getattr(error, "hint", None))
    done = _distinct(done)
    report = Report(tuple(done), settings.measures, failed, _provenance(settings))
    if out is not None and done:
        from .report import write_report

        for file in write_report(report, Path(out)):
            output.detail(f"wrote {file}")
    return report


@contextmanager
def _folders(out: str | Path | None, work: str | Path | None) -> Iterator[tuple[Path | None, Path]]:
    """Yield the folder of the report, if any, and the one where indexes are kept."""
    results = None if out is None else Path(out)
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
    if work is not None or results is not None:
        kept = Path(work) if work is not None else (results or Path()) / "work"
        kept.mkdir(parents=True, exist_ok=True)
        yield results, kept
        return
    with TemporaryDirectory(prefix="lsr-eval-") as scratch:
        yield results, Path(scratch)


def _distinct(done: Sequence[DatasetResult]) -> list[DatasetResult]:
    """Return results under names of their own: two splits of one dataset are told apart."""
    from dataclasses import replace

    names = [one.name for one in done]
    return [
        one if names.count(one.name) == 1 else replace(one, name=f"{one.name}/{one.split}")
        for one in done
    ]


def _provenance(settings: EvalSettings) -> dict[str, object]:
    found = {**provenance(), "settings": settings.that_matter()}
    if settings.index is None:
        found["model"] = settings.model
        if "sparse" in settings.families:
            found["fingerprint"] = model_fingerprint(settings.model)
    else:
        found["index"] = str(settings.index)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
