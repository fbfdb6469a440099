"""Datasets: a corpus, queries and judgements, from a BEIR folder, ir_datasets or own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lsr.errors import ConfigError, DataError
from lsr.qrels import Qrels, read_qrels, split_file
from lsr.rejects import OnError, Rejects
from lsr.types import Document

#: What becomes of a hit with the id of its query.
Identical = Literal["auto", "drop", "keep"]

#: So many documents between two reports of progress.
_STEP = 2000


@dataclass(frozen=True, slots=True)
class Dataset:
    """What systems are evaluated on. `queries` are the judged ones, id to text.

    `corpus` is what `lsr index` would be given, and `on_error` what a bad record of it does;
    `notes` are sentences for the report.
    """

    name: str
    split: str
    corpus: str
    queries: Mapping[str, str]
    qrels: Qrels
    notes: tuple[str, ...] = ()
    on_error: OnError = "stop"

    def documents(self, rejects: Rejects | None = None) -> Iterator[Document]:
        """Yield the documents of the corpus; bad records are counted by `rejects`, if skipped."""
        from lsr.corpus import read_documents

        for record in read_documents(self.corpus, rejects=rejects or Rejects(self.on_error)):
            yield record.document

    @property
    def slug(self) -> str:
        """The name as a part of a file name."""
        return re.sub(r"[^\w.-]+", "-", f"{self.name}-{self.split}").strip("-")


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What one pass over the corpus tells.

    `hash` covers ids, titles, texts, queries and judgements; `corpus_hash` the documents alone.
    `drop_identical` says whether hits with the id of their query are left out.
    """

    n_documents: int
    corpus_hash: str
    hash: str
    drop_identical: bool
    shares_ids: bool
    notes: tuple[str, ...] = field(default=())


def dataset_name(source: str) -> str:
    """Return what the dataset of a source is called in reports, without reading it."""
    if source.startswith("irds:"):
        return source
    if (folder := Path(source)).is_dir() and (folder / "qrels").is_dir():
        return _folder_name(folder)
    return Path(source).name.split(".")[0]


def load_dataset(
    source: str,
    *,
    queries: str | None = None,
    qrels: str | None = None,
    split: str | None = None,
    name: str | None = None,
    on_error: OnError = "stop",
) -> Dataset:
    """Return the dataset in a BEIR folder, of ir_datasets (`irds:ID`), or in files of your own.

    A BEIR folder's split is `split`, else `test`, else the only one there is. `queries` and
    `qrels` are read in place of the dataset's, and must be given with a corpus of your own. With
    `on_error="skip"` bad records of the corpus, such as empty texts, are counted and left out.
    Raises ConfigError or DataError, which name what is missing or wrong, and where.
    """
    from lsr.queries import read_queries

    if source.startswith("irds:"):
        judged = read_qrels(qrels or source)
        asked = read_queries(queries or source)
        part = split or "default"
    elif (folder := Path(source)).is_dir() and (folder / "qrels").is_dir():
        file = split_file(folder, split)
        judged = read_qrels(qrels or file)
        asked = read_queries(queries or _queries_file(folder))
        part = "own" if qrels else file.name.split(".")[0]
    else:
        if not Path(source).exists():
            raise ConfigError(
                f"{source}: there is no such folder or file",
                hint="give a BEIR folder, irds:<id>, or a corpus with --queries and --qrels",
            )
        if queries is None or qrels is None:
            raise ConfigError(
                f"{source} is no BEIR folder: it has no qrels/",
                hint="give a corpus with --queries and --qrels, or a TREC run with --qrels",
            )
        judged, asked = read_qrels(qrels), read_queries(queries)
        part = split or "own"
    texts = {query.id: query.text for query in asked}
    return _joined(name or dataset_name(source), part, source, texts, judged, on_error)


