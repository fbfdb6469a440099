"""Index several corpora by the command line inside a memory budget and report what it took.

python benchmarks/scale.py --memory 1GB CORPUS [CORPUS ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--out", type=Path, help="keep the index here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out = given.out or Path(name) / "index"
        command = [sys.executable, "-m", "lsr", "index", *given.corpora, "--out", str(out)]
        started = time.perf_counter()
        built = subprocess.run(
            [*command, "--memory", given.memory, "--json"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        wall = time.perf_counter() - started
        report = json.loads(built.stdout)
        described = subprocess.run(
            [sys.executable, "-m", "lsr", "info", str(out), "--json"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        info = json.loads(described.stdout)
    rows = {
        "documents": f"{info['n_documents']:,}",
        "memory budget": given.memory,
        "wall seconds, all told": f"{wall:,.0f}",
        "documents/s": f"{report['documents_per_second']:,.0f}",
        "peak RSS": f"{report['peak_memory'] / 1e6:,.0f} MB",
        "terms a document": f"{info['terms_per_row']:.1f}",
        "bytes a document": f"{info['bytes_per_document']:,.0f}",
        "index": f"{info['bytes'] / 1e6:,.0f} MB in {info['n_segments']} segment(s)",
    }
    print("| what | figure |\n|---|---|")
    for what, figure in rows.items():
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
