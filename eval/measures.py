"""Measures: ir_measures' names, computed by ir_measures, query by query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lsr.errors import ConfigError
from lsr.qrels import Grades

#: What a report shows unless told otherwise.
DEFAULT_MEASURES = ("nDCG@10", "R@100", "R@1000", "RR@10", "AP", "Judged@10")

#: Measure -> query -> value.
Scores = dict[str, dict[str, float]]

#: How equal scores are ordered; said in every report.
TIES = (
    "Equal scores (in float32) are ordered as the measure's own software does it: trec_eval, "
    "behind nDCG, R, AP and P, by document id descending; ir_measures' RR@k and Judged@k by id "
    "ascending."
)

_BEIR_NAMES = {"ndcg": "nDCG", "map": "AP", "recall": "R", "mrr": "RR", "p": "P"}
_MTEB_NAMES = {"nDCG": "ndcg", "AP": "map", "R": "recall", "RR": "mrr", "P": "precision"}


def parse_measures(names: Sequence[str]) -> list[str]:
    """Return measures as ir_measures spells them; BEIR's spelling (NDCG@10) is understood.

    Raises ConfigError for a name that ir_measures does not know or cannot compute.

    >>> parse_measures(["NDCG@10", "Success@5"])
    ['nDCG@10', 'Success@5']
    """
    found = [str(_parse(name)) for name in names]
    return list(dict.fromkeys(found))


def measure_run(
    grades: Grades, run: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> Scores:
    """Return the value of each measure for each judged query; a query without hits has 0.

    >>> measure_run({"q": {"a": 1}}, {"q": {"b": 2.0, "a": 1.0}}, ["RR@10"])
    {'RR@10': {'q': 0.5}}
    """
    import ir_measures

    parsed = {name: _parse(name) for name in names}
    # ir_measures takes plain dicts; queries of the run that nobody judged are none of its business.
    judged = {query: dict(hits) for query, hits in run.items() if query in grades and hits}
    scores: Scores = {name: dict.fromkeys(grades, 0.0) for name in parsed}
    spelt = {str(measure): name for name, measure in parsed.items()}
    for one in ir_measures.iter_calc(list(parsed.values()), grades, judged):
        scores[spelt[str(one.measure)]][one.query_id] = float(one.value)
    return scores


def mean(values: Mapping[str, float]) -> float:
    """Return the mean over queries; 0 for none."""
    return sum(values.values()) / len(values) if values else 0.0


def mteb_key(name: str) -> str:
    """Return the key of a measure in MTEB's results.

    >>> mteb_key("nDCG@10"), mteb_key("AP"), mteb_key("Judged@10")
    ('ndcg_at_10', 'map', 'judged_at_10')
    """
    kind, _, cutoff = name.partition("@")
    base = _MTEB_NAMES.get(kind, re.sub(r"\W+", "_", kind).strip("_").lower())
    return f"{base}_at_{cutoff}" if cutoff else base


def _parse(name: str) -> Any:
    import ir_measures

    kind, at, cutoff = name.strip().partition("@")
    asked = _BEIR_NAMES.get(kind.lower(), kind) + at + cutoff
    try:
        measure = ir_measures.parse_measure(asked)
        ir_measures.evaluator([measure], {"q": {"d": 1}})
    except (NameError, ValueError, TypeError, KeyError, SyntaxError) as error:
        raise ConfigError(
            f"{name!r} is not a measure that ir_measures computes ({error})",
            hint=f"write them like {', '.join(DEFAULT_MEASURES)}, P@5, Success@1",
        ) from error
    return measure
