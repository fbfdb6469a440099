"""Every example in a docstring of the package runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import lsr
from lsr.encoder import Encoder, load_encoder

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"lsr": "lsr", "index": "lsr.index", "eval": "lsr.eval", "train": "lsr.train"}
#: Fewer examples than this would mean that the search for them is broken.
LEAST = 40
OF_AN_INDEX = ("lsr.index.index.Index", "lsr.index.reader.Reader")


def examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            if path.stem in ("__main__", "bert_torch", "trainer", "watch"):
                continue
            name = package if path.stem == "__init__" else f"{package}.{path.stem}"
            module = importlib.import_module(name)
            yield from (found for found in finder.find(module, name) if found.examples)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= LEAST
    assert any(one.name.startswith("lsr.index.index.Index") for one in EXAMPLES)


def tiny_recipe(folder: Path) -> Path:
    """Write a recipe of one step, and four pairs to learn from."""
    pairs = [("cats", "cats purr"), ("dogs", "dogs bark"), ("cows", "cows moo"), ("ants", "ants")]
    lines = [json.dumps({"query": query, "positive": text}) for query, text in pairs]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    file = folder / "tiny.toml"
    file.write_text(
        'extends = "splade-doc"\n[train]\nsteps = 1\nbatch_size = 4\n'
        f'[[data.sources]]\npath = "{(folder / "pairs.jsonl").as_posix()}"\n'
    )
    return file


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_example(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSR_OFFLINE", raising=False)
    words = {word for one in example.examples for word in one.source.replace(".", " ").split()}
    example.globs.update(lsr=lsr, encoder=encoder, folder=tmp_path / "folder", Path=Path)
    for name in ("Document", "Index", "SparseVectors"):
        example.globs.setdefault(name, getattr(lsr, name))
    if "index" in words and any(name in example.name for name in OF_AN_INDEX):
        made = lsr.Index.create(tmp_path / "index", encoder=encoder)
        made.add([lsr.Document("a", text="cats purr"), lsr.Document("b", text="dogs bark")])
        made.commit()
        example.globs["index"] = made
    if any("tiny_recipe" in one.source for one in example.examples):
        example.globs["tiny_recipe"] = tiny_recipe(tmp_path)
    lines: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
    runner.run(example, out=lines.append, clear_globs=False)
    if "index" in example.globs and isinstance(example.globs["index"], lsr.Index):
        example.globs["index"].close()
    assert runner.summarize(verbose=False).failed == 0, "".join(lines)
