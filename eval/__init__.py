"""Evaluation: measures, significance, speed, and the report that shows them.

>>> lsr.eval.measure_run({"q": {"a": 1}}, {"q": {"a": 2.0}}, ["nDCG@10"])
{'nDCG@10': {'q': 1.0}}
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

#: Public names and the modules they live in, relative to this one; imported when first used.
_HOMES = {
    "Comparison": "statistics",
    "Dataset": "datasets",
    "Report": "results",
    "compare": "statistics",
    "evaluate": "experiment",
    "load_dataset": "datasets",
    "measure_run": "measures",
    "read_qrels": ".qrels",
    "read_run": "runs",
    "write_run": "runs",
}

__all__ = [
    "Comparison",
    "Dataset",
    "Report",
    "compare",
    "evaluate",
    "load_dataset",
    "measure_run",
    "read_qrels",
    "read_run",
    "write_run",
]

if TYPE_CHECKING:
    from lsr.qrels import read_qrels

    from .datasets import Dataset, load_dataset
    from .experiment import evaluate
    from .measures import measure_run
    from .results import Report
    from .runs import read_run, write_run
    from .statistics import Comparison, compare


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'lsr.eval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
