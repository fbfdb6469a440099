"""Options: what `lsr serve` was told, in one value that every process of the service gets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsr.config import ServeSettings
from lsr.encoder import count_threads
from lsr.errors import ConfigError

#: What an index may be called in a URL.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|::1|\[::1\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    """The indexes that are served, by name, and the settings in force."""

    indexes: tuple[tuple[str, Path], ...]
    settings: ServeSettings = field(default_factory=ServeSettings)
    verify: bool = True
    model: str | None = None
    dense: str | None = None

    @property
    def threads(self) -> int:
        """Threads that search in one worker process; all workers together have the cores."""
        return self.settings.threads or max(1, count_threads(None) // self.workers)

    @property
    def workers(self) -> int:
        """Worker processes: as many as asked for, else one for each core, four at most."""
        return self.settings.workers or min(4, count_threads(None))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.settings.host)

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call the service from a browser."""
        return frozenset(self.settings.cors.split())

    @property
    def host_names(self) -> frozenset[str]:
        """Names by which requests may call this host beside its loopback names, lower case."""
        return frozenset(self.settings.names.lower().split())


def is_loopback(host: str) -> bool:
    """Return whether a host name or address stands for this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return _LOOPBACK.fullmatch(host) is not None


def named_indexes(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Return name and folder of each index: `NAME=DIR`, or `DIR` under the folder's own name.

    >>> named_indexes(["shop", "help=docs/help-index"])[1][0]
    'help'
    """
    found: dict[str, Path] = {}
    for one in given:
        name, equals, folder = one.partition("=")
        if not equals or os.sep in name:
            folder, name = one, Path(one).absolute().name
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be the name of an index in a URL; letters, digits, '.', '_' and "
                "'-' are expected",
                hint=f"give it a name: lsr serve NAME={folder}",
            )
        if name in found:
            raise ConfigError(
                f"two indexes would be called {name!r}", hint="give one a name: lsr serve NAME=DIR"
            )
        found[name] = Path(folder).absolute()
    return tuple(found.items())
