"""The curl examples of the README work as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from serving import Running

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text(encoding="utf-8")
BLOCK = next(
    block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "curl" in block
)
COMMANDS = BLOCK.replace("\\\n", " ").splitlines()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_curl_examples_work_in_their_order(service: Running) -> None:
    answers = []
    for command in COMMANDS:
        ours = command.replace("http://127.0.0.1:8321", service.url)
        done = subprocess.run(["sh", "-c", ours], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
        assert "status" not in answers[-1] or answers[-1]["status"] == "ok", done.stdout
    by_url, by_body, written, deleted, ready = answers
    assert len(by_url["hits"]) == 3
    assert by_body["hits"] and {"highlights", "explain"} <= set(by_body["hits"][0])
    assert written["items"][0]["status"] == "indexed"
    assert deleted["items"][0]["status"] in ("deleted", "absent")
    assert ready == {"status": "ok"}
