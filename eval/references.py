"""Published figures: what others report on the same dataset."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from .results import DatasetResult

#: Documents and judged queries of the sets of BEIR that most papers report.
BEIR_13 = {
    "trec-covid": (171_332, 50),
    "nfcorpus": (3_633, 323),
    "nq": (2_681_468, 3_452),
    "hotpotqa": (5_233_329, 7_405),
    "fiqa": (57_638, 648),
    "arguana": (8_674, 1_406),
    "webis-touche2020": (382_545, 49),
    "dbpedia-entity": (4_635_922, 400),
    "scidocs": (25_657, 1_000),
    "fever": (5_416_568, 6_666),
    "climate-fever": (5_416_593, 1_535),
    "scifact": (5_183, 300),
    "quora": (522_931, 10_000),
}

#: All sets of BEIR; CQADupStack's twelve forums count as one of them.
BEIR_18 = (*BEIR_13, "cqadupstack", "trec-news", "robust04", "bioasq", "signal1m")


def beir_name(result: DatasetResult) -> str | None:
    """Return the name of the BEIR set that this dataset is, told by its size, else None."""
    for name, counts in BEIR_13.items():
        if counts == (result.n_documents, result.n_queries):
            return name
    return None


def published(result: DatasetResult) -> dict[str, float]:
    """Return model -> nDCG@10 as published, for a set of BEIR; nothing for another dataset."""
    name = beir_name(result)
    if name is None:
        return {}
    return {model: row[name] for model, row in _figures()["models"].items()}


def source() -> str:
    """Return where the published figures come from."""
    return str(_figures()["source"])


@cache
def _figures() -> dict[str, Any]:
    text = (Path(__file__).parent / "expectations" / "beir.toml").read_text("utf-8")
    return tomllib.loads(text)
