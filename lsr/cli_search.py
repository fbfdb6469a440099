"""`lsr search` and `lsr explain`: questions to an index."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from lsr.cli_blend import (
    FeedbackOption,
    FusionOption,
    WeightsOption,
    added_line,
    leg_line,
    show_legs,
    to_feedback,
    to_fusion,
)
from lsr.cli_legs import DenseModel, Mode
from lsr.cli_remote import Remote, RemoteLimits, search_remote
from lsr.cli_session import Filter, IndexDir, Json, Model, Session, Threads, session, written
from lsr.errors import ConfigError, DataError, LsrError
from lsr.output import Output, is_lively, plain

if TYPE_CHECKING:
    from lsr.index.feedback import Feedback
    from lsr.index.fusion import Fusion
    from lsr.index.index import Index
    from lsr.sparse import SparseVector
    from lsr.types import Explanation, Hit, SearchResult, TermProduct

_BOLD, _END = "\x1b[1m", "\x1b[22m"
_TERMS_SHOWN = 6
_BATCH = 1024


#: As `index.planner.Path`, which costs an import.
Way = Literal["exact", "accumulate", "blocks"]


class Asking(NamedTuple):
    """How many queries are asked: the options of `search_batch`."""

    k: int
    filter: str | None
    exact: bool
    recall: float | None
    path: Way | None
    mode: str | None
    fusion: Fusion | None
    feedback: Feedback | bool
    depth: int | None
    threads: int | None


Vector = Annotated[
    bool,
    typer.Option("--vector", help='The query is a vector: {"token or term id": weight, ...}.'),
]


def search(
    ctx: typer.Context,
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder of the index, or http://HOST:PORT/NAME.")
    ],
    query: Annotated[
        list[str] | None, typer.Argument(metavar="[QUERY...]", help="What to look for.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Hits to return; default 10.")] = None,
    filter: Filter = None,
    vector: Vector = False,
    fields: Annotated[
        str | None, typer.Option(metavar="A,B", help="Metadata fields to show with each hit.")
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Many queries: queries.jsonl, .tsv or irds:ID."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="FILE", help="TREC run to write, - for stdout.")
    ] = None,
    tag: Annotated[str, typer.Option(help="Name of the run.")] = "lsr",
    like: Annotated[
        str | None, typer.Option(metavar="ID", help="Find documents like this one; no query.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Find the best for certain.")] = False,
    recall: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of the best to find; default 0.99."),
    ] = None,
    path: Annotated[
        Way | None,
        typer.Option(help="Insist on a way through the index; the default is the cheapest."),
    ] = None,
    mode: Mode = None,
    offset: Annotated[int, typer.Option(min=0, help="Hits to leave out before the first.")] = 0,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Hits to find before a page of them is cut; default offset + k. Of --mode hybrid, "
            "the hits of each leg; default 1000.",
        ),
    ] = None,
    fusion: FusionOption = None,
    weights: WeightsOption = None,
    feedback: FeedbackOption = None,
    model: Model = None,
    dense_model: DenseModel = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Search an index.

    Each hit has its rank, score, id and title, a snippet, and the terms that matched with their
    shares of the score. With --queries many queries are answered: as a TREC run with --run, as
    a line of JSON for each query without.
    """
    if [bool(query), queries is not None, like is not None].count(True) != 1:
        raise ConfigError("give a query after DIR, or --queries FILE, or --like ID; one of them")
    text = " ".join(query or [])
    if query and not text.strip():
        raise ConfigError("the query is empty")
    if like is not None and (exact or recall is not None or path is not None):
        raise ConfigError("--like is always exact; leave out --exact, --recall and --path")
    if run is not None and queries is None:
        raise ConfigError("--run writes the answers to many queries; give --queries FILE, too")
    hybrid = mode == "hybrid"
    if queries is not None and (offset or (depth is not None and not hybrid)):
        raise ConfigError("--offset and --depth cut a page of one answer; -k is for --queries")
    settings = session(ctx).settings(k=k, threads=threads)
    if directory.startswith(("http://", "https://")):
        if queries is not None or model is not None:
            raise ConfigError("a service takes neither --queries nor --model; search a folder")
        if dense_model is not None:
            raise ConfigError("a service takes no --dense-model; search a folder")
        wanted = None if vector else text or None
        remote = Remote(wanted, _given_vector(text) if vector else None, like)
        how = to_fusion(fusion, weights)
        richer = to_feedback(feedback)
        limits = RemoteLimits(
            settings.k, filter, fields, exact, recall, path, mode, offset, depth,
            None if how is None else how.to_json(),
            None if isinstance(richer, bool) else richer.to_json(),
        )  # fmt: skip
        search_remote(session(ctx).output, directory, remote, limits, json=json)
        return
    from lsr.index.index import Index

    index = Index.open(directory, encoder=model, dense=dense_model, verify=settings.verify)
    fused, richer = to_fusion(fusion, weights), to_feedback(feedback)
    deep = offset + settings.k if hybrid else depth or offset + settings.k
    asking = Asking(
        deep, filter, exact, recall, path, mode, fused, richer, depth if hybrid else None,
        settings.threads,
    )  # fmt: skip
    if queries is not None:
        _search_many(session(ctx), index, queries, asking, run, tag)
        return
    if like is not None:
        result = index.more_like(like, k=deep, filter=filter)
    else:
        asked = _parsed_vector(text) if vector else text
        options = asking._asdict()
        del options["threads"]  # of one query there is nothing to share out
        result = index.search(asked, **options)
    page = result.page(offset, min(offset + settings.k, deep))
    why = [result.why(hit.rank - 1) for hit in page]
    names = None if fields is None else [name.strip() for name in fields.split(",")]
    _check_fields(index, names)
    if json:
        answers = [_as_json(hit, reason, names) for hit, reason in zip(page, why, strict=True)]
        session(ctx).output.json(
            {
                "query": like or text,
                "path": result.path,
                "took_ms": result.took_ms,
                **({"timings": result.timings} if result.timings else {}),
                **({"feedback": result.feedback} if result.feedback else {}),
                "hits": answers,
            }
        )
    else:
        _show(session(ctx).output, result, page, why, names or [])


