"""Speed: how long a system takes for a query, how many it answers, and how it holds its lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .systems import Footprint, Lists, Ranking, System

#: Hits asked for while the clock runs.
TIMED_K = 10
_ROUNDS = 3
#: Seconds after which no other round begins: what takes so long does not need the least of three.
_LONG = 10.0
#: More queries than that say little more about a percentile and take long.
_TIMED_QUERIES = 500


@dataclass(frozen=True, slots=True)
class Speed:
    """Times and sizes of one system.

    `p50`, `p95`, `p99`: milliseconds from a query's text to its 10 hits, one at a time, each
    query's least of three rounds, of fewer where these take ten seconds; `search_p50` is the part
    of the search, without what is done to the text. `per_second`: queries a second, all at once,
    on `threads` threads. `memory`: bytes that opening and searching added to the process; None
    where the system tells no such thing.
    """

    p50: float
    p95: float
    p99: float
    search_p50: float
    per_second: float
    threads: int
    n_queries: int
    bytes: int | None
    bytes_per_document: float | None
    build_seconds: float | None
    build_peak: int | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class Shape:
    """The lists of a system: terms of a document's row and of a query, FLOPS, list lengths.

    `flops` is the mean number of terms that a query and a row share over all pairs, which is the
    number of products an exhaustive search adds up for a pair (Paria et al., ICLR 2020). `lengths`
    are (rank of the list, its length), from the longest down, thinned out evenly on a log scale.
    """

    document_terms: float
    query_terms: float
    flops: float
    n_lists: int
    lengths: tuple[tuple[int, int], ...]


def measure_speed(
    make: Callable[[], System], queries: Sequence[str], *, threads: int
) -> tuple[System, Speed, list[Ranking]]:
    """Open a system and return it, its speed, and the hits it found while it was timed.

    What is compiled or mapped on the first search is not counted: a round goes before.
    """
    before = resident()
    system = make()
    timed = list(queries[:_TIMED_QUERIES])
    for query in timed[:20]:
        system.search(query, TIMED_K)
    least, inside = [float("inf")] * len(timed), [float("inf")] * len(timed)
    found: list[Ranking] = []
    begun = time.perf_counter()
    for _ in range(_ROUNDS):
        if found and time.perf_counter() - begun > _LONG:
            break
        found = []
        for at, query in enumerate(timed):
            started = time.perf_counter()
            ranking = system.search(query, TIMED_K)
            least[at] = min(least[at], time.perf_counter() - started)
            inside[at] = min(inside[at], ranking.seconds)
            found.append(ranking)
    started = time.perf_counter()
    system.search_many(timed, TIMED_K, threads)
    took = time.perf_counter() - started
    after = resident()
    return system, _speed(least, inside, len(timed) / took, threads, system, before, after), found


def measure_shape(lists: Lists) -> Shape:
    """Return the means and the distribution of a system's lists."""
    rows, queries = max(1, lists.n_rows), max(1, lists.n_queries)
    frequency = lists.document_frequency
    flops = float((frequency / rows) @ (lists.query_frequency / queries))
    lengths = np.sort(frequency[frequency > 0])[::-1]
    ranks = np.unique(np.geomspace(1, len(lengths), 80).astype(int)) if len(lengths) else lengths
    return Shape(
        document_terms=float(frequency.sum() / rows),
        query_terms=float(lists.query_frequency.sum() / queries),
        flops=flops,
        n_lists=len(lengths),
        lengths=tuple((int(rank), int(lengths[rank - 1])) for rank in ranks),
    )


def resident() -> int | None:
    """Return the bytes of memory that this process holds now; None where the system hides it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (ImportError, OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _speed(
    least: Sequence[float],
    inside: Sequence[float],
    per_second: float,
    threads: int,
    system: System,
    before: int | None,
    after: int | None,
) -> Speed:
    p50, p95, p99 = (float(np.percentile(least, at)) * 1e3 for at in (50, 95, 99))
    footprint: Footprint = system.footprint()
    size = footprint.bytes
    return Speed(
        p50=p50,
        p95=p95,
        p99=p99,
        search_p50=float(np.median(inside)) * 1e3,
        per_second=per_second,
        threads=threads,
        n_queries=len(least),
        bytes=size,
        bytes_per_document=None if size is None else size / max(1, footprint.n_documents),
        build_seconds=footprint.build_seconds,
        build_peak=footprint.build_peak,
        memory=None if before is None or after is None else max(0, after - before),
    )
