from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import PASSAGES, SETTINGS, Contents, add, contents, expected, fast_folder, name

from lsr.index.check import check_folder
from lsr.index.store import Snapshot, Store

NUMBERS = st.lists(st.integers(0, 14), min_size=1, max_size=6, unique=True)
OPERATION = st.one_of(
    st.tuples(st.sampled_from(["add", "upsert", "delete"]), NUMBERS),
    st.tuples(
        st.sampled_from(
            ["seal", "commit", "rollback", "reopen", "merge all", "merge auto", "stop and resume"]
        ),
        st.just([]),
    ),
)


class History:
    """An index, and beside it the dict that it should be."""

    def __init__(self, path: Path, shape: dict[str, Any]) -> None:
        self.passages = shape["passages"] is not None
        self.store = Store.create(path, shape)
        self.committed: Contents = {}
        self.now: Contents = {}
        self.version = 0
        self.seen: list[tuple[Snapshot, Contents]] = []
        self.begin()

    def begin(self) -> None:
        self.transaction = self.store.begin()
        self.transaction.window_rows = 4
        self.transaction.window_postings = 12

    def apply(self, operation: str, numbers: list[int]) -> None:
        names = [name(number) for number in numbers]
        if operation in ("upsert", "delete"):
            count = self.transaction.delete(names)
            assert count == sum(self.now.pop(each, None) is not None for each in names)
        if operation in ("add", "upsert"):
            self.version += 1
            known = self.transaction.contains(names)
            assert known == [each in self.now for each in names]
            new = [each for each, there in zip(numbers, known, strict=True) if not there]
            add(self.transaction, new, version=self.version)
            self.now |= expected(new, version=self.version, passages=self.passages)
        elif operation == "seal":
            self.transaction.seal()
        elif operation.startswith("merge"):
            self.transaction.merge("all" if operation == "merge all" else "auto")
        elif operation == "stop and resume":
            self.transaction.seal({"version": self.version})
            self.transaction.rollback(keep_journal=True)
            self.store = Store.open(self.store.path)
            self.begin()
            assert self.transaction.journal == {"version": self.version}
            self.transaction.resume()
        elif operation in ("commit", "rollback", "reopen"):
            self.end(operation)

    def end(self, operation: str) -> None:
        if operation == "commit":
            snapshot = self.transaction.commit()
            self.committed = dict(self.now)
            self.seen.append((snapshot, self.committed))
        else:
            self.transaction.rollback()
            self.now = dict(self.committed)
        if operation == "reopen":
            self.store = Store.open(self.store.path)
        assert contents(self.store.snapshot()) == self.committed
        report = check_folder(self.store.path)
        assert (report.problems, report.notes) == ([], [])
        self.begin()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([SETTINGS, PASSAGES]), st.lists(OPERATION, max_size=14))
def test_an_index_holds_what_a_dict_would(
    shape: dict[str, Any], operations: list[tuple[str, list[int]]]
) -> None:
    with fast_folder() as folder:
        history = History(folder / "index", shape)
        for operation, numbers in [*operations, ("commit", []), ("reopen", [])]:
            history.apply(operation, numbers)
        history.transaction.rollback()
        for snapshot, wanted in history.seen:
            assert contents(snapshot, arrays=False) == wanted
