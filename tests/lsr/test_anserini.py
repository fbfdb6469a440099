"""Anserini's JSON vectors: scales, folders and rounding; the rest is in test_vector_files.py."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import ConfigError, DataError
from lsr.rounding import Rounding
from lsr.sparse import SparseVectors
from lsr.vector_files import read_vectors, write_vectors

SIZE = 30
TOKENS = [f"##t{at}" if at % 3 else f"wörd.{at}" for at in range(SIZE)]
VOCABULARY = {token: at for at, token in enumerate(TOKENS)}
ROWS = st.lists(
    st.dictionaries(st.integers(0, SIZE - 1), st.floats(2**-10, 50, width=32), max_size=6),
    min_size=1,
    max_size=8,
)


def batch(rows: list[dict[int, float]]) -> tuple[list[str], SparseVectors]:
    ids = [f"d{at}" for at in range(len(rows))]
    return ids, SparseVectors.from_dicts(rows, vocab_size=SIZE)


def rows_of(path: Path, **options: Any) -> dict[str, dict[int, float]]:
    return {
        identity: row
        for found in read_vectors(path, **options)
        for identity, row in zip(found.ids, found.vectors.to_dicts(), strict=True)
    }


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, scale=st.sampled_from([0.5, 10.0, 100.0, 1234.5]), named=st.booleans())
def test_rounded_weights_come_back_within_half_a_step(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[int, float]],
    scale: float,
    named: bool,
) -> None:
    path = tmp_path_factory.mktemp("v") / "v.jsonl"
    rounding = Rounding(scale)
    tokens = TOKENS if named else None
    write_vectors(path, "anserini", [batch(rows)], tokens=tokens, scale=rounding)
    for line in path.read_text(encoding="utf-8").splitlines():
        assert all(
            type(weight) is int and weight > 0 for weight in json.loads(line)["vector"].values()
        )
    where: dict[str, Any] = {"vocabulary": VOCABULARY} if named else {"vocab_size": SIZE}
    found = rows_of(path, scale=scale, **where)
    lost = 0
    for at, row in enumerate(rows):
        back = found[f"d{at}"]
        assert back.keys() <= row.keys()
        lost += len(row) - len(back)
        for term, weight in row.items():
            assert abs(back.get(term, 0.0) - weight) <= 0.5 / scale + 1e-5 * weight
    assert (rounding.zeros, rounding.weights) == (lost, sum(map(len, rows)))


def test_what_is_lost_by_rounding_is_counted() -> None:
    rounding = Rounding(10)
    assert rounding(np.array([0.04, 1.0, 0.16], np.float32)).tolist() == [0, 10, 2]
    assert rounding(np.array([], np.float32)).tolist() == []
    assert (rounding.weights, rounding.zeros) == (3, 1)
    assert rounding.error == pytest.approx((0.04 + 0.04) / 1.2)
    assert "x 10, rounded: 33.33% of them became 0" in rounding.summary()
    with pytest.raises(DataError, match="does not fit 32 bits") as caught:
        rounding(np.array([1e9], np.float32))
    assert "at most 2.147" in str(caught.value.hint)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_number_above_zero_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(ConfigError, match="scale is"):
        Rounding(scale)
    (tmp_path / "v.jsonl").write_text('{"id": "a", "vector": {"1": 1}}\n')
    with pytest.raises(ConfigError, match="scale is"):
        read_vectors(tmp_path / "v.jsonl", vocab_size=SIZE, scale=scale)


@pytest.mark.parametrize(("name", "format"), [("v.parquet", "parquet"), ("v.npz", "npz")])
def test_formats_of_floats_take_no_scale(tmp_path: Path, name: str, format: str) -> None:
    with pytest.raises(ConfigError, match=f"{format} holds weights as they are"):
        write_vectors(tmp_path / name, format, [batch([{1: 1.0}])], scale=100)
    write_vectors(tmp_path / name, format, [batch([{1: 1.0}])])
    with pytest.raises(ConfigError, match=f"{format} holds weights as they are"):
        read_vectors(tmp_path / name, scale=100)


def test_a_folder_is_written_and_read_as_anserini_does(tmp_path: Path) -> None:
    rows = [{1: 0.5}, {}, {2: 1.25, 7: 3.0}]
    write_vectors(tmp_path / "out", "anserini", [batch(rows)], tokens=TOKENS, scale=100)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["vectors.jsonl"]
    found = rows_of(tmp_path / "out", vocabulary=VOCABULARY, scale=100)
    assert found == {"d0": rows[0], "d1": {}, "d2": rows[2]}


def test_all_files_of_a_folder_are_read_in_order_of_name(tmp_path: Path) -> None:
    for name in ("docs01.json", "docs00.json", "docs02.json.gz"):
        line = json.dumps({"id": name[:6], "contents": "x", "vector": {"3": 2}}) + "\n"
        data = line.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (tmp_path / ".hidden.jsonl").write_text("not JSON")
    assert list(rows_of(tmp_path, vocab_size=SIZE)) == ["docs00", "docs01", "docs02"]
    (tmp_path / "a.jsonl").write_text('{"id": "a", "vector": {"3": 2}}\n')
    assert list(rows_of(tmp_path, vocab_size=SIZE)) == ["a"]
    (tmp_path / "v.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"several formats \(anserini, parquet\)"):
        read_vectors(tmp_path, vocab_size=SIZE)


def test_a_folder_without_vectors_and_a_file_of_one_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no files of vectors"):
        read_vectors(tmp_path, vocab_size=SIZE)
    (tmp_path / "v.json").write_text('[{"id": "a", "vector": {"3": 2}}]')
    with pytest.raises(DataError, match="one object on each line is expected") as caught:
        rows_of(tmp_path, vocab_size=SIZE)
    assert "jq" in str(caught.value.hint)
