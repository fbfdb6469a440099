"""Server: the processes of `lsr serve`: some that search, one that writes, one that watches."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from lsr.errors import ConfigError, LsrError

from .options import Options

log = logging.getLogger(__name__)

_GRACE_SECONDS = 15.0
_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 2000
#: A process that ends sooner than this after its start is not started again at once.
_TOO_SOON = 5.0
_BACKLOG = 2048
_WRITER = "writer"

#: Environment of all processes: threads of the kernels' libraries would fight with ours.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

Say = Callable[[str], None]


def serve(options: Options, say: Say) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    `say` gets a line for people when the address is known, and when the service is ready. What
    is in flight is finished, and what was accepted committed, before this returns.
    """
    check_options(options)
    listener = _listen(options)
    shared = tempfile.mkdtemp(prefix="lsr-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
    for name, value in _ONE_THREAD.items():
        os.environ.setdefault(name, value)
    try:
        return _Watcher(options, listener, say).run()
    finally:
        listener.close()
        shutil.rmtree(shared, ignore_errors=True)


def check_options(options: Options) -> None:
    """Raise ConfigError for what can be seen to be wrong before a process is started."""
    from lsr.index.manifest import MANIFEST

    if not options.indexes:
        raise ConfigError("give at least one index to serve", hint="lsr serve DIR")
    for name, path in options.indexes:
        if not (path / MANIFEST).is_file():
            raise ConfigError(
                f"{path} is no index (to be served as {name!r})",
                hint=f"lsr index SOURCE --out {path} makes one",
            )
    if options.settings.keys is not None:
        from .auth import read_keys

        read_keys(options.settings.keys)


def _listen(options: Options) -> socket.socket:
    host, port = options.settings.host, options.settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            hint="give another --port, or 0 for a free one",
        ) from error
    listener.setblocking(False)
    return listener


@dataclass(slots=True)
class _Child:
    """A process, the end of the pipe on which it tells how it fares, and when it began."""

    name: str
    process: BaseProcess
    told: Connection
    began: float
    ready: bool = False
    not_before: float = 0.0


