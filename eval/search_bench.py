"""Our search beside every installed peer's: same vectors, same run, one process and core each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lsr.index
from lsr.errors import ConfigError

from .search_curves import Point, contenders
from .search_engines import OURS, Build, Engine, Setting, engine, is_installed, names, version
from .search_measures import Batch, Built, Measured, Refused, SearchReport, batch_row, measured_row
from .search_process import Child, EngineFailed, Pool, cores_to_use, spare_memory
from .search_sets import SearchSet
from .search_truth import make_truth

LEVELS = (0.90, 0.95, 0.97, 0.99)
_FINE = (*LEVELS, 0.98)
#: Settings of one engine that are measured with care; the sweep before tries them all.
_KEPT = 20

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


@dataclass(slots=True)
class _Subject:
    """One index of one engine."""

    name: str
    engine: Engine
    build: Build
    folder: Path
    figures: dict[str, Any] = field(default_factory=dict)
    kept: dict[int, list[Setting]] = field(default_factory=dict)
    #: Megabytes of its process just before the index was opened.
    opened_at: float = 0.0

    @property
    def memory(self) -> float:
        """A guess at its megabytes once open: its files, and what Python and libraries take."""
        return 250 + 1.3 * float(self.figures.get("bytes", 0)) / 1e6


def bench_search(found: SearchSet, plan: Plan, say: Say = lambda line: None) -> SearchReport:
    """Build, tune and measure every engine on the set; what fails is a row, never the end.

    Everything built is kept in the set's folder and used again by the next run with the same
    engine, options and version. Each engine is tuned on the first `sample` queries, all its
    settings once; those near its Pareto front are then measured on all queries, in rounds that
    go through all engines.
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
        run.weigh()
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
        self.subjects: list[_Subject] = []
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
        """Try every setting of every engine once; keep those near its front."""
        for subject in list(self.subjects):
            self._try(subject, "tune", self._sweep)
        for k in self._plan.ks:
            for name in dict.fromkeys(subject.name for subject in self.subjects):
                self._choose(name, k)

    def measure(self) -> list[Measured]:
        """Measure the kept settings of all engines in interleaved rounds."""
        rows: list[Measured] = []
        for k in self._plan.ks:
            taken: dict[tuple[int, int], list[dict[str, Any]]] = {}
            for number in range(self._plan.rounds):
                order = list(self.subjects)
                for subject in order[::-1] if number % 2 else order:
                    self._try(subject, "measure", self._measure, k, taken)
                self._say(f"k = {k}: round {number + 1} of {self._plan.rounds}")
            for subject in self.subjects:
                for at, setting in enumerate(subject.kept.get(k, ())):
                    if found := taken.get((id(subject), at)):
                        rows.append(measured_row(subject.name, subject.build, setting, k, found))
        return rows

    def weigh(self) -> None:
        """Note the memory of each engine after all its queries."""
        for subject in list(self.subjects):
            self._try(subject, "weigh", self._weigh)

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

    def _of_engine(self, name: str) -> list[_Subject]:
        found = engine(name)
        if not is_installed(found):
            raise ConfigError(f"{found.package} is not installed")
        builds = found.builds(self._set.documents, self._set.queries)
        return [
            _Subject(name, found, one, self._set.folder / one.name.replace(" ", "-"))
            for one in builds
            if self._plan.slow_builds or not one.slow
        ]

    def _try(
        self, subject: _Subject, stage: str, step: Callable[..., None], *given: object
    ) -> None:
        """Do a step for a subject; one that fails leaves the run, and a row that says why."""
        try:
            step(subject, *given)
        except EngineFailed as error:
            self._refuse(subject, stage, error.message)
            self._pool.drop(id(subject))
            self.subjects = [other for other in self.subjects if other is not subject]

    def _refuse(self, subject: _Subject, stage: str, reason: str) -> None:
        self._say(f"{subject.build.name}: {stage} failed: {reason}")
        self.refused.append(Refused(subject.name, subject.build.name, stage, reason))

    def _told(self, subject: _Subject, cores: Sequence[int]) -> dict[str, Any]:
        return {
            "engine": subject.name,
            "build": subject.build._asdict(),
            "set": str(self._set.folder),
            "folder": str(subject.folder),
            "cores": list(cores),
        }

    def _start(self, subject: _Subject, cores: Sequence[int]) -> Child:
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

    def _child(self, subject: _Subject) -> Child:
        return self._pool.get(
            id(subject), subject.memory, lambda: self._start(subject, self._cores)
        )

    def _build(self, subject: _Subject) -> None:
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
            figures = child.ask({"do": "build"})
        finally:
            child.close()
        figures["peak_anonymous"] = child.peak_anonymous
        note.write_text(json.dumps({"key": key, "figures": figures}), "utf-8")
        subject.figures = figures
        self.subjects.append(subject)

    def _settings(self, subject: _Subject, k: int) -> list[Setting]:
        documents, thorough = self._set.documents, self._plan.thorough
        return list(subject.engine.settings(subject.build, documents, k, thorough=thorough))

    def _sweep(self, subject: _Subject) -> None:
        """Leave in the index's folder how every setting did on the sample."""
        queries = min(self._plan.sample, self._set.queries.n_rows)
        for k in self._plan.ks:
            settings = self._settings(subject, k)
            if _swept(subject, k, queries, settings) is not None:
                continue
            self._say(f"k = {k}: trying {len(settings)} settings of {subject.build.name}")
            child, found = self._child(subject), []
            for setting in settings:
                answer = child.ask(_question(setting, k, queries))
                cpu = sum(answer["cpu"][0]) / queries
                found.append({"options": setting.options, "recall": answer["recall"], "cpu": cpu})
            told = {"queries": queries, "found": found}
            _sweep_path(subject, k).write_text(json.dumps(told, indent=0), "utf-8")

    def _choose(self, name: str, k: int) -> None:
        """Keep the contenders among all settings of all indexes of an engine, and the exact."""
        queries = min(self._plan.sample, self._set.queries.n_rows)
        places: list[tuple[_Subject, Setting]] = []
        points: list[Point] = []
        for subject in self.subjects:
            if subject.name == name:
                settings = self._settings(subject, k)
                for setting, one in zip(
                    settings, _swept(subject, k, queries, settings) or (), strict=True
                ):
                    points.append(Point(one["recall"], one["cpu"], len(places)))
                    places.append((subject, setting))
        kept = {point.at for point in contenders(points, _FINE, most=_KEPT)}
        exact = [point for point in points if places[point.at][1].exact]
        if exact:
            kept.add(min(exact, key=lambda point: point.latency).at)
        if name == OURS and not self._plan.thorough:
            kept = set(range(len(places)))
        for at in sorted(kept):
            subject, setting = places[at]
            subject.kept.setdefault(k, []).append(setting)

    def _measure(
        self, subject: _Subject, k: int, taken: dict[tuple[int, int], list[dict[str, Any]]]
    ) -> None:
        settings = subject.kept.get(k, [])
        child = self._child(subject) if settings else None
        for at, setting in enumerate(settings):
            if child is not None:
                answer = child.ask(_question(setting, k, self._set.queries.n_rows))
                taken.setdefault((id(subject), at), []).append(answer)

    def _weigh(self, subject: _Subject) -> None:
        used = self._child(subject).ask({"do": "memory"})
        subject.figures["used_mb"] = used["rss"] - subject.opened_at
        subject.figures["used_anonymous_mb"] = used["anonymous"]

    def _batch(self, subject: _Subject, child: Child) -> list[Batch]:
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


def _question(setting: Setting, k: int, queries: int) -> dict[str, Any]:
    return {"do": "run", "options": setting.options, "k": k, "queries": queries, "times": 1}


def _sweep_path(subject: _Subject, k: int) -> Path:
    return subject.folder / f"swept-{k}.json"


def _swept(
    subject: _Subject, k: int, queries: int, settings: Sequence[Setting]
) -> list[dict[str, Any]] | None:
    """Return what an earlier sweep of the same settings found, in their order."""
    path = _sweep_path(subject, k)
    if not path.is_file():
        return None
    told = json.loads(path.read_text("utf-8"))
    same = [one["options"] for one in told["found"]] == [dict(one.options) for one in settings]
    found: list[dict[str, Any]] = told["found"]
    return found if same and told["queries"] == queries else None


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
