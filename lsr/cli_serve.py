"""`lsr serve` and `lsr keys`: the HTTP service and who may use it."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lsr.cli_legs import DenseModel
from lsr.cli_session import Json, Model, session
from lsr.errors import ConfigError

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")

KeysFile = Annotated[Path, typer.Option("--file", metavar="FILE", help="File of keys.")]


class KeyRole(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"


def serve(
    ctx: typer.Context,
    indexes: Annotated[
        list[str], typer.Argument(metavar="DIR...", help="Folders of indexes; or NAME=DIR.")
    ],
    host: Annotated[str | None, typer.Option(help="Address; default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; default 8321, 0 for a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that search; default one a core.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that search in each of them.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of API keys (lsr keys add).")
    ] = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--writable", help="Take no documents.")
    ] = None,
    page: Annotated[
        bool | None, typer.Option("--page/--no-page", help="Show the search page at /.")
    ] = None,
    access_log: Annotated[
        bool | None,
        typer.Option("--access-log/--no-access-log", help="A line of JSON for each request."),
    ] = None,
    cors: Annotated[
        str | None, typer.Option(metavar="ORIGINS", help="Origins whose pages may ask.")
    ] = None,
    names: Annotated[
        str | None, typer.Option(metavar="HOSTS", help="Host names that requests may use.")
    ] = None,
    model: Model = None,
    dense_model: DenseModel = None,
) -> None:
    """Serve indexes over HTTP, with a search page at /.

    Ctrl-C ends it, after what is in flight. More settings: [serve] in lsr.toml, see lsr config
    show. Without --keys, documents are taken from this machine only.
    """
    need_extra()
    flags = {
        "host": host, "port": port, "workers": workers, "threads": threads, "keys": keys,
        "read_only": read_only, "page": page, "access_log": access_log, "cors": cors,
        "names": names,
    }  # fmt: skip
    settings = session(ctx).settings(**{f"serve.{name}": value for name, value in flags.items()})
    from lsr.service.options import Options, named_indexes
    from lsr.service.server import serve as run

    options = Options(named_indexes(indexes), settings.serve, settings.verify, model, dense_model)
    if not options.is_local and settings.serve.keys is None:
        session(ctx).output.note(
            f"anyone who reaches {settings.serve.host} can search; --keys FILE asks for a key"
        )
    session(ctx).output.on_interrupt = "the service has ended"
    code = run(options, session(ctx).output.note)
    if code:
        raise typer.Exit(code)


def keys_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: KeysFile = Path("lsr-keys.json"),
    role: Annotated[
        KeyRole, typer.Option(help="read, or write which may read, too.")
    ] = KeyRole.READ,
    json: Json = False,
) -> None:
    """Make an API key and show it, this once.

    The file keeps its hash; services that use the file take the key within a second.
    """
    from lsr.service.auth import add_key

    secret = add_key(file, name, role.value)
    output = session(ctx).output
    if json:
        output.json({"name": name, "role": role.value, "key": secret})
        return
    output.data(secret)
    output.note(f"{file} keeps its hash only: write the key down now")


def keys_list(
    ctx: typer.Context, file: KeysFile = Path("lsr-keys.json"), json: Json = False
) -> None:
    """List the API keys of a file: names, roles and fingerprints."""
    from lsr.service.auth import read_keys

    rows: list[dict[str, Any]] = [
        {**asdict(key), "fingerprint": key.fingerprint} for key in read_keys(file)
    ]
    for row in rows:
        del row["hash"]
    output = session(ctx).output
    if json:
        output.json({"keys": rows})
    else:
        output.table(rows)


def keys_remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the keys, or fingerprint of one.")],
    file: KeysFile = Path("lsr-keys.json"),
) -> None:
    """Remove API keys from a file; services refuse them within a second."""
    from lsr.service.auth import remove_keys

    count = remove_keys(file, name)
    if not count:
        raise ConfigError(
            f"{file} has no key {name!r}", hint=f"lsr keys list --file {file} shows them"
        )
    session(ctx).output.note(f"{count} key{'s' if count > 1 else ''} removed")


def need_extra() -> None:
    """Raise ConfigError that names the command which installs what the service needs."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the service needs what is not installed: {', '.join(missing)}",
            hint="pip install 'lsr-engine[serve]'",
        )
