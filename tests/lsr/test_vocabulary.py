from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lsr.errors import ConfigError, DataError
from lsr.vocabulary import read_vocabulary


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_lines_are_tokens_and_their_numbers_terms(tmp_path: Path) -> None:
    tokens = ["[PAD]", "cat", "##s", "\x85", "\u2028", " "]
    for end in ("\n", "\r\n"):
        path = write(tmp_path / "vocab.txt", end.join(tokens) + end)
        assert read_vocabulary(path) == {token: at for at, token in enumerate(tokens)}
    assert read_vocabulary(write(tmp_path / "v.txt", "a\nb")) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "content",
    [
        {"cat": 1, "dog": 5},
        {"model": {"vocab": {"cat": 1}}, "added_tokens": [{"id": 5, "content": "dog"}]},
        {"model": {"vocab": {"cat": 1, "dog": 5}}},
    ],
)
def test_json_holds_an_object_or_a_tokenizer(tmp_path: Path, content: Any) -> None:
    assert read_vocabulary(write(tmp_path / "v.json", content)) == {"cat": 1, "dog": 5}


def test_a_unigram_tokenizer_lists_its_tokens_in_order(tmp_path: Path) -> None:
    content = {"model": {"vocab": [["<s>", 0.0], ["▁cat", -3.5]]}, "added_tokens": None}
    assert read_vocabulary(write(tmp_path / "v.json", content)) == {"<s>": 0, "▁cat": 1}


def test_the_vocabulary_of_the_bundled_model_is_read(tmp_path: Path) -> None:
    from lsr.encoder import load_encoder

    folder = Path(__file__).parents[2] / "lsr" / "bundled"
    assert read_vocabulary(folder / "tokenizer.json") == dict(load_encoder().vocabulary)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("v.txt", "a\nb\na\n", "v.txt:3: token 'a' is on line 1 already"),
        ("v.txt", "", "the file is empty"),
        ("v.json", "{", "not JSON"),
        ("v.json", "[" * 100_000, "not JSON"),
        ("v.json", [1], "there is no vocabulary in it"),
        ("v.json", {}, "there is no vocabulary in it"),
        ("v.json", {"model": {}}, "there is no vocabulary in it"),
        ("v.json", {"a": 1, "b": 1}, "tokens 'a' and 'b' both have id 1"),
        ("v.json", {"a": -1}, "the id of token 'a' is -1, not a term id"),
        ("v.json", {"a": True}, "the id of token 'a' is True, not a term id"),
        ("v.json", {"a": "1"}, "the id of token 'a' is '1', not a term id"),
    ],
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, name: str, content: Any, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        read_vocabulary(write(tmp_path / name, content))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.txt: cannot be read"):
        read_vocabulary(tmp_path / "none.txt")
    (tmp_path / "v.txt").write_bytes(b"cat\n\xff\n")
    with pytest.raises(DataError, match="byte 4 is not UTF-8"):
        read_vocabulary(tmp_path / "v.txt")
