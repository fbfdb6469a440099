"""Encoders: texts in, sparse vectors out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from lsr.code_side import CodeNetwork
from lsr.errors import ConfigError, ModelError
from lsr.head import Row, stack
from lsr.learned_side import LearnedNetwork
from lsr.model_files import find_model, fingerprint
from lsr.model_folder import (
    AnySide,
    CodeSide,
    LearnedSide,
    ModelFolder,
    TableSide,
    read_model_folder,
)
from lsr.sparse import SparseVectors
from lsr.splade import SpladeNetwork
from lsr.static_query import StaticTable
from lsr.tokens import TextTokenizer, check_texts, serial_tokenizers

#: The model that comes with the package.
BUNDLED = "bundled"
#: The model that is used when none is named.
DEFAULT_MODEL = BUNDLED

Side = Literal["both", "query"]
AnyEncoder = SpladeNetwork | StaticTable | LearnedNetwork | CodeNetwork

#: Up to so many queries a model of the BERT family is run in numpy, which spares importing torch.
_FEW = 64


class Encoder(Protocol):
    """Turns texts into sparse vectors over one vocabulary; query and document side may differ.

    `fingerprint` is a hash of weights, tokenizer and settings: vectors of two encoders may be
    compared when it is the same.
    """

    @property
    def name(self) -> str:
        """What the user gave: `bundled`, a folder or a hub id."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights, tokenizer and settings, the same for both ways of loading."""

    @property
    def vocab_size(self) -> int:
        """The number of terms."""

    @property
    def licence(self) -> str | None:
        """The licence that the model card names."""

    @property
    def max_seq_length(self) -> int:
        """The longest document in tokens, special ones included; the rest is cut off."""

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its term."""

    def token(self, term: int) -> str:
        """Return the token of a term, `#term` where the tokenizer has none."""

    def tokens(self, terms: Sequence[int]) -> list[str]:
        """Return the tokens of several terms."""

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a document has, without special ones and uncut."""

    def encode_queries(self, texts: Sequence[str], *, threads: int | None = None) -> SparseVectors:
        """Return one vector for each query."""

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> SparseVectors:
        """Return one vector for each document; `on_progress` gets the number just finished."""

    def info(self) -> dict[str, Any]:
        """Return what `lsr info` shows about the encoder."""


def load_encoder(
    name: str | Path = DEFAULT_MODEL,
    *,
    side: Side = "both",
    threads: int | None = None,
    max_seq_length: int | None = None,
) -> ModelEncoder:
    """Return the encoder in a folder, on the hub, or (`bundled`) in the package.

    With `side="query"` only the query side is loaded: that of an inference-free model needs
    neither torch nor transformers. `threads` is the default for encoding; `max_seq_length`
    replaces the limit of the model. Raises ModelError when it is not a sparse encoder.

    >>> vectors = load_encoder().encode_queries(["best pizza in new york"])
    >>> load_encoder().token(int(vectors[0].terms[vectors[0].weights.argmax()]))
    'pizza'
    """
    if side not in ("both", "query"):
        raise ConfigError(f"side is {side!r}; 'both' or 'query' is expected")
    if max_seq_length is not None and max_seq_length < 3:
        raise ConfigError(f"max_seq_length is {max_seq_length}; at least 3 is expected")
    folder = read_model_folder(find_model(name), max_seq_length=max_seq_length)
    return ModelEncoder(str(name), folder, side=side, threads=count_threads(threads))


def count_threads(threads: int | None) -> int:
    """Return the number of threads to use: what was asked for, else the cores we may run on.

    >>> count_threads(3)
    3
    """
    if threads is None:
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:
            return os.cpu_count() or 1
    if threads < 1:
        raise ConfigError(f"threads is {threads}; at least 1 is expected")
    return threads


