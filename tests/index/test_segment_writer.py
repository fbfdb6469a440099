from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from store_cases import (
    FIELDS,
    VOCAB,
    check_arrays,
    document,
    documents,
    files,
    name,
    passage_vectors,
    spans,
    vectors,
)

from lsr.errors import ConfigError, DataError, StorageError
from lsr.index import documents as documents_module
from lsr.index import ids
from lsr.index.columns import Fields
from lsr.index.segment import Segment
from lsr.index.segment_writer import SegmentWriter
from lsr.sparse import SparseVectors
from lsr.types import Document, Span


def writer(
    folder: Path, *, passages: bool = False, rows: int = 7, postings: int = 20, vocab: int = VOCAB
) -> SegmentWriter:
    return SegmentWriter(
        folder,
        vocab_size=vocab,
        fields=FIELDS,
        passages=passages,
        window_rows=rows,
        window_postings=postings,
    )


def written(
    folder: Path, numbers: Sequence[int], *, cut: int = 100, passages: bool = False
) -> Segment:
    made = writer(folder, passages=passages)
    for at in range(0, len(numbers), cut):
        part = numbers[at : at + cut]
        if passages:
            made.append(documents(part), passage_vectors(part), spans(part))
        else:
            made.append(documents(part), vectors(part))
    made.close()
    return Segment.open(folder)


@pytest.mark.parametrize("passages", [False, True])
def test_a_segment_gives_back_what_was_written(tmp_path: Path, passages: bool) -> None:
    numbers = range(50)
    segment = written(tmp_path / "seg", numbers, cut=3, passages=passages)
    check_arrays(segment)
    assert len(segment.postings.windows) > 8
    assert (np.diff(segment.postings.windows) <= 7).all()
    assert [segment.document(at) for at in numbers] == documents(numbers)
    rows = passage_vectors(numbers) if passages else vectors(numbers)
    assert segment.vectors(0, segment.n_rows) == rows
    assert segment.vectors(5) == rows.slice(5, 6)
    assert segment.table.num_rows == segment.n_documents == 50
    assert segment.table.column("_id").to_pylist() == [name(at) for at in numbers]
    assert [segment.spans(at) for at in numbers] == (spans(numbers) if passages else [None] * 50)
    assert segment.find(["absent", name(49), "\ud800"]).tolist() == [-1, 49, -1]
    assert segment.verify() == []
    for array in [*segment.forward, *segment.postings, segment.id_rank]:
        assert not array.flags.writeable


def test_passages_of_a_document_share_a_window_and_know_it(tmp_path: Path) -> None:
    segment = written(tmp_path / "seg", range(30), passages=True)
    for start in segment.postings.windows[1:-1].tolist():
        before, after = segment.row_documents(np.array([start - 1, start]))
        assert before != after
    assert segment.rows_of(3) == range(1 + 2 + 3, 1 + 2 + 3 + 4)


def test_the_bytes_do_not_depend_on_how_documents_were_cut_into_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents_module, "BATCH_BYTES", 1000)
    for passages in (False, True):
        whole = written(tmp_path / f"whole{passages}", range(60), passages=passages)
        for cut in (1, 7):
            part = written(tmp_path / f"{cut}{passages}", range(60), cut=cut, passages=passages)
            assert files(part.folder) == files(whole.folder)
        with pa.memory_map(str(whole.folder / "documents.arrow")) as file:
            assert pa.ipc.open_file(file).num_record_batches > 5


def test_a_large_vocabulary_takes_wide_terms(tmp_path: Path) -> None:
    for vocab, dtype in ((1 << 16, np.uint16), (70_000, np.uint32)):
        made = writer(tmp_path / str(vocab), vocab=vocab)
        rows = SparseVectors.from_dicts([{vocab - 1: 2.0, 5: 1.0}], vocab_size=vocab)
        made.append([document(1)], rows)
        made.close()
        segment = Segment.open(tmp_path / str(vocab))
        assert segment.forward.terms.dtype == dtype
        assert segment.vectors(0) == rows


def test_a_document_with_more_postings_than_a_window_has_one_to_itself(tmp_path: Path) -> None:
    made = writer(tmp_path / "seg", postings=3)
    full = {term: 1.0 for term in range(VOCAB)}
    rows = SparseVectors.from_dicts([{1: 1.0}, full, {2: 1.0}, {}, {}], vocab_size=VOCAB)
    made.append(documents(range(5)), rows)
    made.close()
    segment = Segment.open(tmp_path / "seg")
    check_arrays(segment)
    assert segment.postings.windows.tolist() == [0, 1, 2, 5]


