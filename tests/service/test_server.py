"""The processes: probes under load, slow clients, death and end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from serving import Running, serving

from lsr.service.client import Client, ServiceError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def connect(service: Running) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), 20)


def closes(connection: socket.socket, seconds: float) -> bytes:
    """Return what came before the service closed the connection."""
    connection.settimeout(seconds)
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/indexes/shop/search HTTP/1.1\r\nHost: loc",
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 20,
    ],
    ids=["half a line", "no end of the head"],
)
def test_a_head_that_never_ends_is_hung_up_on(service: Running, sent: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(sent)
        assert closes(connection, 15) == b""


def test_a_slow_body_is_given_up(service: Running) -> None:
    with connect(service) as connection:
        connection.sendall(
            b"POST /v1/indexes/shop/search HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        answer = closes(connection, 15)
    assert answer.startswith(b"HTTP/1.1 408") and b"problem+json" in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n",
        b"POST /v1/indexes/shop/search HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["binary", "version", "tls", "length", "long"],
)
def test_what_is_no_http_is_refused(service: Running, sent: bytes) -> None:
    with connect(service) as connection:
        try:
            connection.sendall(sent)
            answer = closes(connection, 30)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    with Client(service.url) as client:
        assert client.is_ready()


def test_probes_are_answered_while_the_service_works_hard(service: Running) -> None:
    ended = threading.Event()

    def work() -> None:
        with Client(service.url) as client:
            searches = [{"query": f"jacket {n}", "limit": 40, "highlight": True} for n in range(10)]
            while not ended.is_set():
                client.search_batch("shop", searches)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        slowest = 0.0
        with Client(service.url) as client:
            for _ in range(40):
                started = time.monotonic()
                assert client.is_ready()
                slowest = max(slowest, time.monotonic() - started)
                time.sleep(0.02)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert slowest < 1.0


def test_its_end_finishes_what_is_in_flight_and_commits(tmp_path: Path, shop: Path) -> None:
    import shutil

    shutil.copytree(shop, tmp_path / "shop", ignore=shutil.ignore_patterns("queue"))
    environ = {"LSR_SERVE__COMMIT_MS": "60000", "LSR_SERVE__TIMEOUT_MS": "60000"}
    answered: list[bool] = []
    searches = [{"query": f"jacket {n}", "limit": 40, "highlight": True} for n in range(20)]
    with (
        serving(tmp_path, "shop", "--workers", "1", environ=environ) as running,
        Client(running.url) as client,
    ):
        client.write("shop", [{"_id": "last", "text": "the last document"}])

        def ask() -> None:
            with Client(running.url) as other:
                answered.append(len(other.search_batch("shop", searches).results) == 20)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        assert running.stop() == 0
        thread.join()
        assert not client.is_ready()
    assert answered == [True]
    from lsr.index.index import Index

    assert "last" in Index.open(tmp_path / "shop")


def test_a_process_that_dies_is_started_again(service: Running) -> None:
    parent = psutil.Process(service.process.pid)
    before = {child.pid for child in parent.children()}
    with Client(service.url) as client:
        victims = [
            child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())
        ]
        assert len(victims) == 3
        victims[0].send_signal(signal.SIGKILL)
        due = time.monotonic() + 60
        while time.monotonic() < due:
            now = {child.pid for child in parent.children()}
            if now - before and len(now) >= len(before):
                break
            time.sleep(0.1)
        assert now - before, service.said()
        for _ in range(20):
            try:
                assert client.search("shop", "jacket").hits
            except ServiceError as error:
                # The new process opens its indexes; or a connection to the dead one broke.
                assert error.status in (0, 503)


def test_what_cannot_be_served_is_said_at_once(tmp_path: Path, shop: Path) -> None:
    def fails(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lsr", "serve", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and "hint: " in done.stderr
        return done.stderr

    assert "is no index" in fails("nowhere")
    assert "two indexes" in fails(str(shop), f"shop={shop}")
    assert "name of an index" in fails(f"a b={shop}")
    assert "no file of keys" in fails(str(shop), "--keys", "none.json")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen" in fails(str(shop), "--port", str(taken.getsockname()[1]))


def test_without_its_libraries_serve_says_what_installs_them(tmp_path: Path, shop: Path) -> None:
    code = (
        "import sys, importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'fastapi' else find(name, *a)\n"
        f"sys.argv = ['lsr', 'serve', {str(shop)!r}]\nfrom lsr.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'lsr-engine[serve]'" in done.stderr


@pytest.mark.slow
def test_memory_and_open_files_stay_flat_under_mixed_load(service: Running) -> None:
    """A soak of seconds; `lsr bench http --soak` runs one of any length."""
    parent = psutil.Process(service.process.pid)

    def sizes() -> tuple[float, list[int]]:
        found = [parent, *parent.children()]
        files = [one.num_fds() for one in found]
        for _ in range(20):  # a commit or merge that is under way has files open for a while
            time.sleep(0.1)
            files = [min(least, one.num_fds()) for least, one in zip(files, found, strict=True)]
        return sum(one.memory_info().rss for one in found) / 1e6, files

    def load(seconds: float) -> int:
        ends, done = time.monotonic() + seconds, 0
        with Client(service.url) as client:
            while time.monotonic() < ends:
                documents = [
                    {"_id": f"soak-{n}", "text": f"soak number {n} {done}"} for n in range(5)
                ]
                client.write("shop", documents, commit="auto")
                for n in range(20):
                    client.search("shop", f"soak {done} {n}", highlight=n % 4 == 0)
                done += 1
        return done

    load(6)
    memory, files = sizes()
    assert load(8) > 0
    more_memory, more_files = sizes()
    assert more_memory < memory * 1.15 + 30, (memory, more_memory)
    assert sum(more_files) <= sum(files) + 6, (files, more_files)
