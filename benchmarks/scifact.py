"""nDCG@10 on a BEIR folder through the command line, beside sentence-transformers and scipy.

    python benchmarks/scifact.py BEIR_FOLDER [--split test] [--model bundled] [--no-oracle]

Indexes the corpus with `lsr index`, answers the split's queries with `lsr search --run`, and
measures with ir_measures. The oracle encodes the same texts with sentence-transformers'
SparseEncoder on the same model folder, without what `sparse_head.json` adds for lsr, and ranks by
scipy's matrix product.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG

from lsr.model_files import find_model
from lsr.model_folder import HEAD_FILE

MEASURES = [nDCG @ 10, R @ 100, RR @ 10, AP @ 100]


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line in path.read_text().splitlines()[1:]:
        query, document, relevance = line.split("\t")
        qrels.setdefault(query, {})[document] = int(relevance)
    return qrels


def lsr(*arguments: str) -> str:
    command = [sys.executable, "-m", "lsr", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def ours(folder: Path, model: str, queries: Path, work: Path) -> dict[str, dict[str, float]]:
    index, run = work / "index", work / "run.txt"
    print(lsr("index", str(folder), "--out", str(index), "--model", model, "--json"))
    lsr("search", str(index), "--queries", str(queries), "--run", str(run), "-k", "100")
    found: dict[str, dict[str, float]] = {}
    for line in run.read_text().splitlines():
        query, _, document, _, score, _ = line.split()
        found.setdefault(query, {})[document] = float(score)
    return found


def oracle(folder: Path, model: str, queries: dict[str, str]) -> dict[str, dict[str, float]]:
    from scipy.sparse import csr_matrix
    from sentence_transformers import SparseEncoder

    encoder = SparseEncoder(str(find_model(model)), device="cpu")
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open()]
    texts = [f"{d.get('title', '')} {d['text']}".strip() for d in corpus]
    as_csr = {"convert_to_sparse_tensor": True, "convert_to_tensor": True, "batch_size": 16}
    documents = encoder.encode_document(texts, **as_csr).coalesce()
    asked = encoder.encode_query(list(queries.values()), **as_csr).coalesce()
    matrices = [
        csr_matrix((t.values().numpy(), t.indices().numpy()), shape=tuple(t.shape))
        for t in (asked, documents)
    ]
    scores = (matrices[0] @ matrices[1].T).toarray()
    found = {}
    for query, row in zip(queries, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:100]
        found[query] = {corpus[at]["_id"]: float(row[at]) for at in best if row[at] > 0}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--no-oracle", action="store_true")
    given = parser.parse_args()
    qrels = read_qrels(given.folder / "qrels" / f"{given.split}.tsv")
    lines = [json.loads(line) for line in (given.folder / "queries.jsonl").open()]
    queries = {line["_id"]: line["text"] for line in lines if line["_id"] in qrels}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        judged = work / "queries.jsonl"
        judged.write_text(
            "".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in queries.items())
        )
        systems = {"lsr": ours(given.folder, given.model, judged, work)}
    if not given.no_oracle:
        part = "base of it: " if (find_model(given.model) / HEAD_FILE).is_file() else ""
        name = f"{part}sentence-transformers + scipy"
        systems[name] = oracle(given.folder, given.model, queries)
    print("| system | " + " | ".join(map(str, MEASURES)) + " |")
    print("|---|" + "---|" * len(MEASURES))
    for name, run in systems.items():
        scores = ir_measures.calc_aggregate(MEASURES, qrels, run)
        print(f"| {name} | " + " | ".join(f"{scores[m]:.4f}" for m in MEASURES) + " |")


if __name__ == "__main__":
    main()
