"""The repository keeps its own rules: who imports whom, what is packaged, how long files are."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: Folder of the checkout -> name of the import package, as pyproject.toml maps them.
PACKAGES = {folder: name for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()}
MODULES = sorted(
    path for folder in ("lsr", "index", "train", "eval", "service") for path in
    (ROOT / folder).rglob("*.py")
)  # fmt: skip
HEAVY = {"torch", "transformers", "faiss", "fastapi", "matplotlib", "pandas"}
#: Modules that cannot live without a heavy library; others import them where they use them.
ALLOWED_HEAVY = {
    "lsr.bert_torch": {"torch"},
    "lsr.head_parts": {"torch"},
    "lsr.service.app": {"fastapi"},
    "lsr.service.openapi": {"fastapi"},
    "lsr.service.page": {"fastapi"},
    "lsr.service.routes_about": {"fastapi"},
    "lsr.service.routes_documents": {"fastapi"},
    "lsr.service.routes_search": {"fastapi"},
}
#: Modules of training that are made of tensors.
TENSORS = (
    "backbone",
    "csr",
    "encoded",
    "gather",
    "gradcache",
    "head",
    "literal",
    "model",
    "objective",
    "ranking",
    "regulariser",
    "regularisers",
    "saving",
    "sides",
    "table",
    "trainer",
    "watch",
)
ALLOWED_HEAVY |= {f"lsr.train.{name}": {"torch", "transformers"} for name in TENSORS}
#: In `lsr`, these also wait for their use; `index` may have numba and pyarrow.
SLOW_FOR_LSR = {"numba", "pyarrow", "scipy", "ir_datasets", "rich", "pydantic"}
APPLICATION = ("cli", "__main__", "demo", "doctor")
LONGEST_FILE = 500


class Import(NamedTuple):
    """One import statement of a module; `at_top` when it runs as the module is imported."""

    target: str
    line: int
    at_top: bool


def module_name(path: Path) -> str:
    """Return the dotted name under which a file is imported."""
    relative = path.relative_to(ROOT).with_suffix("")
    top, *rest = relative.parts
    parts = (["lsr"] if top == "lsr" else ["lsr", top]) + rest
    return ".".join(part for part in parts if part != "__init__")


def layer(name: str) -> int:
    """Return how high a module stands; imports go down or stay level."""
    parts = name.split(".")
    second = parts[1] if len(parts) > 1 else "__init__"
    if second.startswith(APPLICATION):
        return 4
    if second in ("train", "eval", "service"):
        return 3
    if second == "index":
        return 2
    return 0


@functools.cache
def imports(path: Path) -> tuple[Import, ...]:
    """Return what a module imports when it runs; what only type checkers read is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = (
        module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    )
    return tuple(_imports(tree, package, at_top=True))


def _imports(node: ast.AST, package: str, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top)
        elif isinstance(child, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - child.level + 1] if child.level else []
            origin = ".".join([*base, child.module] if child.module else base)
            # `from lsr import cli_index` imports a module, `from lsr.types import Hit` a name.
            if origin in ("lsr", "lsr.index", "lsr.eval", "lsr.train", "lsr.service"):
                for alias in child.names:
                    yield Import(f"{origin}.{alias.name}", child.lineno, at_top)
            else:
                yield Import(origin, child.lineno, at_top)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, package, at_top=at_top and not inside)


def place(path: Path, found: Import) -> str:
    return f"{path.relative_to(ROOT)}:{found.line} imports {found.target}"


def test_there_are_modules_to_check() -> None:
    assert {"lsr.cli", "lsr.index.index", "lsr.types"} <= {module_name(path) for path in MODULES}


def test_imports_point_down_only() -> None:
    wrong = [
        place(path, found)
        for path in MODULES
        for found in imports(path)
        if found.target.split(".")[0] == "lsr"
        and layer(found.target) > layer(module_name(path))
        # The public names of the package are found lazily, and the command line starts there.
        and module_name(path) not in ("lsr", "lsr.__main__")
    ]
    assert wrong == []


