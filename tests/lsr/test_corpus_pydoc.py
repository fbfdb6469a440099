from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from lsr.corpus import read_documents
from lsr.corpus_docstrings import from_source
from lsr.errors import ConfigError
from lsr.types import Document


@pytest.fixture(scope="module")
def stdlib() -> dict[str, Document]:
    found = [record.document for record in read_documents("pydoc:stdlib")]
    documents = {document.id: document for document in found}
    assert len(documents) == len(found)
    return documents


def test_the_standard_library_gives_several_thousand_documents(
    stdlib: dict[str, Document],
) -> None:
    kinds = Counter(document.fields["kind"] for document in stdlib.values())
    assert len(stdlib) > 5000
    assert set(kinds) == {"module", "class", "function", "method"}
    assert min(kinds.values()) > 200
    assert not [name for name in stdlib if any(part[0] == "_" for part in name.split("."))]
    assert not [name for name in stdlib if name.split(".")[0] in ("test", "idlelib", "antigravity")]


def test_a_function_has_a_signature_a_docstring_and_a_place(stdlib: dict[str, Document]) -> None:
    document = stdlib["json.dumps"]
    assert document.title.startswith("json.dumps(obj, *, skipkeys=False, ensure_ascii=True, ")
    assert document.text.startswith("Serialize ``obj`` to a JSON formatted ``str``.")
    line = document.fields["line"]
    assert isinstance(line, int)
    assert dict(document.fields) == {
        "kind": "function",
        "package": "stdlib",
        "module": "json",
        "file": "json/__init__.py",
        "line": line,
    }


@pytest.mark.parametrize(
    "name",
    [
        "math.sqrt",  # a module in C
        "builtins.str.join",  # a method of a class in C
        "collections.deque",  # a class that its module takes from a private one
        "struct.pack",  # a function that its module takes with a star
        "os.path.join",  # a module under another name
        "asyncio.runners.run",  # a function of a submodule
    ],
)
def test_what_people_look_for_is_there(stdlib: dict[str, Document], name: str) -> None:
    assert stdlib[name].text


def test_an_installed_package_is_parsed_and_never_imported() -> None:
    before = {name for name in sys.modules if name.split(".")[0] == "filelock"}
    found = [record.document for record in read_documents("pydoc:filelock,packaging")]
    assert {name for name in sys.modules if name.split(".")[0] == "filelock"} == before
    assert {document.fields["package"] for document in found} == {"filelock", "packaging"}
    assert "packaging.version.Version" in {document.id for document in found}
    again = [record.document for record in read_documents("pydoc:filelock,packaging")]
    assert again == found


@pytest.mark.parametrize("names", ["", " , ", "no_such_package_here", "not-a-name"])
def test_a_package_that_is_not_there_is_refused(names: str) -> None:
    with pytest.raises(ConfigError):
        read_documents(f"pydoc:{names}")


SOURCE = '''
"""A module."""
import os
if os.name == "posix":
    def shown(a, /, b: int = 2, *rest, c, d=(1, 2), **more) -> None:
        """Shown."""
else:
    def shown():
        """Other."""

class Public(Exception):
    """Public.

        Indented."""
    def __init__(self, x=None):
        """Not by itself."""
    @staticmethod
    def still(x): "Static."
    @classmethod
    def of(cls, y): "Class method."
    async def wait(self): "Waits."
    def silent(self): pass
    def _hidden(self): "Hidden."
    class Inner:
        "Inner."

def _private():
    """Private."""
'''


def test_definitions_become_documents(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(SOURCE)
    found = list(from_source(path, "p.m", "p", "p/m.py"))
    assert [(values["title"], values["text"]) for values in found] == [
        ("p.m", "A module."),
        ("p.m.shown(a, /, b=2, *rest, c, d=(1, 2), **more)", "Shown."),
        ("p.m.shown()", "Other."),
        ("class p.m.Public(x=None)", "Public.\n\nIndented."),
        ("p.m.Public.still(x)", "Static."),
        ("p.m.Public.of(y)", "Class method."),
        ("p.m.Public.wait()", "Waits."),
        ("class p.m.Public.Inner", "Inner."),
    ]


def test_a_file_that_does_not_parse_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_bytes(b"def (:\n\xff")
    assert list(from_source(path, "m", "m", "m.py")) == []
