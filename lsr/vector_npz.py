"""Vectors in NumPy archives: CSR arrays beside a file of ids, read and written piece by piece."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lsr.corpus_bytes import Broken, lines, opened
from lsr.errors import ConfigError, DataError
from lsr.sparse import SparseVectors
from lsr.vector_rows import Piece, RawRows

_COPY = 2**20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


class NpzRows:
    """The rows of a CSR matrix in an .npz file: arrays `data`, `indices`, `indptr`.

    As `scipy.sparse.save_npz` and lsr-benchmark write it. Only `indptr` is held whole. The ids
    stand one a line in a text file beside it (`doc-embeddings.npz`: `doc-ids.txt`; `NAME.npz`:
    `NAME-ids.txt` or `NAME.ids.txt`); without one they are the row numbers, from 0.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.seen = 0
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._names = {name.removesuffix(".npy") for name in archive.namelist()}
                self._check_names()
                self._indptr = _Array(archive, "indptr", self.name).read_all()
                self._counts = {
                    name: _Array(archive, name, self.name).size for name in ("indices", "data")
                }
                self.vocab_size = self._columns(archive)
        except _DAMAGE as error:
            raise DataError(f"{path}: not a NumPy archive that can be read ({error})") from error
        self._check_indptr()
        self._ids = _ids_beside(path)
        self._check_ids()

    def __len__(self) -> int:
        return len(self._indptr) - 1

    def pieces(self, size: int, skip: int) -> Iterator[Piece]:
        """Yield the rows behind the first `skip`, at most `size` at a time."""
        self.seen = at = min(skip, len(self))
        ids = islice(self._read_ids(), at, None)
        try:
            with zipfile.ZipFile(self._path) as archive:
                indices = _Array(archive, "indices", self.name)
                data = _Array(archive, "data", self.name)
                for array in (indices, data):
                    array.pass_over(int(self._indptr[at]))
                while at < len(self):
                    self.seen = stop = min(at + size, len(self))
                    yield self._rows(at, stop, indices, data, ids)
                    at = stop
        except _DAMAGE as error:
            self.seen = at + 1
            yield at + 1, Broken(f"the archive is damaged behind row {at} ({error})")

    def _rows(
        self, at: int, stop: int, indices: _Array, data: _Array, ids: Iterator[bytes | Broken]
    ) -> RawRows:
        indptr = self._indptr[at : stop + 1]
        count = int(indptr[-1] - indptr[0])
        values: list[dict[str, str]] = []
        problems = {}
        for row, found in enumerate(islice(ids, stop - at)):
            try:
                values.append({"_id": "" if isinstance(found, Broken) else found.decode("utf-8")})
            except UnicodeDecodeError as error:
                values.append({})
                problems[row] = f"invalid UTF-8 at byte {error.start} of the id"
        return RawRows(
            self.name,
            list(range(at + 1, stop + 1)),
            values,
            indptr - indptr[0],
            indices.read(count),
            data.read(count),
            problems,
        )

    def _check_names(self) -> None:
        if missing := {"data", "indices", "indptr"} - self._names:
            raise DataError(
                f"{self.name}: the archive has no array {', '.join(sorted(missing))}; a CSR matrix "
                f"(data, indices, indptr) is expected; it holds {', '.join(sorted(self._names))}"
            )

    def _columns(self, archive: zipfile.ZipFile) -> int | None:
        if "format" in self._names:
            kind = _Array(archive, "format", self.name, kinds="SU").read_all()
            if str(kind.astype(str).ravel()[0]) != "csr":
                raise DataError(
                    f"{self.name}: the matrix is {kind.astype(str).ravel()[0]}, not csr",
                    hint="scipy.sparse.save_npz(path, matrix.tocsr())",
                )
        if "shape" not in self._names:
            return None
        shape = _Array(archive, "shape", self.name).read_all()
        if shape.shape != (2,) or int(shape[0]) != len(self._indptr) - 1:
            raise DataError(
                f"{self.name}: shape is {shape.tolist()}, "
                f"but indptr has {len(self._indptr) - 1} rows"
            )
        return int(shape[1])

    def _check_indptr(self) -> None:
        indptr = self._indptr
        if indptr.dtype.kind not in "iu" or not len(indptr):
            raise DataError(f"{self.name}: indptr has dtype {indptr.dtype}; integers are expected")
        self._indptr = indptr = indptr.astype(np.int64)
        ends = {int(indptr[-1]), *self._counts.values()}
        if indptr[0] != 0 or (np.diff(indptr) < 0).any() or len(ends) > 1:
            raise DataError(
                f"{self.name}: indptr must rise from 0 to the number of indices and of data; it "
                f"ends at {indptr[-1]}, with {self._counts['indices']} and {self._counts['data']}"
            )

    def _check_ids(self) -> None:
        if self._ids is None:
            return
        count = sum(1 for _ in self._read_ids())
        if count != len(self):
            raise DataError(f"{self._ids} has {count} ids, but {self.name} has {len(self)} rows")

    def _read_ids(self) -> Iterator[bytes | Broken]:
        if self._ids is None:
            yield from (str(row).encode() for row in range(len(self)))
            return
        with opened(self._ids) as file:
            for _, line in lines(file, str(self._ids)):
                yield line.removesuffix(b"\r") if isinstance(line, bytes) else line


