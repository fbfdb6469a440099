"""Shelf: the indexes that are served, by name, each at the newest commit it has seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lsr.encoder import Encoder
from lsr.errors import LsrError
from lsr.index.index import Index
from lsr.index.manifest import MANIFEST
from lsr.index.query import to_vectors
from lsr.sparse import SparseVector

from .problems import Problem

#: Vectors of queries that are kept: pages, "why" and typing ahead ask for the same one again.
_VECTORS_KEPT = 2048
#: Longer texts are not worth their memory.
_LONGEST_KEPT = 500


class Served:
    """An index under its name in URLs. Safe to use from many threads."""

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        verify: bool,
        model: str | None = None,
        dense: str | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self._stamp = _stamp(path)
        self.index = Index.open(path, encoder=model, dense=dense, verify=verify)
        self.problem: str | None = None
        self._guard = threading.Lock()
        self._loading = threading.Lock()
        self._vectors: dict[str, SparseVector] = {}

    @property
    def encoder_name(self) -> str | None:
        """The encoder that the index was made with; None for an index of vectors."""
        return self.index.settings.encoder_name

    @property
    def default_mode(self) -> str:
        """The leg that a search ranks by when it names none: `sparse`, or the first."""
        legs = self.index.legs
        return "sparse" if "sparse" in legs else legs[0]

    @property
    def encoder_shown(self) -> str | None:
        """What the service tells of the encoder's name: not where in the file system it is."""
        name = self.encoder_name
        return Path(name).name if name and Path(name).is_absolute() else name

    def warm(self) -> None:
        """Load the encoder, and read what the first search would have to wait for."""
        for leg in self.index.legs:
            self._warm(leg)
        if self.encoder_name is not None:
            self.index.token(0)

    def _warm(self, leg: str) -> None:
        query: Any = "warm up"
        if leg == "sparse" and self.encoder_name is None:
            query = {0: 1.0}
        elif leg == "dense":
            settings = self.index.settings.legs[leg]
            query = query if settings["model"] is not None else [1.0] * settings["dim"]
        result = self.index.search(query, k=1, mode=leg)
        if len(result):
            result.why(0)

    def is_behind(self) -> bool:
        """Return whether there may be a newer commit; costs a look at one file's date."""
        return _stamp(self.path) != self._stamp

    def refresh(self) -> bool:
        """Read the newest commit from now on; return whether there was a new one.

        A commit that cannot be read leaves the one before in use; `problem` says why.
        """
        with self._guard:
            stamp = _stamp(self.path)
            if stamp == self._stamp:
                return False
            before = self.index.generation
            try:
                self.index.refresh()
                self.problem = None
            except LsrError as error:
                self.problem = error.message
                raise
            self._stamp = stamp
            return self.index.generation != before

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return the vectors of query texts, encoded in one call, and keep them."""
        vectors = to_vectors(texts, lambda: self.index.encoder, threads=1)
        for text, vector in zip(texts, vectors, strict=True):
            self._remember(text, vector)
        return vectors

    def document_encoder(self) -> Encoder:
        """Return the encoder of documents; loading it takes seconds, once."""
        with self._loading:
            return self.index.document_encoder()

    def known_vector(self, text: str) -> SparseVector | None:
        """Return the vector of a query text that was encoded lately."""
        return self._vectors.get(text)

    def _remember(self, text: str, vector: SparseVector) -> None:
        if len(text) > _LONGEST_KEPT:
            return
        if len(self._vectors) >= _VECTORS_KEPT:
            with self._guard:
                for old in list(self._vectors)[: _VECTORS_KEPT // 8]:
                    self._vectors.pop(old, None)
        self._vectors[text] = vector


class Shelf:
    """All indexes that are served."""

    def __init__(
        self,
        indexes: Sequence[tuple[str, Path]],
        *,
        verify: bool = True,
        model: str | None = None,
        dense: str | None = None,
    ) -> None:
        self._served = {
            name: Served(name, path, verify=verify, model=model, dense=dense)
            for name, path in indexes
        }

    def __getitem__(self, name: str) -> Served:
        found = self._served.get(name)
        if found is None:
            raise Problem(
                404, f"there is no index {name[:100]!r}", hint="GET /v1/indexes lists them"
            )
        return found

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    def only(self) -> Served:
        """Return the index that is meant when none is named. Raises Problem if there are more."""
        if len(self._served) != 1:
            raise Problem(
                422,
                f"the service has {len(self._served)} indexes; name one of them in `index`",
                hint="GET /v1/indexes lists them",
            )
        return next(iter(self))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a commit replaces the manifest."""
    try:
        found = (path / MANIFEST).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
