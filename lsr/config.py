"""Settings: a flag beats LSR_*, which beats lsr.toml, which beats the default."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from lsr.errors import ConfigError

FILE_NAME = "lsr.toml"
PREFIX = "LSR_"
#: Variables that start with LSR_ and are switches of their own, not settings.
OTHER_VARIABLES = frozenset({"LSR_DEBUG", "LSR_KEY", "LSR_SHARED"})

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)


def _about(help: str, *, least: int | None = None, size: bool = False) -> dict[str, Any]:
    return {"help": help, "least": least, "size": size}


@dataclass(frozen=True, slots=True)
class PassageDefaults:
    """How `lsr index` splits long documents when nothing else is said."""

    enabled: bool = field(default=False, metadata=_about("split long documents into passages"))
    tokens: int = field(
        default=200, metadata=_about("the most words and signs of a passage", least=1)
    )
    overlap: int = field(
        default=40, metadata=_about("how many of them the next passage repeats", least=0)
    )


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How `lsr serve` listens, what it lets in and how long a request may take."""

    host: str = field(default="127.0.0.1", metadata=_about("address to listen on"))
    port: int = field(default=8321, metadata=_about("port to listen on; 0 takes a free one"))
    workers: int | None = field(
        default=None, metadata=_about("processes that search; none means one a core", least=1)
    )
    threads: int | None = field(
        default=None, metadata=_about("threads that search in each of them", least=1)
    )
    keys: Path | None = field(
        default=None, metadata=_about("file of API keys; none means no keys, writes from here only")
    )
    read_only: bool = field(default=False, metadata=_about("take no documents"))
    page: bool = field(default=True, metadata=_about("show the search page at /"))
    cors: str = field(default="", metadata=_about("origins whose pages may ask, with blanks"))
    names: str = field(default="", metadata=_about("host names that requests may use, with blanks"))
    max_limit: int = field(default=1000, metadata=_about("most hits of one answer", least=1))
    max_depth: int = field(default=10_000, metadata=_about("deepest hit of any page", least=1))
    max_query: int = field(
        default=10_000, metadata=_about("longest query, in characters or in terms", least=1)
    )
    max_batch: int = field(
        default=100, metadata=_about("most queries, or texts to encode, of one request", least=1)
    )
    max_lines: int = field(
        default=10_000, metadata=_about("most documents of one request", least=1)
    )
    max_line: int = field(default=1_000_000, metadata=_about("longest document line", size=True))
    max_body: int = field(default=10_000_000, metadata=_about("largest request", size=True))
    max_in_flight: int = field(
        default=64, metadata=_about("requests a process takes at a time; more get 429", least=1)
    )
    max_queue: int = field(
        default=100_000_000, metadata=_about("documents that may wait to be indexed", size=True)
    )
    timeout_ms: int = field(
        default=5000, metadata=_about("the longest that a search may take", least=1)
    )
    body_seconds: int = field(
        default=30, metadata=_about("the longest that a request may take to arrive", least=1)
    )
    wait_seconds: int = field(
        default=60, metadata=_about("the longest that commit=wait waits", least=1)
    )
    commit_ms: int = field(
        default=1000, metadata=_about("how long documents may wait for their commit", least=0)
    )
    refresh_ms: int = field(
        default=200, metadata=_about("how often a process looks for new commits", least=10)
    )
    access_log: bool = field(default=True, metadata=_about("a line of JSON for each request"))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that lsr.toml and LSR_* can set; each field says what it does."""

    model: str = field(
        default="bundled", metadata=_about("encoder: bundled, a folder, or a hub id")
    )
    threads: int | None = field(
        default=None, metadata=_about("threads to use; none means every core", least=1)
    )
    memory: int = field(
        default=1_000_000_000, metadata=_about("memory budget of a build", size=True)
    )
    k: int = field(default=10, metadata=_about("hits that a search returns", least=1))
    cache: Path | None = field(
        default=None, metadata=_about("folder for compiled kernels; none means the user's cache")
    )
    offline: bool = field(default=False, metadata=_about("never download anything"))
    on_error: Literal["stop", "skip"] = field(
        default="stop", metadata=_about("what a bad line of input does to a build")
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="warning", metadata=_about("the least serious log line that is shown")
    )
    verify: bool = field(
        default=True, metadata=_about("check the checksums when an index is opened")
    )
    passages: PassageDefaults = field(default_factory=PassageDefaults)
    serve: ServeSettings = field(default_factory=ServeSettings)


class Loaded(NamedTuple):
    """Settings, and for each dotted key where its value came from."""

    settings: Settings
    origins: dict[str, str]


class _Found(NamedTuple):
    key: str
    value: Any
    origin: str


def parse_size(text: str | int) -> int:
    """Return the bytes that a size such as "512MiB", "1.5GB" or "4096" stands for.

    >>> parse_size("512MiB"), parse_size("1GB")
    (536870912, 1000000000)
    """
    found = None if isinstance(text, bool) else _SIZE.fullmatch(str(text))
    if found is None:
        raise ConfigError(
            f"size is {text!r}; expected a number of bytes with an optional unit",
            hint="write it like 512MiB, 1GB or 1500000000",
        )
    number, unit, binary = found.groups()
    base = 1024 if binary else 1000
    bytes_ = int(float(number) * base ** " kmgt".index(unit.lower() or " "))
    if bytes_ < 1:
        raise ConfigError(f"size is {text!r}; it must be at least one byte")
    return bytes_


def load_settings(
    file: Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Loaded:
    """Return the settings in force in a folder, and where each value came from.

    `file` must exist when given; without it `folder`/lsr.toml is read if there is one. `flags`
    maps dotted keys to values that are already of the right type; None means not given.

    >>> load_settings(environ={"LSR_K": "3"}).origins["k"]
    'env LSR_K'
    """
    variables = os.environ if environ is None else environ
    chosen = file if file is not None else (folder or Path()) / FILE_NAME
    loaded = Loaded(Settings(), dict.fromkeys(_keys(Settings), "default"))
    if file is not None or chosen.is_file():
        loaded = _merge(loaded, _from_file(chosen), strict=True)
    loaded = _merge(loaded, _from_environment(variables), strict=False)
    for key, value in (flags or {}).items():
        if value is not None:
            settings = _with(loaded.settings, key, _in_range(key, value, f"flag --{key}"))
            loaded = Loaded(settings, {**loaded.origins, key: "flag"})
    return loaded


def rows(loaded: Loaded) -> list[dict[str, Any]]:
    """Return key, value, origin and help of every setting, in the order of the definition."""
    return [
        {
            "key": key,
            "value": str(value) if isinstance(value := _get(loaded.settings, key), Path) else value,
            "origin": loaded.origins[key],
            "help": _field(key).metadata["help"],
        }
        for key in loaded.origins
    ]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each LSR_* variable that nothing reads, with near matches."""
    known = {_variable(key) for key in _keys(Settings)} | OTHER_VARIABLES
    strangers = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return [f"{name} is not a setting{_near(name, known)}" for name in strangers]


