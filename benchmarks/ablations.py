r"""Short trainings that differ in one thing, with several seeds each, and tests of what differs.

python benchmarks/ablations.py DATA COLLECTIONS --init SPLADE_TINY --dense MINILM \
    --scores CACHE --out OUT

DATA is what `python -m lsr.train.bundled_data` made, COLLECTIONS the folder with `scifact` and
`icecat-chorus`. Every run is a line of OUT/runs.jsonl with nDCG@10 of each query; those that
are there are not made again, so it may be stopped and begun again, also with more seeds. At the
end OUT/report.md has a table: what a query gains, its seeds averaged, with a paired t-test over
queries, and the difference of each seed. PROSPER's runs learn titles and descriptions of the
products; no query and no judgement of `icecat-chorus` is read for training.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lsr.encoder import load_encoder
from lsr.eval.statistics import holm, t_test
from lsr.train import read_recipe, train
from lsr.train.dev import DevSet, read_dev_sets
from lsr.train.settings_run import DevSettings

#: Of both sides of every comparison: inference-free, without what the bundled encoder adds.
PLAIN = (
    "model.document.frequency=0.0", "model.document.window=0", 'model.query.table="idf"',
    "rank.infonce.weight=0.0", "train.batch_size=8", "data.documents_per_query=4",
    "regularise.document.weight=0.01", "regularise.document.target_terms=60", "dev.sets=[]",
    "rank.ensemble.weights=[0.5, 0.5]", "rank.ensemble.scale=30.0",
)  # fmt: skip

#: What each arm changes.
ARMS: dict[str, tuple[str, ...]] = {
    "idf-aware": (),
    "no-idf": ('model.query.kind="binary"', 'model.query.table="none"', "model.table_scale=1.0"),
    "sparse-teacher": ("rank.ensemble.weights=[1.0, 0.0]",),
    "dense-teacher": ("rank.ensemble.weights=[0.0, 1.0]",),
    "l0": ("regularise.document.l0_threshold=60",),
    "unbiased": ("regularise.document.unbiased=true",),
    "frequency": ("model.document.frequency=0.25",),
}
PROSPER: dict[str, tuple[str, ...]] = {
    "prosper": (),
    "prosper-no-literal": ("model.query.literal=false", "model.document.literal=false"),
    "prosper-no-window": ("model.query.window=0", "model.document.window=0"),
    "prosper-neither": (
        "model.query.literal=false", "model.document.literal=false",
        "model.query.window=0", "model.document.window=0",
    ),
}  # fmt: skip

#: What is compared: (claim, arm, with what).
CLAIMS = (
    ("idf-aware against plain FLOPS without idf, equal lengths", "idf-aware", "no-idf"),
    ("two teachers against the sparse one", "idf-aware", "sparse-teacher"),
    ("two teachers against the dense one", "idf-aware", "dense-teacher"),
    ("l0 mask (60 terms) against none", "l0", "idf-aware"),
    ("unbiased FLOPS against plain, batch of 8", "unbiased", "idf-aware"),
    ("frequency residual against none", "frequency", "idf-aware"),
    ("literal residual against none, window on", "prosper", "prosper-no-literal"),
    ("window against none, literal residual on", "prosper", "prosper-no-window"),
    ("window against none, literal residual off", "prosper-no-literal", "prosper-neither"),
    ("both against neither", "prosper", "prosper-neither"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--init", required=True)
    parser.add_argument("--dense", required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="arms, by default all")
    parser.add_argument("--measure", type=int, default=1000, help="documents of each dev set")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "runs.jsonl"
    for seed in range(given.seeds):
        for arm in given.only or [*ARMS, *PROSPER]:
            if (arm, seed) not in {(run["arm"], run["seed"]) for run in read_runs(log)}:
                run = one_run(given, arm, seed)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(run) + "\n")
                print(f"{arm} {seed}: {short(run)}", flush=True)
    report = "\n".join(table(list(read_runs(log)))) + "\n"
    (given.out / "report.md").write_text(report, "utf-8")
    print(report)


def read_runs(log: Path) -> Iterator[dict[str, Any]]:
    if log.is_file():
        yield from map(json.loads, log.read_text("utf-8").splitlines())


def one_run(given: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Return the figures of one training: nDCG@10 by query, terms, CPU seconds."""
    product = arm in PROSPER
    recipe = recipe_of(given, arm, seed)
    folder = given.out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    if (kept := given.out / ("data-products" if product else "data")).is_dir():
        shutil.copytree(kept, folder / "data")
    began = time.process_time()
    outcome = train(recipe, folder, base=given.collections if product else None)
    spent = time.process_time() - began
    if not kept.is_dir():
        shutil.copytree(folder / "data", kept)
    encoder = load_encoder(outcome.model, threads=given.threads, max_seq_length=128)
    queries: dict[str, float] = {}
    terms, asked = [], []
    for one in sets_of(given, product):
        documents = encoder.encode_documents([document.full_text() for document in one.documents])
        vectors = encoder.encode_queries(list(one.queries.values()))
        terms.append(documents.nnz / len(documents))
        asked.append(vectors.nnz / len(vectors))
        scores = (vectors.to_scipy() @ documents.to_scipy().T).toarray()
        names = [document.id for document in one.documents]
        for query, value in ndcg(one, names, scores):
            queries[f"{one.name}/{query}"] = value
    return {
        "arm": arm, "seed": seed, "steps": given.steps, "cpu_seconds": round(spent, 1),
        "document_terms": float(np.mean(terms)), "query_terms": float(np.mean(asked)),
        "ndcg": queries,
    }  # fmt: skip


