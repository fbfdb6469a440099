"""Queries in, and TREC runs out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lsr.errors import ConfigError, DataError
from lsr.types import SearchResult


class NamedQuery(NamedTuple):
    """A query with the id under which a run and its judgements know it."""

    id: str
    text: str


def read_queries(source: str) -> list[NamedQuery]:
    """Return the queries of a file or a dataset, in its order.

    `source` is BEIR's queries.jsonl (`_id`, `text`), a .tsv file of id and text, a BEIR folder,
    or `irds:<id>`. Raises DataError for an id that comes twice, naming the place.
    """
    path = Path(source)
    if source.startswith("irds:"):
        found = list(_of_ir_datasets(source.removeprefix("irds:")))
    elif path.is_dir():
        return read_queries(str(path / "queries.jsonl"))
    elif not path.exists():
        raise ConfigError(
            f"{source}: there is no such file",
            hint="give queries.jsonl (BEIR), a .tsv of id and text, a BEIR folder or irds:<id>",
        )
    elif ".tsv" in path.suffixes or ".txt" in path.suffixes:
        found = list(_of_table(path))
    else:
        found = list(_of_json_lines(source))
    return list(_distinct(found, source))


def trec_lines(query: str, result: SearchResult, tag: str) -> Iterator[str]:
    """Yield the lines `query Q0 document rank score tag` of a TREC run.

    >>> from lsr.types import Hit
    >>> list(trec_lines("q1", SearchResult((Hit("d1", 1, 2.5),), "scan"), "lsr"))
    ['q1 Q0 d1 1 2.500000 lsr']
    """
    for hit in result.hits:
        for identity in (query, hit.id):
            if len(identity.split()) != 1:
                raise DataError(
                    f"id {identity!r} holds white space, which a TREC run cannot",
                    hint="leave out --run and take --json",
                )
        yield f"{query} Q0 {hit.id} {hit.rank} {hit.score:.6f} {tag}"


def _of_json_lines(source: str) -> Iterator[NamedQuery]:
    from lsr.corpus import FieldMap, read_documents

    for record in read_documents(source, format="jsonl", mapping=FieldMap(keep=())):
        yield NamedQuery(record.document.id, record.document.full_text())


def _of_table(path: Path) -> Iterator[NamedQuery]:
    from lsr.corpus_bytes import Broken, lines, opened

    with opened(path) as file:
        for number, line in lines(file, path.name):
            if isinstance(line, Broken):
                raise DataError(f"{path}:{number}: {line.reason}")
            if not line.strip():
                continue
            try:
                identity, tab, text = line.decode("utf-8").rstrip("\r").partition("\t")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: invalid UTF-8: {error.reason}") from error
            if not (identity.strip() and tab and text.strip()):
                raise DataError(f"{path}:{number}: expected an id, a tab and the query's text")
            yield NamedQuery(identity.strip(), text.strip())


def _of_ir_datasets(identity: str) -> Iterator[NamedQuery]:
    from lsr.corpus_irds import IrDataset, downloads_explained

    # Says what is wrong with the id, and keeps ir_datasets off the network when we are offline.
    IrDataset(identity).count()
    import ir_datasets

    dataset = ir_datasets.load(identity)
    if not dataset.has_queries():
        raise ConfigError(
            f"irds:{identity}: this dataset has documents but no queries",
            hint=f"give one of its splits, such as irds:{identity}/test",
        )
    with downloads_explained(f"irds:{identity}"):
        for query in dataset.queries_iter():
            yield NamedQuery(query.query_id, query.default_text())


def _distinct(queries: Sequence[NamedQuery], source: str) -> Iterable[NamedQuery]:
    seen: set[str] = set()
    for query in queries:
        if query.id in seen:
            raise DataError(f"{source}: query id {query.id!r} comes twice")
        seen.add(query.id)
    if not queries:
        raise DataError(f"{source} holds no queries")
    return queries
