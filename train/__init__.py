"""Training: sparse encoders from pairs and teachers, by recipe.

>>> lsr.train.read_recipe("opensearch-doc-v2").model.query.table
'idf'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

#: Public names and the modules they live in; each is imported when it is first used.
_HOMES = {
    "Candidates": "objective",
    "CsrCoder": "csr",
    "Encoded": "encoded",
    "Objective": "objective",
    "Recipe": "recipe",
    "SparseModel": "model",
    "TokenBatch": "encoded",
    "build_model": "model",
    "fit_coder": "csr",
    "load_coder": "csr",
    "load_model": "model",
    "read_recipe": "recipe",
    "recipe_names": "recipe",
    "train": "run",
}

__all__ = [
    "Candidates",
    "CsrCoder",
    "Encoded",
    "Objective",
    "Recipe",
    "SparseModel",
    "TokenBatch",
    "build_model",
    "fit_coder",
    "load_coder",
    "load_model",
    "read_recipe",
    "recipe_names",
    "train",
]

if TYPE_CHECKING:
    from .csr import CsrCoder, fit_coder, load_coder
    from .encoded import Encoded, TokenBatch
    from .model import SparseModel, build_model, load_model
    from .objective import Candidates, Objective
    from .recipe import Recipe, read_recipe, recipe_names
    from .run import train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'lsr.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
