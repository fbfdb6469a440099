"""`lsr legs`, and the options that say what legs an index has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.cli_session import IndexDir, Json, session
from lsr.errors import ConfigError
from lsr.output import counted, number, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lsr.index.index import Index
    from lsr.index.legs import Leg
    from lsr.output import Output

Legs = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="What to rank by: sparse, bm25, dense; default sparse."),
]
AnalyzerOption = Annotated[
    str | None,
    typer.Option(
        "--analyzer",
        metavar="NAME",
        help="Words of the BM25 leg: a language (english, de, hi, ...), standard, hf:TOKENIZER. "
        "Default english.",
    ),
]
K1 = Annotated[float | None, typer.Option("--k1", min=0.0, help="BM25's k1; default 0.9.")]
B = Annotated[float | None, typer.Option("--b", min=0.0, max=1.0, help="BM25's b; default 0.4.")]
TitleWeight = Annotated[
    float | None, typer.Option(min=0.0, help="What a word of a title counts for BM25; default 1.")
]
TextWeight = Annotated[
    float | None, typer.Option(min=0.0, help="What a word of a text counts for BM25; default 1.")
]
DenseModel = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Model of the dense leg: a folder or hub id of an encoder."),
]
Mode = Annotated[
    str | None,
    typer.Option(
        metavar="LEG",
        help="Leg to rank by: sparse, bm25, dense; or hybrid, all of them fused. Default sparse, "
        "or the only one.",
    ),
]


def bm25_settings(
    analyzer: str | None,
    k1: float | None,
    b: float | None,
    title: float | None,
    text: float | None,
) -> dict[str, Any]:
    """Return what was said of the BM25 leg."""
    given = {"analyzer": analyzer, "k1": k1, "b": b, "title": title, "text": text}
    return {name: value for name, value in given.items() if value is not None}


def dense_settings(model: str | None) -> dict[str, Any]:
    """Return what was said of the dense leg."""
    return {} if model is None else {"model": model}


def chosen_legs(
    legs: str | None, settings: Mapping[str, Mapping[str, Any]]
) -> tuple[str | Leg, ...]:
    """Return the legs that --legs names, with what other options say of them.

    ConfigError for a name that is unknown or comes twice, and for options of a leg that is not
    among them.
    """
    from lsr.index.legs import MAKERS, SPARSE, make_leg

    names = [name.strip() for name in (legs or SPARSE).split(",") if name.strip()]
    for name in names:
        if name != SPARSE and name not in MAKERS:
            raise ConfigError(f"--legs names {name!r}; the legs are {', '.join([SPARSE, *MAKERS])}")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--legs is {legs!r}; expected different legs, such as sparse,bm25")
    for name, given in settings.items():
        if given and name not in names:
            raise ConfigError(
                f"{', '.join(sorted(given))}: the leg {name!r}, which that is about, is not asked "
                "for",
                hint=f"--legs {','.join([*names, name])}",
            )
    return tuple(
        SPARSE if name == SPARSE else make_leg(name, settings.get(name, {})) for name in names
    )


def note_stop_words(output: Output, analyzer: str | None) -> None:
    """Say of the BM25 leg that its language is stemmed and has no list of stop words."""
    if analyzer is None or analyzer.startswith("hf:"):
        return
    from lsr.analysis import WordAnalyzer, make_analyzer

    found = make_analyzer(analyzer)
    if isinstance(found, WordAnalyzer) and found.lacks_stop_words:
        output.note(
            f"there is no list of stop words for {found.name}: its frequent words are indexed, "
            "too, and BM25 gives them small weights"
        )


def legs(
    ctx: typer.Context,
    directory: IndexDir,
    add: Annotated[
        str | None, typer.Option("--add", metavar="LEG", help="Add this leg: bm25 or dense.")
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="LEG", help="Remove this leg and its files.")
    ] = None,
    analyzer: AnalyzerOption = None,
    k1: K1 = None,
    b: B = None,
    title_weight: TitleWeight = None,
    text_weight: TextWeight = None,
    dense_model: DenseModel = None,
    json: Json = False,
) -> None:
    """Show, add or remove the legs of an index.

    A leg is added from the documents that are in the index, in one commit; the others stay as they
    are, and nothing is encoded anew. With --remove and --add of one leg it is made anew.
    """
    settings = session(ctx).settings()
    output = session(ctx).output
    given = bm25_settings(analyzer, k1, b, title_weight, text_weight)
    if given and add != "bm25":
        raise ConfigError(f"{', '.join(sorted(given))}: say --add bm25, too")
    if dense_model is not None and add != "dense":
        raise ConfigError("--dense-model: say --add dense, too")
    from lsr.index.index import Index

    output.on_interrupt = f"{directory} is as it was" + (
        "; what was encoded is kept, and the same command goes on" if add == "dense" else ""
    )
    index = Index.open(directory, verify=settings.verify)
    if add is not None or remove is not None:
        of_legs = {"bm25": given, "dense": dense_settings(dense_model)}
        with output.progress("documents encoded", len(index)) as bar:
            n_taken_up = _change(index, add, remove, of_legs, bar.update)
        if n_taken_up:
            output.note(f"{n_taken_up:,} vectors were there from an encoding that was stopped")
        note_stop_words(output, analyzer)
    found = index.info().legs
    if json:
        output.json({"index": directory, "generation": index.generation, "legs": found})
        return
    for name, facts in found.items():
        output.data(f"{name:<8} {described(facts)}")


def described(facts: Mapping[str, Any]) -> str:
    """Return the facts of a leg in a line."""
    parts = []
    for name, value in facts.items():
        if name == "bytes":
            parts.append(size(value))
        elif isinstance(value, dict):
            parts.append(f"{name} {value.get('name', '')}")
        elif isinstance(value, int | float):
            parts.append(f"{name.replace('_', ' ')} {number(value)}")
        else:
            parts.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)


def _change(
    index: Index,
    add: str | None,
    remove: str | None,
    settings: Mapping[str, Mapping[str, Any]],
    progress: Callable[[int, int], None],
) -> int:
    """Remove and add in one commit, so that no reader sees the index without the leg.

    `progress` gets how many texts are encoded, and how many of them now; returns how many were
    before.
    """
    from lsr.index.legs import MAKERS, make_leg

    if add is not None and add not in MAKERS:
        raise ConfigError(f"--add names {add!r}; what can be added is {', '.join(MAKERS)}")
    made = None if add is None else make_leg(add, settings.get(add, {}))
    from lsr.index.dense import DenseLeg

    if isinstance(made, DenseLeg):
        leg = made
        leg.on_progress = counted(lambda done: progress(done, done - leg.n_taken_up))
    try:
        index.change_legs(add=made, remove=remove)
    finally:
        index.close()
    return made.n_taken_up if isinstance(made, DenseLeg) else 0
