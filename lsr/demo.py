"""The demonstration: Python's own documentation, indexed and asked three questions."""

from __future__ import annotations

from pathlib import Path

from lsr.cli_index import Job, Made, OnError, open_or_create, run_build
from lsr.cli_search import show_hits
from lsr.cli_session import Session
from lsr.config import Settings

CORPUS = "pydoc:stdlib"
QUERIES = (
    "measure how long some code takes",
    "send an email",
    "compress a file",
)
_HITS = 3


def run_demo(current: Session, settings: Settings, out: Path) -> None:
    """Index the documentation of the standard library into `out`, unless it is there; search it.

    A build that was stopped goes on where it stood.
    """
    from lsr.index.index import Index

    output = current.output
    if not _holds_documents(out):
        output.note(f"indexing the documentation of Python's standard library into {out}")
        _index(current, settings, out)
    index = Index.open(out, verify=settings.verify)
    output.note(f"{out} holds {len(index):,} documents")
    for query in QUERIES:
        output.data()
        output.data(output.strong(f'lsr search {out} "{query}"'))
        show_hits(output, index, query, _HITS)
    output.data()
    output.note(f'ask it yourself: lsr search {out} "..."')


def _holds_documents(out: Path) -> bool:
    from lsr.index.index import Index

    return (out / "manifest.json").exists() and len(Index.open(out)) > 0


def _index(current: Session, settings: Settings, out: Path) -> None:
    from lsr.corpus import FieldMap
    from lsr.output import duration, number

    job = Job(
        sources=[CORPUS],
        mapping=FieldMap(),
        format=None,
        vectors=False,
        resume=True,
        restart=False,
        on_error=OnError.skip,
        rejects=None,
    )
    index, _ = open_or_create(out, Made(settings.model, None, None), job, settings)
    try:
        report = run_build(current, index, job, settings, "add")
    finally:
        index.close()
    rate = number(report.documents_per_second)
    current.output.note(f"done in {duration(report.seconds)}, {rate} documents/s")
