"""Searching: a checked request and an index, to the JSON of an answer. Runs in a search thread."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lsr.config import ServeSettings
from lsr.errors import DataError
from lsr.index.feedback import Feedback
from lsr.index.fusion import Fusion
from lsr.index.hybrid import DEPTH
from lsr.index.query import Query
from lsr.snippet import make_snippet
from lsr.sparse import SparseVector, SparseVectors
from lsr.types import Hit, Passage, SearchResult, TermProduct

from .problems import Problem
from .schemas import Asked, ExplainRequest, FeedbackAsked, FusionAsked, IndexedVector, SearchRequest
from .shelf import Served

#: Terms of a query may lie outside an index's vocabulary; search leaves them out.
_ANY_VOCABULARY = 2**32 - 1
_SPARSE, _DENSE, _HYBRID = "sparse", "dense", "hybrid"
#: Hits with reasons are made in Python; the deadline is looked at after so many.
_LOOK_EVERY = 16


@dataclass(slots=True)
class Timings:
    """Milliseconds of a request in each stage, for the answer, the log and the metrics."""

    stages: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        """Count time for a stage."""
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds * 1e3

    def rounded(self) -> dict[str, float]:
        """Return the stages with microseconds as the last digit."""
        return {stage: round(spent, 3) for stage, spent in self.stages.items()}


def check_search(request: SearchRequest, settings: ServeSettings) -> None:
    """Raise Problem where a request asks for more than this service gives."""
    _one_of(request, ("query", "vector", "like"))
    _check_asked(request, settings)
    others = (request.mode not in (None, _SPARSE), request.feedback, request.dense)
    if request.like is not None and any(others):
        raise _too_much("like", "like is about the sparse leg, alone and without feedback")
    if request.mode != _HYBRID and request.fusion is not None:
        raise _too_much("fusion", "fusion is an option of mode hybrid")
    if request.mode == _HYBRID and request.offset + request.limit > _depth(request, settings):
        raise _too_much(
            "depth",
            f"offset + limit is {request.offset + request.limit}, but depth is "
            f"{_depth(request, settings)}",
        )
    for name, most in (("limit", settings.max_limit), ("depth", settings.max_depth)):
        value = getattr(request, name)
        if value is not None and value > most:
            raise _too_much(name, f"{name} is {value}; this service gives at most {most}")
    if request.offset + request.limit > settings.max_depth:
        raise _too_much(
            "offset",
            f"offset + limit is {request.offset + request.limit}; "
            f"this service goes {settings.max_depth} hits deep",
        )
    if isinstance(request.filter, str) and len(request.filter) > settings.max_query:
        raise _too_much("filter", f"the filter is longer than {settings.max_query} characters")


def check_explain(request: ExplainRequest, settings: ServeSettings) -> None:
    """Raise Problem where a request asks for what this service does not give."""
    _one_of(request, ("query", "vector"))
    _check_asked(request, settings)


def query_of(asked: Asked) -> Query:
    """Return what is asked as an index takes it."""
    if asked.vector is None:
        return asked.query or ""
    if not isinstance(asked.vector, IndexedVector):
        return by_token_or_term(asked.vector)
    if len(asked.vector.indices) != len(asked.vector.values):
        raise DataError(
            f"the vector has {len(asked.vector.indices)} indices "
            f"and {len(asked.vector.values)} values"
        )
    row = dict(zip(asked.vector.indices, asked.vector.values, strict=True))
    if len(row) < len(asked.vector.indices):
        raise DataError("an index comes twice in the vector")
    return SparseVectors.from_dicts([row], vocab_size=_ANY_VOCABULARY)[0]


def by_token_or_term(weights: Mapping[str, float]) -> Query:
    """Return a vector in JSON as an index takes it: keys that are all digits are term ids."""
    if all(key.isascii() and key.isdigit() and len(key) < 11 for key in weights):
        return {int(key): weight for key, weight in weights.items()}
    return weights


def run_search(
    served: Served,
    request: SearchRequest,
    vector: SparseVector | None,
    timings: Timings,
    query_id: str,
    deadline: float = math.inf,
    most_depth: int = DEPTH,
) -> dict[str, Any]:
    """Return the answer to a search; `vector` is that of its text when it is encoded already.

    `most_depth` is how deep the legs of a hybrid search go that does not say.
    """
    started = time.perf_counter()
    index = served.index
    generation = index.generation
    mode = _mode(served, request)
    depth = request.depth or request.offset + request.limit
    if request.like is not None:
        result = index.more_like(request.like, k=depth, filter=request.filter)
    elif mode == _SPARSE and request.feedback is None:
        result = index.search(
            query_of(request) if vector is None else vector,
            k=depth,
            filter=request.filter,
            exact=request.exact,
            recall=request.recall,
            path=request.path,
            mode=_SPARSE,
        )
    else:
        if mode == _HYBRID:
            depth = request.offset + request.limit
        result = index.search(
            query_of(request),
            k=depth,
            filter=request.filter,
            exact=request.exact,
            recall=request.recall,
            path=request.path,
            mode=mode,
            fusion=fusion_of(request.fusion),
            feedback=feedback_of(request.feedback),
            depth=(request.depth or most_depth) if mode == _HYBRID else None,
            given=_given(request, mode, vector),
        )
    found = len(result)
    searched = time.perf_counter()
    steps = result.timings or {mode: (searched - started) * 1e3}
    for step, spent in steps.items():
        timings.add(step, spent / 1e3)
    hits = _hits(result, request, deadline)
    timings.add("fetch", time.perf_counter() - searched)
    return {
        "query_id": query_id,
        "took_ms": round(sum(timings.stages.values()), 3),
        "timings": timings.rounded(),
        "generation": generation,
        "path": result.path,
        "total": {"value": found, "relation": "eq" if found < depth else "gte"},
        "params": {
            "mode": mode,
            "limit": request.limit,
            "offset": request.offset,
            "depth": (request.depth or most_depth) if mode == _HYBRID else depth,
            "filter": request.filter,
            "exact": request.exact or request.like is not None,
            "recall": request.recall,
            **_params(request, mode),
        },
        "hits": hits,
        "warnings": _warnings(request, depth),
        "feedback": {
            leg: [term._asdict() for term in terms] for leg, terms in result.feedback.items()
        },
    }


def run_explain(
    served: Served,
    request: ExplainRequest,
    vector: SparseVector | None,
    most_depth: int = DEPTH,
) -> dict[str, Any]:
    """Return why a document scores what it does. Raises Problem 404 if there is none."""
    mode = _mode(served, request)
    hybrid = mode == _HYBRID
    found = served.index.explain(
        query_of(request),
        request.id,
        mode=mode,
        fusion=fusion_of(request.fusion),
        feedback=feedback_of(request.feedback),
        depth=(request.depth or most_depth) if hybrid else None,
        given=_given(request, mode, vector),
    )
    if found is None and request.id in served.index:
        raise Problem(
            404,
            f"no leg finds document {request.id[:100]!r} within the depth of the search",
            hint="give a larger depth",
        )
    if found is None:
        raise Problem(404, f"index {served.name!r} has no document {request.id[:100]!r}")
    legs = {
        name: {
            "score": None if leg.score is None else _number(leg.score),
            "rank": leg.rank,
            "share": leg.share,
            "terms": _terms(leg.terms),
            "added": [term._asdict() for term in leg.added],
        }
        for name, leg in found.legs.items()
    }
    scores = {name: leg["score"] for name, leg in legs.items() if leg["score"] is not None}
    return {
        "id": found.id,
        "score": _number(found.score),
        "scores": scores or {mode: _number(found.score)},
        "terms": _terms(found.terms),
        "passage": _passage(found.passage),
        "legs": legs,
    }


def text_to_encode(served: Served, asked: Asked) -> str | None:
    """Return the text that the sparse encoder has to read for a request, None for none."""
    mode = asked.mode or served.default_mode
    reads = mode == _SPARSE or (mode == _HYBRID and _SPARSE in served.index.legs)
    return (asked.query or None) if reads and served.encoder_name is not None else None


def fusion_of(asked: FusionAsked | None) -> Fusion | None:
    """Return the fusion that a request asks for."""
    if asked is None:
        return None
    weights = {str(leg): weight for leg, weight in asked.weights.items()}
    return Fusion(asked.method, weights, asked.k, asked.missing)


def feedback_of(asked: FeedbackAsked | None) -> Feedback | bool:
    """Return the feedback that a request asks for, false for none."""
    if asked is None:
        return False
    legs = None if asked.legs is None else tuple(asked.legs)
    return Feedback(asked.docs, asked.terms, asked.alpha, asked.when, legs, asked.dense)


def _mode(served: Served, request: Asked) -> str:
    """Return the leg that is asked for, or hybrid; Problem where the index lacks what it needs."""
    legs = served.index.legs
    mode = request.mode or served.default_mode
    if mode == _HYBRID and len(legs) < 2:
        raise _too_much("mode", f"hybrid search needs two legs; the index has {legs[0]} only")
    if mode not in (_HYBRID, *legs):
        raise _too_much("mode", f"the index has no leg {mode}; it has {', '.join(legs)}")
    return mode


def _given(request: Asked, mode: str, vector: SparseVector | None) -> dict[str, Any] | None:
    """Return the queries of single legs: what was encoded already, and a dense vector."""
    given: dict[str, Any] = {}
    if vector is not None and mode in (_SPARSE, _HYBRID):
        given[_SPARSE] = vector
    if request.dense is not None:
        given[_DENSE] = request.dense
    return given or None


def _params(request: SearchRequest, mode: str) -> dict[str, Any]:
    """Return what a search over several legs was made with."""
    params: dict[str, Any] = {}
    if mode == _HYBRID:
        params["fusion"] = (fusion_of(request.fusion) or Fusion()).to_json()
    if request.feedback is not None:
        params["feedback"] = request.feedback.model_dump()
    return params


def _depth(request: SearchRequest, settings: ServeSettings) -> int:
    return request.depth or min(DEPTH, settings.max_depth)


def shown_fields(fields: Mapping[str, Any], wanted: set[str] | None = None) -> dict[str, Any]:
    """Return metadata as JSON has it: dates as ISO 8601."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
        if wanted is None or name in wanted
    }


