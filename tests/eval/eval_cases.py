"""A small dataset on disk, and runs over it, for the tests of evaluation."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = [
    "cat",
    "dog",
    "cow",
    "horse",
    "bird",
    "fish",
    "tree",
    "river",
    "stone",
    "cloud",
    "rain",
    "snow",
    "wind",
    "fire",
    "house",
    "road",
    "bridge",
    "boat",
]


def write_dataset(folder: Path, *, documents: int = 40, queries: int = 12, seed: int = 1) -> Path:
    """Write a BEIR folder of random sentences; the first words of a document ask for it."""
    rng = random.Random(seed)
    (folder / "qrels").mkdir(parents=True)
    texts = {f"d{at}": rng.choices(WORDS, k=9) for at in range(documents)}
    with (folder / "corpus.jsonl").open("w") as corpus:
        for name, words in texts.items():
            title = words[0].title()
            line = {"_id": name, "title": title, "text": " ".join(words)}
            corpus.write(json.dumps(line) + "\n")
    with (
        (folder / "queries.jsonl").open("w") as asked,
        (folder / "qrels" / "test.tsv").open("w") as judged,
    ):
        judged.write("query-id\tcorpus-id\tscore\n")
        for at in range(queries):
            text = " ".join(texts[f"d{at}"][:3])
            asked.write(json.dumps({"_id": f"q{at}", "text": text}) + "\n")
            judged.write(f"q{at}\td{at}\t2\nq{at}\td{at + 5}\t1\nq{at}\td{at + 9}\t0\n")
    return folder


def random_run(seed: int, *, queries: int = 30, depth: int = 60) -> dict[str, dict[str, float]]:
    """Return a run with some equal scores."""
    rng = random.Random(seed)
    documents = [f"d{at}" for at in range(100)]
    return {
        f"q{at}": {one: round(rng.random(), 2) for one in rng.sample(documents, depth)}
        for at in range(queries)
    }


def random_grades(seed: int, *, queries: int = 30) -> dict[str, dict[str, int]]:
    """Return graded judgements for the queries of `random_run`."""
    rng = random.Random(seed)
    return {
        f"q{at}": {f"d{document}": rng.choice((0, 0, 1, 2, 3)) for document in range(0, 100, 3)}
        for at in range(queries)
    }


def write_qrels(path: Path, grades: dict[str, dict[str, int]]) -> Path:
    """Write TREC judgements."""
    lines = [f"{q} 0 {d} {grade}\n" for q, of in grades.items() for d, grade in of.items()]
    path.write_text("".join(lines))
    return path
