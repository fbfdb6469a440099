"""The process in which one encoder is measured; `encode_bench` talks to it in JSON lines."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from lsr.errors import ConfigError, LsrError
from lsr.sparse import SparseVectors

#: Texts that are encoded before any round, so that no round pays for what happens once.
_WARM_UP = 32


class Subject(Protocol):
    """An encoder under measurement."""

    version: str
    max_seq_length: int

    def encode(self, texts: list[str]) -> Any:
        """Encode and return what this encoder returns to its users."""

    def vectors(self, encoded: Any) -> SparseVectors:
        """Return the outcome of `encode` as SparseVectors."""


class Ours:
    """`Encoder.encode_documents`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import lsr
        from lsr.encoder import load_encoder

        self.version = lsr.__version__
        self._threads = int(settings["threads"])
        self._encoder = load_encoder(settings["model"], max_seq_length=settings["max_seq_length"])
        self.max_seq_length = self._encoder.max_seq_length

    def encode(self, texts: list[str]) -> SparseVectors:
        return self._encoder.encode_documents(texts, threads=self._threads)

    def vectors(self, encoded: SparseVectors) -> SparseVectors:
        return encoded


class Peer:
    """`SparseEncoder.encode_document` with its default settings."""

    def __init__(self, settings: dict[str, Any]) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise ConfigError(
                "sentence-transformers is not installed; it is the peer of this measurement",
                hint="pip install 'lsr-engine[bench]', or leave the peers out",
            )
        import sentence_transformers
        import torch

        from lsr.model_files import find_model

        torch.set_num_threads(int(settings["threads"]))
        self.version = sentence_transformers.__version__
        folder = str(find_model(settings["model"]))
        self._encoder = sentence_transformers.SparseEncoder(folder, device="cpu")
        if settings["max_seq_length"] is not None:
            self._encoder.max_seq_length = int(settings["max_seq_length"])
        self.max_seq_length = int(self._encoder.max_seq_length)

    def encode(self, texts: list[str]) -> Any:
        return self._encoder.encode_document(texts)

    def vectors(self, encoded: Any) -> SparseVectors:
        from scipy.sparse import csr_array

        sparse = encoded.coalesce()
        places = sparse.indices().numpy()
        matrix = csr_array((sparse.values().numpy(), (places[0], places[1])), shape=sparse.shape)
        return SparseVectors.from_scipy(matrix)


def _load(settings: dict[str, Any]) -> Subject:
    return Ours(settings) if settings["encoder"] == "lsr" else Peer(settings)


def peak_mb() -> float:
    """Return the largest resident size of this process so far, in megabytes."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    # getrusage would count what the parent held before this program was started.
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def serve(questions: TextIO, answers: TextIO) -> None:
    """Answer each line of `questions` until it ends."""
    subject: Subject | None = None
    texts: list[str] = []
    for line in questions:
        question = json.loads(line)
        try:
            if subject is None:
                texts = json.loads(Path(question["texts"]).read_text("utf-8"))
                subject = _load(question)
                picked = _spread(texts, int(question["sample"]))
                subject.encode(texts[:_WARM_UP])
                answer = _ready(subject, texts)
            else:
                answer = _answer(question["do"], subject, texts, picked)
        except LsrError as error:
            answer = {"error": error.message, "hint": error.hint}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _ready(subject: Subject, texts: Sequence[str]) -> dict[str, Any]:
    lengths = [0]
    if isinstance(subject, Ours):
        sample = _spread(texts, 200)
        most = subject.max_seq_length
        encoder = subject._encoder
        lengths = [min(encoder.count_tokens(text) + 2, most) for text in sample]
    return {
        "version": subject.version,
        "max_seq_length": subject.max_seq_length,
        "mean_tokens": float(np.mean(lengths)),
    }


def _answer(what: str, subject: Subject, texts: list[str], picked: list[str]) -> dict[str, Any]:
    if what == "memory":
        return {"peak_mb": peak_mb()}
    if what == "sample":
        rows = subject.vectors(subject.encode(picked)).to_dicts()
        return {"vectors": [{str(term): weight for term, weight in row.items()} for row in rows]}
    wall, cpu = time.perf_counter(), time.process_time()
    subject.encode(texts)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _spread(texts: Sequence[str], count: int) -> list[str]:
    step = max(1, len(texts) // count)
    return list(texts[::step][:count])


def main() -> None:
    """Serve on the standard streams; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
