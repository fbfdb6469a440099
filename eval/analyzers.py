"""Analyzers of an evaluation: which one makes the words of each dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lsr.analysis import make_analyzer
from lsr.errors import ConfigError

#: Stands for every dataset that has no analyzer of its own.
REST = "*"
DEFAULT_ANALYZER = "english"

#: Dataset -> what the analyzer says of itself (`to_json`); `REST` is always there.
Analyzers = Mapping[str, Mapping[str, Any]]


def checked_analyzers(given: str | Mapping[str, str]) -> Analyzers:
    """Return the analyzers by dataset. Raises ConfigError for one that there is not.

    >>> checked_analyzers({"hi": "hi"})
    {'*': {'name': 'english'}, 'hi': {'name': 'hindi'}}
    """
    named = {REST: given} if isinstance(given, str) else given
    return {
        dataset: make_analyzer(name).to_json()
        for dataset, name in {REST: DEFAULT_ANALYZER, **named}.items()
    }


def parse_analyzers(given: Sequence[str]) -> dict[str, str]:
    """Return dataset -> analyzer of texts such as `german` (all datasets) and `hi=hindi` (one).

    A tokenizer's name may hold `=`: `hf:` at the start says that it is one. Raises ConfigError
    for a dataset that comes twice, and for a part that is empty.

    >>> parse_analyzers(["standard", "de=german"])
    {'*': 'standard', 'de': 'german'}
    """
    found: dict[str, str] = {}
    for one in given:
        dataset, equals, name = one.partition("=")
        if not equals or one.startswith("hf:"):
            dataset, name = REST, one
        if not dataset or not name:
            raise ConfigError(
                f"--analyzer is {one!r}; expected NAME or DATASET=NAME",
                hint="--analyzer german, or --analyzer de=german --analyzer hi=hindi",
            )
        if dataset in found:
            whose = "all datasets" if dataset == REST else dataset
            raise ConfigError(f"--analyzer comes twice for {whose}: {found[dataset]!r}, {name!r}")
        found[dataset] = name
    return found


def check_datasets(analyzers: Analyzers, datasets: Iterable[str]) -> None:
    """Raise ConfigError for an analyzer whose dataset is not evaluated: its name is misspelt."""
    known = list(dict.fromkeys(datasets))
    unknown = [dataset for dataset in analyzers if dataset not in (REST, *known)]
    if unknown:
        raise ConfigError(
            f"an analyzer is given for the dataset {unknown[0]!r}; the datasets are "
            f"{', '.join(known)}"
        )


def folder_part(analyzer: Mapping[str, Any]) -> str:
    """Return what an analyzer adds to the name of a folder that is found again by it.

    Nothing for the default, so that what was built before there was a choice is found.
    """
    import xxhash

    if dict(analyzer) == {"name": DEFAULT_ANALYZER}:
        return ""
    if set(analyzer) == {"name"}:
        return f"-{analyzer['name']}"
    return f"-hf-{xxhash.xxh3_64_hexdigest(json.dumps(dict(analyzer), sort_keys=True).encode())}"
