"""`lsr search http://HOST:PORT/NAME`: the same search, carried out by a service."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from lsr.cli_blend import added_line, leg_line
from lsr.output import Output, is_lively, plain
from lsr.types import AddedTerm, LegScore

if TYPE_CHECKING:
    from lsr.service.schemas import HitFound, SearchResponse

#: The key that is sent to a service, when this variable has one.
KEY = "LSR_KEY"

_BOLD, _END = "\x1b[1m", "\x1b[22m"
_TERMS_SHOWN = 6


class Remote(NamedTuple):
    """What is looked for: one of them."""

    query: str | None
    vector: dict[str, float] | None
    like: str | None


class RemoteLimits(NamedTuple):
    """How many are wanted, which, and what is shown of them."""

    k: int
    filter: str | None
    fields: str | None
    exact: bool
    recall: float | None
    path: str | None
    mode: str | None = None
    offset: int = 0
    depth: int | None = None
    fusion: dict[str, Any] | None = None
    feedback: dict[str, Any] | None = None


def search_remote(
    output: Output, url: str, asked: Remote, limits: RemoteLimits, *, json: bool
) -> None:
    """Search an index of a service and write the hits as `lsr search` does."""
    from lsr.service.client import Client, parse_address

    address = parse_address(url)
    names = [name.strip() for name in limits.fields.split(",")] if limits.fields else []
    with Client(address.base_url, key=os.environ.get(KEY)) as client:
        found = client.search(
            address.name,
            asked.query,
            vector=asked.vector,
            like=asked.like,
            limit=limits.k,
            filter=limits.filter,
            fields=["title", *names] if names else None,
            exact=limits.exact,
            recall=limits.recall,
            path=limits.path,
            mode=limits.mode,  # type: ignore[arg-type]
            offset=limits.offset,
            depth=limits.depth,
            fusion=limits.fusion,
            feedback=limits.feedback,
            highlight=True,
            explain=True,
        )
    if json:
        output.json(found.model_dump(exclude_none=True))
        return
    _show(output, found, names)


def _show(output: Output, found: SearchResponse, names: list[str]) -> None:
    for hit in found.hits:
        title = f"  {output.strong(plain(hit.title))}" if hit.title else ""
        output.data(f"{hit.rank:>3}  {hit.score:8.4f}  {plain(hit.id)}{title}")
        for name in names:
            if name in hit.fields:
                output.data(f"     {name}: {plain(str(hit.fields[name]))}")
        if snippet := _snippet(hit):
            output.data(f"     {snippet}")
        if hit.explain:
            shown = [f"{plain(one.token)} {one.product:.2f}" for one in hit.explain[:_TERMS_SHOWN]]
            more = len(hit.explain) - len(shown)
            output.data(f"     matched: {', '.join(shown)}" + (f" and {more} more" if more else ""))
        if len(hit.scores) > 1:
            ranks = hit.ranks
            output.data(
                "     " + leg_line({n: LegScore(s, ranks.get(n)) for n, s in hit.scores.items()})
            )
    for leg, terms in found.feedback.items():
        added = tuple(AddedTerm(one.token, one.weight, one.before) for one in terms)
        if added:
            output.data(f"feedback added to {leg}: {plain(added_line(added))}")
    for warning in found.warnings:
        output.note(warning)
    if not found.hits:
        output.note("no document matches")
    output.detail(f"{len(found.hits)} hits in {found.took_ms:.1f} ms, by way of {found.path}")


def _snippet(hit: HitFound) -> str:
    from lsr.snippet import Mark, Snippet, render

    marks = (_BOLD, _END) if is_lively(sys.stdout) else ("", "")
    for part in hit.highlights or ():
        if part.field == "text":
            # Neutralised one character for one, so that the marks stay right.
            found = Snippet(plain(part.text), tuple(Mark(*mark) for mark in part.marks))
            return render(found, *marks)
    return ""