def test_train_eval_and_service_never_import_each_other() -> None:
    wrong = [
        place(path, found)
        for path in MODULES
        for found in imports(path)
        if layer(module_name(path)) == 3
        and found.target.startswith(("lsr.train", "lsr.eval", "lsr.service"))
        and found.target.split(".")[1] != module_name(path).split(".")[1]
    ]
    assert wrong == []


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    wrong = []
    for path in MODULES:
        name = module_name(path)
        late = HEAVY - ALLOWED_HEAVY.get(name, set())
        if name.split(".")[1:2] and layer(name) != 2 and "." not in name.removeprefix("lsr."):
            late = late | SLOW_FOR_LSR
        wrong += [
            place(path, found)
            for found in imports(path)
            if found.at_top and found.target.split(".")[0] in late
        ]
    assert wrong == []


def test_modules_of_heavy_libraries_are_never_imported_at_the_top_of_others() -> None:
    wrong = [
        place(path, found)
        for path in MODULES
        for found in imports(path)
        if found.at_top and found.target in ALLOWED_HEAVY and module_name(path) not in ALLOWED_HEAVY
    ]
    assert wrong == []


def test_no_module_is_imported_under_a_second_name() -> None:
    """With the root on sys.path, `import index.kernels` makes a second module object."""
    folders = {folder for folder in PACKAGES if "/" not in folder and folder != "lsr"}
    files = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    wrong = [
        place(path, found)
        for path in files
        for found in imports(path)
        if found.target.split(".")[0] in folders
    ]
    assert wrong == []


def test_every_folder_of_modules_is_packaged() -> None:
    found = {path.parent.relative_to(ROOT).as_posix() for path in MODULES}
    assert found == set(PACKAGES)
    assert sorted(PACKAGES.values()) == sorted(PROJECT["tool"]["setuptools"]["packages"])


def test_every_folder_of_modules_has_an_init() -> None:
    assert [folder for folder in PACKAGES if not (ROOT / folder / "__init__.py").is_file()] == []


def test_no_file_is_longer_than_500_lines() -> None:
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py")]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_product_code_neither_asserts_nor_prints() -> None:
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_print = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            )
            if isinstance(node, ast.Assert) or is_print:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def test_nothing_that_is_ignored_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    assert listed.stdout == ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = _copy_of_the_sources(folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet",
         "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder),
         str(source)],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    [built] = folder.glob("*.whl")
    return built


def _copy_of_the_sources(target: Path) -> Path:
    """Copy what is tracked, so that the build leaves nothing in the checkout."""
    import shutil

    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("lsr", "index", "train", "eval", "service"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in ("pyproject.toml", "LICENSE", PROJECT["project"]["readme"]):
        shutil.copy(ROOT / name, target / name)
    return target


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_bundled_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        f"{PACKAGES[path.parent.relative_to(ROOT).as_posix()].replace('.', '/')}/{path.name}"
        for path in MODULES
    }
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lsr" / "bundled").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    data |= {
        f"lsr/{path.relative_to(ROOT).as_posix()}"
        for folder in ("templates", "expectations")
        for path in (ROOT / "eval" / folder).iterdir()
    }
    data |= {f"lsr/train/recipes/{path.name}" for path in (ROOT / "train" / "recipes").iterdir()}
    data |= {f"lsr/service/web/{path.name}" for path in (ROOT / "service" / "web").iterdir()}
    assert modules | data | {"lsr/py.typed"} <= names
    assert not [
        name
        for name in names
        if name.startswith(("index/", "train/", "eval/", "service/", "tests/"))
    ]


@pytest.mark.slow
def test_the_wheel_indexes_and_searches_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
         "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    # What is first on the path wins over the editable install of the checkout.
    environment = {**os.environ, "PYTHONPATH": str(site), "LSR_OFFLINE": "1"}
    corpus = '{"_id": "a", "text": "cats purr"}\n{"_id": "b", "text": "dogs bark"}\n'
    (tmp_path / "docs.jsonl").write_text(corpus + '{"_id": "c", "text": "cows moo"}\n')

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import lsr.index.index, sys; sys.stdout.write(lsr.index.index.__file__)"
    home = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(home.stdout).is_relative_to(site)
    assert run("lsr", "--version").startswith("lsr ")
    run("lsr", "index", "docs.jsonl", "--out", "animals")
    assert run("lsr", "search", "animals", "why do cats purr").split()[2] == "a"
