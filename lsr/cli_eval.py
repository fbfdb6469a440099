"""`lsr eval` and `lsr compare`: how good rankings are, and whether a difference is one."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli_index import OnErrorOption
from lsr.cli_legs import DenseModel
from lsr.cli_session import Json, Model, Session, Threads, session
from lsr.errors import ConfigError
from lsr.output import is_lively, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lsr.eval.expectations import Checked, Expectations
    from lsr.eval.report_tables import Table
    from lsr.eval.results import Report, Shown

_CHECK_MISSED = 3


class Identical(StrEnum):
    """What becomes of hits with the id of their query."""

    auto = "auto"
    drop = "drop"
    keep = "keep"


Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measures",
        "-m",
        metavar="M,...",
        help="Measures by ir_measures' names, such as nDCG@10,R@100,RR@10,AP.",
    ),
]
Qrels = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Judgements: TREC, BEIR's .tsv, a BEIR folder or irds:ID."),
]
Queries = Annotated[
    str | None, typer.Option(metavar="FILE", help="Queries: queries.jsonl, .tsv or irds:ID.")
]
Resamples = Annotated[
    int, typer.Option(min=1, help="Sign patterns that a randomisation test draws.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the randomisation tests.")]
IdenticalOption = Annotated[
    Identical,
    typer.Option(help="Hits with the id of their query; auto drops them where texts are equal."),
]


def evaluate(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET...",
            help="BEIR folders, irds:IDs, or a corpus with --queries and --qrels; "
            "or TREC runs with --qrels alone.",
        ),
    ],
    index: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Evaluate this index; default build one.")
    ] = None,
    model: Model = None,
    split: Annotated[
        str | None, typer.Option(help="Split of BEIR folders; default test, or the only one.")
    ] = None,
    queries: Queries = None,
    qrels: Qrels = None,
    systems: Annotated[
        list[str] | None,
        typer.Option(
            "--legs",
            metavar="A,B",
            help="Systems: bm25, sparse, bm25s, dense, hybrid; default the first two.",
        ),
    ] = None,
    recall: Annotated[
        list[float] | None,
        typer.Option(help="Recall of an approximate search; repeatable. Default 0.9, 0.99."),
    ] = None,
    dense_model: DenseModel = None,
    fusion: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Fusions of hybrid: rrf, minmax, zscore, dbsf."),
    ] = None,
    feedback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B",
            help="Rows with feedback, too: pre, post, both (fusion before, after, around it).",
        ),
    ] = None,
    analyzer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Words of BM25: a language (english, de, hi, ...), standard, hf:TOKENIZER; "
            "DATASET=NAME for one dataset. May be repeated; default english.",
        ),
    ] = None,
    measures: Measures = None,
    depth: Annotated[int, typer.Option(min=10, help="Hits of a query that are measured.")] = 1000,
    identical: IdenticalOption = Identical.auto,
    baseline: Annotated[
        str | None, typer.Option(metavar="NAME", help="System to test against; default BM25.")
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Expected figures (TOML), or `bundled`; exit 3 if missed."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the report.")
    ] = Path("lsr-eval"),
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where indexes are kept; default OUT/work.")
    ] = None,
    on_error: OnErrorOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take over the datasets that were finished before.")
    ] = False,
    resamples: Resamples = 10_000,
    seed: Seed = 20205,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Evaluate systems on datasets, or measure TREC runs.

    For datasets, writes report.html, report.md, report.json, MTEB's files and the runs: measures
    with significance, the loss of approximate search, latency, sizes, figures. BM25 and
    exact search stand beside approximate search. A dataset that fails is reported, and the
    others go on.
    """
    names = _split(measures)
    if qrels is not None and queries is None and index is None and not _is_dataset(sources):
        _measure_runs(session(ctx), sources, qrels, names, identical, json)
        return
    current = session(ctx)
    settings = current.settings(model=model, threads=threads, on_error=on_error)
    from lsr.eval.analyzers import parse_analyzers
    from lsr.eval.expectations import check, read_expectations
    from lsr.eval.experiment import evaluate as run
    from lsr.eval.report import write_report

    expected: Expectations | None = None if expect is None else read_expectations(expect)
    report = run(
        sources,
        model=settings.model,
        index=index,
        systems=_split(systems) or ("bm25", "sparse"),
        recalls=recall or (0.9, 0.99),
        split=split,
        queries=queries,
        qrels=qrels,
        depth=depth,
        identical=identical.value,
        baseline=baseline,
        resamples=resamples,
        seed=seed,
        out=out,
        work=work,
        threads=settings.threads,
        memory=settings.memory,
        on_error=settings.on_error,
        resume=resume,
        dense_model=dense_model,
        feedback=_split(feedback),
        analyzer=parse_analyzers(analyzer) if analyzer else None,
        output=current.output,
        **({"fusions": _split(fusion)} if fusion else {}),
        **({"measures": names} if names else {}),
    )
    if not report.datasets:
        raise SystemExit(1)
    checks: Sequence[Checked] = [] if expected is None else check(report, expected)
    if checks:
        write_report(report, out, checks)
    _tell(current, report, checks, out, json)
    if report.failed:
        raise SystemExit(1)
    if any(one.verdict == "FAIL" for one in checks):
        raise SystemExit(_CHECK_MISSED)