def test_bad_input_is_refused_and_nothing_of_it_written(tmp_path: Path) -> None:
    made = writer(tmp_path / "plain")
    made.append(documents([1]), vectors([1]))
    bad: list[tuple[list[Document], SparseVectors, list[list[Span]] | None, str]] = [
        (documents([2, 2]), vectors([2, 2]), None, "comes twice"),
        (documents([2, 1]), vectors([2, 1]), None, "comes twice"),
        (documents([2]), vectors([2, 3]), None, "1 documents but 2 vectors"),
        (documents([2]), SparseVectors.empty(9), None, "vocabulary of 9"),
        (documents([1, 2]), vectors([1, 2]), spans([1, 2]), "no passages"),
        ([Document("")], vectors([2]), None, "empty id"),
        ([Document("x\ud800")], vectors([2]), None, "surrogate"),
        ([Document("x", text="\udfff")], vectors([2]), None, "its text is not valid Unicode"),
        ([Document("x", title=3)], vectors([2]), None, "its title is int"),  # type: ignore[arg-type]
        ([Document("x", fields={"other": 1})], vectors([2]), None, "other"),
    ]
    for given, rows, parts, message in bad:
        with pytest.raises(DataError, match=message):
            made.append(given, rows, parts)
    made.append(documents([2]), vectors([2]))
    assert made.contains([name(1), name(2), name(3)]) == [True, True, False]
    made.close()
    segment = Segment.open(tmp_path / "plain")
    check_arrays(segment)
    assert segment.ids([0, 1]) == [name(1), name(2)]


def test_bad_passages_are_refused(tmp_path: Path) -> None:
    made = writer(tmp_path / "seg", passages=True)
    for parts, count in (([[]], 0), ([[Span(0, 1)] * 8], 8)):
        rows = SparseVectors.from_dicts([{1: 1.0}] * count, vocab_size=VOCAB)
        with pytest.raises(DataError, match="passages; 1 to 7 are expected"):
            made.append([document(1)], rows, parts)
    with pytest.raises(DataError, match="no spans"):
        made.append([document(1)], vectors([1]))
    with pytest.raises(DataError, match="spans for 2"):
        made.append([document(1)], vectors([1]), [[Span(0, 1)], [Span(0, 1)]])
    made.abort()
    assert not (tmp_path / "seg").exists()


def test_an_empty_segment_is_refused(tmp_path: Path) -> None:
    made = writer(tmp_path / "seg")
    made.append([], SparseVectors.empty(VOCAB))
    with pytest.raises(DataError, match="is empty"):
        made.close()
    made.abort()
    made.abort()
    assert not (tmp_path / "seg").exists()
    for rows in (0, 300_000):
        with pytest.raises(ConfigError, match="window"):
            writer(tmp_path / "seg", rows=rows)


def test_a_closed_writer_takes_no_more(tmp_path: Path) -> None:
    made = writer(tmp_path / "seg")
    made.append(documents([1]), vectors([1]))
    made.close()
    with pytest.raises(StorageError, match="cannot be written to"):
        made.append(documents([2]), vectors([2]))


def test_an_existing_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "seg").mkdir()
    with pytest.raises(StorageError, match="exists"):
        writer(tmp_path / "seg")


def test_ids_with_equal_hashes_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids, "hash_id", lambda text: len(text) % 3)
    segment = written(tmp_path / "seg", range(40), cut=11)
    check_arrays(segment)
    assert segment.find(["d", "dd", "ddd", name(7)]).tolist() == [-1, -1, -1, 7]


_GROWTH = """
import json, resource, sys
from pathlib import Path
import numpy as np
from lsr.index import merge, transaction
from lsr.index.segment_writer import SegmentWriter, Rows
from lsr.index.documents import documents_batch
from lsr.index.columns import Fields
from lsr.index.store import Store
from lsr.sparse import SparseVectors
from lsr.types import Document

VOCAB, BATCH = 3000, 10_000
fields = Fields({"n": "number"})
indptr = np.arange(BATCH + 1) * 20
rng = np.random.default_rng(1)
terms = (rng.integers(0, VOCAB // 20, (BATCH, 20)) + np.arange(20) * (VOCAB // 20)).ravel()
rows = SparseVectors.from_arrays(indptr, terms, np.ones(len(terms)), vocab_size=VOCAB)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

store = Store.create(Path(sys.argv[1]), {"vocab_size": VOCAB})
peaks = []
with store.begin() as transaction:
    transaction.window_postings = 400_000
    transaction.fields = fields
    for batch in range(24):
        first = batch * BATCH
        transaction.append(
            [
                Document(f"id-{n}", "", "some text " * 8, {"n": n})
                for n in range(first, first + BATCH)
            ],
            rows,
        )
        if batch % 6 == 5:
            transaction.seal()
            peaks.append(peak())
    transaction.merge("all")
    peaks.append(peak())
    snapshot = transaction.commit()
print(json.dumps([peaks, snapshot.n_live]))
"""


@pytest.mark.slow
def test_memory_is_bounded_by_a_window_while_writing_and_merging(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(tmp_path / "index")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    peaks, n_live = json.loads(run.stdout)
    assert n_live == 240_000
    # 58 MB of vectors and postings and 20 MB of text go through; they must not stay in memory.
    assert peaks[-2] - peaks[0] < 25, peaks
    assert peaks[-1] - peaks[0] < 50, peaks


def test_fields_unknown_to_a_segment_have_no_column(tmp_path: Path) -> None:
    made = SegmentWriter(
        tmp_path / "seg", vocab_size=VOCAB, fields=Fields({"year": "number"}), passages=False
    )
    made.append([Document("a", fields={"year": 1})], vectors([1]))
    made.close()
    segment = Segment.open(tmp_path / "seg")
    assert segment.table.column_names == ["_id", "_title", "_text", "year"]
    assert segment.document(0).fields == {"year": 1}
