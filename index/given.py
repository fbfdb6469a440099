"""Given: documents as callers of the Index give them, checked as those from files are."""

from __future__ import annotations

from collections.abc import Mapping

from lsr.corpus_fields import BadRecord, FieldMap
from lsr.errors import DataError
from lsr.types import Document


def as_document(
    document: Document | Mapping[str, object], number: int, *, need_text: bool
) -> Document:
    """Return what a caller gave as a checked document; `number` is for messages.

    >>> as_document({"_id": "a", "text": "cats", "year": 2020}, 0, need_text=True).fields
    {'year': 2020}
    """
    if isinstance(document, Document):
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
        return FieldMap().document(values, need_text=need_text)
    except BadRecord as error:
        raise DataError(f"document {number}: {error}") from error
