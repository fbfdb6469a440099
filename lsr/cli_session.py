"""What every command shares: its output, its settings, and the options that recur."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from lsr.errors import StorageError
from lsr.output import Output

if TYPE_CHECKING:
    from lsr.config import Loaded, Settings

Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
IndexDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the index.")]
Model = Annotated[
    str | None,
    typer.Option(help="Encoder: bundled, a folder, or a hub id such as naver/splade-v3."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to use; default every core.")]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter", metavar="EXPR", help="Only documents such as 'year >= 2020 and lang = \"en\"'."
    ),
]


@dataclass(slots=True)
class Session:
    """One run of the command line, made by the root command and found at `ctx.obj`."""

    output: Output = field(default_factory=Output)
    config: Path | None = None

    def load(self, **flags: Any) -> Loaded:
        """Return the settings with their origins; flags that are None were not given."""
        from lsr.config import load_settings

        return load_settings(self.config, flags=flags)

    def settings(self, **flags: Any) -> Settings:
        """Return the settings in force, after telling the libraries what concerns them."""
        settings = self.load(**flags).settings
        if settings.offline:
            os.environ["LSR_OFFLINE"] = "1"
        if settings.cache is not None:
            os.environ["LSR_CACHE"] = str(settings.cache)
        _log_to_stderr("info" if self.output.verbosity else settings.log_level)
        return settings


@contextmanager
def written(name: str) -> Iterator[TextIO]:
    """Open a file for text that is there, whole, once the block has ended well; - is stdout."""
    if name == "-":
        yield sys.stdout
        return
    path = Path(name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def session(ctx: typer.Context) -> Session:
    """Return the Session of a command's context."""
    found = ctx.find_root().obj
    return found if isinstance(found, Session) else Session()


def _log_to_stderr(level: str) -> None:
    import logging

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("lsr").setLevel(level.upper())
