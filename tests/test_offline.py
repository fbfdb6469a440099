"""Everything that ships with lsr works with the network off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Python runs this before anything else: any attempt to reach out ends the process.
SITE = """
import os, socket

def refuse(self, address, *rest):
    os.write(2, f"reached out to {address!r}".encode())
    os._exit(97)

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda host, *rest, **more: refuse(None, host)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("LSR_")}
    return {**hidden, "PYTHONPATH": str(site), "LSR_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}


def run(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def test_the_block_on_the_network_works(environment: dict[str, str], tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    assert run("-c", code, cwd=tmp_path, env=environment).returncode == 97


def test_index_and_search_never_reach_for_the_network(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "docs.jsonl").write_text(
        '{"_id": "a", "text": "cats purr"}\n{"_id": "b", "text": "dogs bark"}\n'
    )
    made = run("-m", "lsr", "index", "docs.jsonl", "--out", "i", cwd=tmp_path, env=environment)
    assert made.returncode == 0, made.stderr
    found = run("-m", "lsr", "search", "i", "purring cat", cwd=tmp_path, env=environment)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[2] == "a"


def test_a_model_from_the_hub_is_refused_with_a_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    asked = ("-m", "lsr", "encode", "cats", "--model", "naver/splade-v3")
    done = run(*asked, cwd=tmp_path, env=environment)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ") and "hint: " in done.stderr
    assert "Traceback" not in done.stderr