def explain(
    ctx: typer.Context,
    directory: IndexDir,
    query: Annotated[str, typer.Argument(metavar="QUERY")],
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the document.")],
    vector: Vector = False,
    mode: Mode = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Hits of each leg of --mode hybrid; default 1000.")
    ] = None,
    fusion: FusionOption = None,
    weights: WeightsOption = None,
    feedback: FeedbackOption = None,
    model: Model = None,
    dense_model: DenseModel = None,
    json: Json = False,
) -> None:
    """Show why a document scored what it did.

    Each shared term has a product of weights; the products sum to the score. Of a hybrid search,
    each leg's score, rank and share of the score are shown, and the terms that feedback added.
    """
    settings = session(ctx).settings()
    from lsr.index.index import Index

    index = Index.open(directory, encoder=model, dense=dense_model, verify=settings.verify)
    found = index.explain(
        _parsed_vector(query) if vector else query,
        id,
        mode=mode,
        fusion=to_fusion(fusion, weights),
        feedback=to_feedback(feedback),
        depth=depth,
    )
    if found is None and id in index:
        raise LsrError(
            f"no leg finds {id!r} within the depth of the search",
            hint="give a larger --depth",
        )
    if found is None:
        raise LsrError(f"{directory} has no document {id!r}")
    output = session(ctx).output
    if json:
        output.json({"query": query, **asdict(found)})
        return
    if found.legs:
        show_legs(output, found.legs, found.score)
    else:
        _show_terms(output, found)
    if found.passage is not None:
        output.data(f"best passage {found.passage.number}: {plain(found.passage.text)}")


def _show_terms(output: Output, found: Explanation) -> None:
    output.table(
        [
            {
                "token": term.token,
                "query": term.query_weight,
                "document": term.document_weight,
                "product": term.product,
            }
            for term in found.terms
        ]
    )
    output.data(f"score {found.score:.4f} = the sum of {len(found.terms)} products")


def show_hits(output: Output, index: Index, query: str, k: int) -> None:
    """Search for `query` and write the hits as `lsr search` does."""
    result = index.search(query, k=k)
    _show(output, result, result.hits, [result.why(at) for at in range(len(result))], [])


def _parsed_vector(text: str) -> SparseVector | dict[str, float]:
    from lsr.sparse import SparseVectors

    found = _given_vector(text)
    if all(key.isascii() and key.isdigit() for key in found):
        row = {int(key): weight for key, weight in found.items()}
        return SparseVectors.from_dicts([row], vocab_size=2**32 - 1)[0]
    return found