def _hits(result: SearchResult, request: SearchRequest, deadline: float) -> list[dict[str, Any]]:
    wanted = None if request.fields is None else set(request.fields)
    needs_terms = request.explain or request.highlight
    answers = []
    for at, hit in enumerate(
        result.page(request.offset, request.offset + request.limit), request.offset
    ):
        if at % _LOOK_EVERY == 0 and time.monotonic() > deadline:
            raise out_of_time()
        legs = hit.legs.items()
        answer = {
            "id": hit.id,
            "rank": hit.rank,
            "score": _number(hit.score),
            "scores": {name: _number(leg.score) for name, leg in legs},
            "ranks": {name: leg.rank for name, leg in legs if leg.rank is not None},
            "fields": shown_fields(hit.fields, wanted) if hit.fields else {},
        }
        if wanted is None or "title" in wanted:
            answer["title"] = hit.title
        if wanted is None or "text" in wanted:
            answer["text"] = hit.text
        if hit.passage is not None:
            answer["passage"] = _passage(hit.passage)
        if needs_terms:
            terms = result.why(at)
            if request.highlight:
                answer["highlights"] = _highlights(hit, terms)
            if request.explain:
                answer["explain"] = _terms(terms)
        answers.append(answer)
    return answers


def _highlights(hit: Hit, terms: tuple[TermProduct, ...]) -> list[dict[str, Any]]:
    tokens = {term.token: term.product for term in terms}
    text = hit.passage.text if hit.passage else hit.text
    parts = (("title", hit.title, 300), ("text", text, 240))
    found = ((name, make_snippet(text, tokens, width=width)) for name, text, width in parts if text)
    return [
        {"field": name, "text": snippet.text, "marks": [list(mark) for mark in snippet.marks]}
        for name, snippet in found
    ]


