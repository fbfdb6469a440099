"""Given: documents as callers of the Index give them, checked as those from files are."""

from __future__ import annotations

from collections.abc import Mapping

from lsr.corpus_fields import ID_BYTES, BadRecord, FieldMap, storable
from lsr.errors import DataError
from lsr.types import Document

_AS_NAMED = FieldMap()


def as_document(
    document: Document | Mapping[str, object], number: int, *, need_text: bool
) -> Document:
    """Return what a caller gave as a checked document; `number` is for messages.

    >>> as_document({"_id": "a", "text": "cats", "year": 2020}, 0, need_text=True).fields
    {'year': 2020}
    """
    if isinstance(document, Document):
        if not need_text and _is_plain(document):
            return document
        values: Mapping[str, object] = {
            **document.fields,
            "_id": document.id,
            "title": document.title,
            "text": document.text,
        }
    elif isinstance(document, Mapping):
        values = document
    else:
        raise DataError(
            f"document {number} is a {type(document).__name__}; a Document or a mapping is expected"
        )
    try:
        return _AS_NAMED.document(values, need_text=need_text)
    except BadRecord as error:
        raise DataError(f"document {number}: {error}") from error


def _is_plain(document: Document) -> bool:
    """Return whether nothing can be wrong with a document; most are such, and this is quicker."""
    name = document.id
    return (
        not document.fields
        and type(name) is str
        and type(document.title) is str
        and type(document.text) is str
        and 0 < len(name) <= ID_BYTES
        and name.isascii()
        and name.isprintable()
        and not name.isspace()
        and storable(document.title)
        and storable(document.text)
    )