class _Array:
    """One array of an archive, read from its start on, never as Python objects."""

    def __init__(
        self, archive: zipfile.ZipFile, name: str, source: str, *, kinds: str = "iuf"
    ) -> None:
        member = f"{name}.npy" if f"{name}.npy" in archive.NameToInfo else name
        self._stream = archive.open(member)
        version = np.lib.format.read_magic(self._stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(self._stream)
        else:
            header = np.lib.format.read_array_header_2_0(self._stream)
        self._shape, _, self._dtype = header
        if self._dtype.kind not in kinds or len(self._shape) > 1:
            raise DataError(
                f"{source}: array {name} has dtype {self._dtype} and shape {self._shape}; "
                "one dimension of plain numbers is expected"
            )
        self.size = int(np.prod(self._shape))

    def read(self, count: int) -> npt.NDArray[Any]:
        """Return the next `count` numbers."""
        wanted = count * self._dtype.itemsize
        pieces = []
        while wanted:
            piece = self._stream.read(wanted)
            if not piece:
                raise EOFError("the array ends early")
            pieces.append(piece)
            wanted -= len(piece)
        return np.frombuffer(b"".join(pieces), self._dtype)

    def read_all(self) -> npt.NDArray[Any]:
        """Return the whole array."""
        with self._stream:
            return self.read(self.size)

    def pass_over(self, count: int) -> None:
        """Read `count` numbers and forget them."""
        while count:
            step = min(count, _COPY)
            self.read(step)
            count -= step


def largest_term(archive: Path) -> int:
    """Return the largest term that an archive has a weight for, -1 when it has none.

    For archives that do not say how many columns they have. Reads a piece at a time.
    """
    largest = -1
    try:
        with zipfile.ZipFile(archive) as file:
            indices = _Array(file, "indices", str(archive))
            for at in range(0, indices.size, _COPY):
                found = indices.read(min(_COPY, indices.size - at))
                largest = max(largest, int(found.max()))
    except (*_DAMAGE, KeyError) as error:
        raise DataError(f"{archive}: not a NumPy archive that can be read ({error})") from error
    return largest


def npz_file(source: Path, side: str) -> Path | None:
    """Return the archive that a path means: itself, or the one in an lsr-benchmark folder."""
    if source.suffix == ".npz":
        return source
    for folder in (source / side, source):
        if (found := folder / f"{side}-embeddings.npz").is_file():
            return found
    return None


def ids_path(archive: Path) -> Path:
    """Return where the ids of an archive are written.

    >>> ids_path(Path("doc/doc-embeddings.npz")).name, ids_path(Path("shop.npz")).name
    ('doc-ids.txt', 'shop-ids.txt')
    """
    return archive.with_name(f"{archive.stem.removesuffix('-embeddings')}-ids.txt")


def _ids_beside(archive: Path) -> Path | None:
    for path in (ids_path(archive), archive.with_name(f"{archive.stem}.ids.txt")):
        if path.is_file():
            return path
    return None


def write_npz(
    archive: Path, ids: Path, batches: Iterable[tuple[Sequence[str], SparseVectors]]
) -> int:
    """Write a CSR archive and its ids; return the number of rows.

    The arrays go through temporary files, so memory stays that of one batch, and 8 bytes a row.
    """
    folder = archive.parent
    indptr = [np.zeros(1, "<i8")]
    kind, vocab_size = "<i4", 0
    with (
        tempfile.TemporaryFile(dir=folder) as terms,
        tempfile.TemporaryFile(dir=folder) as weights,
        ids.open("w", encoding="utf-8", newline="\n") as names,
    ):
        for some, vectors in batches:
            vocab_size = vectors.vocab_size
            kind = "<i4" if vocab_size < 2**31 else "<i8"  # scipy wants them signed
            names.writelines(f"{_on_one_line(identity)}\n" for identity in some)
            terms.write(vectors.terms.astype(kind).tobytes())
            weights.write(vectors.weights.astype("<f4").tobytes())
            indptr.append(vectors.indptr[1:] + indptr[-1][-1])
        if not vocab_size:
            raise ConfigError(f"{archive}: there are no vectors to write")
        starts = np.concatenate(indptr).astype("<i8")
        shape = np.array([len(starts) - 1, vocab_size], "<i8")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as out:
            _member(out, "indptr", "<i8", starts.shape, _bytes_of(starts))
            _member(out, "indices", kind, (int(starts[-1]),), _parts(terms))
            _member(out, "data", "<f4", (int(starts[-1]),), _parts(weights))
            _member(out, "shape", "<i8", shape.shape, _bytes_of(shape))
            _member(out, "format", "|S3", (), iter([b"csr"]))
    return len(starts) - 1


def _on_one_line(identity: str) -> str:
    if "\n" in identity or "\r" in identity:
        raise DataError(f"id {identity!r} has a line break; a file of ids cannot hold it")
    return identity


def _member(
    out: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], parts: Iterator[bytes]
) -> None:
    # A fixed date, so that the same vectors give the same bytes.
    entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    with out.open(entry, "w", force_zip64=True) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part)


def _bytes_of(array: npt.NDArray[Any]) -> Iterator[bytes]:
    return iter([array.tobytes()])


def _parts(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while part := file.read(_COPY):
        yield part
