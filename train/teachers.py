"""Teachers: models that say how well documents answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from lsr.added_terms import split_added
from lsr.encoder import count_threads, load_encoder
from lsr.errors import ConfigError, ModelError
from lsr.model_files import find_model

from .settings_run import Teacher

if TYPE_CHECKING:
    from lsr.sparse import SparseVectors

Scores = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

#: Pairs that a cross-encoder reads at a time, after they are sorted by length.
_CROSS_BATCH = 32


class Scorer(Protocol):
    """A loaded teacher. `fingerprint` is a hash of all that its scores depend on."""

    fingerprint: str

    def read_queries(self, texts: Sequence[str]) -> Any:
        """Return what `score` needs of these queries, made once for all documents."""

    def score(self, queries: Any, documents: Sequence[str], pairs: tuple[Places, Places]) -> Scores:
        """Return the score of each pair (place of the query, place of the document), float32."""


def load_teacher(teacher: Teacher, *, threads: int | None = None) -> Scorer:
    """Return the teacher's model, loaded from its folder. ModelError says why it is none.

    A bi-encoder's score is the inner product of its vectors (of length one when the model is
    compared by cosine), a cross-encoder's its raw logit.
    """
    if teacher.kind == "sparse":
        return SparseTeacher(teacher, threads)
    if teacher.kind == "dense":
        return DenseTeacher(teacher, threads)
    if teacher.kind == "cross":
        return CrossTeacher(teacher, threads)
    raise ConfigError("precomputed scores come with the examples; there is no model to load")


class SparseTeacher:
    """A sparse encoder, siamese or inference-free."""

    def __init__(self, teacher: Teacher, threads: int | None) -> None:
        self._encoder = load_encoder(
            teacher.model, threads=threads, max_seq_length=teacher.max_length
        )
        self._prompts = (teacher.query_prompt, teacher.document_prompt)
        self.fingerprint = _fingerprint("sparse", self._encoder.fingerprint, *self._prompts)

    def read_queries(self, texts: Sequence[str]) -> SparseVectors:
        """Return the vectors of the queries."""
        return self._encoder.encode_queries([self._prompts[0] + text for text in texts])

    def score(
        self, queries: SparseVectors, documents: Sequence[str], pairs: tuple[Places, Places]
    ) -> Scores:
        """Return the inner product of each pair."""
        rows = self._encoder.encode_documents([self._prompts[1] + text for text in documents])
        left, right = queries.to_scipy()[pairs[0]], rows.to_scipy()[pairs[1]]
        return np.asarray(left.multiply(right).sum(axis=1), np.float32).ravel()


class DenseTeacher:
    """A dense encoder."""

    def __init__(self, teacher: Teacher, threads: int | None) -> None:
        from lsr.dense_encoder import load_dense_encoder

        self._encoder = load_dense_encoder(
            teacher.model, threads=threads, max_seq_length=teacher.max_length
        )
        self._prompts = (teacher.query_prompt, teacher.document_prompt)
        self.fingerprint = _fingerprint("dense", self._encoder.fingerprint, *self._prompts)

    def read_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of the queries."""
        return self._comparable(
            self._encoder.encode_queries([self._prompts[0] + text for text in texts])
        )

    def score(
        self,
        queries: npt.NDArray[np.float32],
        documents: Sequence[str],
        pairs: tuple[Places, Places],
    ) -> Scores:
        """Return the inner product of each pair, or its cosine."""
        rows = self._encoder.encode_documents([self._prompts[1] + text for text in documents])
        products = queries[pairs[0]] * self._comparable(rows)[pairs[1]]
        found: Scores = products.sum(axis=1, dtype=np.float32)
        return found

    def _comparable(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._encoder.similarity != "cosine":
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        found: Scores = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        return found


class CrossTeacher:
    """A cross-encoder: a classifier with one label that reads query and document together."""

    def __init__(self, teacher: Teacher, threads: int | None) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = find_model(teacher.model)
        try:
            self._model = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True
            ).eval()
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"{folder} cannot be loaded as a cross-encoder ({error})",
                hint="give a folder with a sequence classifier, or another kind of teacher",
            ) from error
        if self._model.config.num_labels != 1:
            raise ModelError(
                f"{folder} has {self._model.config.num_labels} labels; a cross-encoder that "
                "scores relevance has one"
            )
        self._length = teacher.max_length
        self._threads = count_threads(threads)
        self._prompts = (teacher.query_prompt, teacher.document_prompt)
        weights = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json"))
        digest = xxhash.xxh3_128()
        for file in weights:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        self.fingerprint = _fingerprint(
            "cross", digest.hexdigest(), str(self._length), *self._prompts
        )

    def read_queries(self, texts: Sequence[str]) -> list[str]:
        """Return the queries; they are read with each document."""
        return [self._prompts[0] + text for text in texts]

    def score(
        self, queries: list[str], documents: Sequence[str], pairs: tuple[Places, Places]
    ) -> Scores:
        """Return the logit of each pair."""
        import torch

        plain = [split_added(text)[0] for text in documents]
        texts = [
            (queries[query], self._prompts[1] + plain[document])
            for query, document in zip(*pairs, strict=True)
        ]
        order = sorted(range(len(texts)), key=lambda at: -sum(map(len, texts[at])))
        scores = np.zeros(len(texts), np.float32)
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            for start in range(0, len(order), _CROSS_BATCH):
                batch = order[start : start + _CROSS_BATCH]
                scores[batch] = self._batch([texts[at] for at in batch])
        finally:
            torch.set_num_threads(before)
        return scores

    def _batch(self, texts: Sequence[tuple[str, str]]) -> Scores:
        import torch

        inputs = self._tokenizer(
            [left for left, _ in texts],
            [right for _, right in texts],
            padding=True,
            truncation="longest_first",
            max_length=self._length,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = self._model(**inputs).logits
        found: Scores = logits[:, 0].float().numpy()
        return found


def _fingerprint(*parts: str) -> str:
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
