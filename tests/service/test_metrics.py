from __future__ import annotations

import random
import threading

import pytest
from prometheus_client import generate_latest

from lsr.service.metrics import SHARED, Metrics


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED, raising=False)


def test_values_counted_together_come_out_as_one_by_one() -> None:
    together, one_by_one = Metrics(), Metrics()
    draw = random.Random(7)
    seconds = [*(draw.expovariate(100) for _ in range(200)), 0.0, 0.001, 5.0, 99.0]
    for value in seconds:
        together.stage("fetch", "sparse", value)
        together.answered("search", "POST", 200, value)
        one_by_one.stages.labels("fetch", "sparse").observe(value)
        one_by_one.requests.labels("search", "POST", "200").inc()
        one_by_one.seconds.labels("search").observe(value)
    together.flush()
    found, wanted = lines_of(together), lines_of(one_by_one)
    assert found.keys() == wanted.keys() and len(found) > 30
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_nothing_is_lost_while_others_count() -> None:
    metrics = Metrics()

    def add() -> None:
        for _ in range(5000):
            metrics.encoded(1)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.flush()
    metrics.flush()
    assert lines_of(metrics)["lsr_encode_batch_size_count"] == 15_000


def lines_of(metrics: Metrics) -> dict[str, float]:
    """Return the samples of a registry but those that tell when they were made."""
    pairs = (
        line.rsplit(" ", 1) for line in generate_latest(metrics.registry).decode().splitlines()
    )
    return {
        name: float(value) for name, value in pairs if name[0] != "#" and "_created" not in name
    }
