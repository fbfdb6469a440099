"""How fast our encoder is beside sentence-transformers', on the same model, texts and threads."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lsr.encoder import count_threads
from lsr.errors import ConfigError, LsrError
from lsr.model_files import find_model
from lsr.model_folder import read_model_folder

OURS = "lsr"
PEER = "sentence-transformers"

#: Documents whose vectors are compared, spread over the corpus.
_SAMPLE = 64


@dataclass(frozen=True, slots=True)
class EncoderRun:
    """One encoder: median documents a second of all rounds, and the peak memory of its process."""

    name: str
    version: str
    docs_per_second: float
    docs_per_cpu_second: float
    peak_mb: float
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """The runs side by side; `largest_difference` is that of any weight in a sample of vectors.

    None where there is no peer, or where the model has parts that only lsr reads.
    """

    model: str
    n_texts: int
    mean_tokens: float
    threads: int
    max_seq_length: int
    rounds: int
    runs: tuple[EncoderRun, ...]
    largest_difference: float | None

    @property
    def speedup(self) -> float | None:
        """Our documents a second over those of the peer: the median of the rounds' ratios."""
        if len(self.runs) < 2:
            return None
        ours, peer = (run.seconds for run in self.runs[:2])
        return statistics.median(b / a for a, b in zip(ours, peer, strict=True))

    @property
    def memory_share(self) -> float | None:
        """Our peak memory over that of the peer."""
        return None if len(self.runs) < 2 else self.runs[0].peak_mb / self.runs[1].peak_mb

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "speedup": self.speedup, "memory_share": self.memory_share}

    def to_markdown(self) -> str:
        """Return a table, and the ratios in a sentence."""
        lines = [
            "| encoder | documents/s | documents per CPU second | peak memory |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {run.name} {run.version} | {run.docs_per_second:.1f} "
            f"| {run.docs_per_cpu_second:.1f} | {run.peak_mb:.0f} MB |"
            for run in self.runs
        ]
        about = (
            f"{self.n_texts} documents of {self.mean_tokens:.0f} tokens (cut at "
            f"{self.max_seq_length}), {self.threads} threads, {self.rounds} interleaved rounds"
        )
        if self.speedup is None or self.memory_share is None:
            return "\n".join([*lines, "", f"{about}."])
        told = "the peer leaves out what sparse_head.json adds"
        if self.largest_difference is not None:
            told = f"largest difference of a weight {self.largest_difference:.1e}"
        return "\n".join(
            [
                *lines,
                "",
                f"{about}: {self.speedup:.1f}x the documents a second at "
                f"{self.memory_share:.2f} of the memory; {told}.",
            ]
        )


def bench_encode(
    model: str,
    texts: Sequence[str],
    *,
    threads: int | None = None,
    max_seq_length: int | None = None,
    rounds: int = 3,
    peers: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> EncodeReport:
    """Measure `encode_documents` and, with `peers`, `SparseEncoder.encode_document`.

    Each encoder lives in a fresh process of its own; the rounds alternate between them, so that
    a busy machine slows both. Every round encodes all texts. `on_progress` gets a line of text.
    """
    if not texts:
        raise ConfigError("there are no texts to encode", hint="give a corpus with documents")
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; at least 1 is expected")
    workers = count_threads(threads)
    names = [OURS, PEER] if peers else [OURS]
    settings = {
        "model": model if model == "bundled" else str(find_model(model)),
        "threads": workers,
        "max_seq_length": max_seq_length,
        "sample": _SAMPLE,
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "texts.json"
        file.write_text(json.dumps(list(texts)), "utf-8")
        processes: list[_Process] = []
        try:
            processes += [_Process(name, {**settings, "texts": str(file)}) for name in names]
            timings = _alternate(processes, rounds, on_progress or (lambda line: None))
            samples = [process.ask("sample")["vectors"] for process in processes]
            peaks = [float(process.ask("memory")["peak_mb"]) for process in processes]
        finally:
            for process in processes:
                process.close()
    ready = processes[0].ready
    same = read_model_folder(find_model(model)).layout != "head"
    return EncodeReport(
        model=model,
        n_texts=len(texts),
        mean_tokens=float(ready["mean_tokens"]),
        threads=workers,
        max_seq_length=int(ready["max_seq_length"]),
        rounds=rounds,
        runs=tuple(
            _summary(process, len(texts), times, peak)
            for process, times, peak in zip(processes, timings, peaks, strict=True)
        ),
        largest_difference=_difference(*samples) if len(samples) == 2 and same else None,
    )


def _alternate(
    processes: Sequence[_Process], rounds: int, say: Callable[[str], None]
) -> list[list[tuple[float, float]]]:
    """Return (wall, CPU) seconds of each round of each process."""
    timings: list[list[tuple[float, float]]] = [[] for _ in processes]
    for number in range(rounds):
        for process, times in zip(processes, timings, strict=True):
            answer = process.ask("round")
            times.append((float(answer["wall"]), float(answer["cpu"])))
            say(f"round {number + 1} of {rounds}: {process.name} {times[-1][0]:.1f} s")
    return timings


def _summary(
    process: _Process, n_texts: int, times: Sequence[tuple[float, float]], peak: float
) -> EncoderRun:
    return EncoderRun(
        name=process.name,
        version=str(process.ready["version"]),
        docs_per_second=n_texts / statistics.median(wall for wall, _ in times),
        docs_per_cpu_second=n_texts / statistics.median(cpu for _, cpu in times),
        peak_mb=peak,
        seconds=tuple(wall for wall, _ in times),
    )


def _difference(ours: Sequence[Mapping[str, float]], peer: Sequence[Mapping[str, float]]) -> float:
    return max(
        (
            abs(left.get(term, 0.0) - right.get(term, 0.0))
            for left, right in zip(ours, peer, strict=True)
            for term in left.keys() | right.keys()
        ),
        default=0.0,
    )


class _Process:
    """A child that answers one JSON line with one JSON line."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true"}
        environment["OMP_NUM_THREADS"] = str(settings["threads"])
        # A file, because nobody reads a pipe while the other process has its turn.
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        self._child = subprocess.Popen(
            [sys.executable, "-m", "lsr.eval.encode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )
        try:
            self.ready = self._exchange({"encoder": name, **settings})
        except BaseException:
            self.close()
            raise

    def ask(self, what: str) -> dict[str, Any]:
        return self._exchange({"do": what})

    def close(self) -> None:
        self._child.kill()
        self._child.communicate()
        self._errors.close()

    def _exchange(self, question: Mapping[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise LsrError(f"the process of {self.name} has no pipes")
        try:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._child.communicate()
            self._errors.seek(0)
            last = (self._errors.read().strip() or "no message").splitlines()[-1]
            raise LsrError(f"the process that runs {self.name} ended: {last}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ConfigError(answer["error"], hint=answer.get("hint"))
        return answer