class ModelEncoder:
    """The encoder that a model folder describes; made by `load_encoder`."""

    def __init__(self, name: str, folder: ModelFolder, *, side: Side, threads: int) -> None:
        self.name = name
        self.folder = folder
        self.fingerprint = fingerprint(folder)
        self._threads = threads
        loaded: dict[AnySide, AnyEncoder] = {}
        for part in {"both": (folder.query, folder.document), "query": (folder.query,)}[side]:
            if part not in loaded:
                loaded[part] = _load(part)
        self._query = loaded[folder.query]
        self._document = loaded.get(folder.document)
        self.vocab_size = self._query.vocab_size
        if self._document is not None and self._document.vocab_size != self.vocab_size:
            raise ModelError(
                f"{folder.path}: the query side has {self.vocab_size} terms, the document side "
                f"{self._document.vocab_size}; they must share one vocabulary"
            )

    @property
    def licence(self) -> str | None:
        """The licence that the model card names."""
        return self.folder.licence

    @property
    def max_seq_length(self) -> int:
        """The longest document in tokens, special ones included; the rest is cut off."""
        return self.folder.document.max_seq_length

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its term."""
        return self._query.tokenizer.vocabulary

    def token(self, term: int) -> str:
        """Return the token of a term, `#term` where the tokenizer has none."""
        return self._query.tokenizer.token(term)

    def tokens(self, terms: Sequence[int]) -> list[str]:
        """Return the tokens of several terms."""
        return [self.token(int(term)) for term in terms]

    @property
    def document_tokenizer(self) -> TextTokenizer:
        """What cuts documents into tokens; ModelError for codes, whose dimensions are no tokens."""
        side = self._query if self._document is None else self._document
        if isinstance(side, CodeNetwork):
            raise ModelError(
                f"{self.name}: the dimensions of its codes have no tokens",
                hint="give an encoder whose vectors are over a vocabulary",
            )
        return side.tokenizer

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a document has, without special ones and uncut."""
        side = self._query if self._document is None else self._document
        return side.tokenizer.count(check_texts([text])[0])

    def encode_queries(self, texts: Sequence[str], *, threads: int | None = None) -> SparseVectors:
        """Return one vector for each query."""
        prompt = self.folder.query_prompt
        return self._encode(self._query, texts, prompt, threads, None, few=_FEW)

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> SparseVectors:
        """Return one vector for each document; `on_progress` gets the number just finished.

        The outcome does not depend on `threads`. Added terms in the texts (see
        `lsr.added_terms`) are weighed by encoders that do so, and dropped by the others.
        """
        if self._document is None:
            raise ModelError(
                f"{self.name} was loaded for queries only", hint='load_encoder(name, side="both")'
            )
        prompt = self.folder.document_prompt
        return self._encode(self._document, texts, prompt, threads, on_progress, few=0)

    def info(self) -> dict[str, Any]:
        """Return what `lsr info` shows about the encoder."""
        return {
            "name": self.name,
            "path": str(self.folder.path),
            "layout": self.folder.layout,
            "fingerprint": self.fingerprint,
            "vocab_size": self.vocab_size,
            "max_seq_length": self.max_seq_length,
            "licence": self.licence,
            "query": _describe(self.folder.query, self.folder.query_prompt),
            "document": _describe(self.folder.document, self.folder.document_prompt),
            "max_active_dims": self.folder.max_active_dims,
        }

    def _encode(
        self,
        side: AnyEncoder,
        texts: Sequence[str],
        prompt: str,
        threads: int | None,
        on_progress: Callable[[int], None] | None,
        *,
        few: int,
    ) -> SparseVectors:
        checked = [prompt + text for text in check_texts(texts)]
        limit = self.folder.max_active_dims
        rows: list[Row]
        if isinstance(side, StaticTable) or (side.can_skip_torch and len(checked) <= few):
            with serial_tokenizers:
                rows = side.encode_few(checked, max_active=limit)
            if on_progress is not None:
                on_progress(len(checked))
        else:
            workers = self._threads if threads is None else count_threads(threads)
            rows = side.encode(checked, threads=workers, max_active=limit, on_progress=on_progress)
        return stack(rows, self.vocab_size)


def _load(side: AnySide) -> AnyEncoder:
    if isinstance(side, TableSide):
        return StaticTable(side)
    if isinstance(side, CodeSide):
        return CodeNetwork(side)
    return LearnedNetwork(side) if isinstance(side, LearnedSide) else SpladeNetwork(side)


def _describe(side: AnySide, prompt: str) -> dict[str, Any]:
    if isinstance(side, TableSide):
        return {"kind": "table", "max_seq_length": side.max_seq_length, "prompt": prompt}
    if isinstance(side, CodeSide):
        return {"kind": "csr", "max_seq_length": side.max_seq_length, "prompt": prompt}
    if isinstance(side, LearnedSide):
        values = asdict(side)
        shown = [name for name in values if name not in ("folder", "tensors", "extras")]
        return {**{name: values[name] for name in shown}, "prompt": prompt}
    added = {} if side.frequency is None else {"frequency": True, "window": side.window}
    return {
        "kind": "network",
        "max_seq_length": side.max_seq_length,
        "pooling": side.pooling,
        "activation": side.activation,
        **added,
        "prompt": prompt,
    }
