"""lsr in lsr-benchmark: a toy collection, through the real `lsr-benchmark evaluate`."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.errors import ConfigError, DataError
from lsr.eval.lsr_benchmark import INDEXING, RETRIEVAL, RUN, Task, TaskReport, run_task

N_DOCUMENTS, N_QUERIES, SIZE = 200, 12, 90
Matrix = np.ndarray[Any, np.dtype[np.float32]]
needs_lsr_benchmark = pytest.mark.skipif(
    importlib.util.find_spec("lsr_benchmark") is None,
    reason="lsr-benchmark is not installed (pip install lsr-benchmark)",
)


class Toy:
    """A dataset folder and an embedding folder as lsr-benchmark has them."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(5)
        self.dataset, self.embedding = folder / "toy", folder / "tiny-splade"
        self.documents = self._matrix(rng, N_DOCUMENTS, 12)
        self.queries = self._matrix(rng, N_QUERIES, 5)
        self.documents[17] = 0  # an empty document
        self.document_ids = [f"doc-{at:03}" for at in range(N_DOCUMENTS)]
        self.query_ids = [str(1000 + at) for at in range(N_QUERIES)]
        self._write_embedding("doc", self.documents, self.document_ids)
        self._write_embedding("query", self.queries, self.query_ids)
        self._write_dataset()

    @staticmethod
    def _matrix(rng: np.random.Generator, rows: int, terms: int) -> Matrix:
        found = np.zeros((rows, SIZE), np.float32)
        for row in range(rows):
            found[row, rng.choice(SIZE, terms, replace=False)] = rng.integers(1, 999, terms) / 256
        return found

    def _write_embedding(self, side: str, matrix: Matrix, ids: list[str]) -> None:
        folder = self.embedding / side
        folder.mkdir(parents=True)
        rows, terms = np.nonzero(matrix)
        indptr = np.searchsorted(rows, np.arange(len(matrix) + 1))
        parts = {"data": matrix[rows, terms], "indices": terms.astype(np.int32), "indptr": indptr}
        np.savez_compressed(folder / f"{side}-embeddings.npz", **parts)
        (folder / f"{side}-ids.txt").write_text("\n".join(ids))

    def _write_dataset(self) -> None:
        self.dataset.mkdir()
        with gzip.open(self.dataset / "corpus.jsonl.gz", "wt") as corpus:
            for id in self.document_ids:
                segment = {"start": 0, "end": 1, "text": f"text of {id}"}
                line = {"doc_id": id, "default_text": segment["text"], "segments": [segment]}
                corpus.write(json.dumps(line) + "\n")
        queries = [{"qid": id, "query": f"query {id}"} for id in self.query_ids]
        lines = "".join(json.dumps(query) + "\n" for query in queries)
        (self.dataset / "queries.jsonl").write_text(lines)
        # The best document of each query by brute force is the relevant one.
        best = (self.queries @ self.documents.T).argmax(axis=1)
        qrels = [
            f"{id} 0 {self.document_ids[at]} 1\n"
            for id, at in zip(self.query_ids, best.tolist(), strict=True)
        ]
        (self.dataset / "qrels.txt").write_text("".join(qrels))

    def expected(self, k: int) -> dict[str, list[tuple[str, float]]]:
        """Return the hits of each query by brute force, without ties at these weights."""
        found = {}
        for id, scores in zip(self.query_ids, self.queries @ self.documents.T, strict=True):
            ranked = sorted(zip(-scores, self.document_ids, strict=True))[:k]
            found[id] = [(document, float(-score)) for score, document in ranked if score < 0]
        return found


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return Toy(tmp_path_factory.mktemp("collection"))


@contextmanager
def nothing_measured(path: Path) -> Iterator[None]:
    (path.parent / ".tirex-tracker").mkdir()
    yield
    path.write_text("{}")


def ran(toy: Toy, output: Path, **options: Any) -> TaskReport:
    return run_task(Task(toy.dataset, toy.embedding, output, **options), nothing_measured)


def hits_of(output: Path) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    with gzip.open(output / RUN, "rt") as run:
        for line in run:
            query, q0, document, rank, score, tag = line.split()
            hits = found.setdefault(query, [])
            hits.append((document, float(score)))
            assert (q0, int(rank)) == ("Q0", len(hits))
            assert tag.startswith("lsr-tiny-splade-")
    return found


