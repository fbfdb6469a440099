"""Documents: the lines of a write, each checked before anything is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lsr.config import ServeSettings
from lsr.corpus_fields import BadRecord, FieldMap
from lsr.corpus_jsonl import parse_json
from lsr.errors import ConfigError, DataError, LsrError
from lsr.index.columns import Fields, FieldType
from lsr.index.index import Index
from lsr.index.query import to_vectors
from lsr.sparse import SparseVector
from lsr.types import Document

from .problems import Problem
from .queue import Line
from .schemas import Action
from .searching import by_token_or_term
from .shelf import Served

#: The key of a document's ready-made vector, {token or term id: weight}.
VECTOR = "_vector"
_READ = FieldMap()


class Checked(NamedTuple):
    """The lines of a request: those that may be queued, and what becomes of each."""

    lines: list[Line]
    items: list[dict[str, Any]]


class Row(NamedTuple):
    """What a line says: a document, with the vector it brought."""

    document: Document
    vector: SparseVector | None


def check_lines(served: Served, body: bytes, action: Action, settings: ServeSettings) -> Checked:
    """Return which lines of an NDJSON body may go in, with a status for every line.

    A line is rejected for malformed JSON, a bad id, a field of another type than the index has,
    no text, and with `create` an id that the index has. What only the commit can tell (two
    requests under way create the same id) is rejected there.
    """
    raw = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if len(raw) > 2 * settings.max_lines or sum(map(_is_full, raw)) > settings.max_lines:
        raise Problem(
            413,
            f"the request has more than {settings.max_lines:,} lines",
            hint="send it in several requests",
        )
    fields = served.index.snapshot.manifest.fields
    taken: list[Line] = []
    items: list[dict[str, Any]] = []
    for number, line in enumerate(raw, 1):
        payload = line.strip()
        if not payload:
            continue
        item: dict[str, Any] = {"line": number}
        try:
            if len(payload) > settings.max_line:
                raise BadRecord(
                    f"the line has {len(payload):,} bytes; at most {settings.max_line:,} are read"
                )
            item["id"], fields = _checked(served.index, payload, action, fields)
        except (BadRecord, LsrError) as error:
            items.append({**item, "status": "rejected", "error": str(error)[:1000]})
        else:
            taken.append(Line(number, payload))
            items.append({**item, "status": "queued"})
    if not items:
        raise Problem(
            422, "the request has no lines", hint="send one JSON object on each line (NDJSON)"
        )
    return Checked(taken, items)


def read_id(payload: bytes) -> str:
    """Return the id on a line that deletes. Raises BadRecord."""
    values = parse_json(payload)
    identity: dict[str, Any] = {name: values[name] for name in ("_id", "id") if name in values}
    return _READ.document({**identity, "text": "-"}).id


def read_row(index: Index, payload: bytes) -> Row:
    """Return the document on a line, and the vector under `_vector`. Raises BadRecord, DataError.

    An index that has no encoder takes documents with vectors only, one that splits into passages
    none.
    """
    values = dict(parse_json(payload))
    given = values.pop(VECTOR, None)
    document = _READ.document(values, need_text=given is None)
    if given is None:
        if index.settings.encoder_name is None:
            raise BadRecord(f"the index has no encoder: the document needs a vector in {VECTOR!r}")
        return Row(document, None)
    if index.settings.passages is not None:
        raise BadRecord(f"the index splits documents into passages: it takes no {VECTOR!r}")
    return Row(document, _vector(index, given))


def _is_full(line: bytes) -> bool:
    return bool(line) and not line.isspace()


def _checked(index: Index, payload: bytes, action: Action, fields: Fields) -> tuple[str, Fields]:
    """Return the id of a line that may go in, and the fields with those it brings."""
    if action == "delete":
        return read_id(payload), fields
    document = read_row(index, payload).document
    if action == "create" and document.id in index:
        raise DataError(f"the index already has a document {document.id!r}")
    declared = {name: FieldType(kind) for name, kind in index.settings.field_types.items()}
    return document.id, fields.learn(document, declared=declared)


def _vector(index: Index, given: object) -> SparseVector:
    if not isinstance(given, Mapping) or not all(
        isinstance(weight, int | float) and not isinstance(weight, bool)
        for weight in given.values()
    ):
        raise BadRecord(f"{VECTOR!r} is no object of numbers; {{token or term id: weight}} is")
    try:
        vector = to_vectors([by_token_or_term(given)], lambda: index.encoder)[0]
    except ConfigError as error:
        raise DataError(f"{VECTOR!r}: {error.message}") from error
    if len(vector.terms) and int(vector.terms[-1]) >= index.settings.vocab_size:
        raise DataError(
            f"{VECTOR!r} has term {vector.terms[-1]}; the vocabulary has "
            f"{index.settings.vocab_size} terms"
        )
    return vector