def recipe_of(given: argparse.Namespace, arm: str, seed: int) -> Any:
    common = [
        f"model.init={given.init}", f"train.steps={given.steps}", f"train.seed={seed}",
        f"train.threads={given.threads}", "train.checkpoint_minutes=600",
    ]  # fmt: skip
    if arm in PROSPER:
        source = '{path = "icecat-chorus/corpus.jsonl", query = "title", document = "text"}'
        own = [f"data.sources=[{source}]", "train.batch_size=32", "train.lr=1e-4"]
        return read_recipe("prosper-bert", changes=[*common, *own, *PROSPER[arm]])
    teachers = [
        f"data.folder={given.data}", f"teachers.models.0.model={given.init}",
        f"teachers.models.1.model={given.dense}", f"teachers.cache={given.scores}",
    ]  # fmt: skip
    return read_recipe("bundled", changes=[*common, *teachers, *PLAIN, *ARMS[arm]])


def sets_of(given: argparse.Namespace, product: bool) -> list[DevSet]:
    if product:
        return read_dev_sets(DevSettings(sets=["icecat-chorus"]), given.collections)
    parts = [f"dev/{name}" for name in ("medquad", "squad", "debian", "foldoc")]
    held_out = read_dev_sets(DevSettings(sets=parts, max_documents=given.measure), given.data)
    return [*held_out, *read_dev_sets(DevSettings(sets=["scifact:test"]), given.collections)]


def ndcg(one: DevSet, names: list[str], scores: Any) -> Iterator[tuple[str, float]]:
    import ir_measures

    run = {}
    for query, row in zip(one.queries, scores, strict=True):
        best = np.argsort(-row, kind="stable")[:100]
        run[query] = {names[at]: float(row[at]) for at in best if row[at] > 0}
    values = dict.fromkeys(one.queries, 0.0)
    found = {query: hits for query, hits in run.items() if hits}
    for value in ir_measures.iter_calc([ir_measures.nDCG @ 10], one.grades, found):
        values[value.query_id] = float(value.value)
    yield from values.items()


def table(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the report."""
    arms = {run["arm"]: {} for run in runs}
    for run in runs:
        arms[run["arm"]][run["seed"]] = run
    yield "| arm | seeds | nDCG@10 | by seed | terms a document | a query | CPU s a run |"
    yield "|---|---:|---:|---|---:|---:|---:|"
    for arm, seeds in arms.items():
        own = [float(np.mean(list(run["ndcg"].values()))) for run in seeds.values()]
        terms, asked, spent = (
            np.mean([run[key] for run in seeds.values()])
            for key in ("document_terms", "query_terms", "cpu_seconds")
        )
        each = ", ".join(f"{value:.4f}" for value in own)
        yield (
            f"| {arm} | {len(own)} | {np.mean(own):.4f} | {each} | {terms:.0f} | {asked:.1f} "
            f"| {spent:.0f} |"
        )
    yield ""
    yield "| claim | gain | by seed | 95 % interval | p (t, queries) | Holm |"
    yield "|---|---:|---|---|---:|---:|"
    rows = []
    for claim, one, other in CLAIMS:
        seeds = sorted(arms.get(one, {}).keys() & arms.get(other, {}).keys())
        if seeds:
            gains = [
                [arms[one][seed]["ndcg"][query] - value
                 for query, value in arms[other][seed]["ndcg"].items()]
                for seed in seeds
            ]  # fmt: skip
            p, low, high = t_test(np.mean(gains, axis=0))
            rows.append((claim, gains, p, low, high))
    corrected = holm([row[2] for row in rows])
    for (claim, gains, p, low, high), after in zip(rows, corrected, strict=True):
        each = ", ".join(f"{np.mean(gain):+.4f}" for gain in gains)
        yield (
            f"| {claim} | {np.mean(gains):+.4f} | {each} | {low:+.4f} … {high:+.4f} "
            f"| {p:.2g} | {after:.2g} |"
        )


def short(run: dict[str, Any]) -> str:
    value = np.mean(list(run["ndcg"].values()))
    return f"nDCG@10 {value:.4f}, {run['document_terms']:.0f} terms, {run['cpu_seconds']} CPU s"


if __name__ == "__main__":
    main()
