"""What a recipe may say about the model: its two sides and what they share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["binary", "table", "mlp", "expmlp", "mlm", "clsmlm", "causal", "csr"]
ActivationName = Literal["relu", "softplus", "identity"]
PoolingName = Literal["max", "sum", "last", "cls"]


class Settings(BaseModel):
    """A section of a recipe: unknown names are errors, values are checked when they are set."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class SideSettings(Settings):
    """How one side (queries or documents) turns a text into a vector."""

    kind: Kind = Field(
        default="mlm",
        description="binary (1 for each distinct input term), table (binary times a weight for "
        "each term), mlp (a weight for each input token), expmlp (mlp over the text and terms "
        "added to it), mlm (logits of a masked language model), clsmlm (logits at the first "
        "position only), causal (logits of a causal language model), csr (code of a dense vector)",
    )
    activation: ActivationName = Field(
        default="relu", description="what makes a logit a weight, before the logarithms"
    )
    logs: int = Field(
        default=1, ge=0, le=3, description="how often log(1 + x) is taken of the activation"
    )
    pooling: PoolingName = Field(
        default="max", description="how the positions of a text become one vector"
    )
    scope: Literal["all", "input"] = Field(
        default="all", description="all terms of the vocabulary, or only those in the text"
    )
    duplicates: Literal["collapse", "sum", "max"] = Field(
        default="collapse", description="what a term that stands in a text several times gets"
    )
    table: Literal["none", "idf", "file", "learned"] = Field(
        default="none",
        description="weights of a table side: idf of the corpus (frozen), a file (frozen), or "
        "learned from where idf begins",
    )
    table_file: str | None = Field(
        default=None, description="idf.json, a JSON object of tokens and weights, for table = file"
    )
    literal: bool = Field(
        default=False, description="add the literal residual: terms of the text are lifted"
    )
    frequency: float = Field(
        default=0.0, ge=0.0,
        description="add to each term of the text a learned weight times its saturated frequency, "
        "as BM25 has it; weights begin at so much of idf",
    )  # fmt: skip
    window: int = Field(
        default=0, ge=0, description="keep the so many largest weights of a vector; 0 keeps all"
    )
    norm: Literal["none", "l2"] = Field(
        default="none", description="scale every vector to length 1, or leave it"
    )
    importance: bool = Field(
        default=False, description="multiply each position's weights by a learned importance (EPIC)"
    )
    quality: bool = Field(
        default=False, description="multiply a text's weights by a learned quality (EPIC)"
    )
    prune: float = Field(
        default=0.0, ge=0.0, lt=1.0,
        description="in use, leave out weights of at most this share of the largest one",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        network = self.kind in ("mlm", "clsmlm", "causal")
        if (self.literal or self.importance or self.quality) and not network:
            raise ValueError(f"literal, importance and quality need a network, not {self.kind}")
        if self.frequency and not self._plain_head():
            raise ValueError(
                "frequency goes with kind mlm, relu, 1 or 2 logs, pooling max or sum, scope all "
                "and none of literal, importance, quality, prune and norm"
            )
        if (self.table == "none") != (self.kind != "table"):
            raise ValueError("kind = table needs a table (idf, file or learned), others have none")
        if self.table == "file" and self.table_file is None:
            raise ValueError("table = file needs table_file")
        if self.importance and self.pooling not in ("max", "sum"):
            raise ValueError("importance weighs positions; pooling max or sum is expected")
        if network and self.activation == "identity":
            raise ValueError("activation identity has no zeros; relu or softplus is expected")
        return self

    def _plain_head(self) -> bool:
        more = self.literal or self.importance or self.quality or self.prune or self.norm != "none"
        pooled = self.pooling in ("max", "sum") and self.activation == "relu"
        return (
            self.kind == "mlm"
            and pooled
            and self.logs in (1, 2)
            and self.scope == "all"
            and not more
        )


class ModelSettings(Settings):
    """What the encoder is made of."""

    init: str = Field(
        default="bundled", description="folder or hub id of the language model to start from"
    )
    query_init: str | None = Field(
        default=None, description="another start for the query network when weights are separate"
    )
    shared: bool = Field(default=True, description="both sides use one network")
    query_length: int = Field(default=64, ge=3, description="longest query in tokens")
    document_length: int = Field(default=256, ge=3, description="longest document in tokens")
    head_scale: float = Field(
        default=1.0, gt=0.0,
        description="divide the logits by this once, at the start; for heads whose outputs are "
        "so large that every term is active",
    )  # fmt: skip
    table_scale: float = Field(
        default=1.0, gt=0.0,
        description="multiply a query table by this once, at the start: a network that is trained "
        "already gives scores beside idf that are too far apart for KL to learn from",
    )  # fmt: skip
    query: SideSettings = Field(default_factory=SideSettings, description="the query side")
    document: SideSettings = Field(default_factory=SideSettings, description="the document side")

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if (self.query.kind == "csr") != (self.document.kind == "csr"):
            raise ValueError("csr codes are of both sides or of none")
        if self.document.kind in ("binary", "table"):
            raise ValueError("the document side has nothing to learn; give it a network")
        if self.query.frequency:
            raise ValueError("the frequency residual is for documents")
        if self.shared and self.query_init is not None:
            raise ValueError("query_init needs shared = false")
        return self
