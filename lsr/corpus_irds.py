"""Documents of ir_datasets, by id: `irds:beir/scifact`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lsr.errors import ConfigError, DataError, OfflineError

#: Attributes above this many characters are not kept beside a text that holds them.
_LONG = 200


def offline() -> bool:
    """Return whether LSR_OFFLINE forbids the network."""
    return os.environ.get("LSR_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


class IrDataset:
    """The documents of one dataset; `line` counts them from 1.

    A document with a text keeps it; another gives its `default_text()`, and then long attributes
    that this text holds are not kept twice. Other attributes become metadata. Files are looked
    for in IR_DATASETS_HOME, then downloaded, unless LSR_OFFLINE=1: then what is not there is an
    OfflineError.
    """

    bytes_read = 0

    def __init__(self, identity: str) -> None:
        self.name = f"irds:{identity}"
        self._identity = identity
        self._dataset: Any = None

    def count(self) -> int | None:
        """Return how many documents the dataset has, None when it does not say."""
        metadata = self._load().metadata()
        count = (metadata or {}).get("docs", {}).get("count")
        return None if count is None else int(count)

    def items(self) -> Iterator[tuple[int, Any]]:
        """Yield the number of each document and the document."""
        dataset = self._load()
        number = 0
        with downloads_explained(self.name):
            for document in dataset.docs_iter():
                number += 1
                yield number, document

    def parse(self, payload: Any) -> Mapping[str, Any]:
        """Return the attributes of a document under the names that a FieldMap expects."""
        values: dict[str, Any] = {"_id": payload.doc_id}
        text = payload.text if isinstance(getattr(payload, "text", None), str) else None
        made = payload.default_text() if text is None else ""
        for name, value in payload._asdict().items():
            if isinstance(value, str) and len(value) > _LONG and value in made:
                continue
            # A tuple of strings is what a list is called there.
            values[name] = list(value) if type(value) is tuple else value
        del values["doc_id"]
        values["text"] = made if text is None else text
        return values

    def _load(self) -> Any:
        if self._dataset is None:
            ir_datasets = _library()
            try:
                dataset = ir_datasets.load(self._identity)
            except KeyError as error:
                raise ConfigError(
                    f"{self.name}: ir_datasets has no dataset of that id",
                    hint="ir_datasets list --docs",
                ) from error
            if not dataset.has_docs():
                raise ConfigError(f"{self.name}: this dataset has no documents")
            self._dataset = dataset
        return self._dataset


def _library() -> Any:
    try:
        import ir_datasets
    except ImportError as error:
        raise ConfigError(
            "ir_datasets is not installed, and `irds:` sources need it",
            hint="pip install ir-datasets",
        ) from error
    except OSError as error:
        raise DataError(
            f"ir_datasets cannot use its home folder: {error}",
            hint="set IR_DATASETS_HOME to a folder that can be written",
        ) from error
    requests = ir_datasets.lazy_libs.requests
    if not isinstance(requests, _Guard):
        # Every download of ir_datasets asks this function for the HTTP library first.
        ir_datasets.lazy_libs.requests = _Guard(requests)
    return ir_datasets


class _Guard:
    """Hands out the HTTP library only while the network is allowed."""

    def __init__(self, library: Callable[[], Any]) -> None:
        self._library = library

    def __call__(self) -> Any:
        if offline():
            raise OfflineError("LSR_OFFLINE is set, and a file would have to be downloaded")
        return self._library()


@contextmanager
def downloads_explained(name: str) -> Iterator[None]:
    """Turn what ir_datasets raises over a file that is not there, or broken, into our errors."""
    import ir_datasets

    home = ir_datasets.util.home_path()
    requests = () if offline() else (ir_datasets.lazy_libs.requests().RequestException,)
    try:
        yield
    except (OfflineError, FileNotFoundError, RuntimeError, *requests) as error:
        if offline():  # after several mirrors ir_datasets wraps what `_Guard` raised
            raise OfflineError(
                f"{name} is not in {home}, and LSR_OFFLINE forbids to download it",
                hint="unset LSR_OFFLINE, or point IR_DATASETS_HOME at a folder that has its files",
            ) from error
        raise OfflineError(
            f"{name} is not in {home} and could not be downloaded ({error})",
            hint="check the network, or point IR_DATASETS_HOME at a folder that has its files",
        ) from error
    except (EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{name}: the files in {home} cannot be read ({error})",
            hint=f"remove the files of this dataset from {home}, and try again",
        ) from error
