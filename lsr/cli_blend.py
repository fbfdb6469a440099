"""The options of search over several legs: fusion, weights, feedback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.errors import ConfigError

if TYPE_CHECKING:
    from lsr.index.feedback import Feedback
    from lsr.index.fusion import Fusion
    from lsr.output import Output
    from lsr.types import AddedTerm, LegExplanation, LegScore

FusionOption = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        metavar="METHOD[,KEY=VALUE...]",
        help="How --mode hybrid fuses: rrf (default), minmax, zscore or dbsf, then k=60 (of rrf), "
        "missing=zero|min|rescore.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="LEG=W,...", help="Weights of the legs; 1 where none is given."
    ),
]
FeedbackOption = Annotated[
    str | None,
    typer.Option(
        "--feedback",
        metavar="WHEN[,KEY=VALUE...]",
        help="Make the query richer by what it found: pre, post or both (fusion before, after, "
        "before and after), then docs=3, terms=20, alpha=0.6, legs=A+B, dense=rocchio|average.",
    ),
]


def to_fusion(fusion: str | None, weights: str | None) -> Fusion | None:
    """Return the fusion that the options describe, None where they say nothing.

    >>> to_fusion("minmax,missing=min", "dense=2").weights
    {'dense': 2.0}
    """
    if fusion is None and weights is None:
        return None
    from lsr.index.fusion import Fusion

    method, values = _parsed("--fusion", fusion or "rrf", {"k": float, "missing": str})
    if weights is not None:
        _, values["weights"] = _parsed("--weights", f",{weights}", None)
    return Fusion(method or "rrf", **values)  # type: ignore[arg-type]


def to_feedback(text: str | None) -> Feedback | bool:
    """Return the feedback that the option describes, false where it was not given.

    >>> to_feedback("post,docs=5").docs
    5
    """
    if text is None:
        return False
    from lsr.index.feedback import Feedback

    kinds = {"docs": int, "terms": int, "alpha": float, "legs": _names, "dense": str}
    when, values = _parsed("--feedback", text, kinds)
    return Feedback(when=when or "both", **values)  # type: ignore[arg-type]


def leg_line(legs: Mapping[str, LegScore]) -> str:
    """Return the scores and ranks that the legs gave a hit, in a line.

    >>> from lsr.types import LegScore
    >>> leg_line({"bm25": LegScore(7.25, 3), "dense": LegScore(0.5, None)})
    'bm25 7.2500 (rank 3), dense 0.5000 (not found)'
    """
    parts = []
    for name, (score, rank) in legs.items():
        parts.append(f"{name} {score:.4f} ({'not found' if rank is None else f'rank {rank}'})")
    return ", ".join(parts)


def added_line(added: tuple[AddedTerm, ...], most: int = 8) -> str:
    """Return the terms that feedback added, heaviest first, in a line."""
    shown = ", ".join(f"{term.token} {term.weight:.3g}" for term in added[:most])
    more = len(added) - most
    return shown + (f" and {more} more" if more > 0 else "")


def show_legs(output: Output, legs: Mapping[str, LegExplanation], score: float) -> None:
    """Write what each leg made of a document."""
    from lsr.output import plain

    for name, leg in legs.items():
        if leg.score is None:
            output.data(f"{name}: did not find it" + _share(leg.share))
        else:
            rank = "not among its best" if leg.rank is None else f"rank {leg.rank}"
            output.data(f"{name}: score {leg.score:.4f}, {rank}" + _share(leg.share))
        for term in leg.terms:
            product = f"{term.query_weight:.4f} x {term.document_weight:.4f} = {term.product:.4f}"
            output.data(f"    {plain(term.token)}: {product}")
        if leg.added:
            output.data(f"    feedback added: {plain(added_line(leg.added, 1000))}")
    output.data(f"score {score:.4f}")


def _share(share: float | None) -> str:
    return "" if share is None else f", adds {share:.4f}"


def _parsed(option: str, text: str, kinds: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return the first word and the values that follow; `kinds` None takes numbers by any name."""
    first, *others = (part.strip() for part in text.split(","))
    if "=" in first:
        first, others = "", [first, *others]
    values: dict[str, Any] = {}
    for part in filter(None, others):
        name, equals, value = part.partition("=")
        if not equals or (kinds is not None and name not in kinds):
            known = "LEG=NUMBER" if kinds is None else ", ".join(f"{one}=..." for one in kinds)
            raise ConfigError(f"{option} has {part!r}; {known} is expected")
        try:
            values[name] = float(value) if kinds is None else kinds[name](value)
        except ValueError as error:
            raise ConfigError(f"{option}: {name} is {value!r}; a number is expected") from error
    return first, values


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split("+"))