def _keys(owner: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(owner)
    for one in fields(owner):
        if is_dataclass(hints[one.name]):
            yield from _keys(hints[one.name], f"{prefix}{one.name}.")
        else:
            yield prefix + one.name


def _owner(key: str) -> tuple[type, str]:
    owner: type = Settings
    *tables, name = key.split(".")
    for table in tables:
        owner = get_type_hints(owner)[table]
    return owner, name


def _field(key: str) -> Any:
    owner, name = _owner(key)
    return next(one for one in fields(owner) if one.name == name)


def _get(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def _with(settings: Any, key: str, value: Any) -> Any:
    name, _, rest = key.partition(".")
    if rest:
        value = _with(getattr(settings, name), rest, value)
    return replace(settings, **{name: value})


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _from_file(path: Path) -> Iterator[_Found]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no settings file {path}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    yield from _leaves(tree, "", path)


def _leaves(tree: Mapping[str, Any], prefix: str, path: Path) -> Iterator[_Found]:
    known = list(_keys(Settings))
    for name, value in tree.items():
        key = prefix + name
        is_table = any(other.startswith(f"{key}.") for other in known)
        if is_table and isinstance(value, dict):
            yield from _leaves(value, f"{key}.", path)
        elif is_table:
            raise ConfigError(f"{path}: {key} is {value!r}; expected a table [{key}]")
        elif key not in known:
            raise ConfigError(
                f"{path}: {key!r} is not a setting{_near(key, known)}",
                hint="lsr config show --origin lists the settings",
            )
        else:
            yield _Found(key, value, f"{FILE_NAME}:{path.resolve()}")


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Found]:
    for key in _keys(Settings):
        value = environ.get(_variable(key), "")
        if value != "":
            yield _Found(key, value, f"env {_variable(key)}")


def _merge(loaded: Loaded, found: Iterator[_Found], *, strict: bool) -> Loaded:
    settings, origins = loaded.settings, dict(loaded.origins)
    for key, raw, origin in found:
        settings = _with(settings, key, _in_range(key, _typed(key, raw, origin, strict), origin))
        origins[key] = origin
    return Loaded(settings, origins)


def _typed(key: str, raw: Any, origin: str, strict: bool) -> Any:
    """Return the value in the type of its field; TOML must have the type, a string is parsed."""
    if _field(key).metadata["size"]:
        try:
            return parse_size(raw)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {key}: {error}", hint=error.hint) from error
    # Imported here: it costs more than a tenth of a second, and most runs set nothing.
    from pydantic import TypeAdapter, ValidationError

    owner, name = _owner(key)
    adapter = TypeAdapter(get_type_hints(owner)[name])
    try:
        if strict:
            # TOML's dates are no JSON; in a list of their own they fit no setting, as they should.
            return adapter.validate_json(json.dumps(raw, default=lambda d: [str(d)]), strict=True)
        return adapter.validate_strings(raw)
    except ValidationError as error:
        expected = " or ".join(_expected(one["msg"]) for one in error.errors())
        raise ConfigError(f"{origin}: {key} is {raw!r}; expected {expected}") from error


def _expected(message: str) -> str:
    return (
        message.partition(", unable")[0]
        .removeprefix("Input should be ")
        .removeprefix("Input is not ")
    )


def _in_range(key: str, value: Any, origin: str) -> Any:
    least = _field(key).metadata["least"]
    if least is not None and value is not None and value < least:
        raise ConfigError(f"{origin}: {key} is {value}; it must be at least {least}")
    return value


def _near(name: str, known: Any) -> str:
    matches = difflib.get_close_matches(name, list(known), n=2)
    return f"; did you mean {' or '.join(matches)}?" if matches else ""
