from __future__ import annotations

import gzip
import json
import tracemalloc
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import ConfigError, DataError, StorageError
from lsr.rejects import Rejects
from lsr.sparse import SparseVectors
from lsr.types import Document
from lsr.vector_files import VectorBatch, read_vectors, write_vectors

SIZE = 50
ROWS = st.lists(
    st.dictionaries(st.integers(0, SIZE - 1), st.floats(2**-10, 1000, width=32), max_size=8),
    max_size=12,
)


def vectors_of(*rows: dict[int, float]) -> SparseVectors:
    return SparseVectors.from_dicts(rows, vocab_size=SIZE)


def whole(batches: Iterator[VectorBatch]) -> tuple[list[str], list[dict[int, float]]]:
    ids: list[str] = []
    rows: list[dict[int, float]] = []
    for batch in batches:
        ids += batch.ids
        rows += batch.vectors.to_dicts()
    return ids, rows


def skipped(path: Path, **options: Any) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the ids that could be read, and the lines and reasons of the others."""
    seen: list[tuple[int, str]] = []

    class Seen(Rejects):
        def reject(self, source: str, line: int, reason: str, raw: str | bytes = "") -> None:
            seen.append((line, reason))
            super().reject(source, line, reason, raw)

    return whole(read_vectors(path, rejects=Seen("skip"), **options))[0], seen


def jsonl(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


TARGETS = [
    ("v.parquet", "parquet"),
    ("v", "npz"),
    ("v.npz", "npz"),
    ("v.jsonl", "anserini"),
    ("v.jsonl.gz", "anserini"),
    ("v.jsonl.zst", "anserini"),
]


@pytest.mark.parametrize(("name", "format"), TARGETS)
@settings(max_examples=12, deadline=None)
@given(rows=ROWS.filter(bool), size=st.integers(1, 5))
def test_what_is_written_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    format: str,
    rows: list[dict[int, float]],
    size: int,
) -> None:
    path = tmp_path_factory.mktemp("vectors") / name
    ids = [f"d {number}" for number in range(len(rows))]
    batches = [
        (ids[at : at + size], vectors_of(*rows[at : at + size])) for at in range(0, len(rows), size)
    ]
    assert write_vectors(path, format, batches) == len(rows)
    found = list(read_vectors(path, vocab_size=SIZE, batch=3))
    assert whole(iter(found)) == (ids, rows)
    assert [line for batch in found for line in batch.lines] == list(range(1, len(rows) + 1))
    assert found[-1].position == len(rows)
    assert {batch.vectors.vocab_size for batch in found} == {SIZE}
    for batch in found:
        rest = whole(read_vectors(path, vocab_size=SIZE, batch=4, skip=batch.position))
        assert rest == (ids[batch.position :], rows[batch.position :])
    assert not [file for file in path.parent.rglob("*.tmp")]


@pytest.mark.parametrize(("name", "format"), TARGETS)
def test_the_same_vectors_give_the_same_bytes(tmp_path: Path, name: str, format: str) -> None:
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_vectors(folder / name, format, [(["x", "y"], vectors_of({1: 0.1}, {2: 3.0}))])
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        made.append([(file.relative_to(folder), file.read_bytes()) for file in files])
    assert made[0] == made[1]


@pytest.mark.parametrize(("name", "format"), [TARGETS[0], TARGETS[1], TARGETS[3]])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, name: str, format: str) -> None:
    path = tmp_path / name
    write_vectors(path, format, [(["old"], vectors_of({1: 1.0}))])

    def failing() -> Iterator[tuple[Sequence[str], SparseVectors]]:
        yield ["new"], vectors_of({2: 1.0})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vectors(path, format, failing())
    assert whole(read_vectors(path, vocab_size=SIZE)) == (["old"], [{1: 1.0}])
    assert not [file for file in tmp_path.rglob("*.tmp")]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    one = (["a"], vectors_of({1: 1.0}))
    with pytest.raises(ConfigError, match="the formats are parquet, npz, anserini"):
        write_vectors(tmp_path / "v", "pickle", [one])
    with pytest.raises(ConfigError, match="no vectors to write"):
        write_vectors(tmp_path / "v.parquet", "parquet", [])
    with pytest.raises(DataError, match="2 ids but 1 vectors"):
        write_vectors(tmp_path / "v.parquet", "parquet", [(["a", "b"], one[1])])
    other = SparseVectors.from_dicts([{1: 1.0}], vocab_size=9)
    with pytest.raises(DataError, match="a batch has 9 terms, the one before it 50"):
        write_vectors(tmp_path / "v.parquet", "parquet", [one, (["b"], other)])
    with pytest.raises(DataError, match="has a line break"):
        write_vectors(tmp_path / "v", "npz", [(["a\nb"], one[1])])
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        write_vectors(tmp_path / "file" / "v.parquet", "parquet", [one])


def test_anserini_names_tokens_and_may_scale(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    batch = (["d1"], SparseVectors.from_dicts([{0: 0.1, 1: 1.256, 2: 0.004}], vocab_size=3))
    write_vectors(path, "anserini", [batch], tokens=["a", "##b", "c"], scale=100)
    assert json.loads(path.read_text()) == {
        "id": "d1",
        "contents": "",
        "vector": {"a": 10, "##b": 126},
    }
    vocabulary = {"a": 0, "##b": 1, "c": 2}
    assert whole(read_vectors(path, vocabulary=vocabulary))[1] == [{0: 10.0, 1: 126.0}]
    with pytest.raises(ConfigError, match="does not say how many terms") as caught:
        read_vectors(path)
    assert "--vocab-size" in str(caught.value.hint)


def test_documents_come_with_their_vectors(tmp_path: Path) -> None:
    entry = {"id": "d", "contents": "Cats", "title": "T", "year": 5, "vector": {"3": 1, "1": 0.5}}
    [batch] = read_vectors(jsonl(tmp_path / "v.jsonl", entry), vocab_size=SIZE)
    assert batch.documents == [Document("d", "T", "Cats", {"year": 5})]
    assert batch.vectors.to_dicts() == [{1: 0.5, 3: 1.0}]
    table = pa.table(
        {
            "id": ["p"],
            "text": ["Dogs"],
            "metadata": [{"lang": "en"}],
            "terms": pa.array([[7, 2]], pa.large_list(pa.int64())),
            "weights": pa.array([[1, 2]], pa.list_(pa.int32())),
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    [batch] = read_vectors(tmp_path / "v.parquet", vocab_size=SIZE)
    assert batch.documents == [Document("p", "", "Dogs", {"lang": "en"})]
    assert batch.vectors.to_dicts() == [{2: 2.0, 7: 1.0}]


def test_bad_json_vectors_are_named_and_passed_over(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "v.jsonl",
        {"id": "good", "vector": {"a": 1}},
        {"id": "x", "vector": {"zebra": 1}},
        {"id": "x", "vector": {"a": -1}},
        {"id": "x", "vector": {"a": "1"}},
        {"id": "x", "vector": [1]},
        {"id": "x"},
        {"vector": {"a": 1}},
        {"id": "x", "vector": {"a": 10**400}},
        {"id": "zero", "vector": {"a": 0, "b": 2}},
    )
    with path.open("a") as file:
        file.write('{"id": "x", "vector": {"a": NaN}}\n[]\n')
    options: dict[str, Any] = {"vocabulary": {"a": 0, "b": 1}}
    ids, reasons = skipped(path, **options)
    assert ids == ["good", "zero"]
    assert reasons == [
        (2, "token 'zebra' is not in the vocabulary"),
        (3, "term 0: weight -1.0 is not a finite number above 0 in float32"),
        (4, "the weight of token 'a' is not a number"),
        (5, "there is no field 'vector' that holds an object of token to weight"),
        (6, "there is no field 'vector' that holds an object of token to weight"),
        (7, "no id: there is no field '_id' (the fields are: none)"),
        (8, "term 0: weight inf is not a finite number above 0 in float32"),
        (10, "malformed JSON: NaN is not a JSON number"),
        (11, "the line holds a JSON list; an object is expected"),
    ]
    with pytest.raises(DataError, match=r"v\.jsonl:2: token 'zebra' is not in the vocabulary"):
        whole(read_vectors(path, **options))


def test_tokens_are_term_ids_without_a_vocabulary(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "v.jsonl",
        {"id": "a", "vector": {"7": 1}},
        {"id": "x", "vector": {"cat": 1}},
        {"id": "x", "vector": {"50": 1}},
        {"id": "x", "vector": {"9" * 30: 1}},
        {"id": "x", "vector": {"5": 1, "05": 1}},
    )
    ids, reasons = skipped(path, vocab_size=SIZE)
    assert ids == ["a"]
    assert reasons[0] == (2, "token 'cat' is not the id of a term, and no vocabulary is given")
    assert reasons[1] == (3, "term 50 is outside the vocabulary of 50")
    assert "is outside the vocabulary of 50" in reasons[2][1]
    assert reasons[3] == (5, "term 5 comes twice; terms must ascend strictly")


def test_bad_parquet_rows_are_named_and_passed_over(tmp_path: Path) -> None:
    good = [1, 2], [1.0, 2.0]
    rows: list[tuple[str | None, Any, Any]] = [
        ("a", *good),
        ("x", None, [1.0]),
        ("x", [1, 2], [1.0]),
        ("x", [1, None], [1.0, 2.0]),
        ("x", [1, 1], [1.0, 2.0]),
        ("x", [1], [float("nan")]),
        (None, *good),
        ("b", [2, 1], [2.0, 1.0]),
        ("empty", [], []),
    ]
    columns = {
        "id": [row[0] for row in rows],
        "terms": pa.array([row[1] for row in rows], pa.list_(pa.uint32())),
        "weights": pa.array([row[2] for row in rows], pa.list_(pa.float32())),
    }
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table(columns), path)
    ids, reasons = skipped(path, vocab_size=SIZE)
    assert ids == ["a", "b", "empty"]
    assert [line for line, _ in reasons] == [2, 3, 4, 5, 6, 7]
    assert reasons[0][1] == "terms is null; a list is expected"
    assert reasons[1][1] == "there are 2 terms but 1 weights"
    assert reasons[2][1] == "terms holds a null"
    assert reasons[3][1] == "term 1 comes twice; terms must ascend strictly"
    assert reasons[5][1] == "no id: there is no field '_id' (the fields are: id)" or (
        reasons[5][1] == "the id, field 'id', is null; a string is expected"
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": ["a"], "weights": [[1.0]]}, "there is no column 'terms'"),
        ({"id": ["a"], "terms": [["x"]], "weights": [[1.0]]}, "column 'terms' is list<.*string>"),
        ({"id": ["a"], "terms": [[1]], "weights": ["x"]}, "column 'weights' is string"),
    ],
)
def test_a_parquet_file_of_another_shape_is_refused(
    tmp_path: Path, columns: dict[str, Any], expected: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(DataError, match=expected):
        read_vectors(tmp_path / "v.parquet", vocab_size=SIZE)


def test_a_file_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.parquet", "parquet", [(["a"], vectors_of({1: 1.0}))])
    with pytest.raises(DataError, match="has a vocabulary of 50 terms; 60 are expected"):
        read_vectors(tmp_path / "v.parquet", vocab_size=60)


def npz(path: Path, **arrays: Any) -> Path:
    given = {"data": np.ones(3, np.float32), "indices": np.arange(3), "indptr": [0, 2, 3]}
    np.savez(path, **(given | arrays))
    return path


def test_a_scipy_matrix_has_its_row_numbers_for_ids(tmp_path: Path) -> None:
    matrix = scipy.sparse.csr_array(np.array([[0, 2.0, 1.0], [0, 0, 0], [3.0, 0, 0]]))
    scipy.sparse.save_npz(tmp_path / "m.npz", matrix)
    assert whole(read_vectors(tmp_path / "m.npz")) == (
        ["0", "1", "2"],
        [{1: 2.0, 2: 1.0}, {}, {0: 3.0}],
    )
    assert scipy.sparse.load_npz(tmp_path / "m.npz").shape == (3, 3)
    scipy.sparse.save_npz(tmp_path / "c.npz", matrix.tocsc())
    with pytest.raises(DataError, match="the matrix is csc, not csr"):
        read_vectors(tmp_path / "c.npz")


def test_what_is_written_as_npz_is_a_scipy_matrix(tmp_path: Path) -> None:
    write_vectors(tmp_path / "v.npz", "npz", [(["a", "b"], vectors_of({1: 0.5}, {3: 2.0}))])
    matrix = scipy.sparse.load_npz(tmp_path / "v.npz")
    assert matrix.shape == (2, SIZE)
    assert (matrix[0, 1], matrix[1, 3]) == (0.5, 2.0)
    assert (tmp_path / "v-ids.txt").read_text() == "a\nb\n"


def test_an_lsr_benchmark_folder_has_two_sides(tmp_path: Path) -> None:
    write_vectors(tmp_path, "npz", [(["d1"], vectors_of({1: 1.0}))])
    write_vectors(tmp_path, "npz", [(["q1"], vectors_of({2: 1.0}))], side="queries")
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {
        "doc/doc-embeddings.npz",
        "doc/doc-ids.txt",
        "query/query-embeddings.npz",
        "query/query-ids.txt",
    }
    assert whole(read_vectors(tmp_path)) == (["d1"], [{1: 1.0}])
    assert whole(read_vectors(tmp_path / "doc")) == (["d1"], [{1: 1.0}])
    assert whole(read_vectors(tmp_path, side="queries")) == (["q1"], [{2: 1.0}])


def test_bad_rows_of_an_archive_are_named_and_passed_over(tmp_path: Path) -> None:
    path = npz(
        tmp_path / "v.npz",
        data=np.array([1, -1, 2, 3], np.float16),
        indices=np.array([0, 1, 2, 99], np.uint16),
        indptr=[0, 1, 2, 3, 4, 4],
    )
    (tmp_path / "v.ids.txt").write_bytes(b"a\nb\n\xff\nd\n\n")
    ids, reasons = skipped(path, vocab_size=SIZE)
    assert ids == ["a"]
    assert [line for line, _ in reasons] == [2, 3, 4, 5]
    assert "weight -1.0" in reasons[0][1]
    assert reasons[1][1] == "invalid UTF-8 at byte 0 of the id"
    assert reasons[2][1] == "term 99 is outside the vocabulary of 50"
    assert reasons[3][1] == "the id, field '_id', is empty"


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"indptr": [0, 2, 4]}, "must rise from 0"),
        ({"indptr": [0, 5, 3]}, "must rise from 0"),
        ({"indptr": [0.0, 3.0]}, "integers are expected"),
        ({"data": np.array([1, "x", None], object)}, "one dimension of plain numbers"),
        ({"data": np.ones((3, 1))}, "one dimension of plain numbers"),
        ({"shape": [5, SIZE]}, "indptr has 2 rows"),
    ],
)
def test_an_archive_that_is_no_csr_matrix_is_refused(
    tmp_path: Path, arrays: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        read_vectors(npz(tmp_path / "v.npz", **arrays), vocab_size=SIZE, rejects=Rejects("skip"))


def test_ids_that_do_not_fit_the_rows_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path / "v.npz")
    (tmp_path / "v-ids.txt").write_text("only\n")
    with pytest.raises(DataError, match=r"has 1 ids, but .* has 2 rows"):
        read_vectors(path, vocab_size=SIZE)


def test_other_archives_are_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=[1])
    with pytest.raises(DataError, match="no array data, indices, indptr"):
        read_vectors(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a NumPy archive"):
        read_vectors(tmp_path / "b.npz")
    path = npz(tmp_path / "c.npz")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="not a NumPy archive"):
        read_vectors(path)


def test_a_damaged_archive_gives_the_rows_before_the_damage(tmp_path: Path) -> None:
    rows = 20_000
    rng = np.random.default_rng(7)
    path = npz(
        tmp_path / "v.npz",
        data=rng.random(rows).astype(np.float32) + 1,
        indices=np.zeros(rows, np.int32),
        indptr=np.arange(rows + 1),
    )
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("data.npy").header_offset + 70_000
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)
    ids, reasons = skipped(path, vocab_size=SIZE, batch=1000)
    assert len(ids) >= 16_000
    assert [line for line, _ in reasons] == [len(ids) + 1]
    assert "damaged" in reasons[0][1]


def test_a_cut_off_file_of_json_vectors_is_one_bad_record(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": "%d", "vector": {"%d": 1}}\n' % (n, n % SIZE) for n in range(9000))
    path = tmp_path / "v.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:-2000])
    ids, reasons = skipped(path, vocab_size=SIZE, batch=1000)
    assert [line for line, _ in reasons] == [len(ids) + 1]
    assert "cut off" in reasons[0][1]


def test_what_is_not_understood_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        read_vectors(tmp_path / "none.npz")
    (tmp_path / "v.csv").write_text("x")
    with pytest.raises(ConfigError, match="does not tell a format of vectors"):
        read_vectors(tmp_path / "v.csv")
    with pytest.raises(ConfigError, match="the formats are"):
        read_vectors(tmp_path / "v.csv", format="csv")
    with pytest.raises(ConfigError, match="standard input"):
        read_vectors("-", format="parquet")


def test_shards_are_read_one_after_another(tmp_path: Path) -> None:
    for shard in ("b", "a"):
        ids = [f"{shard}{n}" for n in range(3)]
        write_vectors(tmp_path / f"{shard}.parquet", "parquet", [(ids, vectors_of({}, {}, {}))])
    assert whole(read_vectors(tmp_path))[0] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert whole(read_vectors(tmp_path, skip=4))[0] == ["b1", "b2"]


def test_real_encodings_are_read_in_little_memory(shared: Path) -> None:
    path = shared / "vectors" / "passages-120k" / "docs.npz"
    count = nnz = 0
    for batch in read_vectors(path):
        count += len(batch.ids)
        nnz += batch.vectors.nnz
    # One weight of the 13,928,350 is 0 in float16.
    assert (count, nnz) == (120_000, 13_928_349)
    assert (batch.ids[-1], batch.vectors.vocab_size) == ("119999", 30_522)
    tracemalloc.start()
    for batch in islice(read_vectors(path), 5):
        assert len(batch.ids) == 4096
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_real_query_vectors_of_anserini_are_read(shared: Path) -> None:
    path = shared / "data" / "splade-query-vectors" / "msmarco-dev.splade-v3.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    vocabulary = {
        token: at for at, token in enumerate(sorted({t for row in rows for t in row["vector"]}))
    }
    found = list(read_vectors(path, vocabulary=vocabulary, batch=100))
    assert [id for batch in found for id in batch.ids] == [row["_id"] for row in rows]
    assert found[0].documents[0].text == rows[0]["text"]
    expected = {vocabulary[token]: weight for token, weight in rows[-1]["vector"].items()}
    assert found[-1].vectors.to_dicts()[-1] == expected
