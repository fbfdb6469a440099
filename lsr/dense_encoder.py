"""Dense encoders: texts in, one vector of fixed length each out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import xxhash

from lsr.dense_folder import DenseFolder, Projection, Similarity, read_dense_folder
from lsr.dense_network import Array, DenseNetwork
from lsr.encoder import count_threads
from lsr.errors import ConfigError, ModelError
from lsr.model_files import find_model, network_files, update_digest
from lsr.tokens import check_texts, serial_tokenizers
from lsr.weights import WeightFiles, weight_files

#: Up to so many queries a model of the BERT family is run in numpy, which spares importing torch.
_FEW = 16
#: Bytes that a batch holds for each dimension, in its layers (all-MiniLM-L6-v2, 1 to 4 threads).
_BATCH_MEMORY = 160_000


class DenseEncoder(Protocol):
    """Turns texts into vectors of `dim` float32 numbers; queries and documents may have prompts.

    `similarity` says how two vectors are compared: "dot", or "cosine", in which case they need
    not have length one. `fingerprint` is a hash of weights, tokenizer and settings.
    """

    @property
    def name(self) -> str:
        """What the user gave: a folder or a hub id."""

    @property
    def fingerprint(self) -> str:
        """A hash of weights, tokenizer and settings."""

    @property
    def dim(self) -> int:
        """The number of dimensions."""

    @property
    def similarity(self) -> Similarity:
        """How two vectors are compared."""

    @property
    def licence(self) -> str | None:
        """The licence that the model card names."""

    @property
    def max_seq_length(self) -> int:
        """The longest text in tokens, special ones included; the rest is cut off."""

    def encode_queries(self, texts: Sequence[str], *, threads: int | None = None) -> Array:
        """Return one vector for each query, (queries, dim) float32."""

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Array:
        """Return one vector for each document, (documents, dim) float32."""

    def info(self) -> dict[str, Any]:
        """Return what `lsr info` shows about the encoder."""


def load_dense_encoder(
    name: str | Path, *, threads: int | None = None, max_seq_length: int | None = None
) -> DenseEncoder:
    """Return the dense encoder in a folder or on the hub: any transformers encoder.

    Pooling, projections, normalisation, prompts and lengths are those of sentence-transformers'
    files; without them tokens are averaged. Vectors equal sentence-transformers' to 1e-4.
    `threads` is the default for encoding; `max_seq_length` replaces the limit of the model.
    Raises ModelError when it is not a dense encoder.

    >>> load_dense_encoder("bundled")
    Traceback (most recent call last):
      ...
    lsr.errors.ModelError: the bundled model is a sparse encoder; a dense one is expected here
    """
    if max_seq_length is not None and max_seq_length < 3:
        raise ConfigError(f"max_seq_length is {max_seq_length}; at least 3 is expected")
    if str(name) == "bundled":
        raise ModelError(
            "the bundled model is a sparse encoder; a dense one is expected here",
            hint="give a folder or a hub id, such as sentence-transformers/all-MiniLM-L6-v2",
        )
    folder = read_dense_folder(find_model(name), max_seq_length=max_seq_length)
    return DenseModelEncoder(str(name), folder, threads=count_threads(threads))


class DenseModelEncoder:
    """The encoder that a model folder describes; made by `load_dense_encoder`."""

    def __init__(self, name: str, folder: DenseFolder, *, threads: int) -> None:
        self.name = name
        self.folder = folder
        self.fingerprint = fingerprint(folder)
        self._threads = threads
        self._network = DenseNetwork(folder)
        self.dim = self._network.dim

    @property
    def similarity(self) -> Similarity:
        """How two vectors are compared."""
        return self.folder.similarity

    @property
    def licence(self) -> str | None:
        """The licence that the model card names."""
        return self.folder.licence

    @property
    def max_seq_length(self) -> int:
        """The longest text in tokens, special ones included; the rest is cut off."""
        return self.folder.max_seq_length

    def encode_queries(self, texts: Sequence[str], *, threads: int | None = None) -> Array:
        """Return one vector for each query, (queries, dim) float32."""
        checked = check_texts(texts)
        prompt = self.folder.query_prompt
        if self._network.can_skip_torch and len(checked) <= _FEW:
            with serial_tokenizers:
                return self._network.encode_few(checked, prompt)
        return self._network.encode(checked, prompt, threads=self._workers(threads))

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        threads: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Array:
        """Return one vector for each document, (documents, dim) float32.

        `on_progress` gets the number just finished. The outcome does not depend on `threads`.
        """
        return self._network.encode(
            check_texts(texts),
            self.folder.document_prompt,
            threads=self._workers(threads),
            on_progress=on_progress,
        )

    def _workers(self, threads: int | None) -> int:
        return self._threads if threads is None else count_threads(threads)

    def memory(self, threads: int | None = None) -> int:
        """Return about how many bytes encoding takes: the weights, and a batch in each thread."""
        parts = [part.folder for part in self.folder.after if isinstance(part, Projection)]
        held = sum(WeightFiles(folder).n_numbers for folder in [self.folder.network, *parts])
        # Whatever the file keeps them as, in memory they are float32.
        return 4 * held + self._workers(threads) * self.dim * _BATCH_MEMORY

    def info(self) -> dict[str, Any]:
        """Return what `lsr info` shows about the encoder."""
        return {
            "name": self.name,
            "path": str(self.folder.path),
            "layout": self.folder.layout,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "max_seq_length": self.max_seq_length,
            "licence": self.licence,
            "pooling": list(self.folder.pooling),
            "similarity": self.similarity,
            "query_prompt": self.folder.query_prompt,
            "document_prompt": self.folder.document_prompt,
        }


def fingerprint(folder: DenseFolder) -> str:
    """Return a hash of weights, tokenizer and settings, 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    projections = [part for part in folder.after if isinstance(part, Projection)]
    settings = {
        "max_seq_length": folder.max_seq_length,
        "lower_case": folder.lower_case,
        "pooling": folder.pooling,
        "pool_prompt": folder.pool_prompt,
        "after": [part.activation if part in projections else part for part in folder.after],
        "prompts": [folder.query_prompt, folder.document_prompt],
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for file in network_files(folder.network):
        update_digest(digest, file)
    for part in projections:
        for file in weight_files(part.folder):
            update_digest(digest, file)
    return digest.hexdigest()
