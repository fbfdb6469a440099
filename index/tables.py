"""Tables of addresses: how arrays get to the search kernels at little cost.

A call with 35 arrays takes 5 to 12 us, most of it in looking at each array's type; with tables of
their addresses it takes one. Who makes a table keeps the arrays, and their types are those that
`arguments` gives them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from .arguments import Hits, Lists, Masks, Query, Rows, Work
from .jit import kernel

Table = npt.NDArray[np.int64]


def _pointer(typing: Any, address: Any) -> Any:
    """Return an address as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


_pointer_to: Any = intrinsic(_pointer)


@kernel
def _array(table: Table, at: int, dtype: Any) -> Any:
    return carray(_pointer_to(table[2 * at]), (table[2 * at + 1],), dtype)


@kernel
def bytes_at(address: Any) -> Any:
    """Return bytes at an address; how many is known to the caller."""
    return carray(_pointer_to(address), (1 << 40,), np.uint8)


@kernel
def numbers_at(address: Any) -> Any:
    """Return numbers of 32 bits at an address; how many is known to the caller."""
    return carray(_pointer_to(address), (1 << 40,), np.int32)


@kernel
def lists_of(segment: Table) -> Any:
    """Return the postings that a segment's table begins with."""
    return Lists(
        _array(segment, 0, np.int64),
        _array(segment, 1, np.uint32),
        _array(segment, 2, np.uint32),
        _array(segment, 3, np.float32),
        _array(segment, 4, np.uint32),
    )


@kernel
def rows_of(segment: Table, kind: npt.NDArray[Any]) -> Any:
    """Return the rows that follow in a segment's table; `kind` has the type of their terms."""
    return Rows(
        _array(segment, 5, np.int64),
        _array(segment, 6, kind.dtype),
        _array(segment, 7, np.float32),
        _array(segment, 8, np.uint16),
        _array(segment, 9, np.uint32),
        _array(segment, 10, np.uint32),
        _array(segment, 11, np.float32),
        _array(segment, 12, np.float32),
    )


@kernel
def masks_of(table: Table) -> Any:
    """Return the masks in a table."""
    return Masks(_array(table, 0, np.bool_), _array(table, 1, np.bool_))


@kernel
def query_of(thread: Table) -> Any:
    """Return the query that a thread's table begins with."""
    return Query(_array(thread, 0, np.int64), _array(thread, 1, np.float32))


@kernel
def hits_of(thread: Table, at: int, room: int) -> Any:
    """Return room for hits, from `at`, of what follows in a thread's table."""
    return Hits(
        _array(thread, 2, np.float32)[at : at + room],
        _array(thread, 3, np.uint32)[at : at + room],
        _array(thread, 4, np.int64)[at : at + room],
    )


@kernel
def work_of(thread: Table) -> Any:
    """Return the work space that follows in a thread's table."""
    return Work(
        _array(thread, 5, np.uint16),
        _array(thread, 6, np.uint8),
        _array(thread, 7, np.uint16),
        _array(thread, 8, np.int64),
        _array(thread, 9, np.float32),
        _array(thread, 10, np.int64),
        _array(thread, 11, np.int64),
        _array(thread, 12, np.int64),
        _array(thread, 13, np.uint16),
        _array(thread, 14, np.int64),
        _array(thread, 15, np.int64),
        _array(thread, 16, np.int64),
        _array(thread, 17, np.uint8),
        _array(thread, 18, np.int64),
        _array(thread, 19, np.int32),
        _array(thread, 20, np.uint16),
        _array(thread, 21, np.int64),
        _array(thread, 22, np.int64),
    )


@kernel
def query_at(query: Query, work: Work, number: int) -> Any:
    """Return a query of those in a thread's table."""
    start, stop = work.spans[2 * number], work.spans[2 * number + 1]
    return Query(query.terms[start:stop], query.weights[start:stop])
