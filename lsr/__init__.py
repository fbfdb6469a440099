"""Learned sparse retrieval: encode, index, search, filter and update, in Python.

>>> import lsr
>>> lsr.SparseVectors.from_dicts([{1: 0.5}], vocab_size=4).nnz
1
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public names and the modules they live in; each is imported when it is first used.
_HOMES = {
    "Document": "lsr.types",
    "Encoder": "lsr.encoder",
    "Explanation": "lsr.types",
    "Hit": "lsr.types",
    "Index": "lsr.index.index",
    "LsrError": "lsr.errors",
    "SearchResult": "lsr.types",
    "SparseVectors": "lsr.sparse",
    "load_encoder": "lsr.encoder",
    "read_documents": "lsr.corpus",
}

__all__ = [
    "Document",
    "Encoder",
    "Explanation",
    "Hit",
    "Index",
    "LsrError",
    "SearchResult",
    "SparseVectors",
    "__version__",
    "load_encoder",
    "read_documents",
]

if TYPE_CHECKING:
    from lsr.corpus import read_documents
    from lsr.encoder import Encoder, load_encoder
    from lsr.errors import LsrError
    from lsr.index.index import Index
    from lsr.sparse import SparseVectors
    from lsr.types import Document, Explanation, Hit, SearchResult


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lsr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