def compare(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="BASELINE RUN...", help="TREC runs; the first is the baseline."),
    ],
    qrels: Annotated[
        str,
        typer.Option(metavar="FILE", help="Judgements: TREC, BEIR's .tsv, a BEIR folder, irds:ID."),
    ],
    measures: Measures = None,
    queries: Queries = None,
    show: Annotated[int, typer.Option(min=0, help="Wins, and losses, to show of each run.")] = 5,
    identical: IdenticalOption = Identical.auto,
    resamples: Resamples = 10_000,
    seed: Seed = 20205,
    json: Json = False,
) -> None:
    """Compare TREC runs, with tests of significance.

    Paired t-test and randomisation test, two-sided, corrected by Holm for the number of runs.
    """
    from lsr.eval.report_tables import short_tests_table, tests_table
    from lsr.eval.run_files import compare_files, measure_files, wins_and_losses

    current = session(ctx)
    drop = identical is Identical.drop
    names = _split(measures) or ["nDCG@10", "R@100", "R@1000", "RR@10", "AP"]
    found, notes = measure_files(runs, qrels, names, drop_identical=drop)
    tests = compare_files(found, resamples=resamples, seed=seed)
    texts = _texts(queries)
    first = next(iter(found[0].per_query))
    shown = {one.name: wins_and_losses(one, found[0], first, texts, show) for one in found[1:]}
    if json:
        current.output.json(
            {
                "qrels": qrels,
                "runs": [one.to_dict() for one in found],
                "comparisons": tests,
                "examples": shown,
            }
        )
        return
    _notes(current, [*notes, *(f"{one.name}: {note}" for one in found for note in one.notes)])
    _show(current, _means_table({one.name: one.means for one in found}))
    table = short_tests_table if is_lively(sys.stdout) else tests_table
    _show(current, table(tests, found[0].name))
    for name, rows in shown.items():
        _show_examples(current, name, found[0].name, first, rows)


def _measure_runs(
    current: Session,
    paths: Sequence[str],
    qrels: str,
    measures: Sequence[str],
    identical: Identical,
    json: bool,
) -> None:
    from lsr.corpus import format_of
    from lsr.eval.measures import DEFAULT_MEASURES
    from lsr.eval.run_files import measure_files

    for path in paths:
        if format_of(Path(path)) in ("jsonl", "parquet"):
            raise ConfigError(
                f"{path} is not a TREC run by its name",
                hint="to evaluate a corpus, give --queries, too",
            )
    drop = identical is Identical.drop
    found, notes = measure_files(paths, qrels, measures or DEFAULT_MEASURES, drop_identical=drop)
    if json:
        runs = [one.to_dict() for one in found]
        current.output.json({"qrels": qrels, "notes": list(notes), "runs": runs})
        return
    _notes(current, [*notes, *(f"{one.name}: {note}" for one in found for note in one.notes)])
    _show(current, _means_table({one.name: one.means for one in found}))


def _tell(
    current: Session, report: Report, checks: Sequence[Checked], out: Path, json: bool
) -> None:
    from lsr.eval.report_tables import measures_table

    if json:
        means = {
            result.name: {one.name: dict(one.means) for one in result.systems}
            for result in report.datasets
        }
        lines = [str(one) for one in checks]
        current.output.json(
            {"datasets": means, "failed": dict(report.failed), "checks": lines, "report": out}
        )
        return
    for result in report.datasets:
        current.output.data(current.output.strong(f"{result.name} ({result.split})"))
        _show(current, measures_table(result))
    for one in checks:
        current.output.data(str(one))
    current.output.note(f"{out / 'report.html'} shows everything")


def _show(current: Session, table: Table) -> None:
    """Write a table: with rich where a person looks on, in aligned columns elsewhere."""
    if not is_lively(sys.stdout):
        current.output.table(
            [
                {name: cell.text + cell.mark for name, cell in zip(table.head, row, strict=True)}
                for row in table.rows
            ]
        )
        current.output.data()
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, caption=table.note or None, caption_justify="left")
    for at, name in enumerate(table.head):
        shown.add_column(name, justify="right" if at else "left", no_wrap=at > 0, overflow="fold")
    for row in table.rows:
        cells = [
            Text(plain(cell.text) + cell.mark, style="bold" if cell.is_best else "") for cell in row
        ]
        shown.add_row(*cells)
    Console(file=sys.stdout).print(shown)


def _show_examples(
    current: Session, name: str, baseline: str, measure: str, rows: Sequence[Shown]
) -> None:
    if not rows:
        current.output.data(f"{name} and {baseline} have the same {measure} in every query")
        return
    current.output.data(f"{measure} of {plain(name)}, of {plain(baseline)}, difference, query:")
    for one in rows:
        gain = one.value - one.baseline
        text = f"  {plain(one.text)}" if one.text else ""
        line = f"  {one.value:.4f}  {one.baseline:.4f}  {gain:+.4f}  {plain(one.query)}{text}"
        current.output.data(line)


def _means_table(means: Mapping[str, Mapping[str, float]]) -> Table:
    from lsr.eval.report_tables import means_table

    return means_table(means)


def _notes(current: Session, notes: Sequence[str]) -> None:
    for note in notes:
        current.output.note(note)


def _texts(queries: str | None) -> dict[str, str]:
    if queries is None:
        return {}
    from lsr.queries import read_queries

    return {query.id: " ".join(query.text.split()) for query in read_queries(queries)}


def _split(given: Sequence[str] | None) -> list[str]:
    """Return names given one by one or with commas; commas inside brackets divide nothing."""
    import re

    parts = [part.strip() for one in given or [] for part in re.split(r",(?![^()]*\))", one)]
    return [part for part in parts if part]


def _is_dataset(sources: Sequence[str]) -> bool:
    """Return whether the first source is a folder or an id; a file alone is a run."""
    if not sources:
        raise ConfigError("give a dataset or a run")
    first = sources[0]
    return first.startswith("irds:") or Path(first).is_dir()