@pytest.mark.parametrize("k", [1, 10, 1000])
def test_the_run_is_that_of_brute_force(toy: Toy, tmp_path: Path, k: int) -> None:
    report = ran(toy, tmp_path / "out", k=k)
    expected = toy.expected(k)
    found = hits_of(tmp_path / "out")
    assert found.keys() == expected.keys()
    for query, hits in expected.items():
        assert [document for document, _ in found[query]] == [document for document, _ in hits]
        assert [score for _, score in found[query]] == pytest.approx([s for _, s in hits], rel=1e-6)
    assert (report.documents, report.queries) == (N_DOCUMENTS, N_QUERIES)
    assert report.hits == sum(map(len, expected.values()))
    assert report.index_bytes > 0
    kept = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert kept == sorted([".tirex-tracker", INDEXING, RETRIEVAL, RUN])


@pytest.mark.parametrize(
    ("options", "tag"), [({"exact": True}, "exact=True"), ({"recall": 0.9}, "recall=0.9")]
)
def test_options_of_the_search_are_taken_and_named_in_the_run(
    toy: Toy, tmp_path: Path, options: dict[str, Any], tag: str
) -> None:
    ran(toy, tmp_path / "out", options=options)
    ran(toy, tmp_path / "plain")
    assert hits_of(tmp_path / "out") == hits_of(tmp_path / "plain")
    assert gzip.decompress((tmp_path / "out" / RUN).read_bytes()).split()[5].decode().endswith(tag)


def test_the_same_run_gives_the_same_bytes(toy: Toy, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ran(toy, tmp_path / name)
    assert (tmp_path / "a" / RUN).read_bytes() == (tmp_path / "b" / RUN).read_bytes()


def test_what_the_embedding_says_of_itself_goes_along(toy: Toy, tmp_path: Path) -> None:
    note = toy.embedding / "doc" / "doc-ir-metadata.yml"
    note.write_text("resources: {}\n")
    try:
        ran(toy, tmp_path / "out")
    finally:
        note.unlink()
    assert (tmp_path / "out" / ".embedding" / note.name).read_text() == "resources: {}\n"


def test_a_folder_that_holds_a_run_is_left_alone(toy: Toy, tmp_path: Path) -> None:
    ran(toy, tmp_path / "out")
    before = (tmp_path / "out" / RUN).read_bytes()
    with pytest.raises(ConfigError, match=r"holds a run already \(run.txt.gz\)"):
        ran(toy, tmp_path / "out", k=3)
    assert (tmp_path / "out" / RUN).read_bytes() == before


def test_folders_that_are_not_there_are_named(toy: Toy, tmp_path: Path) -> None:
    task = Task(toy.dataset, toy.embedding, tmp_path / "out")
    with pytest.raises(ConfigError, match="none: there is no such folder"):
        run_task(replace(task, dataset=tmp_path / "none"), nothing_measured)
    with pytest.raises(ConfigError, match=r"there is no doc/doc-embeddings\.npz"):
        run_task(replace(task, embedding=tmp_path), nothing_measured)
    with pytest.raises(ConfigError, match="k is 0"):
        run_task(replace(task, k=0), nothing_measured)
    assert not (tmp_path / "out").exists()


def test_an_id_with_a_blank_is_refused(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    (toy.embedding / "query" / "query-ids.txt").write_text("\n".join(["a b", *toy.query_ids[1:]]))
    with pytest.raises(DataError, match="id 'a b' has a blank"):
        ran(toy, tmp_path / "out")


def test_without_tirex_tracker_it_says_what_to_install(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tirex_tracker", None)
    with pytest.raises(ConfigError, match="that is not installed") as caught:
        run_task(Task(toy.dataset, toy.embedding, tmp_path / "out"))
    assert "pip install tirex-tracker" in str(caught.value.hint)


def python(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@needs_lsr_benchmark
def test_lsr_benchmark_evaluates_what_the_command_writes(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folders = ["--dataset", toy.dataset, "--embedding", toy.embedding, "--output", out]
    done = python(tmp_path, "-m", "lsr", "bench", "lsr-benchmark", *folders, "-k", 10, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hits"] == sum(map(len, toy.expected(10).values()))
    measures = ["-m", "nDCG@10", "-m", "RR", "-m", "runtime_wallclock", "-m", "ram"]
    evaluate = ["-c", "from lsr_benchmark import main; main()", "evaluate", out]
    done = python(tmp_path, *evaluate, *measures, "-o", tmp_path / "report.json")
    assert done.returncode == 0, done.stderr
    report = {
        name: values["0"]
        for name, values in json.loads((tmp_path / "report.json").read_text()).items()
    }
    assert (report["nDCG@10"], report["RR"]) == (1.0, 1.0)
    assert report["tira-dataset-id"] == str(toy.dataset)
    assert report["embedding/model"] == "tiny-splade"
    for part in ("index", "retrieval"):
        assert report[f"{part}.runtime_wallclock"].endswith("ms")
        assert report[f"{part}.ram"]
