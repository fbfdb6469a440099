"""Recipes: TOML files that say what a model is, what it learns from and how."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from lsr.errors import ConfigError
from lsr.train.settings_csr import CsrSettings
from lsr.train.settings_loss import RankSettings, RegulariseSettings
from lsr.train.settings_model import ModelSettings, Settings
from lsr.train.settings_run import DataSettings, DevSettings, TeacherSettings, TrainSettings

#: Recipes may stand on recipes; more than this is a circle that was not noticed.
_DEEPEST = 8


class Regularise(Settings):
    """What keeps vectors short, for each side."""

    query: RegulariseSettings = Field(
        default_factory=RegulariseSettings, description="of the query side"
    )
    document: RegulariseSettings = Field(
        default_factory=RegulariseSettings, description="of the document side"
    )


class Recipe(Settings):
    """Everything that `lsr train` needs to know, checked."""

    name: str = Field(default="", description="what the recipe is called")
    method: str = Field(default="", description="the published method that it follows")
    paper: str = Field(default="", description="where the method is described")
    about: str = Field(default="", description="what is particular about it, in a sentence")
    model: ModelSettings = Field(default_factory=ModelSettings, description="the encoder")
    rank: RankSettings = Field(default_factory=RankSettings, description="ranking losses")
    regularise: Regularise = Field(default_factory=Regularise, description="regularisers")
    csr: CsrSettings = Field(
        default_factory=CsrSettings, description="codes of dense vectors, for csr sides"
    )
    data: DataSettings = Field(default_factory=DataSettings, description="training data")
    teachers: TeacherSettings = Field(default_factory=TeacherSettings, description="teachers")
    train: TrainSettings = Field(default_factory=TrainSettings, description="the loop")
    dev: DevSettings = Field(default_factory=DevSettings, description="the dev set")


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package, in order.

    >>> "splade-max" in recipe_names()
    True
    """
    found = (entry.name for entry in files("lsr.train").joinpath("recipes").iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def read_recipe(source: str | Path, *, changes: Iterable[str] = ()) -> Recipe:
    """Return the recipe of that name, or in that file, with `changes` such as "train.lr=2e-5".

    A recipe that says `extends = "splade-max"` begins with that one; its own values come on top,
    then the changes. Raises ConfigError that names the file, the field and what was expected.

    >>> read_recipe("splade-max", changes=["model.document.window=256"]).model.document.window
    256
    """
    table = _read(source, depth=0)
    for change in changes:
        _apply(table, change)
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise _sentence(error, str(source)) from error


def describe(recipe: Recipe) -> Iterator[tuple[str, Any, str, bool]]:
    """Yield (name, value, what it means, whether it is the default) of every field, in order.

    >>> next(iter(describe(read_recipe("splade-max"))))[0]
    'name'
    """
    yield from _describe(recipe, "")


def _describe(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str, bool]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _describe(value, f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield f"{prefix}{name}", value, field.description or "", value == default


def _read(source: str | Path, *, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise ConfigError(f"{source}: recipes extend each other in a circle")
    file = _find(source)
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise ConfigError(
            f"{file}: extends is {parent!r}; the name or path of a recipe is expected"
        )
    beside = file.parent / parent
    found: str | Path = beside if parent.endswith(".toml") else parent
    return _merge(_read(found, depth=depth + 1), table)


def _find(source: str | Path) -> Path:
    text = str(source)
    if isinstance(source, Path) or text.endswith(".toml") or "/" in text:
        path = Path(source).expanduser()
        if path.is_file():
            return path
        raise ConfigError(f"there is no recipe file {text}", hint="lsr train --list")
    names = recipe_names()
    if text not in names:
        near = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the recipes are: {', '.join(names)}"
        raise ConfigError(f"there is no recipe {text!r}", hint=hint)
    return Path(str(files("lsr.train").joinpath("recipes", f"{text}.toml")))


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(old, dict)
        merged[name] = _merge(old, value) if both and old is not None else value
    return merged


def _apply(table: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    names = [name.strip() for name in path.split(".")]
    if not equals or not all(names):
        raise ConfigError(
            f"--set {change!r} is not a setting", hint="write it as --set train.lr=2e-5"
        )
    at: Any = table
    for name in names[:-1]:
        at = _step(at, name, change)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word: --set model.query.kind=mlm
    if isinstance(at, list):
        at[_place(at, names[-1], change)] = value
    else:
        at[names[-1]] = value


def _step(at: Any, name: str, change: str) -> Any:
    """Return the part of a table, or of a list, that a name (or a number from 0) leads to."""
    found = at[_place(at, name, change)] if isinstance(at, list) else at.setdefault(name, {})
    if not isinstance(found, dict | list):
        raise ConfigError(f"--set {change!r}: {name} is a value and has no parts")
    return found


def _place(items: list[Any], name: str, change: str) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        raise ConfigError(
            f"--set {change!r}: {name!r} is none of the {len(items)} entries of a list",
            hint="entries are counted from 0, such as teachers.models.0.model=FOLDER",
        )
    return int(name)


def _sentence(error: ValidationError, source: str) -> ConfigError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the recipe"
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"{source}: there is no setting {place}", hint=f"lsr train {source} --dry-run lists all"
        )
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, dict | BaseModel) else f" is {given!r}"
    return ConfigError(f"{source}: {place}{shown}: {message}")
