"""Dev sets: how well the model finds, by exact search with the folder that would be saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lsr.corpus import read_documents
from lsr.encoder import Encoder
from lsr.errors import ConfigError, DataError
from lsr.index.index import Index
from lsr.qrels import Grades, read_qrels, split_file
from lsr.queries import read_queries
from lsr.rejects import Rejects
from lsr.types import Document

from .settings_run import DevSettings
from .sources import resolve

#: Hits of a query that are measured; enough for every measure with a cut-off.
_DEPTH = 100


@dataclass(frozen=True, slots=True)
class DevSet:
    """Documents, queries and judgements of one dev set, in memory."""

    name: str
    documents: tuple[Document, ...]
    queries: Mapping[str, str]
    grades: Grades


class DevScore(NamedTuple):
    """The value of the measure, and the average number of terms of documents and queries."""

    value: float
    document_terms: float
    query_terms: float


def read_dev_sets(settings: DevSettings, folder: Path | None = None) -> list[DevSet]:
    """Return the dev sets of a recipe: BEIR folders or irds ids, a split after a colon.

    With `max_documents`, judged documents and the first others up to that number are kept: a
    smaller collection is easier, so compare only what was measured with the same setting.
    """
    return [_read(text, settings.max_documents, folder) for text in settings.sets]


def measure_model(
    encoder: Encoder, sets: Sequence[DevSet], measure: str, *, threads: int | None = None
) -> dict[str, DevScore]:
    """Return the mean of the measure on each set, every query searched exactly."""
    found = {}
    for one in sets:
        with tempfile.TemporaryDirectory(prefix="lsr-dev-") as name:
            index = Index.create(Path(name) / "index", encoder=encoder)
            index.add(one.documents)
            index.commit()
            identities = list(one.queries)
            texts = [one.queries[identity] for identity in identities]
            hits = index.search_batch(texts, k=_DEPTH, exact=True, threads=threads)
            run = {
                identity: dict(zip(result.ids, result.scores, strict=True))
                for identity, result in zip(identities, hits, strict=True)
            }
            n_terms = sum(rows.nnz for _, rows in index.vectors())
            asked = encoder.encode_queries(texts)
        found[one.name] = DevScore(
            _mean(one.grades, run, measure),
            n_terms / len(one.documents),
            asked.nnz / max(1, len(asked)),
        )
    return found


def dev_measurer(
    settings: DevSettings, folder: Path | None, threads: int | None
) -> Callable[[Encoder], dict[str, DevScore]] | None:
    """Return what measures an encoder on the recipe's dev sets; None when it names none."""
    sets = read_dev_sets(settings, folder)
    if not sets:
        return None
    _check_measure(settings.measure)
    return lambda encoder: measure_model(encoder, sets, settings.measure, threads=threads)


def _read(text: str, most: int | None, folder: Path | None) -> DevSet:
    path, _, split = text.partition(":") if not text.startswith("irds:") else (text, "", "")
    where = resolve(path, folder)
    is_folder = not where.startswith("irds:")
    if is_folder and not Path(where).is_dir():
        raise ConfigError(
            f"dev set {text!r}: there is no folder {where}",
            hint="give a BEIR folder (NAME or NAME:SPLIT) or irds:<id>",
        )
    grades = read_qrels(split_file(Path(where), split or None) if is_folder else where).grades
    queries = {query.id: query.text for query in read_queries(where) if query.id in grades}
    missing = sorted(set(grades) - set(queries))
    if missing:
        raise DataError(f"{where}: judged query {missing[0]!r} has no text")
    judged = {document for of_query in grades.values() for document in of_query}
    kept: list[Document] = []
    others = max(0, (most or 0) - len(judged))
    for record in read_documents(where, rejects=Rejects("skip")):
        if most is None or record.document.id in judged:
            kept.append(record.document)
        elif others:
            others -= 1
            kept.append(record.document)
    name = where if not is_folder else Path(where).name
    return DevSet(name, tuple(kept), queries, grades)


def _check_measure(name: str) -> None:
    import ir_measures

    try:
        ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as error:
        raise ConfigError(
            f"dev.measure is {name!r}, which ir_measures does not know",
            hint="nDCG@10, RR@10, R@100",
        ) from error


def _mean(grades: Grades, run: Mapping[str, Mapping[str, float]], measure: str) -> float:
    import ir_measures

    parsed = ir_measures.parse_measure(measure)
    judged = {query: dict(hits) for query, hits in run.items() if hits}
    values = dict.fromkeys(grades, 0.0)
    for one in ir_measures.iter_calc([parsed], grades, judged):
        values[one.query_id] = float(one.value)
    return sum(values.values()) / len(values)
