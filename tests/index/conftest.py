from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    """Import a module beside this one; in importlib mode a test folder is not on the path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"tests/index/{name}.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


filter_cases = _load("filter_cases")
toy_encoder = _load("toy_encoder")
store_cases = _load("store_cases")
shelf_cases = _load("shelf_cases")
leg_cases = _load("leg_cases")
block_cases = _load("block_cases")
dense_cases = _load("dense_cases")


@pytest.fixture
def encoder() -> toy_encoder.ToyEncoder:  # type: ignore[name-defined]
    return toy_encoder.ToyEncoder()
