"""Parts: what is finished of encoding a corpus into a file, kept until all of it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from lsr.errors import ConfigError
from lsr.sparse import SparseVectors
from lsr.vector_files import read_vectors, write_vectors

_ABOUT = "about.json"
_NAME = re.compile(r"part-(\d+)-(\d+)\.parquet")


class Parts:
    """Finished parts of the vectors of a corpus, in a folder beside the file they will become.

    `position` is how many records of the source are done with; the name of a part carries it,
    and a part appears under its name only when it is whole, so the folder is its own journal.
    `about` says what is encoded with what; with `resume`, parts that are there must be of the
    same. Raises ConfigError when parts are there and `resume` is false.
    """

    def __init__(
        self, out: Path, about: Mapping[str, str], *, vocab_size: int, resume: bool
    ) -> None:
        self.folder = out.with_name(f"{out.name}.parts")
        self.position = 0
        self._about = dict(about)
        self._vocab_size = vocab_size
        self._files: list[Path] = []
        if (self.folder / _ABOUT).exists():
            self._take_over(resume)

    def _take_over(self, resume: bool) -> None:
        if not resume:
            raise ConfigError(
                f"{self.folder} holds the finished parts of an encoding that was stopped",
                hint="add --resume to go on with it, or remove that folder to begin again",
            )
        try:
            found = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != self._about:
            raise ConfigError(
                f"{self.folder} is of another encoding: {found}; this is {self._about}",
                hint="resume with the same source, side and model, or remove that folder",
            )
        self._files = sorted(file for file in self.folder.iterdir() if _NAME.fullmatch(file.name))
        if self._files:
            name = _NAME.fullmatch(self._files[-1].name)
            self.position = int(name[2]) if name else 0

    def add(self, ids: list[str], vectors: SparseVectors, position: int) -> None:
        """Keep one more part, durably; the next begins after `position` records of the source."""
        if not (self.folder / _ABOUT).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _ABOUT).write_text(json.dumps(self._about), encoding="utf-8")
        file = self.folder / f"part-{len(self._files) + 1:08d}-{position}.parquet"
        write_vectors(file, "parquet", [(ids, vectors)])
        self._files.append(file)
        self.position = position

    def batches(self) -> Iterator[tuple[list[str], SparseVectors]]:
        """Yield ids and vectors of all parts, in the order of the source."""
        for file in self._files:
            for batch in read_vectors(file, vocab_size=self._vocab_size):
                yield batch.ids, batch.vectors

    def remove(self) -> None:
        """Remove the folder; the vectors are where they belong."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
