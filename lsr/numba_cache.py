"""Where numba keeps compiled kernels, decided before numba is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs

#: The folder of the house; kernels live in its subfolder `numba`.
CACHE_VARIABLE = "LSR_CACHE"
NUMBA_VARIABLE = "NUMBA_CACHE_DIR"


def prepare(folders: Iterable[Path]) -> Path | None:
    """Choose a folder for compiled kernels that can be written, or None for numba's own choice.

    None means that `NUMBA_CACHE_DIR` was set by the user, or that `__pycache__` beside each module
    can be written, which is where numba puts kernels by itself. Otherwise `NUMBA_CACHE_DIR` is
    set to the first that can be written of `$LSR_CACHE/numba`, the user's cache folder and a new
    temporary folder (kernels are then compiled anew by each process). Call it before numba is
    imported: numba reads the variable once, and raises at import of a cached kernel when it
    finds no folder (numba issue 4032). `folders` are those of the modules that hold kernels.
    """
    if os.environ.get(NUMBA_VARIABLE):
        return None
    chosen = choose(folders)
    if chosen is not None:
        os.environ[NUMBA_VARIABLE] = str(chosen)
        if "numba" in sys.modules:  # somebody else imported it before us
            sys.modules["numba"].config.CACHE_DIR = str(chosen)
    return chosen


def choose(folders: Iterable[Path], writable: Callable[[Path], bool] | None = None) -> Path | None:
    """Return the folder to hand to numba for modules in `folders`, None when it needs none.

    `writable` tells whether files can be made in a folder; the default tries it.
    """
    can_write = writable or _can_write
    if all(can_write(folder / "__pycache__") for folder in folders):
        return None
    for candidate in _fallbacks():
        if can_write(candidate):
            return candidate
    last_resort = Path(tempfile.mkdtemp(prefix="lsr-numba-"))
    atexit.register(shutil.rmtree, last_resort, ignore_errors=True)
    return last_resort


def postpone_blas() -> None:
    """Keep numba from importing scipy.linalg before a kernel calls for linear algebra.

    numba imports it with its array functions only to see that it is there, which is a third of
    the time to the first answer. Kernels that use it, anyone's, still import it when compiled.
    """
    if "numba.np.arraymath" in sys.modules:
        return
    from numba.np import linalg

    check = getattr(linalg, "ensure_blas", None)
    if check is None:
        return
    linalg.ensure_blas = lambda: None
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = check


def _fallbacks() -> list[Path]:
    own = os.environ.get(CACHE_VARIABLE)
    user = Path(platformdirs.user_cache_dir("lsr")) / "numba"
    return [Path(own) / "numba", user] if own else [user]


def _can_write(folder: Path) -> bool:
    # Permission bits do not tell (root, read-only mounts, a file in the way): write, and see.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
