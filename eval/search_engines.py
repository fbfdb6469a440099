"""The engines that a search benchmark compares: what each must offer, and who they are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lsr.errors import ConfigError

from .search_sets import Csr

OURS = "lsr"

#: Where each engine is defined, in the order of the tables.
_HOMES = {
    OURS: "lsr.eval.search_engine_lsr:LsrEngine",
    "SINDI": "lsr.eval.search_engine_sindi:SindiEngine",
    "Seismic": "lsr.eval.search_engine_seismic:SeismicEngine",
    "BMP": "lsr.eval.search_engine_bmp:BmpEngine",
    "splade-index": "lsr.eval.search_engine_exact:SpladeIndexEngine",
    "bm25s": "lsr.eval.search_engine_exact:Bm25sEngine",
    "scipy": "lsr.eval.search_engine_exact:ScipyEngine",
}


class Build(NamedTuple):
    """One way to build an index; `slow` ones are built only when asked for."""

    name: str
    options: Mapping[str, Any]
    slow: bool = False


class Setting(NamedTuple):
    """One way to search; `exact` when the answers are the true best k by design."""

    options: Mapping[str, Any]
    exact: bool = False

    def __str__(self) -> str:
        return ", ".join(_words(self.options)) or "default"


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _words(value)
        else:
            yield name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"


class Searcher(Protocol):
    """An index that is open, and the queries in the form that it takes."""

    def ask(self, options: Mapping[str, Any], k: int) -> Callable[[int], Any]:
        """Return what answers the query of a number, as a user would call it."""

    def rows(self, answer: Any) -> Sequence[int]:
        """Return the documents of an answer, best first."""

    def stats(self, answer: Any) -> Mapping[str, float]:
        """Return what the engine counted for an answer, nothing if it does not."""


class Engine(Protocol):
    """An engine: builds indexes in one process, opens them in another."""

    package: str
    module: str

    def builds(self, documents: Csr, queries: Csr) -> Sequence[Build]:
        """Return the indexes worth trying at this size; ConfigError where it cannot answer."""

    def settings(
        self, build: Build, documents: Csr, k: int, *, thorough: bool
    ) -> Sequence[Setting]:
        """Return the settings to sweep; `thorough` adds the expert ones of ours."""

    def load(self) -> None:
        """Import and compile what it needs, before anything is timed or weighed."""

    def given(self, documents: Csr, folder: Path) -> Any:
        """Return the documents in the form the build takes; the time of this does not count."""

    def build(self, given: Any, build: Build, folder: Path) -> Callable[[], None]:
        """Build the index; return what saves it in the folder, if that is a step of its own."""

    def open(self, build: Build, folder: Path, queries: Csr) -> Searcher:
        """Open the index in the folder."""


def names() -> list[str]:
    """Return the names of all engines, ours first."""
    return list(_HOMES)


def engine(name: str) -> Engine:
    """Return an engine by name, `module:Class` for one that is not of the list."""
    home = _HOMES.get(name, name)
    module, colon, kind = home.partition(":")
    if not colon:
        raise ConfigError(f"there is no engine {name!r}", hint=f"one of {', '.join(_HOMES)}")
    made: Engine = getattr(import_module(module), kind)()
    return made


def is_installed(found: Engine) -> bool:
    """Return whether the engine's package can be imported; it is not imported."""
    return importlib.util.find_spec(found.module) is not None


def version(found: Engine) -> str:
    """Return the version of the engine's package."""
    try:
        return metadata.version(found.package)
    except metadata.PackageNotFoundError:
        return "?"