def _terms(terms: tuple[TermProduct, ...]) -> list[dict[str, Any]]:
    return [
        {
            "term": term.term,
            "token": term.token,
            "query": term.query_weight,
            "document": term.document_weight,
            "product": _number(term.product),
        }
        for term in terms
    ]


def _passage(passage: Passage | None) -> dict[str, Any] | None:
    if passage is None:
        return None
    return {
        "number": passage.number,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
    }


def _number(value: float) -> float:
    """Return a score as JSON can hold it: sums beyond float32 become its largest number."""
    return value if math.isfinite(value) else 3.4028234663852886e38


def _warnings(request: SearchRequest, depth: int) -> list[str]:
    if request.offset >= depth:
        return [f"the page starts at {request.offset}, but depth is {depth}: it is empty"]
    return []


def out_of_time() -> Problem:
    """Return the problem of a request that used up its time."""
    return Problem(
        408,
        "the request ran out of its time budget",
        hint="raise timeout_ms, or ask for fewer hits",
    )


def _check_asked(request: Asked, settings: ServeSettings) -> None:
    if request.query is not None and len(request.query) > settings.max_query:
        raise _too_much(
            "query",
            f"the query has {len(request.query):,} characters; "
            f"at most {settings.max_query:,} are read",
        )
    vector = request.vector
    size = len(vector.indices) if isinstance(vector, IndexedVector) else len(vector or ())
    if size > settings.max_query:
        raise _too_much(
            "vector", f"the vector has {size:,} terms; at most {settings.max_query:,} are read"
        )


def _one_of(request: Asked, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(request, name) is not None]
    if len(given) != 1:
        raise _too_much(
            names[0], f"give one of {', '.join(names)}; found {' and '.join(given) or 'none'}"
        )


def _too_much(name: str, message: str) -> Problem:
    return Problem(422, message, errors=[{"loc": ["body", name], "msg": message}])
