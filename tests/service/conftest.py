from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from lsr.config import ServeSettings
from lsr.index.index import Index
from lsr.service.app import make_app
from lsr.service.options import Options


def _load(name: str) -> ModuleType:
    """Import a module beside this one; in importlib mode a test folder is not on the path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"tests/service/{name}.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


serving_module = _load("serving")
browser_module = _load("browser")
Running, serving = serving_module.Running, serving_module.serving

#: Documents whose words the tests know; every seventh holds what a page must not run.
DOCUMENTS = [
    {
        "_id": f"d{number}",
        "title": f"Jacket {number}",
        "text": f"A warm {colour} jacket for cycling in the {place}, number {number}."
        + (
            "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>"
            * (number % 7 == 0)
        ),
        "price": 10 + number,
        "colour": colour,
    }
    for number, colour, place in (
        (n, ("red", "green", "blue")[n % 3], ("rain", "mountains")[n % 2]) for n in range(40)
    )
]


def make_shop(folder: Path) -> Path:
    with Index.create(folder) as index:
        index.add(DOCUMENTS)
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that nobody writes to."""
    return make_shop(tmp_path_factory.mktemp("shop") / "shop")


@pytest.fixture(scope="module")
def api(shop: Path) -> Iterator[TestClient]:
    """The app in this process, on an index that nobody writes to."""
    with client_of(shop) as client:
        yield client


@contextmanager
def client_of(
    shop: Path, *, peer: str = "127.0.0.1", dense: str | None = None, **settings: Any
) -> Iterator[TestClient]:
    """Run the app in this process; requests come from `peer`."""
    own = ServeSettings(workers=1, threads=2, **settings)
    options = Options((("shop", shop),), own, dense=dense)
    app = make_app(options)
    with TestClient(app, base_url="http://localhost", client=(peer, 1)) as client:
        due = time.monotonic() + 240  # kernels may have to be compiled
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < due
            time.sleep(0.02)
        yield client


@pytest.fixture
def client_for() -> Callable[..., AbstractContextManager[TestClient]]:
    return client_of


@pytest.fixture(scope="module")
def client_of_module() -> Callable[..., AbstractContextManager[TestClient]]:
    return client_of


@pytest.fixture(scope="session")
def service(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of one index, `shop`, to which tests may write."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copytree(shop, folder / "shop", ignore=shutil.ignore_patterns("queue"))
    environ = {"LSR_SERVE__BODY_SECONDS": "4", "LSR_SERVE__COMMIT_MS": "100"}
    with serving(folder, "shop", "--workers", "2", environ=environ) as running:
        yield running
