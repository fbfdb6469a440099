"""Our search beside every installed peer's: same vectors, same run, one process and core each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lsr.index
from lsr.errors import ConfigError

from .search_engines import OURS, Setting, engine, is_installed, names, version
from .search_measures import (
    Batch,
    Built,
    Measured,
    Refused,
    SearchReport,
    batch_row,
    joined,
    measured_row,
)
from .search_process import Child, Declined, EngineFailed, Pool, cores_to_use, spare_memory
from .search_sets import SearchSet
from .search_truth import make_truth
from .search_tune import PASSES, Subject, Tried, chosen, note, remember, worth_another_look

LEVELS = (0.90, 0.95, 0.97, 0.99)
#: Queries of a turn: short, so that what else the machine does hits all engines alike.
_SLICE = 250

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and how long."""

    ks: Sequence[int] = (10,)
    rounds: int = 5
    sample: int = 200
    levels: Sequence[float] = LEVELS
    engines: Sequence[str] = ()
    slow_builds: bool = False
    thorough: bool = False
    batch: bool = True
    core: int | None = None
    limit: float = 3600.0
    memory: float | None = None


def bench_search(found: SearchSet, plan: Plan, say: Say = lambda line: None) -> SearchReport:
    """Build, tune and measure every engine on the set; what fails is a row, never the end.

    Everything built is kept in the set's folder and used again by the next run with the same
    engine, options and version. Each engine is tuned on the first `sample` queries; the settings
    near its Pareto front are then measured on all queries, in rounds that go through all engines.
    """
    for name, value in (("rounds", plan.rounds), ("sample", plan.sample)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; at least 1 is expected")
    if not plan.ks or min(plan.ks) < 1:
        raise ConfigError("k must be at least 1, and given at least once")
    make_truth(found, plan.ks, say)
    run = _Run(found, plan, say)
    try:
        run.build()
        run.tune()
        measured = run.measure()
        batch = run.batch() if plan.batch else []
    finally:
        run.close()
    return SearchReport(
        set=found.describe(),
        ks=tuple(plan.ks),
        levels=tuple(plan.levels),
        rounds=plan.rounds,
        sample=min(plan.sample, found.queries.n_rows),
        builds=tuple(
            Built(one.name, one.build.name, version(one.engine), **one.figures)
            for one in run.subjects
        ),
        measured=tuple(measured),
        batch=tuple(batch),
        refused=tuple(run.refused),
    )


class _Run:
    """The state of one benchmark: who is still in it, and the open processes."""

    def __init__(self, found: SearchSet, plan: Plan, say: Say) -> None:
        self._set, self._plan, self._say = found, plan, say
        self._cores = list(cores_to_use(plan.core))
        self._pool = Pool(plan.memory or spare_memory())
        self.subjects: list[Subject] = []
        self.refused: list[Refused] = []

    def close(self) -> None:
        self._pool.close()

    # --- steps ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Build what is not there yet, one engine at a time."""
        for name in self._plan.engines or names():
            try:
                subjects = self._of_engine(name)
            except ConfigError as error:
                self.refused.append(Refused(name, "", "start", error.message))
                continue
            for subject in subjects:
                self._try(subject, "build", self._build)

    def tune(self) -> None:
        """Try the settings of every engine on the sample; keep those near its front."""
        for k in self._plan.ks:
            for name in dict.fromkeys(subject.name for subject in self.subjects):
                places = self._tried(name, k)
                for at in chosen(places, keep_all=name == OURS and not self._plan.thorough):
                    places[at].subject.kept.setdefault(k, []).append(places[at].setting)

    def measure(self) -> list[Measured]:
        """Measure the kept settings of all engines in interleaved rounds."""
        return [row for k in self._plan.ks for row in self._measure_all(k)]

    def batch(self) -> list[Batch]:
        """Measure our own batch search on one thread and two."""
        ours = [subject for subject in self.subjects if subject.name == OURS]
        rows: list[Batch] = []
        for subject in ours:
            self._pool.drop(id(subject))
            cores = list(cores_to_use(self._plan.core, 2))
            if len(cores) < 2:
                self._refuse(subject, "batch", "this machine lets us use one core only")
                continue
            child: Child | None = None
            try:
                child = self._start(subject, cores)
                rows += self._batch(subject, child)
            except EngineFailed as error:
                self._refuse(subject, "batch", error.message)
            finally:
                if child is not None:
                    child.close()
        return rows

    # --- inside a step -------------------------------------------------------------------------

    def _of_engine(self, name: str) -> list[Subject]:
        found = engine(name)
        if not is_installed(found):
            raise ConfigError(f"{found.package} is not installed")
        builds = found.builds(self._set.documents, self._set.queries)
        return [
            Subject(name, found, one, self._set.folder / one.name.replace(" ", "-"))
            for one in builds
            if self._plan.slow_builds or not one.slow
        ]

    def _try(self, subject: Subject, stage: str, step: Callable[..., None], *given: object) -> None:
        """Do a step for a subject; one that fails leaves the run, and a row that says why."""
        try:
            step(subject, *given)
        except EngineFailed as error:
            self._refuse(subject, stage, error.message)
            self._pool.drop(id(subject))
            self.subjects = [other for other in self.subjects if other is not subject]

    def _refuse(self, subject: Subject, stage: str, reason: str) -> None:
        self._say(f"{subject.build.name}: {stage} failed: {reason}")
        self.refused.append(Refused(subject.name, subject.build.name, stage, reason))

    def _told(self, subject: Subject, cores: Sequence[int]) -> dict[str, Any]:
        return {
            "engine": subject.name,
            "build": subject.build._asdict(),
            "set": str(self._set.folder),
            "n_queries": self._set.queries.n_rows,
            "folder": str(subject.folder),
            "cores": list(cores),
        }

    def _start(self, subject: Subject, cores: Sequence[int]) -> Child:
        child = Child(self._told(subject, cores), self._plan.limit)
        try:
            opened = child.ask({"do": "open"})
        except BaseException:
            child.close()
            raise
        subject.figures.setdefault("open_cpu", opened["cpu"])
        subject.figures.setdefault("open_wall", opened["wall"])
        subject.figures.setdefault("open_mb", opened["rss"] - opened["before"])
        subject.opened_at = opened["before"]
        return child

    def _child(self, subject: Subject) -> Child:
        return self._pool.get(
            id(subject), subject.memory, lambda: self._start(subject, self._cores)
        )

    def _build(self, subject: Subject) -> None:
        """Build in a process that ends with it, or find what an earlier run built."""
        key = json.dumps([version(subject.engine), subject.build.options, _source(subject.name)])
        note = subject.folder / "built.json"
        if note.is_file() and (known := json.loads(note.read_text("utf-8")))["key"] == key:
            subject.figures = known["figures"]
            self.subjects.append(subject)
            return
        self._say(f"building {subject.build.name}")
        shutil.rmtree(subject.folder, ignore_errors=True)
        child = Child(self._told(subject, self._cores), self._plan.limit)
        try:
            given = child.ask({"do": "given"})
            figures = {**given, **child.ask({"do": "build"})}
        finally:
            child.close()
        figures["peak_anonymous"] = child.peak_anonymous
        note.write_text(json.dumps({"key": key, "figures": figures}), "utf-8")
        subject.figures = figures
        self.subjects.append(subject)

    def _tried(self, name: str, k: int) -> list[Tried]:
        """Return every setting of every index of an engine, and how it did on the sample."""
        queries = min(self._plan.sample, self._set.queries.n_rows)
        places: list[Tried] = []
        for subject in self._of(name):
            documents, thorough = self._set.documents, self._plan.thorough
            for setting in subject.engine.settings(subject.build, documents, k, thorough=thorough):
                places.append(Tried(subject, setting))
        if remember(places, k, queries):
            return places
        self._say(f"k = {k}: trying {len(places)} settings of {name}")
        for number in range(PASSES):
            here = worth_another_look(places) if number else places
            for subject in self._of(name):
                some = [one for one in here if one.subject is subject]
                self._try(subject, "tune", self._try_settings, some, k, queries)
        places = [one for one in places if one.subject in self.subjects and one.cpu is not None]
        note(places, k, queries)
        return places

    def _try_settings(self, subject: Subject, some: Sequence[Tried], k: int, queries: int) -> None:
        for one in some:
            child = self._child(subject)
            try:
                one.take(child.ask(_question(one.setting, k, 0, queries)))
            except Declined as error:
                self._refuse(subject, f"setting {one.setting}", error.message)

    def _of(self, name: str) -> list[Subject]:
        return [subject for subject in self.subjects if subject.name == name]

    def _measure_all(self, k: int) -> list[Measured]:
        n_queries = self._set.queries.n_rows
        all_open = self._pool.fits(subject.memory for subject in self.subjects)
        step = _SLICE if all_open else n_queries
        taken: dict[tuple[int, int], list[list[dict[str, Any]]]] = {}
        for number in range(self._plan.rounds):
            for first in range(0, n_queries, step):
                order = list(self.subjects)
                span = first, min(first + step, n_queries)
                for subject in order[::-1] if number % 2 else order:
                    self._try(subject, "measure", self._measure, k, number, span, taken)
            self._say(f"k = {k}: round {number + 1} of {self._plan.rounds}")
        rows = []
        for subject in self.subjects:
            for at, setting in enumerate(subject.kept.get(k, ())):
                rounds = [joined(parts) for parts in taken[id(subject), at]]
                rows.append(measured_row(subject.name, subject.build, setting, k, rounds))
        return rows

    def _measure(
        self,
        subject: Subject,
        k: int,
        number: int,
        span: tuple[int, int],
        taken: dict[tuple[int, int], list[list[dict[str, Any]]]],
    ) -> None:
        for at, setting in enumerate(subject.kept.get(k, [])):
            answer = self._child(subject).ask(_question(setting, k, *span))
            rounds = taken.setdefault((id(subject), at), [])
            if len(rounds) <= number:
                rounds.append([])
            rounds[number].append(answer)
        if subject.kept.get(k):
            # Now, since a process may be closed to make room before all is over.
            used = self._child(subject).ask({"do": "memory"})
            subject.figures["used_mb"] = used["rss"] - subject.opened_at
            subject.figures["used_anonymous_mb"] = used["anonymous"]

    def _batch(self, subject: Subject, child: Child) -> list[Batch]:
        rows = []
        k = self._plan.ks[0]
        settings = subject.kept.get(k, [])
        # The target in the middle, and exact search.
        picked = {str(one): one for one in settings if one.options.get("recall") == 0.95}
        picked |= {str(one): one for one in settings if one.exact}
        for setting in picked.values():
            taken: Mapping[int, list[dict[str, Any]]] = {1: [], 2: []}
            for number in range(self._plan.rounds + 1):
                for threads, answers in taken.items():
                    question = {"do": "batch", "options": setting.options, "k": k}
                    answer = child.ask({**question, "threads": threads})
                    if number:
                        answers.append(answer)
            rows += [batch_row(setting, k, threads, some) for threads, some in taken.items()]
        return rows


def _question(setting: Setting, k: int, first: int, stop: int) -> dict[str, Any]:
    return {"do": "run", "options": setting.options, "k": k, "queries": [first, stop]}


def _source(name: str) -> str:
    """Return a hash of our own index code, so that its changes rebuild; nothing for a peer."""
    if name != OURS:
        return ""
    digest = hashlib.sha256()
    for folder in lsr.index.__path__:
        for file in sorted(Path(folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def to_json(report: SearchReport) -> dict[str, Any]:
    """Return the whole report as plain values."""
    return asdict(report)