class _Watcher:
    """Starts the processes, starts again those that die, and ends them all in good order."""

    def __init__(self, options: Options, listener: socket.socket, say: Say) -> None:
        self._options = options
        self._listener = listener
        self._say = say
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._stopping = False
        self._children: list[_Child] = []
        self._said_ready = False

    def run(self) -> int:
        """Watch until told to stop; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        names = ", ".join(name for name, _ in self._options.indexes)
        self._say(f"serving {names} at http://{shown}:{port}")
        names_of = [f"search-{at}" for at in range(self._options.workers)]
        if not self._options.settings.read_only:
            names_of.append(_WRITER)
        self._children = [self._start(name) for name in names_of]
        code = self._watch()
        self._end()
        return code

    def _watch(self) -> int:
        while not self._stopping:
            waited: list[Any] = [child.told for child in self._children]
            wait(waited, timeout=0.2)
            for at, child in enumerate(self._children):
                code = self._look(child)
                if code is not None:
                    return code
                if child.process.exitcode is not None and not self._stopping:
                    self._children[at] = self._again(child)
            if not self._said_ready and all(child.ready for child in self._children):
                self._said_ready = True
                self._say("ready")
        return 0

    def _look(self, child: _Child) -> int | None:
        """Read what a child tells; return an exit code if it says that it cannot work at all."""
        try:
            while child.told.poll():
                what, detail = child.told.recv()
                if what == "ready":
                    child.ready = True
                elif not self._said_ready:
                    message, hint, code = detail
                    raise LsrErrorOfChild(message, hint, code)
                else:
                    log.error("%s cannot start: %s", child.name, detail[0])
        except (EOFError, OSError):
            return None
        return None

    def _again(self, child: _Child) -> _Child:
        """Start a process in place of one that has died; one that dies at once has to wait."""
        now = time.monotonic()
        if not child.not_before:
            log.error("%s has died (exit code %s)", child.name, child.process.exitcode)
            self._forget(child)
            child.not_before = child.began + _TOO_SOON
        if now < child.not_before:
            return child
        return self._start(child.name)

    def _start(self, name: str) -> _Child:
        here, there = self._context.Pipe(duplex=False)
        if name == _WRITER:
            process = self._context.Process(
                target=run_writer, args=(self._options, self._stop, there), name=name
            )
        else:
            process = self._context.Process(
                target=run_search, args=(self._options, self._listener, there), name=name
            )
        process.start()
        there.close()
        return _Child(name, process, here, time.monotonic())

    def _forget(self, child: _Child) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(child.process.pid)  # type: ignore[no-untyped-call]

    def _on_signal(self, *_: object) -> None:
        self._stopping = True

    def _end(self) -> None:
        """End those that search first, so that the writer commits all that they accepted."""
        searching = [child for child in self._children if child.name != _WRITER]
        for child in searching:
            _terminate(child)
        _join(searching)
        self._stop.set()
        _join([child for child in self._children if child.name == _WRITER])


class LsrErrorOfChild(LsrError):
    """Why a process of the service could not start."""

    def __init__(self, message: str, hint: str | None, code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = code


def run_search(options: Options, listener: socket.socket, told: Connection) -> None:
    """Be a process that searches, until SIGTERM."""
    import uvicorn

    from .app import make_app

    _prepare(told)
    server: list[uvicorn.Server] = []

    def failed(error: Exception) -> None:
        _tell_failure(told, error)
        if server:
            server[0].should_exit = True

    app = make_app(options, on_ready=lambda: told.send(("ready", None)), on_failed=failed)
    config = uvicorn.Config(
        app,
        http=_protocol(options),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(_GRACE_SECONDS) - 3,
    )
    server.append(uvicorn.Server(config))
    _die_with_parent(lambda: setattr(server[0], "should_exit", True))
    server[0].run(sockets=[listener])


def run_writer(options: Options, stop: Any, told: Connection) -> None:
    """Be the process that writes, until `stop` is set."""
    from .metrics import Metrics
    from .writer import Writer

    _prepare(told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ended = threading.Event()

    def wait_for_end() -> None:
        stop.wait()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    _die_with_parent(ended.set)
    metrics = Metrics()
    try:
        writers = [
            Writer(
                name, path, options.settings,
                verify=options.verify, model=options.model, dense=options.dense,
                tell=metrics.wrote,
            )
            for name, path in options.indexes
        ]  # fmt: skip
    except Exception as error:
        _tell_failure(told, error)
        return
    told.send(("ready", None))
    threads = [threading.Thread(target=writer.run, args=(ended,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _protocol(options: Options) -> Any:
    try:
        from .protocol import PatientProtocol
    except ImportError:
        return "auto"
    PatientProtocol.head_seconds = min(10.0, options.settings.body_seconds)
    return PatientProtocol


def _prepare(told: Connection) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("lsr").setLevel(os.environ.get("LSR_LOG_LEVEL", "warning").upper())
    logging.getLogger("uvicorn").setLevel("WARNING")


def _tell_failure(told: Connection, error: Exception) -> None:
    if isinstance(error, LsrError):
        told.send(("failed", (error.message, error.hint, error.exit_code)))
    else:
        log.error("cannot start", exc_info=error)
        told.send(("failed", (f"{type(error).__name__}: {error}", None, 1)))


def _die_with_parent(end: Callable[[], None]) -> None:
    """Call `end` when the process that watches is gone: nobody would end us then."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        end()

    threading.Thread(target=watch, name="lsr-parent", daemon=True).start()


def _terminate(child: _Child) -> None:
    if child.process.is_alive():
        child.process.terminate()


def _join(children: list[_Child]) -> None:
    due = time.monotonic() + _GRACE_SECONDS
    for child in children:
        child.process.join(max(0.1, due - time.monotonic()))
        if child.process.is_alive():
            log.error("%s does not end; it is killed", child.name)
            child.process.kill()
            child.process.join()
