"""Auth: API keys with roles, kept as hashes in a file that is read again when it changes."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from lsr.errors import ConfigError, StorageError

Role = Literal["read", "write"]

PREFIX = "lsr_"
_ROLES = ("read", "write")
#: How often the file of keys is looked at, in seconds.
_LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the file has it: `hash` is the hex SHA-256 of the key, which is nowhere kept.

    The keys are 256 random bits, so one round of a fast hash is as good as many.
    """

    name: str
    role: Role
    hash: str

    @property
    def fingerprint(self) -> str:
        """What logs show of a key: it tells keys apart and says nothing about them."""
        return self.hash[:8]


class KeyFile:
    """The keys in a file; `find` sees changes to it within a second.

    A file that has become unreadable keeps the keys of before in force and is told once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._guard = threading.Lock()
        self._looked = time.monotonic()
        self._stamp = _stamp(path)
        self._keys = read_keys(path)

    def find(self, given: str) -> Key | None:
        """Return the key that was given, or None; takes as long whichever it is."""
        wanted = sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
        found = None
        for key in self._current():
            if hmac.compare_digest(key.hash, wanted):
                found = key
        return found

    def _current(self) -> Sequence[Key]:
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            with self._guard:
                self._looked = now
                stamp = _stamp(self.path)
                if stamp != self._stamp:
                    try:
                        self._keys, self.problem = read_keys(self.path), None
                        self._stamp = stamp
                    except (ConfigError, StorageError) as error:
                        self.problem = error.message
        return self._keys


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys in a file. Raises ConfigError when it is not one of keys."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no file of keys {path}", hint=f"lsr keys add NAME --file {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a file of keys: {error}") from error
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f'{path} holds no keys; {{"keys": [...]}} is expected')
    return tuple(_key(entry, path) for entry in entries)


def add_key(path: Path, name: str, role: Role) -> str:
    """Make a key, keep its hash in the file and return it: it is shown this once.

    A second key of one name is how keys are rotated: add, hand out, then remove the old one.
    """
    if role not in _ROLES:
        raise ConfigError(f"role is {role!r}; it must be read or write")
    if not name.strip():
        raise ConfigError("the name of a key is empty")
    keys = read_keys(path) if path.exists() else ()
    secret = PREFIX + secrets.token_urlsafe(32)
    _write(path, [*keys, Key(name, role, sha256(secret.encode()).hexdigest())])
    return secret


def remove_keys(path: Path, name: str) -> int:
    """Remove the keys of that name or fingerprint; return how many there were."""
    keys = read_keys(path)
    kept = [key for key in keys if name not in (key.name, key.fingerprint)]
    if len(kept) < len(keys):
        _write(path, kept)
    return len(keys) - len(kept)


def given_key(headers: Mapping[str, str]) -> str | None:
    """Return the key that a request carries: `Authorization: Bearer …` or `X-API-Key: …`."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key") or None


def _key(entry: object, path: Path) -> Key:
    match entry:
        case {"name": str(name), "role": "read" | "write" as role, "hash": str(digest)} if (
            len(digest) == 64
        ):
            return Key(name, role, digest)
    raise ConfigError(
        f"{path} holds an entry that is no key; name, role (read or write) and hash are expected"
    )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.touch(mode=0o600)
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
