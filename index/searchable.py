"""What search reads of a segment, whether its arrays are mapped from files or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .blocks import Blocks
from .saturation import Saturation
from .windows import Postings


class Searchable(Protocol):
    """What search reads of a segment; `index.segment.Segment` has it."""

    @property
    def n_documents(self) -> int: ...  # noqa: D102
    @property
    def n_rows(self) -> int: ...  # noqa: D102
    @property
    def vocab_size(self) -> int: ...  # noqa: D102
    @property
    def forward(self) -> tuple[npt.NDArray[np.int64], Any, npt.NDArray[Any]]: ...  # noqa: D102
    @property
    def postings(self) -> Postings: ...  # noqa: D102
    @property
    def row_document(self) -> npt.NDArray[np.uint32] | None: ...  # noqa: D102
    @property
    def document_rows(self) -> npt.NDArray[np.int64] | None: ...  # noqa: D102
    @property
    def id_rank(self) -> npt.NDArray[np.uint32]: ...  # noqa: D102
    @property
    def blocks(self) -> Blocks | None: ...  # noqa: D102
    @property
    def saturation(self) -> Saturation | None: ...  # noqa: D102
    def ids(self, ordinals: Sequence[int]) -> list[str]: ...  # noqa: D102


class Live(Protocol):
    """A segment and its tombstones; `index.store.LiveSegment` is one."""

    @property
    def segment(self) -> Searchable: ...  # noqa: D102
    @property
    def deleted(self) -> npt.NDArray[np.bool_] | None: ...  # noqa: D102
