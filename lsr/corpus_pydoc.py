"""Python's own documentation as a corpus: `pydoc:stdlib`, `pydoc:numpy,rich`, `pydoc:all`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lsr.corpus_docstrings import from_extension, from_source
from lsr.errors import ConfigError

#: Parts of the standard library that document tests, games and internals, or act when imported.
_LEFT_OUT = frozenset(
    {"antigravity", "idlelib", "lib2to3", "pydoc_data", "readline", "test", "this", "turtledemo"}
    | {"xxlimited", "xxlimited_35", "xxsubtype"}
)
#: Modules that everybody calls by another name.
_SHOWN_AS = {"posixpath": "os.path"}
_TEST_NAMES = frozenset({"test", "tests", "testing", "conftest", "_vendor", "site-packages"})


class _Module(NamedTuple):
    """A module to read: its dotted name, its package, and its file (None: ask the interpreter)."""

    name: str
    package: str
    path: Path | None
    file: str


class PythonDocs:
    """One document for each documented module, class, function and method of some packages.

    `names` is `stdlib`, `all` (stdlib and every installed package) or names of packages, joined
    by commas. Ids are dotted names, titles look like signatures, texts are the docstrings; the
    fields are kind (module, class, function, method), package, module, file and line. Sources
    are parsed, never run; only modules of the standard library that have no source are imported.
    """

    bytes_read = 0

    def __init__(self, names: str) -> None:
        self.name = f"pydoc:{names}"
        wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
        if not wanted:
            raise ConfigError(
                "pydoc: names no package", hint="give pydoc:stdlib, pydoc:all or pydoc:numpy,rich"
            )
        self._names = wanted
        for name in wanted:
            if name not in ("stdlib", "all"):
                _package(name)

    def items(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each document with its number, modules in order of their names."""
        seen: set[str] = set()
        for module in self._modules():
            if module.path is None:
                found = from_extension(module.name, module.package)
            else:
                found = from_source(module.path, module.name, module.package, module.file)
            for values in found:
                if values["_id"] not in seen:
                    seen.add(values["_id"])
                    yield len(seen), values

    def parse(self, payload: dict[str, Any]) -> Mapping[str, Any]:
        """Return the document's fields."""
        return payload

    def _modules(self) -> Iterator[_Module]:
        for name in self._names:
            if name in ("stdlib", "all"):
                yield from _stdlib()
            if name == "all":
                for package in _installed():
                    yield from _package(package)
            elif name != "stdlib":
                yield from _package(name)


def _stdlib() -> Iterator[_Module]:
    folder = Path(sysconfig.get_path("stdlib"))
    for name in sorted(sys.stdlib_module_names - _LEFT_OUT):
        if name.startswith("_"):
            continue
        module = folder / f"{name}.py"
        if module.is_file():
            yield _Module(_SHOWN_AS.get(name, name), "stdlib", module, module.name)
        elif (folder / name).is_dir():
            yield from _tree(folder / name, name, "stdlib")
        else:
            yield _Module(name, "stdlib", None, "")


def _installed() -> list[str]:
    own = sys.stdlib_module_names
    names = {
        name
        for name in importlib.metadata.packages_distributions()
        if name.isidentifier() and not name.startswith("_") and name not in own
    }
    return sorted(name for name in names if _find(name) is not None)


def _find(name: str) -> Path | None:
    """Return the file or the folder of an importable top-level name, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return next(map(Path, spec.submodule_search_locations), None)
    if spec.origin is not None and spec.origin.endswith(".py"):
        return Path(spec.origin)
    return None


def _package(name: str) -> list[_Module]:
    path = _find(name) if name.isidentifier() else None
    if path is None:
        raise ConfigError(
            f"pydoc:{name}: no installed package has that name",
            hint="give names that can be imported (sklearn, not scikit-learn), or pydoc:stdlib",
        )
    if path.is_file():
        return [_Module(name, name, path, path.name)]
    return list(_tree(path, name, name))


def _tree(folder: Path, name: str, package: str) -> Iterator[_Module]:
    """Yield the public modules below a package's folder, the package itself first."""
    init = folder / "__init__.py"
    if init.is_file():
        yield _Module(name, package, init, f"{name.replace('.', '/')}/__init__.py")
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        stem = path.stem
        if not stem.isidentifier() or stem.startswith("_") or stem in _TEST_NAMES:
            continue
        if path.is_dir() and (path / "__init__.py").is_file():
            yield from _tree(path, f"{name}.{path.name}", package)
        elif path.suffix == ".py" and not stem.startswith("test_") and not stem.endswith("_test"):
            yield _Module(f"{name}.{stem}", package, path, f"{name.replace('.', '/')}/{path.name}")
