"""The model card: what a model was trained on, how, and how well it finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr import __version__

from .recipe import Recipe, describe

if TYPE_CHECKING:
    from .prepared import Prepared

#: Settings that are said elsewhere in the card.
_ELSEWHERE = ("name", "method", "paper", "about", "data.sources", "data.folder", "dev.sets",
              "teachers.models", "teachers.cache")  # fmt: skip


def write_card(
    folder: Path, recipe: Recipe, data: Prepared, memory: Mapping[str, Any], *, step: int
) -> None:
    """Write README.md into a model folder: method, data, teachers, settings, dev scores.

    Holds no path of this machine: sources are named by their own names. What the scores were
    measured on, and what the data are licensed under, is for the person who publishes to add.
    """
    parts = [
        _head(),
        f"# {recipe.name or 'A sparse encoder'}",
        _about(recipe, step),
        _usage(recipe),
        _data(recipe, data),
        _teachers(recipe),
        _scores(recipe, memory),
        _settings(recipe),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    (folder / "README.md").write_text(text, "utf-8")


def _head() -> str:
    tags = "\n".join(
        f"  - {tag}" for tag in ("sparse-encoder", "sparse", "splade", "sentence-transformers")
    )
    return (
        "---\nlibrary_name: sentence-transformers\npipeline_tag: feature-extraction\n"
        f"tags:\n{tags}\n---"
    )


def _about(recipe: Recipe, step: int) -> str:
    method = f"{recipe.method} ({recipe.paper})" if recipe.paper else recipe.method
    said = f" {recipe.about[:1].upper()}{recipe.about[1:]}." if recipe.about else ""
    return (
        f"A learned sparse retrieval model{f' after {method}' if method else ''}, trained for "
        f"{step:,} steps with lsr {__version__} from `{Path(recipe.model.init).name}`.{said}"
    )


def _usage(recipe: Recipe) -> str:
    inference_free = recipe.model.query.kind in ("binary", "table")
    note = " Queries need no network." if inference_free else ""
    return (
        f"## Use\n\nWith lsr: `lsr index documents.jsonl --out shop --model FOLDER`, then "
        f'`lsr search shop "..."`. With sentence-transformers: `SparseEncoder("FOLDER")`.{note}'
    )


def _data(recipe: Recipe, data: Prepared) -> str:
    rows = ["## Training data", "", "| source | examples | weight |", "|---|---:|---:|"]
    for number, (name, source) in enumerate(zip(data.sources, recipe.data.sources, strict=True)):
        count = int((data.source == number).sum())
        rows.append(f"| {name} | {count:,} | {source.weight:g} |")
    rows += ["", f"{len(data):,} examples over {data.n_documents:,} different documents."]
    return "\n".join([*rows, *(f"- {note}" for note in data.notes)])


def _teachers(recipe: Recipe) -> str:
    if not recipe.teachers.models:
        return ""
    weights = recipe.rank.ensemble.weights or [1.0] * len(recipe.teachers.models)
    rows = ["## Teachers", "", "| teacher | kind | share |", "|---|---|---:|"]
    for teacher, weight in zip(recipe.teachers.models, weights, strict=True):
        name = Path(teacher.model).name if teacher.model else teacher.field
        rows.append(f"| {name} | {teacher.kind} | {weight / sum(weights):.2f} |")
    return "\n".join(rows)


def _scores(recipe: Recipe, memory: Mapping[str, Any]) -> str:
    sets = memory.get("best_sets")
    if not sets:
        return ""
    measure = recipe.dev.measure
    rows = ["## Scores", "", f"Exact search, best step {memory['best_step']:,}.", ""]
    rows += [f"| dev set | {measure} | terms a document | terms a query |", "|---|---:|---:|---:|"]
    for name, score in sets.items():
        rows.append(
            f"| {Path(name).name} | {score['value']:.4f} | {score['document_terms']:.0f} "
            f"| {score['query_terms']:.0f} |"
        )
    return "\n".join(rows)


def _settings(recipe: Recipe) -> str:
    rows = ["## Settings", "", "Other than the defaults of `lsr train`:", ""]
    for name, value, _, is_default in describe(recipe):
        if is_default or name in _ELSEWHERE:
            continue
        # Where a model lay is nobody's business; what it was called is.
        shown = Path(value).name if isinstance(value, str) and "/" in value else value
        rows.append(f"- `{name}` = `{shown}`")
    return "\n".join(rows)