def scan_corpus(
    dataset: Dataset,
    identical: Identical = "auto",
    progress: Callable[[int], None] | None = None,
) -> CorpusFacts:
    """Return what one pass over the corpus tells: its size, hashes, and what fits together.

    With `identical="auto"` a hit with its query's id is dropped where most of the ids that
    queries and documents share also share the text, as in ArguAna and Quora, and kept where
    they are numbers that happen to be equal. Raises DataError for a corpus without documents, a
    bad record, and judgements of which no document is in the corpus.
    """
    import xxhash

    rejects = Rejects(dataset.on_error)
    digest = xxhash.xxh3_128()
    unseen = {document for judged in dataset.qrels.grades.values() for document in judged}
    n_judged, n_documents, shared, same = len(unseen), 0, 0, 0
    for document in dataset.documents(rejects):
        digest.update(
            f"{document.id}\0{document.title}\0{document.text}\0".encode(errors="replace")
        )
        unseen.discard(document.id)
        n_documents += 1
        if document.id in dataset.queries:
            shared += 1
            same += _same_text(dataset.queries[document.id], document.title, document.text)
        if progress is not None and n_documents % _STEP == 0:
            progress(n_documents)
    if not n_documents:
        raise DataError(f"{dataset.corpus} holds no documents")
    notes = []
    if rejects.count:
        notes.append(f"{rejects.count:,} bad record(s) of the corpus are left out")
    if len(unseen) == n_judged:
        raise DataError(
            f"none of the {n_judged:,} judged documents of {dataset.name} is in the corpus; the "
            f"judgements have ids such as {min(unseen)!r}",
            hint="check that corpus and judgements are of the same dataset",
        )
    if unseen:
        notes.append(
            f"{len(unseen):,} of {n_judged:,} judged documents are not in the corpus (such as "
            f"{min(unseen)!r}); no system can find them"
        )
    drop = identical == "drop" or (identical == "auto" and shared > 0 and 2 * same > shared)
    if shared:
        notes.append(_about_identical(shared, same, drop))
    corpus_hash = digest.hexdigest()
    for query, text in sorted(dataset.queries.items()):
        digest.update(f"{query}\0{text}\0".encode(errors="replace"))
        digest.update(repr(sorted(dataset.qrels.grades.get(query, {}).items())).encode())
    return CorpusFacts(n_documents, corpus_hash, digest.hexdigest(), drop, shared > 0, tuple(notes))


def _joined(
    name: str,
    split: str,
    corpus: str,
    texts: dict[str, str],
    judged: Qrels,
    on_error: OnError,
) -> Dataset:
    """Return a dataset of the queries that have a text and a judgement."""
    notes = list(judged.notes)
    both = {query: text for query, text in texts.items() if query in judged.grades}
    if not both:
        raise DataError(
            f"{name}: none of the {len(texts):,} queries is judged; they have ids such as "
            f"{min(texts)!r}, the judgements {min(judged.grades)!r}",
            hint="check that queries and judgements are of the same dataset and split",
        )
    if len(both) < len(texts):
        rest = len(texts) - len(both)
        notes.append(f"{rest:,} of {len(texts):,} queries have no judgements and are left out")
    without = [query for query in judged.grades if query not in texts]
    if without:
        notes.append(
            f"{len(without):,} of {len(judged.grades):,} judged queries have no text (such as "
            f"{min(without)!r}) and are left out"
        )
    grades = {query: judged.grades[query] for query in both}
    return Dataset(name, split, corpus, both, Qrels(grades), tuple(notes), on_error)


def _folder_name(folder: Path) -> str:
    """Return a BEIR folder's name; the forums of CQADupStack lie in a folder of that name."""
    above, name = folder.resolve().parts[-2:]
    return f"{above.lower()}/{name}" if above.lower() == "cqadupstack" else name


def _queries_file(folder: Path) -> str:
    found = sorted(path for path in folder.glob("queries.*") if ".jsonl" in path.suffixes)
    return str(found[0] if found else folder / "queries.jsonl")


def _same_text(query: str, title: str, text: str) -> bool:
    asked = _plain(query)
    return bool(asked) and asked in (_plain(text), _plain(f"{title} {text}"))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _about_identical(shared: int, same: int, drop: bool) -> str:
    about = f"{shared:,} queries have the id of a document ({same:,} also its text); hits with "
    return about + (
        "the id of their query are dropped, as BEIR does (ignore_identical_ids)"
        if drop
        else "the id of their query are kept (ignore_identical_ids off)"
    )
