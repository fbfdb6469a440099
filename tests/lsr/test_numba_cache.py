"""Where compiled kernels go, whatever can be written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest

from lsr import numba_cache
from lsr.numba_cache import choose, prepare


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (numba_cache.CACHE_VARIABLE, numba_cache.NUMBA_VARIABLE):
        monkeypatch.setenv(name, "")


def test_a_package_that_can_be_written_keeps_its_kernels_beside_its_modules(tmp_path: Path) -> None:
    assert prepare([tmp_path]) is None
    assert os.environ[numba_cache.NUMBA_VARIABLE] == ""


def test_a_folder_that_the_user_chose_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(numba_cache.NUMBA_VARIABLE, str(tmp_path))
    (tmp_path / "__pycache__").touch()  # a file: no folder can be made there
    assert prepare([tmp_path]) is None
    assert os.environ[numba_cache.NUMBA_VARIABLE] == str(tmp_path)


def test_a_package_that_cannot_be_written_uses_the_cache_of_the_house(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(numba_cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "__pycache__").touch()
    assert prepare([tmp_path]) == tmp_path / "cache" / "numba"
    assert os.environ[numba_cache.NUMBA_VARIABLE] == str(tmp_path / "cache" / "numba")


def test_without_a_cache_of_the_house_the_users_folder_is_taken(tmp_path: Path) -> None:
    package = tmp_path / "package"
    chosen = choose([package], lambda folder: package not in folder.parents)
    assert chosen is not None
    assert chosen.name == "numba" and "lsr" in chosen.parts


def test_when_nothing_can_be_written_a_new_temporary_folder_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(numba_cache.CACHE_VARIABLE, str(tmp_path / "denied"))
    chosen = choose([tmp_path], lambda folder: False)
    assert chosen is not None and chosen.is_dir()
    assert not list(chosen.iterdir())
    chosen.rmdir()


def test_one_folder_that_cannot_be_written_is_enough_to_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(numba_cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    good, bad = tmp_path / "good", tmp_path / "bad"
    bad.mkdir()
    (bad / "__pycache__").touch()
    assert choose([good]) is None
    assert choose([good, bad]) == tmp_path / "cache" / "numba"


#: Finds the copy of the package before the installed one; site-packages are given, as -S is.
PROGRAM = """
import site, sys
site.addsitedir(sys.argv[2])
sys.path.insert(0, sys.argv[1])
import numpy as np
from lsr.index import kernels
assert kernels.__file__.startswith(sys.argv[1]), kernels.__file__
from lsr.index.windows import invert_window
rows = np.array([0, 1, 2]), np.array([0, 0], np.uint16), np.array([1, 2], np.float32)
inverted = invert_window(*rows, 1)
assert inverted.entries.tolist() == [256 + 255, 128]
"""


def start(tmp_path: Path) -> subprocess.Popen[str]:
    """Run the program on a copy of the package that cannot be written, with a cache beside it."""
    copy, packages = tmp_path / "site", Path(numpy.__file__).parent.parent
    if not copy.exists():
        ignored = shutil.ignore_patterns("__pycache__", "bundled")
        shutil.copytree(Path(numba_cache.__file__).parent, copy / "lsr", ignore=ignored)
        index = Path(str(find_spec("lsr.index.kernels").origin)).parent  # type: ignore[union-attr]
        shutil.copytree(index, copy / "lsr" / "index", ignore=ignored, dirs_exist_ok=True)
        # A file stops even root from writing there.
        (copy / "lsr" / "index" / "__pycache__").touch()
    environment = {**os.environ, "LSR_CACHE": str(tmp_path / "cache")}
    environment.pop("NUMBA_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-S", "-W", "error", "-c", PROGRAM, str(copy), str(packages)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_read_only_install_compiles_and_keeps_its_kernels_in_the_cache(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert (done.communicate(timeout=120)[1], done.returncode) == ("", 0)
    assert list((tmp_path / "cache" / "numba").rglob("*.nbi"))


def test_processes_that_race_for_the_cache_all_answer(tmp_path: Path) -> None:
    racing = [start(tmp_path) for _ in range(2)]
    for process in racing:
        assert (process.communicate(timeout=120)[1], process.returncode) == ("", 0)
    after = start(tmp_path)  # and what they left in the cache is sound
    assert (after.communicate(timeout=120)[1], after.returncode) == ("", 0)


def test_every_file_of_kernels_renews_the_cache_of_the_others() -> None:
    from lsr.index import jit

    folder = Path(jit.__file__).parent
    compiled = re.compile(r"^@(kernel|inner|inlined)$", re.MULTILINE)
    files = {path.stem for path in folder.glob("*.py") if compiled.search(path.read_text("utf-8"))}
    constants = {"jit", "windows", "arguments", "blocks"}
    assert set(jit.SOURCES) == files | constants
