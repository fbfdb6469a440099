"""MTEB's shape: one JSON file for each task under results/<model>/<revision>/."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .measures import mteb_key
from .references import beir_name
from .results import DatasetResult, Report, SystemResult

_TASKS = {
    "trec-covid": "TRECCOVID",
    "nfcorpus": "NFCorpus",
    "nq": "NQ",
    "hotpotqa": "HotpotQA",
    "fiqa": "FiQA2018",
    "arguana": "ArguAna",
    "webis-touche2020": "Touche2020",
    "dbpedia-entity": "DBPedia",
    "scidocs": "SCIDOCS",
    "fever": "FEVER",
    "climate-fever": "ClimateFEVER",
    "scifact": "SciFact",
    "quora": "QuoraRetrieval",
}


def write_mteb(report: Report, folder: Path) -> list[Path]:
    """Write what MTEB's `results` folder has: a file for each system and dataset, and metadata."""
    written = []
    for result in report.datasets:
        for system in result.systems:
            revision = _revision(result, system)
            place = folder / _slug(_model(result, system)) / revision
            place.mkdir(parents=True, exist_ok=True)
            task = place / f"{_slug(task_name(result))}.json"
            task.write_text(json.dumps(task_result(result, system), indent=2), "utf-8")
            meta = {
                "name": _model(result, system),
                "revision": revision,
                "languages": None,
                "license": result.encoder.get("licence") if system.family == "sparse" else None,
                "embed_dim": result.encoder.get("vocab_size"),
                "max_tokens": result.encoder.get("max_seq_length"),
                "framework": [f"lsr {report.provenance.get('lsr', '')}".strip()],
            }
            (place / "model_meta.json").write_text(json.dumps(meta, indent=2), "utf-8")
            written.append(task)
    return written


def task_name(result: DatasetResult) -> str:
    """Return MTEB's name of a set of BEIR, the dataset's own name otherwise."""
    name = beir_name(result)
    return result.name if name is None else _TASKS[name]


def task_result(result: DatasetResult, system: SystemResult) -> dict[str, Any]:
    """Return the content of a task's file; the main score is the report's first measure."""
    scores: dict[str, Any] = {mteb_key(name): value for name, value in system.means.items()}
    main = next(iter(system.means.values()))
    scores |= {"main_score": main, "hf_subset": "default", "languages": []}
    return {
        "task_name": task_name(result),
        "dataset_revision": result.hash,
        # Not run by MTEB; its readers take None for that.
        "mteb_version": None,
        "evaluation_time": result.seconds,
        "kg_co2_emissions": None,
        "scores": {result.split: [scores]},
    }


def _model(result: DatasetResult, system: SystemResult) -> str:
    if system.family != "sparse":
        return f"lsr/{system.name}"
    name = str(result.encoder.get("name", "vectors"))
    return f"{Path(name).name if Path(name).exists() else name} ({system.name})"


def _revision(result: DatasetResult, system: SystemResult) -> str:
    if system.family == "sparse":
        return str(result.encoder.get("fingerprint", "none"))
    return _slug(system.title)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text.replace("/", "__")).strip("_")
