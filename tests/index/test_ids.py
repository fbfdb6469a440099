from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.index import ids
from lsr.index.ids import GrowingIds, build_table, find_in_table, hash_ids

TEXT = st.text("aü文🦊\0z", min_size=1, max_size=5)
NAMES = st.lists(TEXT, unique=True)


def find(known: list[str], wanted: list[str]) -> list[int]:
    """Look ids up as a segment does."""
    table, ordinals = build_table(hash_ids(known))

    def matches(at: np.ndarray, found: np.ndarray) -> np.ndarray:
        return np.array([wanted[a] == known[f] for a, f in zip(at, found, strict=True)], np.bool_)

    return find_in_table(table, ordinals, hash_ids(wanted), matches).tolist()


@settings(max_examples=60, deadline=None)
@given(NAMES, st.lists(TEXT))
def test_ids_are_found_and_others_are_not(known: list[str], others: list[str]) -> None:
    wanted = known[::-1] + others
    assert find(known, wanted) == [known.index(w) if w in known else -1 for w in wanted]


@settings(max_examples=60, deadline=None)
@given(NAMES, st.lists(st.integers(0, 5)))
def test_an_open_segment_finds_ranks_and_tabulates_as_a_finished_one(
    known: list[str], cuts: list[int]
) -> None:
    growing, at = GrowingIds(), 0
    for size in [*cuts, len(known)]:
        part = known[at : at + size]
        growing.append(part, hash_ids(part))
        at += len(part)
    wanted = [*known, "\ud800", "absent"]
    assert growing.find(wanted, hash_ids(wanted)).tolist() == [*range(len(known)), -1, -1]
    in_order = sorted(known, key=lambda text: text.encode())
    assert growing.ranks().tolist() == [in_order.index(text) for text in known]
    for ours, whole in zip(growing.table(), build_table(hash_ids(known)), strict=True):
        assert ours.tolist() == whole.tolist() and ours.dtype == whole.dtype


def test_ids_with_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "hash_id", lambda text: len(text))
    known = ["aa", "b", "cc", "dd", "e"]
    assert find(known, [*known, "zz", "y", "long"]) == [0, 1, 2, 3, 4, -1, -1, -1]
    growing = GrowingIds()
    for text in known:
        growing.append([text], hash_ids([text]))
    wanted = ["dd", "zz", "e"]
    assert growing.find(wanted, hash_ids(wanted)).tolist() == [3, -1, 4]


def test_nothing_is_found_among_nothing() -> None:
    assert find([], ["a"]) == [-1] and find(["a"], []) == []
    assert GrowingIds().find(["a"], hash_ids(["a"])).tolist() == [-1]
    assert GrowingIds().ranks().tolist() == []
