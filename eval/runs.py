"""Runs: what a system found for each query, in and out of TREC files."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lsr.errors import DataError, StorageError
from lsr.text_rows import rows

#: Query id -> document id -> score; best first when a system made it, in file order when read.
Run = dict[str, dict[str, float]]

_SHAPE = "`query Q0 document rank score tag`"


def read_run(path: str | Path) -> Run:
    """Return the run in a TREC file, plain or compressed; scores are what counts, not ranks.

    A line of another shape, a score that is no finite number and a document that comes twice for
    a query are a DataError that names the line; a file without lines is one, too.

    >>> _ = Path("run.txt").write_text("q1 Q0 d1 1 2.5 lsr\\n")
    >>> read_run("run.txt")
    {'q1': {'d1': 2.5}}
    """
    path = Path(path)
    run: Run = {}
    for number, columns in rows(path, "run"):
        where = f"{path}:{number}"
        if len(columns) != 6:
            raise DataError(
                f"{where}: {len(columns)} columns; expected six, {_SHAPE}",
                hint=None if len(columns) < 6 else "ids and tags must not hold white space",
            )
        query, _, document, _, text, _ = columns
        score = _score(text, where)
        hits = run.setdefault(query, {})
        if document in hits:
            raise DataError(f"{where}: document {document!r} comes twice for query {query!r}")
        hits[document] = score
    if not run:
        raise DataError(f"{path}: the run is empty; lines of {_SHAPE} are expected")
    return run


def write_run(path: Path, run: Mapping[str, Mapping[str, float]], tag: str) -> None:
    """Write a TREC run; `.gz` compresses. Scores have the nine digits that float32 needs.

    What is read again is what was measured: no two scores become equal by rounding. Hits are
    written best first, ties in the order of the run. Raises DataError for an id with white space.
    """
    lines = []
    name = "_".join(tag.split()) or "run"
    for query, hits in run.items():
        ordered = sorted(hits.items(), key=lambda hit: -hit[1])
        for rank, (document, score) in enumerate(ordered, 1):
            for identity in (query, document):
                if len(identity.split()) != 1:
                    raise DataError(f"id {identity!r} holds white space, which a TREC run cannot")
            lines.append(f"{query} Q0 {document} {rank} {score:.9g} {name}\n")
    data = "".join(lines).encode()
    try:
        # Without a time stamp, so that the same run gives the same bytes.
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def tied_queries(run: Mapping[str, Mapping[str, float]], depth: int = 10) -> int:
    """Return for how many queries equal scores leave open which are the first `depth`, or in
    what order.

    >>> tied_queries({"q1": {"a": 1.0, "b": 1.0}, "q2": {"a": 2.0, "b": 1.0}})
    1
    """
    tied = 0
    for hits in run.values():
        # trec_eval keeps scores in single precision.
        scores = np.sort(np.fromiter(hits.values(), np.float32, len(hits)))[::-1][: depth + 1]
        tied += bool(np.any(scores[1:] == scores[:-1]))
    return tied


def identical_hits(run: Mapping[str, Mapping[str, float]]) -> int:
    """Return how many hits have the id of the query they answer."""
    return sum(query in hits for query, hits in run.items())


def without_identical(run: Mapping[str, Mapping[str, float]]) -> Run:
    """Return the run without the hits that have the id of their query, as BEIR has it."""
    return {
        query: {document: score for document, score in hits.items() if document != query}
        for query, hits in run.items()
    }


def cut(run: Mapping[str, Mapping[str, float]], depth: int) -> Run:
    """Return the run with the first `depth` hits of each query, in the run's order."""
    return {query: dict(list(hits.items())[:depth]) for query, hits in run.items()}


def check_overlap(
    run: Mapping[str, Mapping[str, float]], grades: Mapping[str, object], source: str
) -> list[str]:
    """Return what is to be said about the queries of a run that are not judged, and the reverse.

    Raises DataError when they have none in common.
    """
    unjudged = [query for query in run if query not in grades]
    if len(unjudged) == len(run):
        raise DataError(
            f"{source} and the judgements have no query in common: the run has "
            f"{_some(run)}, the judgements have {_some(grades)}",
            hint="take the judgements of the same dataset and split",
        )
    notes = []
    if unjudged:
        notes.append(
            f"{len(unjudged):,} of {len(run):,} queries of the run are not judged and left out"
        )
    missing = sum(query not in run for query in grades)
    if missing:
        notes.append(
            f"{missing:,} of {len(grades):,} judged queries have no hits; they count as 0 "
            "(BEIR's evaluator leaves such queries out of its means)"
        )
    return notes


def finite(scores: Sequence[float], where: str) -> None:
    """Raise DataError if a score of a system is not a finite number."""
    for score in scores:
        if not math.isfinite(score):
            raise DataError(f"{where}: a score is {score}; a finite number is expected")


def _score(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: the score is {text!r}; a finite number is expected")
    return value


def _some(ids: Iterable[str]) -> str:
    first = [repr(one) for _, one in zip(range(3), ids, strict=False)]
    return ", ".join(first) + ", …"
