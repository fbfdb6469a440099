"""Settings of an evaluation: what is compared, how deep, and where things are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lsr.errors import ConfigError
from lsr.index.feedback import WHEN, When
from lsr.index.fusion import METHODS, Method

from .analyzers import DEFAULT_ANALYZER, REST, Analyzers, checked_analyzers
from .datasets import Identical
from .measures import DEFAULT_MEASURES, parse_measures
from .statistics import RESAMPLES, SEED

#: What can be asked for; each is one or several systems. All are legs of an index but `bm25s`, a
#: peer; without being asked for, the first two are evaluated.
FAMILIES = ("bm25", "sparse", "bm25s", "dense", "hybrid")
DEFAULT_FAMILIES = FAMILIES[:2]
#: Those that are legs beside `sparse`.
LEGS = ("bm25", "dense")
#: Those whose words an analyzer makes.
OF_WORDS = ("bm25", "bm25s")


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """What an evaluation does; made by `checked_settings`."""

    model: str
    index: Path | None
    families: tuple[str, ...]
    recalls: tuple[float, ...]
    measures: tuple[str, ...]
    depth: int
    identical: Identical
    baseline: str | None
    resamples: int
    seed: int
    threads: int
    memory: int | None
    dense_model: str | None
    fusions: tuple[Method, ...]
    feedback: tuple[When, ...]
    analyzers: Analyzers

    def analyzer_of(self, dataset: str) -> Mapping[str, Any]:
        """Return the analyzer of a dataset, by its name."""
        return self.analyzers.get(dataset, self.analyzers[REST])

    def that_matter(self) -> dict[str, object]:
        """Return what the figures depend on, for provenance and to know a result again."""
        return {
            "families": list(self.families),
            "recalls": list(self.recalls),
            "measures": list(self.measures),
            "depth": self.depth,
            "identical": self.identical,
            "baseline": self.baseline,
            "resamples": self.resamples,
            "seed": self.seed,
            "threads": self.threads,
            "dense_model": self.dense_model,
            "fusions": list(self.fusions),
            "feedback": list(self.feedback),
            "analyzers": {name: dict(one) for name, one in self.analyzers.items()},
        }


def checked_settings(
    *,
    model: str = "bundled",
    index: str | Path | None = None,
    systems: Sequence[str] = DEFAULT_FAMILIES,
    recalls: Sequence[float] = (0.9, 0.99),
    measures: Sequence[str] = DEFAULT_MEASURES,
    depth: int = 1000,
    identical: Identical = "auto",
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    threads: int | None = None,
    memory: int | None = None,
    dense_model: str | None = None,
    fusions: Sequence[str] = METHODS,
    feedback: Sequence[str] = (),
    analyzer: str | Mapping[str, str] | None = None,
) -> EvalSettings:
    """Return the settings, or raise ConfigError for a value that cannot be used."""
    from lsr.encoder import count_threads

    unknown = [name for name in systems if name not in FAMILIES]
    if unknown or not systems:
        raise ConfigError(
            f"systems are {', '.join(map(repr, systems)) or 'none'}; known are "
            f"{', '.join(FAMILIES)}"
        )
    for recall in recalls:
        if not 0 < recall < 1:
            raise ConfigError(f"recall is {recall}; it must be above 0 and below 1")
    if depth < 10:
        raise ConfigError(f"depth is {depth}; it must be at least 10")
    if identical not in ("auto", "drop", "keep"):
        raise ConfigError(f"identical is {identical!r}; it must be auto, drop or keep")
    if resamples < 1 or seed < 0:
        raise ConfigError("resamples must be 1 or more, and seed 0 or more")
    for name, given, known in (("fusions", fusions, METHODS), ("feedback", feedback, WHEN)):
        if any(one not in known for one in given):
            raise ConfigError(
                f"{name} are {', '.join(map(repr, given))}; known are {', '.join(known)}"
            )
    if "dense" in systems and index is None and dense_model is None:
        raise ConfigError(
            "the dense leg needs a model",
            hint="name an encoder: --dense-model sentence-transformers/all-MiniLM-L6-v2",
        )
    if "hybrid" in systems and not fusions:
        raise ConfigError("hybrid needs one fusion at least")
    if "hybrid" in systems and index is None and len({"sparse", *LEGS} & set(systems)) < 2:
        raise ConfigError(
            "hybrid fuses two legs at least",
            hint="name them: --legs bm25,sparse,hybrid",
        )
    _check_analyzer(analyzer, systems, index)
    parsed = parse_measures(measures)
    if not parsed:
        raise ConfigError("no measure is asked for")
    return EvalSettings(
        model=model,
        index=None if index is None else Path(index),
        families=tuple(dict.fromkeys(systems)),
        recalls=tuple(sorted(set(recalls))),
        measures=tuple(parsed),
        depth=depth,
        identical=identical,
        baseline=baseline,
        resamples=resamples,
        seed=seed,
        threads=count_threads(threads),
        memory=memory,
        dense_model=dense_model,
        fusions=cast("tuple[Method, ...]", tuple(dict.fromkeys(fusions))),
        feedback=cast("tuple[When, ...]", tuple(dict.fromkeys(feedback))),
        analyzers=checked_analyzers(DEFAULT_ANALYZER if analyzer is None else analyzer),
    )


def _check_analyzer(
    analyzer: str | Mapping[str, str] | None, systems: Sequence[str], index: str | Path | None
) -> None:
    if analyzer is None:
        return
    if index is not None:
        raise ConfigError(
            f"an analyzer is given, but {index} has words of its own",
            hint="leave out --analyzer; `lsr legs` shows the one of the index",
        )
    if not set(OF_WORDS) & set(systems):
        raise ConfigError(
            "an analyzer is given, but no system that has words",
            hint=f"add one of {', '.join(OF_WORDS)} to --legs",
        )
