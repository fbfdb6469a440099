"""The data of the bundled encoder: pairs by rule, hard negatives, and dev sets held out.

    python -m lsr.train.bundled_data COLLECTIONS --out DATA --encoder FOLDER

COLLECTIONS is a folder of collections in BEIR layout and of pairs; what is taken of each stands
in `PARTS`. Writes DATA/<name>.jsonl.zst, which `recipes/bundled.toml` reads, and DATA/dev/<name>/,
BEIR folders of pairs that are in no training file. No test split is read.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsr.encoder import load_encoder

from .examples import Example
from .mining import MineSettings, mine
from .settings_run import DataSettings, SourceSettings
from .sources import read_examples

#: Queries that are held out of a collection that gives a dev set, and documents of that set.
HELD_OUT, DEV_DOCUMENTS = 150, 2000
#: Longer texts are cut where they are written: no teacher and no student reads more of them.
_CHARACTERS = 1500


class Part(NamedTuple):
    """What is taken of one collection: how many pairs, and whether some are held out.

    Negatives come from the documents of the pairs, and from all of the collection with `whole`.
    """

    name: str
    source: SourceSettings
    pairs: int
    dev: bool = False
    whole: bool = False


def _rule(path: str, query: str, document: str, min_words: int = 0) -> SourceSettings:
    return SourceSettings(path=path, query=query, document=document, min_words=min_words)


#: Sizes are such that both teachers score everything in some thirty minutes of one core.
PARTS = (
    Part("medquad", SourceSettings(path="pairs-medquad/train.jsonl.gz"), 6000, dev=True),
    Part("squad", SourceSettings(path="squad-du", split="train"), 8000, dev=True),
    Part("debian", SourceSettings(path="pairs-debian/train.jsonl.gz"), 8000, dev=True),
    Part("scifact", SourceSettings(path="scifact", split="train"), 809, whole=True),
    Part("foldoc", _rule("scale-foldoc/corpus.jsonl.gz", "title", "text", 15), 5000, dev=True),
    Part("gcide", _rule("scale-gcide/corpus.jsonl.gz", "title", "text", 12), 8000),
    Part("wordnet", _rule("scale-wordnet-glosses/corpus.jsonl.gz", "title", "text", 5), 12000),
    Part("glosses", _rule("scale-wordnet-glosses/corpus.jsonl.gz", "text", "title"), 6000),
)


def make_data(
    collections: Path, out: Path, encoder: str, *, seed: int = 42, scale: float = 1.0
) -> dict[str, int]:
    """Write all training files and dev sets; return how many examples each file has.

    `scale` takes a share of every part, for a trial.
    """
    loaded = load_encoder(encoder, max_seq_length=128)
    counts = {}
    for part in PARTS:
        generator = np.random.default_rng((seed, *part.name.encode()))
        examples = list(read_examples(part.source, collections))
        order = generator.permutation(len(examples))
        n_held = round(HELD_OUT * scale) if part.dev else 0
        held, kept = _split([examples[at] for at in order], n_held)
        kept = kept[: max(20, round(part.pairs * scale))]
        if held:
            _write_dev(out / "dev" / part.name, held, kept)
        target = out / f"{part.name}.jsonl.zst"
        with tempfile.TemporaryDirectory(prefix="lsr-pairs-") as name:
            pairs = Path(name) / "pairs.jsonl"
            pairs.write_text("".join(_line(one) for one in kept), "utf-8")
            data = DataSettings(sources=[SourceSettings(path=str(pairs))])
            settings = MineSettings(negatives=7, depth=50, seed=seed)
            whole = str(collections / part.source.path) if part.whole else None
            found = mine(data, loaded, target, settings=settings, corpus=whole)
        counts[part.name] = found.examples
        sys.stderr.write(f"{part.name}: {found.examples:,} examples, {len(held)} held out\n")
    about = {"seed": seed, "encoder": Path(encoder).name, "examples": counts}
    (out / "about.json").write_text(json.dumps(about, indent=2), "utf-8")
    return counts


def _split(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """Return `count` examples, and those that share no text with them."""
    held = list(examples[:count])
    texts = {text for one in held for text in (one.query.casefold(), *one.documents)}
    return held, [
        one
        for one in examples[count:]
        if one.query.casefold() not in texts and texts.isdisjoint(one.documents)
    ]


def _line(example: Example) -> str:
    positives = [text[:_CHARACTERS] for text in example.documents[: example.n_positives]]
    row = {"query": example.query[:_CHARACTERS], "positives": positives}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write_dev(folder: Path, held: Sequence[Example], others: Sequence[Example]) -> None:
    """Write a BEIR folder: the queries held out, their documents, and others to confuse them."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    numbers: dict[str, int] = {}
    for text in _documents(held, others):
        numbers.setdefault(text, len(numbers))
        if len(numbers) >= DEV_DOCUMENTS:
            break
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for text, number in numbers.items():
            file.write(json.dumps({"_id": f"d{number}", "text": text}, ensure_ascii=False) + "\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for at, one in enumerate(held):
            file.write(json.dumps({"_id": f"q{at}", "text": one.query}, ensure_ascii=False) + "\n")
    with (folder / "qrels" / "dev.tsv").open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for at, one in enumerate(held):
            for text in dict.fromkeys(one.documents[: one.n_positives]):
                file.write(f"q{at}\td{numbers[text]}\t1\n")


def _documents(held: Sequence[Example], others: Sequence[Example]) -> Iterator[str]:
    for one in (*held, *others):
        yield from one.documents[: one.n_positives]


def main() -> None:
    """Read the arguments and make the data."""
    parser = argparse.ArgumentParser(prog="python -m lsr.train.bundled_data")
    parser.add_argument("collections", type=Path, help="folder of collections and pairs")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--encoder", default="bundled", help="model that finds hard negatives")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--scale", type=float, default=1.0, help="share of every part")
    given = parser.parse_args()
    make_data(given.collections, given.out, given.encoder, seed=given.seed, scale=given.scale)


if __name__ == "__main__":
    main()
