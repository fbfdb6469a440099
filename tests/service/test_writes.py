"""Documents over HTTP: acknowledged when durable as asked, and never lost after that."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Running, serving

from lsr.config import ServeSettings
from lsr.index.index import Index
from lsr.service.client import Client, ServiceError
from lsr.service.queue import Line, Outcome, Queue, Write
from lsr.service.writer import Writer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
MOST = 10**8


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    with Client(service.url) as found:
        yield found


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    due = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < due
        time.sleep(0.02)


@pytest.mark.parametrize("commit", ["wait", "force"])
def test_a_write_that_waits_is_searchable_when_it_returns(client: Client, commit: Any) -> None:
    found = client.write(
        "shop",
        [{"_id": f"z-{commit}", "text": f"zebra crossing {commit}"}, {"_id": "bad"}],
        commit=commit,
    )
    assert [(item.line, item.status) for item in found.items] == [(1, "indexed"), (2, "rejected")]
    assert (found.accepted, found.rejected) == (1, 1) and found.generation is not None
    wait_until(lambda: client.search("shop", "zebra", limit=1).hits[0].id.startswith("z-"))
    wait_until(lambda: client.get("shop", f"z-{commit}") is not None)


def test_a_queued_write_is_searchable_soon(client: Client) -> None:
    found = client.write("shop", [{"_id": "yak", "text": "a yak grazes"}])
    assert [item.status for item in found.items] == ["queued"] and found.generation is None
    wait_until(lambda: client.get("shop", "yak") is not None)


def test_create_refuses_an_id_that_is_there_and_delete_says_what_was_absent(
    client: Client,
) -> None:
    document = {"_id": "once", "text": "only once"}
    first = client.write("shop", [document], action="create", commit="wait")
    wait_until(lambda: client.get("shop", "once") is not None)
    again = client.write("shop", [document], action="create", commit="wait")
    assert [first.items[0].status, again.items[0].status] == ["indexed", "rejected"]
    assert "already" in str(again.items[0].error)
    gone = client.write(
        "shop", [{"_id": "once"}, {"_id": "never"}], action="delete", commit="force"
    )
    assert [item.status for item in gone.items] == ["deleted", "absent"]


def test_one_document_is_deleted_by_its_id(client: Client) -> None:
    client.write("shop", [{"_id": "a/b ?ü", "text": "odd id"}], commit="force")
    wait_until(lambda: client.get("shop", "a/b ?ü") is not None)
    assert client.delete("shop", "a/b ?ü", commit="force").items[0].status == "deleted"
    wait_until(lambda: client.get("shop", "a/b ?ü") is None)
    with pytest.raises(ServiceError) as refused:
        client.delete("shop", "a/b ?ü")
    assert refused.value.status == 404


def test_the_queue_goes_on_where_a_crash_left_it(tmp_path: Path) -> None:
    index = _vector_index(tmp_path)
    queue = Queue(index, most_bytes=MOST)
    numbers = [
        queue.append(Write("upsert", [_line(1, f"n{n}", n)], waits=n == 2)) for n in range(3)
    ]
    assert numbers == [1, 2, 3]
    writer = Writer("i", index, ServeSettings())
    writer.commit_now()
    assert queue.waiting() == []
    assert queue.outcome(2) == Outcome(1, [(1, "n1", "indexed", None)]) or queue.outcome(3)
    # A crash after the commit and before the files were removed: they come back, and are known.
    assert queue.append(Write("upsert", [_line(1, "n3", 3)])) == 4
    queue._path(4, ".ndjson").rename(queue._path(3, ".ndjson"))
    generation = Writer("i", index, ServeSettings()).commit_now()
    assert generation == 1 and queue.waiting() == []
    assert queue.append(Write("upsert", [_line(1, "n4", 4)])) > 3


def test_a_damaged_request_is_set_aside_and_the_others_go_in(tmp_path: Path) -> None:
    index = _vector_index(tmp_path)
    queue = Queue(index, most_bytes=MOST)
    for n in range(3):
        queue.append(Write("upsert", [_line(1, f"n{n}", n)]))
    damaged = queue._path(2, ".ndjson")
    damaged.write_bytes(damaged.read_bytes().replace(b"n1", b"nX"))
    Writer("i", index, ServeSettings()).commit_now()
    assert sorted(document.id for document in Index.open(index)) == ["n0", "n2"]
    assert queue._path(2, ".damaged").exists()


def test_too_much_that_waits_is_refused(tmp_path: Path) -> None:
    queue = Queue(_vector_index(tmp_path), most_bytes=400)
    queue.append(Write("upsert", [_line(1, "a", 1)]))
    with pytest.raises(Exception, match="wait to be indexed already") as refused:
        queue.append(Write("upsert", [_line(1, "b" * 300, 1)]))
    assert refused.value.status == 429  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_kill_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Thousands of documents from several writers, searches all the while, then SIGKILL."""
    index = _vector_index(tmp_path)
    sure: dict[str, int] = {}
    problems: list[str] = []
    searches = [0]
    ended = threading.Event()
    environ = {"LSR_SERVE__COMMIT_MS": "50"}
    with serving(tmp_path, index.name, "--workers", "2", environ=environ) as running:

        def write(number: int) -> None:
            commits: list[Any] = ["auto", "wait", "auto", "force"]
            turn = 0
            with Client(running.url, timeout=20) as client:
                while not ended.is_set():
                    names = [f"w{number}-{(turn * 25 + n) % 1500}" for n in range(25)]
                    documents = [_document(name, turn) for name in names]
                    try:
                        found = client.write(
                            index.name, documents, commit=commits[(turn + number) % 4]
                        )
                    except ServiceError as error:
                        if not ended.is_set():
                            problems.append(error.message)
                        return
                    if found.rejected:
                        problems.append(str(found.items[0]))
                    for name in names:
                        sure[name] = turn
                    turn += 1

        def search() -> None:
            with Client(running.url) as client:
                while not ended.is_set():
                    try:
                        client.search(index.name, vector={"1": 1.0, "2": 0.5}, limit=10)
                        searches[0] += 1
                    except ServiceError as error:
                        if not ended.is_set():
                            problems.append(f"search: {error.message}")
                        return

        threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        threads.append(threading.Thread(target=search))
        for thread in threads:
            thread.start()
        due = time.monotonic() + 40
        while (len(sure) < 3000 or max(sure.values()) < 70) and time.monotonic() < due:
            time.sleep(0.1)
            assert not problems, problems
        ended.set()
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        for thread in threads:
            thread.join()
    assert problems == []
    assert len(sure) >= 2000 and searches[0] > 20
    Writer("i", index, ServeSettings()).commit_now()
    found = {document.id: int(document.fields["turn"]) for document in Index.open(index)}  # type: ignore[arg-type]
    lost = {name: turn for name, turn in sure.items() if found.get(name, -1) < turn}
    assert lost == {}
    assert Index.open(index).generation > 3
    assert len(Index.open(index).snapshot.segments) < 40  # merges went on meanwhile


def _vector_index(folder: Path) -> Path:
    Index.create(folder / "vectors", encoder=None, vocab_size=64).close()
    return folder / "vectors"


def _document(name: str, turn: int) -> dict[str, Any]:
    random = np.random.default_rng(abs(hash((name, turn))) % 2**32)
    terms = random.choice(64, 8, replace=False).tolist()
    weights = random.uniform(0.1, 2.0, 8).round(3).tolist()
    vector = {str(term): weight for term, weight in zip(terms, weights, strict=True)}
    return {"_id": name, "text": name, "turn": turn, "_vector": vector}


def _line(number: int, name: str, turn: int) -> Line:
    return Line(number, json.dumps(_document(name, turn)).encode())
