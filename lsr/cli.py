"""The command line: `lsr --help`. Each command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lsr import (
    __version__,
    cli_bench,
    cli_bench_http,
    cli_documents,
    cli_encode,
    cli_eval,
    cli_expand,
    cli_formats,
    cli_index,
    cli_legs,
    cli_lsr_benchmark,
    cli_search,
    cli_serve,
    cli_tools,
    cli_train,
    cli_tune,
)
from lsr.cli_session import Session
from lsr.cli_values import read_plainly
from lsr.errors import LsrError
from lsr.output import Output

_SWITCHES = frozenset({"-q", "--quiet", "-v", "--verbose"})
_WITH_VALUE = "--config"
_INTERRUPTED = 130
_REPORT = "this is a bug in lsr; LSR_DEBUG=1 shows the traceback to send with a report"


class Group(TyperGroup):
    """Commands whose arguments are read without pydantic."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, its parameters ready to read values."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            read_plainly(command.get_params(ctx))
        return command


class Commands(Group):
    """Takes the global options anywhere on the line, and turns errors into exit codes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, global options first wherever they stood."""
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, global_options_first(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever goes wrong ends in a sentence on stderr and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (LsrError, OSError, MemoryError, KeyboardInterrupt) as error:
            if os.environ.get("LSR_DEBUG"):
                raise
            _fail(error, _output(ctx))
        except Exception as error:
            if os.environ.get("LSR_DEBUG") or _belongs_to_typer(error):
                raise
            _output(ctx).error(f"{type(error).__name__}: {error}", _REPORT)
            raise SystemExit(1) from error


def global_options_first(args: list[str]) -> list[str]:
    """Return the arguments with -q, -v and --config moved before the command's name.

    >>> global_options_first(["search", "shop", "tea", "-q"])
    ['-q', 'search', 'shop', 'tea']
    """
    end = args.index("--") if "--" in args else len(args)
    front: list[str] = []
    back: list[str] = []
    at = 0
    while at < end:
        if args[at] == _WITH_VALUE and at + 1 < end:
            front += args[at : at + 2]
            at += 1
        elif args[at] in _SWITCHES or args[at].startswith(f"{_WITH_VALUE}="):
            front.append(args[at])
        else:
            back.append(args[at])
        at += 1
    return front + back + args[end:]


def _output(ctx: Any) -> Output:
    return ctx.obj.output if isinstance(ctx.obj, Session) else Output()


def _belongs_to_typer(error: Exception) -> bool:
    """Return whether the command-line library raised this to say how to end (usage, exit)."""
    return type(error).__module__.partition(".")[0] in {"typer", "click"}


def _fail(error: BaseException, output: Output) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        # The reader of our output has gone; without this Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1)
    if isinstance(error, KeyboardInterrupt):
        output.error(f"stopped; {output.on_interrupt}")
        raise SystemExit(_INTERRUPTED) from error
    if isinstance(error, LsrError):
        output.error(error.message, error.hint)
        raise SystemExit(error.exit_code) from error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        output.error(f"{where}{error.strerror or error}")
        raise SystemExit(1) from error
    output.error("there is not enough memory", "give a smaller --memory, or fewer --threads")
    raise SystemExit(1) from error


app = typer.Typer(
    cls=Commands,
    name="lsr",
    help="Learned sparse retrieval: index a corpus, search it, see why a document matched.",
    epilog="-q, -v and --config may also follow the command. Settings: lsr config show.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
config = typer.Typer(
    cls=Group, help="Show the settings.", no_args_is_help=True, rich_markup_mode=None
)
keys = typer.Typer(
    cls=Group, help="API keys of the service.", no_args_is_help=True, rich_markup_mode=None
)
bench = typer.Typer(cls=Group, help="Measure speed.", no_args_is_help=True, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"lsr {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more on stderr.")
    ] = 0,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings instead of lsr.toml.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Show the version."),
    ] = False,
) -> None:
    """Learned sparse retrieval: index a corpus, search it, see why a document matched."""
    ctx.obj = Session(Output(quiet=quiet, verbosity=verbose), config)


app.command("index")(cli_index.index)
app.command("add")(cli_index.add)
app.command("delete")(cli_documents.delete)
app.command("get")(cli_documents.get)
app.command("search")(cli_search.search)
app.command("explain")(cli_search.explain)
app.command("serve")(cli_serve.serve)
app.command("encode")(cli_encode.encode)
app.command("expand")(cli_expand.expand)
app.command("info")(cli_documents.info)
app.command("check")(cli_documents.check)
app.command("legs")(cli_legs.legs)
app.command("merge")(cli_documents.merge)
app.command("calibrate")(cli_documents.calibrate)
app.command("export")(cli_formats.export)
app.command("export-vectors", hidden=True)(cli_formats.export)  # its name in 0.1.0
app.command("eval")(cli_eval.evaluate)
app.command("compare")(cli_eval.compare)
app.command("train")(cli_train.train)
app.command("mine")(cli_train.mine)
app.command("soup")(cli_train.soup)
app.command("tune")(cli_tune.tune)
app.command("warmup")(cli_tools.warmup)
app.command("doctor")(cli_tools.doctor)
app.command("demo-corpus")(cli_tools.demo_corpus)
app.command("demo")(cli_tools.demo)
config.command("show")(cli_tools.config_show)
keys.command("add")(cli_serve.keys_add)
keys.command("list")(cli_serve.keys_list)
keys.command("remove")(cli_serve.keys_remove)
bench.command("encode")(cli_bench.encode)
bench.command("search")(cli_bench.search)
bench.command("train")(cli_bench.train)
bench.command("http")(cli_bench_http.http)
bench.command("lsr-benchmark")(cli_lsr_benchmark.lsr_benchmark)
# A callback makes typer keep a group of one command a group.
config.callback()(lambda: None)
bench.callback()(lambda: None)
app.add_typer(config, name="config")
app.add_typer(keys, name="keys")
app.add_typer(bench, name="bench")


def main() -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A title in a script that the terminal's encoding lacks must not end a search.
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
