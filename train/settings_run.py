"""What a recipe may say about data, teachers, the loop and the dev set."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .settings_model import Settings


class SourceSettings(Settings):
    """One source of examples; fields are found by their usual names unless they are named here."""

    path: str = Field(
        description="a JSONL, CSV, TSV or Parquet file (also .gz, .zst), a BEIR folder, or "
        "irds:<id>; relative to data.folder"
    )
    name: str = Field(default="", description="its name in logs; by default that of the file")
    split: str | None = Field(default=None, description="BEIR folder: the split of its judgements")
    format: Literal["jsonl", "csv", "tsv", "parquet"] | None = Field(
        default=None, description="format of the file, where its name does not tell"
    )
    query: str | list[str] | None = Field(
        default=None,
        description="fields that make the query; with `document`, any corpus gives pairs by rule: "
        'query = "title", document = "text"',
    )
    document: str | list[str] | None = Field(
        default=None, description="fields that make the relevant document"
    )
    min_words: int = Field(
        default=0, ge=0, description="by rule: documents with fewer words are passed over"
    )
    limit: int | None = Field(default=None, ge=1, description="take so many examples at most")
    weight: float = Field(
        default=1.0, gt=0.0, description="how often its examples come in each epoch; 0.5 is half"
    )


class DataSettings(Settings):
    """What the model learns from."""

    sources: list[SourceSettings] = Field(default_factory=list, description="where examples are")
    folder: str | None = Field(
        default=None, description="sources are relative to it; by default to the recipe's folder"
    )
    documents_per_query: int = Field(
        default=2, ge=1, description="one relevant document and so many less one negatives"
    )
    max_negatives: int = Field(
        default=31, ge=0, description="negatives kept of each query; all of them are scored"
    )
    fill: Literal["random", "none"] = Field(
        default="random",
        description="where negatives are missing: draw them from the source's documents, or refuse",
    )
    batch_by: Literal["mixed", "source"] = Field(
        default="mixed", description="queries of a batch from all sources, or from one"
    )
    bucket_batches: int = Field(
        default=64, ge=1, description="batches that are cut from one stretch sorted by length"
    )
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="at a bad line: stop, or count it and go on"
    )


class Teacher(Settings):
    """One teacher: a model that scores a query's documents, or scores that the data bring."""

    kind: Literal["sparse", "dense", "cross", "precomputed"] = Field(
        description="sparse encoder, dense encoder, cross-encoder, or a field of the examples"
    )
    model: str = Field(default="", description="folder, hub id, or `bundled`")
    field: str = Field(default="scores", description="precomputed: the field with the scores")
    max_length: int = Field(
        default=256, ge=8, description="texts are cut at so many tokens, special ones included"
    )
    query_prompt: str = Field(default="", description="goes before each query")
    document_prompt: str = Field(default="", description="goes before each document")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind != "precomputed" and not self.model:
            raise ValueError(f"a {self.kind} teacher needs its model")
        return self


class TeacherSettings(Settings):
    """Whose scores the model learns from; `rank.ensemble` says how they are put together."""

    models: list[Teacher] = Field(default_factory=list, description="the teachers, in order")
    cache: str | None = Field(
        default=None,
        description="folder of scores, shared by runs; by default `teachers` beside the run",
    )


class TrainSettings(Settings):
    """How the loop runs."""

    steps: int = Field(default=0, ge=0, description="optimiser steps; 0 means `epochs` decides")
    epochs: float = Field(default=1.0, gt=0.0, description="passes over the examples")
    max_minutes: float | None = Field(
        default=None, gt=0.0, description="stop after so many minutes; --resume goes on"
    )
    batch_size: int = Field(default=32, ge=1, description="queries in a batch, on each device")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    cache_chunk: int | None = Field(
        default=None,
        ge=1,
        description="GradCache: texts that are in memory at a time; all losses see the whole batch",
    )
    lr: float = Field(default=2e-5, ge=0.0, description="learning rate of the network")
    table_lr: float | None = Field(
        default=None, ge=0.0, description="learning rate of a query table; by default `lr`"
    )
    weight_decay: float = Field(default=0.01, ge=0.0, description="of AdamW")
    warmup: float = Field(
        default=0.1, ge=0.0, description="steps in which the rate rises; below 1 a share of all"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="how the rate falls after that"
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0.0, description="longer gradients are cut to this length; 0: never"
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="arithmetic of the network; fp16 needs a GPU"
    )
    seed: int = Field(default=42, ge=0, description="of sampling, dropout and new weights")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; default every core")
    checkpoint_minutes: float = Field(
        default=10.0, gt=0.0, description="minutes between checkpoints"
    )
    checkpoint_steps: int | None = Field(
        default=None, ge=1, description="steps between checkpoints, in addition"
    )
    keep_checkpoints: int = Field(default=2, ge=1, description="the newest are kept")
    log_steps: int = Field(default=20, ge=1, description="steps between lines of the log")


class DevSettings(Settings):
    """What the model is measured on meanwhile, with exact search."""

    sets: list[str] = Field(
        default_factory=list,
        description="BEIR folders or irds ids; a split follows a colon; relative to data.folder",
    )
    every_steps: int = Field(default=500, ge=1, description="steps between measurements")
    measure: str = Field(default="nDCG@10", description="what decides; the mean over the sets")
    max_documents: int | None = Field(
        default=None, ge=1, description="judged documents, and others up to so many in all"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many measurements without a better one"
    )
