"""The container files, which are not run here: what they promise is in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    line.split(None, 1)
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    if line.strip() and not line.startswith("#")
]
KNOWN = {
    "FROM", "WORKDIR", "COPY", "ARG", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "CMD",
    "ENTRYPOINT",
}  # fmt: skip


def last_stage() -> list[list[str]]:
    starts = [at for at, line in enumerate(INSTRUCTIONS) if line[0] == "FROM"]
    return INSTRUCTIONS[starts[-1] :]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return found


def test_every_instruction_is_one_that_docker_knows() -> None:
    assert {line[0] for line in INSTRUCTIONS} <= KNOWN
    for name, rest in INSTRUCTIONS:
        if name == "RUN":
            assert shlex.split(rest)


def test_images_are_pinned_to_a_version() -> None:
    for name, rest in INSTRUCTIONS:
        if name == "FROM":
            assert re.match(r"[\w./-]+:\d[\w.-]+", rest), rest


def test_everything_it_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name, rest in INSTRUCTIONS:
        if name == "COPY" and "--from" not in rest:
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored


def test_it_runs_as_nobody_special_with_warm_kernels() -> None:
    stage = last_stage()
    users = [rest for name, rest in stage if name == "USER"]
    assert users == ["10001:10001"]
    warm = next(at for at, line in enumerate(stage) if "lsr warmup" in line[1])
    assert warm > next(at for at, line in enumerate(stage) if line[0] == "USER")
    assert stage[-2] == ["ENTRYPOINT", '["lsr"]']


def test_compose_keeps_the_root_file_system_read_only() -> None:
    service = compose()["services"]["lsr"]
    assert service["read_only"] is True and service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(service["secrets"]) == set(compose()["secrets"])
    assert service["command"][0] == "serve"
