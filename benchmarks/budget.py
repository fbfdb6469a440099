"""Build an index ten times larger than its memory budget, from generated vectors.

    python benchmarks/budget.py [--documents 4000000] [--memory 640MB] [--work DIR]

The vectors have 119 terms of a Zipfian vocabulary of 30,522, as SPLADE gives MS MARCO's passages.
Prints the report of `lsr index`, its peak memory beside the size of the index, and a search.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

VOCABULARY, TERMS, CHUNK = 30_522, 119, 100_000


def generate(folder: Path, n_documents: int) -> None:
    """Write CSR arrays in the shape of an npz folder, chunk by chunk."""
    random = np.random.default_rng(0)
    shares = 1.0 / np.arange(10, VOCABULARY + 10)
    bounds = np.cumsum(shares / shares.sum())
    terms, lengths = [], []
    for start in range(0, n_documents, CHUNK):
        rows = min(CHUNK, n_documents - start)
        drawn = np.searchsorted(bounds, random.random((rows, TERMS))).astype(np.uint16)
        drawn = np.minimum(drawn, VOCABULARY - 1)
        drawn.sort(axis=1)
        new = np.ones(drawn.shape, bool)
        new[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
        terms.append(drawn[new])
        lengths.append(new.sum(axis=1))
    indices = np.concatenate(terms)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    data = (random.random(len(indices), np.float32) + 0.01).astype(np.float16)
    np.savez(
        folder / "docs.npz",
        data=data,
        indices=indices,
        indptr=indptr,
        shape=np.array([n_documents, VOCABULARY]),
    )


def lsr(*arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "lsr", *arguments, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=4_000_000)
    parser.add_argument("--memory", default="640MB")
    parser.add_argument(
        "--work", type=Path, help="where to put the files; default a temporary folder"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.work) as name:
        folder = Path(name)
        # In a process of its own, so that what it holds is given back.
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import budget; from pathlib import Path;"
        )
        code += "budget.generate(Path(sys.argv[2]), int(sys.argv[3]))"
        here = str(Path(__file__).resolve().parent)
        subprocess.run([sys.executable, "-c", code, here, name, str(given.documents)], check=True)
        index = str(folder / "index")
        source = str(folder / "docs.npz")
        flags = ["--vectors", "--vocab-size", str(VOCABULARY), "--memory", given.memory]
        report = lsr("index", source, "--out", index, *flags)
        info = lsr("info", index)
        found = lsr("search", index, '{"17": 1.0, "4000": 2.0}', "--vector", "-k", "3")
        print(json.dumps({"report": report, "info": info, "search": found}, indent=1))
        share = float(str(info["bytes"])) / float(str(report["peak_memory"]))
        print(f"the index is {share:.1f} times as large as the peak memory of its build")


if __name__ == "__main__":
    main()
