"""Where compiled kernels go, whatever can be written."""

from __future__ import annotations

import os
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
starts, rows, weights = np.zeros(2, np.int64), np.zeros(1, np.uint16), np.zeros(1, np.float32)
kernels.invert(np.array([0, 1]), rows.copy(), np.ones(1, np.float32), starts, rows, weights)
assert starts.tolist() == [0, 1] and weights.tolist() == [1.0]
"""


def test_a_read_only_install_compiles_and_keeps_its_kernels_in_the_cache(tmp_path: Path) -> None:
    copy, packages = tmp_path / "site", Path(numpy.__file__).parent.parent
    ignored = shutil.ignore_patterns("__pycache__", "bundled")
    shutil.copytree(Path(numba_cache.__file__).parent, copy / "lsr", ignore=ignored)
    index = Path(str(find_spec("lsr.index.kernels").origin)).parent  # type: ignore[union-attr]
    shutil.copytree(index, copy / "lsr" / "index", ignore=ignored, dirs_exist_ok=True)
    (copy / "lsr" / "index" / "__pycache__").touch()  # a file stops even root from writing there
    environment = {**os.environ, "LSR_CACHE": str(tmp_path / "cache")}
    environment.pop("NUMBA_CACHE_DIR")
    done = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", PROGRAM, str(copy), str(packages)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "cache" / "numba").rglob("*.nbi"))
