"""Ids read by the kernel and in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr.index import documents, kernels
from lsr.index.columns import Fields
from lsr.index.documents import Documents, DocumentsWriter, documents_batch, documents_schema
from lsr.types import Document


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(documents, "BATCH_BYTES", 300)  # a few documents a batch
    fields = Fields.from_json({})

    def made(ids: list[str]) -> Documents:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.arrow"
        writer = DocumentsWriter(path, documents_schema(fields, passages=False))
        writer.append(documents_batch([Document(name) for name in ids], None, fields))
        writer.finish()
        return Documents(path)

    return made


@pytest.mark.parametrize(
    "ids",
    [
        [str(number) for number in range(50)],
        ["ä" * 7, "日本", "🐈", " ", "a" * 5000, *(f"x{number}" for number in range(30))],
        ["a", "with\0zero", "\0", "b", *(f"x{number}" for number in range(30))],
    ],
)
def test_ids_are_the_same_by_the_kernel_and_in_python(make, ids: list[str]) -> None:  # type: ignore[no-untyped-def]
    found = make(ids)
    assert kernels.gather is not None
    rng = np.random.default_rng(0)
    for order in (np.arange(len(ids)), rng.permutation(len(ids)), np.array([3, 3, 0]), []):
        ordinals = np.array(order, np.int64)
        assert found.ids(ordinals) == [ids[at] for at in ordinals.tolist()]
        assert found._ids_slowly(ordinals) == found.ids(ordinals)


def test_offsets_that_lie_outside_their_batch_are_not_followed() -> None:
    offsets, data = np.array([0, 1, 10**6, -5], np.int32), np.array([65], np.uint8)
    batches = np.array([offsets.ctypes.data, data.ctypes.data, 1])
    starts, places, out = np.array([0, 3]), np.empty(2, np.int64), np.empty(9, np.uint8)
    read = [kernels.gather(batches, starts, np.array([at]), places, out) for at in range(3)]
    assert read == [2, 0, 0]