def _given_vector(text: str) -> dict[str, float]:
    import json

    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(
            f"the query is not JSON: {error}", hint="write a vector like '{\"17\": 1.2}'"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(weight, int | float) and not isinstance(weight, bool)
        for weight in found.values()
    ):
        raise DataError(
            "the query is not an object of weights", hint="write a vector like '{\"17\": 1.2}'"
        )
    return found


def _check_fields(index: Index, names: Sequence[str] | None) -> None:
    known = index.info().fields if names else {}
    for name in names or []:
        if name not in known:
            raise ConfigError(
                f"--fields names {name!r}, which no document has",
                hint=f"the fields are {', '.join(known) or 'none'}",
            )


def _show(
    output: Output,
    result: SearchResult,
    page: Sequence[Hit],
    why: Sequence[Sequence[TermProduct]],
    fields: Sequence[str],
) -> None:
    for hit, terms in zip(page, why, strict=True):
        title = f"  {output.strong(plain(hit.title))}" if hit.title else ""
        output.data(f"{hit.rank:>3}  {hit.score:8.4f}  {plain(hit.id)}{title}")
        for name in fields:
            if name in hit.fields:
                output.data(f"     {name}: {plain(str(hit.fields[name]))}")
        if snippet := _snippet(hit, terms):
            output.data(f"     {snippet}")
        if terms:
            shown = ", ".join(
                f"{plain(term.token)} {term.product:.2f}" for term in terms[:_TERMS_SHOWN]
            )
            more = len(terms) - _TERMS_SHOWN
            output.data(f"     matched: {shown}" + (f" and {more} more" if more > 0 else ""))
        if len(hit.legs) > 1:
            output.data(f"     {leg_line(hit.legs)}")
    for leg, added in result.feedback.items():
        if added:
            output.data(f"feedback added to {leg}: {plain(added_line(added))}")
    if not page:
        output.note("no document matches" if not len(result) else "the page is empty")
    output.detail(f"{len(result)} hits in {result.took_ms:.1f} ms, by way of {result.path}")


def _snippet(hit: Hit, terms: Sequence[TermProduct]) -> str:
    from lsr.snippet import make_snippet, render

    tokens = {term.token: term.product for term in terms}
    text = hit.passage.text if hit.passage else hit.text
    # Neutralised before it is marked: one character for one, so that the marks stay right.
    snippet = make_snippet(plain(text), tokens)
    marks = (_BOLD, _END) if is_lively(sys.stdout) else ("", "")
    return render(snippet, *marks)


def _as_json(
    hit: Hit, terms: Sequence[TermProduct], fields: Sequence[str] | None
) -> dict[str, object]:
    from lsr.snippet import make_snippet

    text = hit.passage.text if hit.passage else hit.text
    snippet = make_snippet(text, {term.token: term.product for term in terms})
    chosen = hit.fields if fields is None else {n: hit.fields.get(n) for n in fields}
    return {
        "rank": hit.rank,
        "score": hit.score,
        "legs": {name: found._asdict() for name, found in hit.legs.items()},
        "id": hit.id,
        "title": hit.title,
        "fields": dict(chosen),
        "passage": hit.passage,
        "snippet": snippet.text,
        "highlights": [list(mark) for mark in snippet.marks],
        "terms": [{"token": term.token, "product": term.product} for term in terms],
    }


def _search_many(
    current: Session,
    index: Index,
    source: str,
    asking: Asking,
    run: str | None,
    tag: str,
) -> None:
    """Answer each query of a file: as a TREC run, or without `run` as lines of JSON."""
    from lsr.output import to_json
    from lsr.queries import read_queries, trec_lines

    queries = read_queries(source)
    current.output.on_interrupt = "the run was not written"
    with (
        written("-" if run is None else run) as out,
        current.output.progress("queries", len(queries)) as bar,
    ):
        for at in range(0, len(queries), _BATCH):
            part = queries[at : at + _BATCH]
            texts = [query.text for query in part]
            results = index.search_batch(texts, **asking._asdict())
            for query, result in zip(part, results, strict=True):
                if run is None:
                    hits = [{"rank": h.rank, "score": h.score, "id": h.id} for h in result]
                    out.write(to_json({"id": query.id, "query": query.text, "hits": hits}) + "\n")
                else:
                    out.writelines(line + "\n" for line in trec_lines(query.id, result, tag))
            bar.update(at + len(part))
    current.output.note(
        f"{len(queries):,} queries" + (f", written to {run}" if run not in (None, "-") else "")
    )
