from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of collections, vectors and models that lies beside a developer's checkout."""
    folder = Path(os.environ.get("LSR_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"the shared collections are not at {folder}; set LSR_SHARED to run this")
    return folder
