"""Metrics: what Prometheus reads at /metrics, of all processes of the service together."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Where the processes keep their counts; set by `lsr serve` before it starts them.
SHARED = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
_LONG_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

#: For each index: its name, and its figures by the name of the metric.
Figures = Callable[[], Iterable[tuple[str, Mapping[str, float]]]]

INDEX_FIGURES = {
    "documents": "Live documents.",
    "deleted": "Deleted documents that are still on the disk.",
    "segments": "Segments.",
    "generation": "Number of the commit that is read.",
    "queued": "Write requests that wait for their commit.",
}


class Metrics:
    """The counts of one process, and the page of them all."""

    def __init__(self, figures: Figures | None = None) -> None:
        self.registry = CollectorRegistry()
        self._figures = figures
        of: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "lsr_http_requests", "Requests answered.", ("route", "method", "status"), **of
        )
        self.seconds = Histogram(
            "lsr_http_request_seconds", "Time of requests.", ("route",), buckets=_SECONDS, **of
        )
        self.stages = Histogram(
            "lsr_search_stage_seconds",
            "Time of searches in each stage.",
            ("stage", "mode"),
            buckets=_SECONDS,
            **of,
        )
        self.searches = Counter(
            "lsr_searches", "Searches by the way that ran.", ("index", "mode", "path"), **of
        )
        self.in_flight = Gauge(
            "lsr_in_flight", "Requests under way.", multiprocess_mode="livesum", **of
        )
        self.waiting = Gauge(
            "lsr_encode_queue",
            "Requests that wait for a thread to encode and search.",
            multiprocess_mode="livesum",
            **of,
        )
        self.encoded_together = Histogram(
            "lsr_encode_batch_size", "Query texts encoded in one call.", buckets=_SIZES, **of
        )
        self.refused = Counter("lsr_refused", "Requests refused, by reason.", ("reason",), **of)
        self.written = Counter(
            "lsr_written_documents", "Lines of writes, by what became of them.", ("status",), **of
        )
        self.work = Histogram(
            "lsr_writer_seconds",
            "Time of commits and merges.",
            ("what", "index"),
            buckets=_LONG_SECONDS,
            **of,
        )
        self.committed = Counter(
            "lsr_committed_documents", "Lines that commits have taken.", ("index",), **of
        )
        self._gathered: dict[tuple[str, ...], _Gathered] = {}
        self._guard = threading.Lock()

    def stage(self, name: str, mode: str, seconds: float) -> None:
        """Gather time of a search in a stage."""
        self._gather(self.stages, name, mode).append(seconds)

    def searched(self, index: str, mode: str, path: str) -> None:
        """Gather a search by the way that ran."""
        self._gather(self.searches, index, mode, path).append(1)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Gather a request that was answered."""
        self._gather(self.requests, route, method, str(status)).append(1)
        self._gather(self.seconds, route).append(seconds)

    def encoded(self, texts: int) -> None:
        """Gather a call that encoded so many texts."""
        self._gather(self.encoded_together).append(texts)

    def flush(self) -> None:
        """Count what was gathered."""
        with self._guard:
            for gathered in list(self._gathered.values()):
                gathered.count()

    def wrote(self, what: str, index: str, seconds: float, documents: int) -> None:
        """Count a commit or a merge, at once."""
        self.work.labels(what, index).observe(seconds)
        if documents:
            self.committed.labels(index).inc(documents)

    def page(self) -> bytes:
        """Return the metrics of all processes as Prometheus reads them."""
        self.flush()
        if SHARED not in os.environ:
            registry = self.registry
            extra = CollectorRegistry()
        else:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            extra = CollectorRegistry()
        if self._figures is not None:
            extra.register(_Indexes(self._figures))
        return generate_latest(registry) + generate_latest(extra)

    def _gather(self, metric: Any, *labels: str) -> list[float]:
        """Return where values of the metric with these labels wait for `flush`."""
        key = (metric._name, *labels)
        found = self._gathered.get(key)
        if found is None:
            child = metric.labels(*labels) if labels else metric
            found = self._gathered.setdefault(key, _Gathered(child))
        return found.values


class _Gathered:
    """Values of a counter or histogram. To count many together takes as long as to count one."""

    __slots__ = ("_metric", "values")

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self.values: list[float] = []

    def count(self) -> None:
        """Count the values that are there; other threads may add some meanwhile."""
        taken = self.values[:]
        if not taken:
            return
        del self.values[: len(taken)]
        metric = self._metric
        if not isinstance(metric, Histogram):
            metric.inc(sum(taken))
            return
        # What `observe` does with one value, which takes 3 us of a request for each of five.
        metric._sum.inc(sum(taken))
        found = Counts(bisect_left(metric._upper_bounds, value) for value in taken)
        for at, count in found.items():
            metric._buckets[at].inc(count)


class _Indexes(Collector):
    """What the indexes hold, looked up when it is asked for."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a gauge for each figure, with a value for each index."""
        found = list(self._figures())
        for name, help in INDEX_FIGURES.items():
            family = GaugeMetricFamily(f"lsr_index_{name}", help, labels=["index"])
            for index, figures in found:
                family.add_metric([index], figures[name])
            yield family
