"""`lsr index` and `lsr add`: a corpus into an index."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsr.cli_formats import VocabularyFile
from lsr.cli_legs import (
    K1,
    AnalyzerOption,
    B,
    DenseModel,
    Legs,
    TextWeight,
    TitleWeight,
    bm25_settings,
    chosen_legs,
    dense_settings,
    note_stop_words,
)
from lsr.cli_session import IndexDir, Json, Model, Session, Threads, session
from lsr.errors import ConfigError
from lsr.output import duration, number, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lsr.config import Settings
    from lsr.corpus import FieldMap
    from lsr.index.build import BuildReport
    from lsr.index.index import Index
    from lsr.index.ingest import Action
    from lsr.index.legs import Leg
    from lsr.index.source import Source
    from lsr.passages import PassageSettings


class OnError(StrEnum):
    """What a bad record does to a build."""

    stop = "stop"
    skip = "skip"


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SRC...",
        help="JSONL, Parquet, CSV or TSV (also .gz, .zst), a BEIR folder, irds:ID, "
        "pydoc:stdlib, or - for standard input.",
    ),
]
Format = Annotated[
    str | None, typer.Option(help="Format of the sources, where the name does not tell it.")
]
Vectors = Annotated[
    bool,
    typer.Option(
        "--vectors",
        help="The sources are ready-made vectors: Parquet, npz, Anserini's JSON, CIFF, folders.",
    ),
]
VocabSize = Annotated[
    int | None, typer.Option(min=1, help="Number of terms, for --vectors without --model.")
]
WeightScale = Annotated[
    float | None,
    typer.Option(
        "--scale", min=0.0, help="What the weights of --vectors were multiplied with; default 1."
    ),
]
IdField = Annotated[str | None, typer.Option(metavar="NAME", help="Field that holds the id.")]
TitleField = Annotated[str | None, typer.Option(metavar="NAME", help="Field with the title.")]
TextField = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Field with the text; may be repeated.")
]
FieldTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME:TYPE",
        help="Read a field as string, number, boolean, date or strings; may be repeated.",
    ),
]
KeepFields = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Metadata fields to keep; default all, '' for none."),
]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory budget, models included, such as 1GB.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a build that was stopped.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Throw away a build that was stopped, and begin again.")
]
OnErrorOption = Annotated[
    OnError | None, typer.Option("--on-error", help="What a bad record does; default stop.")
]
RejectsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where --on-error skip writes what it left out."),
]


@dataclass(frozen=True, slots=True)
class Job:
    """What `index` and `add` have in common: what to read, and what to do when it goes wrong."""

    sources: list[str]
    mapping: FieldMap
    format: str | None
    vectors: bool
    resume: bool
    restart: bool
    on_error: OnError | None
    rejects: Path | None
    vocabulary: dict[str, int] | None = None
    scale: float | None = None


def index(
    ctx: typer.Context,
    sources: Sources,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to make.")],
    model: Model = None,
    passages: Annotated[
        bool | None,
        typer.Option("--passages/--no-passages", help="Split long documents into passages."),
    ] = None,
    passage_tokens: Annotated[
        int | None, typer.Option(min=1, help="The most tokens in a passage.")
    ] = None,
    passage_overlap: Annotated[
        int | None, typer.Option(min=0, help="The most tokens that two neighbours share.")
    ] = None,
    id_field: IdField = None,
    title_field: TitleField = None,
    text_field: TextField = None,
    field: FieldTypes = None,
    keep_fields: KeepFields = None,
    format: Format = None,
    vectors: Vectors = False,
    vocab_size: VocabSize = None,
    vocabulary: VocabularyFile = None,
    scale: WeightScale = None,
    blocks: Annotated[
        bool,
        typer.Option("--blocks", help='Also make what `path="blocks"` searches: Seismic\'s way.'),
    ] = False,
    dtype: Annotated[
        Literal["float32", "float16"] | None,
        typer.Option(
            "--dtype",
            help="Round weights to 16 bits: a smaller, quicker index.",
            show_default="float32",
        ),
    ] = None,
    legs: Legs = None,
    analyzer: AnalyzerOption = None,
    k1: K1 = None,
    b: B = None,
    title_weight: TitleWeight = None,
    text_weight: TextWeight = None,
    dense_model: DenseModel = None,
    memory: Memory = None,
    threads: Threads = None,
    resume: Resume = False,
    restart: Restart = False,
    on_error: OnErrorOption = None,
    rejects: RejectsFile = None,
    json: Json = False,
) -> None:
    """Make an index of a corpus in a new folder."""
    given = {
        "bm25": bm25_settings(analyzer, k1, b, title_weight, text_weight),
        "dense": dense_settings(dense_model),
    }
    wanted = chosen_legs(legs, given)
    note_stop_words(session(ctx).output, analyzer)
    mapping = _field_map(id_field, title_field, text_field, field, keep_fields)
    tokens = _vocabulary(vocabulary, scale, vectors)
    job = Job(sources, mapping, format, vectors, resume, restart, on_error, rejects, tokens, scale)
    settings = session(ctx).settings(
        model=model,
        memory=_bytes(memory),
        threads=threads,
        on_error=on_error,
        **{
            "passages.enabled": _wants_passages(passages, passage_tokens, passage_overlap),
            "passages.tokens": passage_tokens,
            "passages.overlap": passage_overlap,
        },
    )
    encoder = None if vectors and model is None else settings.model
    if "sparse" not in wanted:
        _refuse_sparse_options(model, vectors, blocks, dtype)
        encoder = None
    if encoder is None and vocab_size is None and tokens is not None:
        vocab_size = max(tokens.values()) + 1
    parts = _passage_settings(settings, encoder, passages)
    made = Made(encoder, vocab_size, parts, blocks, wanted, dtype or "float32")
    opened, is_new = open_or_create(out, made, job, settings)
    try:
        report = run_build(session(ctx), opened, job, settings, "add")
    except BaseException:
        opened.close()
        if is_new and _remove_if_untouched(opened):
            session(ctx).output.on_interrupt = f"nothing was kept, and {out} was not made"
        raise
    opened.close()
    _tell(session(ctx), report, out, json)


def add(
    ctx: typer.Context,
    directory: IndexDir,
    sources: Sources,
    upsert: Annotated[
        bool, typer.Option("--upsert", help="Replace documents whose id is there already.")
    ] = False,
    model: Model = None,
    id_field: IdField = None,
    title_field: TitleField = None,
    text_field: TextField = None,
    field: FieldTypes = None,
    keep_fields: KeepFields = None,
    format: Format = None,
    vectors: Vectors = False,
    vocabulary: VocabularyFile = None,
    scale: WeightScale = None,
    memory: Memory = None,
    threads: Threads = None,
    resume: Resume = False,
    restart: Restart = False,
    on_error: OnErrorOption = None,
    rejects: RejectsFile = None,
    json: Json = False,
) -> None:
    """Add documents to an index."""
    mapping = _field_map(id_field, title_field, text_field, field, keep_fields)
    tokens = _vocabulary(vocabulary, scale, vectors)
    job = Job(sources, mapping, format, vectors, resume, restart, on_error, rejects, tokens, scale)
    settings = session(ctx).settings(memory=_bytes(memory), threads=threads, on_error=on_error)
    from lsr.index.index import Index

    opened = Index.open(directory, encoder=model, verify=settings.verify)
    try:
        report = run_build(session(ctx), opened, job, settings, "upsert" if upsert else "add")
    finally:
        opened.close()
    _tell(session(ctx), report, directory, json)


@dataclass(frozen=True, slots=True)
class Made:
    """What a new index is made with."""

    encoder: str | None
    vocab_size: int | None
    passages: PassageSettings | None
    blocks: bool = False
    legs: tuple[str | Leg, ...] = ("sparse",)
    dtype: Literal["float32", "float16"] = "float32"


def open_or_create(out: Path, made: Made, job: Job, settings: Settings) -> tuple[Index, bool]:
    """Return the index to build into, and whether it was made just now."""
    from lsr.index.index import Index

    if not (out / "manifest.json").exists():
        return _create(out, made), True
    found = Index.open(out, verify=settings.verify)
    if len(found) or found.generation > 0:
        raise ConfigError(
            f"{out} already holds an index, of {len(found):,} documents",
            hint=f"lsr add {out} {' '.join(job.sources)}, or give another --out",
        )
    if not job.restart:
        _check_same(found, made)
        return found, False
    # The writer's lock says that no one else is at work on what is about to go.
    found.transaction()
    found.close()
    _remove_if_untouched(found, with_unfinished=True)
    return _create(out, made), True


def _refuse_sparse_options(
    model: str | None, vectors: bool, blocks: bool, dtype: str | None
) -> None:
    """Refuse what only the sparse leg uses, in an index that is to be without."""
    given = {
        "--model": model is not None,
        "--vectors": vectors,
        "--blocks": blocks,
        "--dtype": dtype is not None,
    }
    for option in [name for name, is_given in given.items() if is_given]:
        raise ConfigError(f"{option} is about the sparse leg; add sparse to --legs")


def _create(out: Path, made: Made) -> Index:
    from lsr.index.index import Index

    return Index.create(
        out,
        encoder=made.encoder,
        vocab_size=made.vocab_size,
        passages=made.passages,
        blocks=made.blocks,
        legs=made.legs,
        dtype=made.dtype,
    )


def _check_same(found: Index, made: Made) -> None:
    """Refuse to go on with an unfinished build under other settings than it was begun with."""
    settings = found.settings
    begun = (settings.encoder_name, settings.passages)
    if (settings.blocks is not None) != made.blocks:
        was = "without --blocks" if made.blocks else "with --blocks"
        raise ConfigError(
            f"{found.path} was begun {was}",
            hint="give the same options to go on, or add --restart to begin again",
        )
    if settings.dtype != made.dtype:
        raise ConfigError(
            f"{found.path} was begun with --dtype {settings.dtype}",
            hint="give the same options to go on, or add --restart to begin again",
        )
    legs = {leg if isinstance(leg, str) else leg.name: leg for leg in made.legs}
    asked = {name: {} if isinstance(leg, str) else leg.to_json() for name, leg in legs.items()}
    if asked != settings.legs:
        raise ConfigError(
            f"{found.path} was begun with the legs {', '.join(settings.legs)} and maybe other "
            f"settings of them; this is {', '.join(asked)}",
            hint="give the same options to go on, or add --restart to begin again",
        )
    if begun != (made.encoder, made.passages):
        raise ConfigError(
            f"{found.path} was begun with encoder {begun[0] or 'none'} and passages "
            f"{begun[1] or 'off'}; this is {made.encoder or 'none'} and {made.passages or 'off'}",
            hint="give the same options to go on, or add --restart to begin again",
        )


def _remove_if_untouched(index: Index, *, with_unfinished: bool = False) -> bool:
    """Remove the folder of an index in which nothing was ever committed; return whether it went."""
    import shutil

    if index.generation > 0 or (index.info().unfinished_build and not with_unfinished):
        return False
    shutil.rmtree(index.path)
    return True


def run_build(
    current: Session, index: Index, job: Job, settings: Settings, action: Action
) -> BuildReport:
    """Build `index` from the sources of `job`, with a display of progress."""
    from lsr.cli_estimate import estimate_documents
    from lsr.index.build import BuildProgress, BuildSettings, build, dense_memory
    from lsr.rejects import Rejects

    how = BuildSettings(
        action=action,
        memory=settings.memory,
        threads=settings.threads,
        resume=job.resume,
        restart=job.restart,
    )
    dense = dense_memory(index, settings.threads)
    if dense and (least := how.least_memory(dense)) > settings.memory:
        current.output.note(
            f"the dense model takes about {size(dense)}, so this build holds about {size(least)}, "
            f"more than its budget (--memory) of {size(settings.memory)}"
        )
    path = job.rejects or index.path.with_name(f"{index.path.name}.rejects.jsonl")
    sources = [_source(source, job, index) for source in job.sources]
    total = None if job.vectors else estimate_documents(job.sources, job.format)
    current.output.on_interrupt = (
        f"{index.path} is as it was; the same command with --resume goes on from the last "
        "checkpoint, with --restart it begins again"
    )
    with (
        Rejects(settings.on_error, path, append=job.resume) as rejects,
        current.output.progress("documents", total) as bar,
    ):

        def show(progress: BuildProgress) -> None:
            if progress.calibrated is not None:
                bar.describe(f"calibration {progress.calibrated:.0%}")
            elif progress.blocked is not None:
                bar.describe(f"blocks {progress.blocked:.0%}")
            else:
                bar.update(progress.documents, progress.this_run)

        report = build(index, sources, how, rejects=rejects, progress=show)
    if rejects.count:
        current.output.note(f"{rejects.count:,} record(s) left out; {path} says which and why")
    return report


def _source(source: str, job: Job, index: Index) -> Source:
    from lsr.index.source import CorpusSource, VectorSource

    if not job.vectors:
        return CorpusSource(source, job.format, job.mapping)
    if job.format is not None:
        raise ConfigError("--format is for text; files of vectors say themselves what they are")
    vocabulary: Mapping[str, int] | None = job.vocabulary
    if vocabulary is None and index.settings.encoder_name is not None:
        vocabulary = index.encoder.vocabulary
    return VectorSource(source, index.settings.vocab_size, vocabulary, scale=job.scale)


def _vocabulary(file: Path | None, scale: float | None, vectors: bool) -> dict[str, int] | None:
    if not vectors and (file is not None or scale is not None):
        raise ConfigError("--vocabulary and --scale say how to read vectors; give --vectors, too")
    from lsr.vocabulary import read_vocabulary

    return None if file is None else read_vocabulary(file)


def _field_map(
    id_field: str | None,
    title_field: str | None,
    text_field: list[str] | None,
    field: list[str] | None,
    keep_fields: str | None,
) -> FieldMap:
    from lsr.corpus import FieldMap

    given: dict[str, Any] = {"types": dict(_name_and_type(one) for one in field or [])}
    if id_field is not None:
        given["id"] = id_field
    if title_field is not None:
        given["title"] = title_field
    if text_field:
        given["text"] = text_field[0] if len(text_field) == 1 else tuple(text_field)
    if keep_fields is not None:
        given["keep"] = tuple(name.strip() for name in keep_fields.split(",") if name.strip())
    return FieldMap(**given)


def _name_and_type(text: str) -> tuple[str, str]:
    name, colon, kind = text.rpartition(":")
    if not (name and colon and kind):
        raise ConfigError(f"--field is {text!r}; expected NAME:TYPE, such as year:number")
    return name, kind


def _wants_passages(asked: bool | None, tokens: int | None, overlap: int | None) -> bool | None:
    """Return what was asked for; a length of passages alone asks for passages."""
    return True if asked is None and (tokens, overlap) != (None, None) else asked


def _passage_settings(
    settings: Settings, encoder: str | None, asked: bool | None
) -> PassageSettings | None:
    if not settings.passages.enabled:
        return None
    if encoder is None:
        if asked:
            raise ConfigError("--passages splits text to encode it; here nothing is encoded")
        return None
    from lsr.passages import PassageSettings

    return PassageSettings(max_tokens=settings.passages.tokens, overlap=settings.passages.overlap)


def _bytes(memory: str | None) -> int | None:
    from lsr.config import parse_size

    return None if memory is None else parse_size(memory)


def _tell(current: Session, report: BuildReport, directory: Path, json: bool) -> None:
    if json:
        current.output.json({"index": directory, **asdict(report)})
        return
    resumed = f", {report.resumed_documents:,} of them before" if report.resumed_documents else ""
    current.output.note(
        f"{directory}: {report.documents:,} documents{resumed} in {duration(report.seconds)} "
        f"({number(report.documents_per_second)}/s), peak memory {size(report.peak_memory)}"
    )
    if not report.calibrated:
        current.output.note(
            f"{directory} is larger than --memory and was not calibrated: every search of it is "
            f"exact until you run: lsr calibrate {directory}"
        )
