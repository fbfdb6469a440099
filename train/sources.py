"""Sources of examples: files of pairs, triples and lists, judged collections, pairs by rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lsr.added_terms import encoder_text
from lsr.corpus import open_corpus, read_documents
from lsr.corpus_fields import BadRecord
from lsr.errors import ConfigError, DataError
from lsr.qrels import read_qrels, split_file
from lsr.queries import read_queries
from lsr.rejects import Rejects

from .examples import Example, example_from_record, pair_by_rule
from .settings_run import SourceSettings

#: Ids that an error names before it says how many more there are.
_SHOWN = 3
#: File names that say nothing about what is in them; the folder's name does.
_GENERAL = ("corpus", "train", "pairs", "data", "part")


def read_examples(
    source: SourceSettings,
    folder: Path | None = None,
    *,
    score_fields: Sequence[str] = (),
    rejects: Rejects | None = None,
) -> Iterator[Example]:
    """Yield the examples of a source in file order, at most `limit` of them.

    Files are streamed. A judged collection (BEIR folder, `irds:<id>`) gives one example for each
    query with a relevant document: all its relevant documents, then those judged irrelevant;
    their texts are held in memory. `score_fields` must be there in every record. Raises DataError
    "FILE:LINE: reason", unless `rejects` says otherwise, and for a source without any example.

    >>> _ = Path("pairs.jsonl").write_text('{"query": "q", "positive": "a"}\\n')
    >>> [one.line for one in read_examples(SourceSettings(path="pairs.jsonl"))]
    [1]
    """
    path = resolve(source.path, folder)
    rejects = rejects or Rejects()
    if source.query is not None or source.document is not None:
        found = _by_rule(source, path, rejects)
    elif path.startswith("irds:") or Path(path).is_dir():
        if score_fields:
            raise ConfigError(
                f"{source.path} is a judged collection and brings no {score_fields[0]!r}",
                hint="leave the precomputed teacher out, or give a file with scores",
            )
        found = _judged(path, source.split, rejects)
    else:
        found = _records(source, path, score_fields, rejects)
    count = 0
    for example in found:
        yield example
        count += 1
        if source.limit is not None and count >= source.limit:
            return
    if not count:
        raise DataError(f"{path} holds no examples", hint="give a file that has some")


def resolve(path: str, folder: Path | None) -> str:
    """Return a source's path, relative ones taken from `folder`; `irds:` ids stay as they are.

    >>> resolve("pairs.jsonl", Path("data")), resolve("irds:vaswani", Path("data"))
    ('data/pairs.jsonl', 'irds:vaswani')
    """
    if path.startswith("irds:") or folder is None:
        return path
    return str(folder / Path(path).expanduser())


def source_name(source: SourceSettings) -> str:
    """Return the name of a source in logs: the one it was given, else that of its file or folder.

    >>> source_name(SourceSettings(path="a/questions.jsonl.gz"))
    'questions'
    >>> source_name(SourceSettings(path="medquad/train.jsonl"))
    'medquad'
    """
    path = Path(source.path)
    if source.name or source.path.startswith("irds:"):
        return source.name or source.path
    own = path.name.split(".")[0]
    return path.parent.name if own in _GENERAL and path.parent.name else own


def _records(
    source: SourceSettings, path: str, score_fields: Sequence[str], rejects: Rejects
) -> Iterator[Example]:
    corpus = open_corpus(path, format=source.format, rejects=rejects)
    for entry in corpus.entries():
        try:
            yield example_from_record(
                entry.values, score_fields=score_fields, source=entry.source, line=entry.line
            )
        except BadRecord as error:
            corpus.reject(entry, str(error))


def _by_rule(source: SourceSettings, path: str, rejects: Rejects) -> Iterator[Example]:
    if source.query is None or source.document is None:
        raise ConfigError(
            f"{source.path}: pairs by rule need the fields of both sides",
            hint='query = "title", document = "text"',
        )
    query, document = (
        [names] if isinstance(names, str) else list(names)
        for names in (source.query, source.document)
    )
    corpus = open_corpus(path, format=source.format, rejects=rejects)
    for entry in corpus.entries():
        try:
            pair = pair_by_rule(entry.values, query, document, source=entry.source, line=entry.line)
        except BadRecord as error:
            corpus.reject(entry, str(error))
            continue
        if len(pair.documents[0].split()) >= source.min_words:
            yield pair


def _judged(path: str, split: str | None, rejects: Rejects) -> Iterator[Example]:
    is_folder = not path.startswith("irds:")
    judgements = split_file(Path(path), split) if is_folder else path
    place = str(judgements)
    grades = read_qrels(judgements).grades
    queries = {query.id: query.text for query in read_queries(path)}
    wanted = {document for of_query in grades.values() for document in of_query}
    texts = {
        record.document.id: encoder_text(record.document)
        # A document without a text matters only if it is judged, and then it is missed below.
        for record in read_documents(path, rejects=Rejects("skip"))
        if record.document.id in wanted
    }
    _check_ids(place, "query", [one for one in grades if one not in queries], rejects)
    missing = sorted(one for one in wanted if one not in texts)
    _check_ids(place, "document", missing, rejects)
    for number, (query, of_query) in enumerate(grades.items(), 1):
        if query not in queries:
            continue
        ordered = sorted(of_query, key=lambda one: of_query[one] <= 0)
        documents = [one for one in ordered if one in texts]
        positives = sum(of_query[one] > 0 for one in documents)
        if positives:
            found = tuple(texts[one] for one in documents)
            yield Example(queries[query], found, positives, source=place, line=number)


def _check_ids(place: str, kind: str, missing: Sequence[str], rejects: Rejects) -> None:
    if not missing:
        return
    shown = ", ".join(map(repr, missing[:_SHOWN]))
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    reason = f"judged {kind} id(s) without a text: {shown}{more}"
    rejects.reject(place, 0, reason)
