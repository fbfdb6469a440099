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
        raise ImportError(f"tests/train/{name}.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


train_cases = _load("train_cases")


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny masked language model."""
    folder: Path = train_cases.write_masked(tmp_path_factory.mktemp("masked"))
    return folder


@pytest.fixture(scope="session")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny causal language model."""
    folder: Path = train_cases.write_causal(tmp_path_factory.mktemp("causal"))
    return folder


@pytest.fixture(scope="session")
def start(masked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with fewer active terms, as one that was trained before has them."""
    folder: Path = train_cases.shifted(masked, tmp_path_factory.mktemp("start") / "model", -1.5)
    return folder
