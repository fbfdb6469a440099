from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lsr.corpus import FieldMap, read_documents
from lsr.corpus_irds import IrDataset, offline
from lsr.errors import ConfigError
from lsr.types import Document

# ir_datasets fixes its home when it is imported, so each home needs a process of its own.
SCRIPT = """
import json, sys
from lsr.corpus import count_hint, open_corpus
from lsr.errors import LsrError
from lsr.rejects import Rejects
found = {}
for source in sys.argv[1:]:
    rejects = Rejects("skip")
    try:
        corpus = open_corpus(source, rejects=rejects)
        records = list(corpus.records())
        rest = open_corpus(source, rejects=Rejects("skip"), skip=corpus.position - 1)
        document = records[0].document
        found[source] = {
            "hint": count_hint(source), "count": len(records), "rejected": rejects.count,
            "ids": [records[at].document.id for at in (0, 9, -1)], "line": records[-1].line,
            "title": document.title, "text": document.text, "fields": dict(document.fields),
            "rest": [record.document.id for record in rest.records()],
        }
    except LsrError as error:
        found[source] = {"error": type(error).__name__, "message": str(error), "hint": error.hint}
print(json.dumps(found))
"""


def run(home: Path, *sources: str) -> dict[str, Any]:
    environment = os.environ | {
        "IR_DATASETS_HOME": str(home),
        "IR_DATASETS_TMP": str(home / "tmp"),
        "LSR_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *sources],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_local_datasets_are_read_whole_and_offline(tmp_path: Path, shared: Path) -> None:
    for name in ("cranfield", "vaswani"):
        (tmp_path / name).mkdir()
        for file in (shared / "data" / "irds-home" / name).iterdir():
            shutil.copyfile(file, tmp_path / name / file.name)
    found = run(tmp_path, "irds:cranfield", "irds:vaswani")
    cranfield = found["irds:cranfield"]
    # Documents 471 and 995 are empty in the original.
    assert (cranfield["hint"], cranfield["count"], cranfield["rejected"]) == (1400, 1398, 2)
    assert (cranfield["ids"], cranfield["line"]) == (["1", "10", "1400"], 1400)
    assert cranfield["title"].startswith("experimental investigation of the aerodynamics")
    assert cranfield["fields"]["author"] == "brenckman,m."
    assert cranfield["rest"] == ["1400"]
    vaswani = found["irds:vaswani"]
    assert (vaswani["hint"], vaswani["count"], vaswani["rejected"]) == (11429, 11429, 0)
    assert (vaswani["ids"], vaswani["title"], vaswani["fields"]) == (["1", "10", "11429"], "", {})
    assert vaswani["text"].startswith("compact memories have flexible capacities")


def test_what_is_not_local_is_never_downloaded_while_offline(tmp_path: Path) -> None:
    found = run(tmp_path, "irds:vaswani", "irds:nothing/of/that/name", "irds:beir/scifact")
    for source in ("irds:vaswani", "irds:beir/scifact"):
        assert found[source]["error"] == "OfflineError"
        assert "LSR_OFFLINE forbids to download it" in found[source]["message"]
        assert "IR_DATASETS_HOME" in found[source]["hint"]
    unknown = found["irds:nothing/of/that/name"]
    assert unknown["error"] == "ConfigError"
    assert "no dataset of that id" in unknown["message"]


class PageOfParts(NamedTuple):
    doc_id: str
    title: str
    body: str
    authors: tuple[str, ...]

    def default_text(self) -> str:
        return f"{self.title} {self.body}"


def test_a_document_without_a_text_gives_its_default_text_once() -> None:
    body = "word " * 100
    values = IrDataset("any").parse(PageOfParts("p1", "Title", body, ("A", "B")))
    assert FieldMap().document(values) == Document(
        "p1", "Title", f"Title {body}", {"authors": ["A", "B"]}
    )


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(ConfigError):
        list(read_documents("irds:"))


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False)])
def test_the_network_is_forbidden_by_an_environment_variable(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: bool
) -> None:
    monkeypatch.setenv("LSR_OFFLINE", value)
    assert offline() is expected
