"""Starting lsr costs what it must: nothing heavy is imported before it is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "transformers", "numba", "pyarrow", "faiss", "fastapi", "matplotlib", "pandas",
    "scipy", "pydantic", "numpy", "rich", "ir_datasets", "sentence_transformers",
)  # fmt: skip
#: CPU seconds that `lsr --help` may take beyond an empty Python; 0.1 s when nothing else runs.
HELP_SECONDS = 0.35


def loaded_after(code: str) -> set[str]:
    """Return which heavy libraries are loaded after `code` ran in a fresh process."""
    report = (
        f"import json, sys\n{code}\nprint(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def cpu_seconds(*arguments: str) -> float:
    """Return the least CPU time of three runs of Python with these arguments."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = os.times()
        used = after.children_user + after.children_system
        times.append(used - before.children_user - before.children_system)
    return min(times)


def test_import_lsr_loads_nothing_heavy() -> None:
    assert loaded_after("import lsr") == set()


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "search --help", "index --help", "eval --help", "serve --help"],
)
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; sys.argv = ['lsr', *{command.split()!r}]\n"
        "from lsr.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert loaded_after(code) == set()


def test_settings_without_a_file_or_variables_load_no_pydantic() -> None:
    code = "from lsr.config import load_settings; load_settings(environ={})"
    assert "pydantic" not in loaded_after(code)


@pytest.mark.skipif(not hasattr(os, "times"), reason="needs os.times")
def test_help_takes_a_fifth_of_a_second() -> None:
    """Measured in CPU time and against an empty Python, for the machine may be busy.

    Where it is so slow that CPU time says little, against the import of typer: it takes 3 to 6
    times as long. What must not be imported at all is told by name above.
    """
    empty = cpu_seconds("-c", "pass")
    slow = 8 * (cpu_seconds("-c", "import typer.main") - empty)
    assert cpu_seconds("-m", "lsr", "--help") - empty < max(HELP_SECONDS, slow)


def test_measuring_a_run_loads_no_torch_and_draws_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("1 Q0 a 1 2.0 x\n")
    (tmp_path / "qrels.txt").write_text("1 0 a 1\n")
    files = [str(tmp_path / "run.txt"), "--qrels", str(tmp_path / "qrels.txt")]
    code = (
        f"import sys; sys.argv = ['lsr', 'eval', *{files!r}]\n"
        "from lsr.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert loaded_after(code).isdisjoint({"torch", "transformers", "pandas", "matplotlib"})


def test_a_search_with_the_bundled_encoder_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "from lsr import Index\n"
        f"index = Index.open({str(tmp_path / 'animals')!r})\n"
        "assert index.search('cats')[0].id == 'a'"
    )
    make = (
        "from lsr import Index\n"
        f"with Index.create({str(tmp_path / 'animals')!r}) as index:\n"
        "    index.add([{'_id': 'a', 'text': 'cats purr'}])"
    )
    subprocess.run([sys.executable, "-c", make], check=True, capture_output=True)
    assert loaded_after(code).isdisjoint({"torch", "transformers", "scipy", "pandas", "faiss"})


def test_the_client_of_the_service_loads_no_fastapi() -> None:
    loaded = loaded_after("from lsr.service.client import Client; Client('http://127.0.0.1:1')")
    assert loaded.isdisjoint({"fastapi", "torch", "transformers", "pyarrow", "numba"})
