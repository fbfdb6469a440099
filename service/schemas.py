"""Schemas: the shapes of requests and answers, shared by the service, its client and OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: The legs to rank by; hybrid fuses all legs of an index.
Mode = Literal["sparse", "bm25", "dense", "hybrid"]
FusionMethod = Literal["rrf", "minmax", "zscore", "dbsf"]
When = Literal["pre", "post", "both"]
Commit = Literal["auto", "wait", "force"]
Action = Literal["upsert", "create", "delete"]

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
DocumentId = Annotated[str, Field(min_length=1, max_length=512)]


class Closed(BaseModel):
    """A part of a request: a key that is not known is an error, for it may be a misspelling."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Open(BaseModel):
    """A part of an answer: a client passes over what a newer service adds."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class IndexedVector(Closed):
    """A sparse vector by term ids: `indices` are distinct and below the size of the vocabulary."""

    indices: list[Annotated[int, Field(ge=0, lt=2**32 - 1)]]
    values: list[Weight]


class FusionAsked(Closed):
    """How a hybrid search makes one ranking of those of its legs."""

    method: FusionMethod = "rrf"
    weights: dict[Mode, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, max_length=4, description="By leg; 1 where none is given."
    )
    k: float = Field(default=60, ge=0, le=1_000_000, description="The constant of rrf.")
    missing: Literal["zero", "min", "rescore"] | None = Field(
        default=None,
        description="What a document gets from a leg that did not find it: nothing, what the last "
        "hit has, or its true score. Default zero; min with zscore.",
    )


class FeedbackAsked(Closed):
    """Makes the query richer by the best documents that it finds."""

    docs: int = Field(default=3, ge=1, le=100)
    terms: int = Field(default=20, ge=1, le=1000)
    alpha: float = Field(default=0.6, ge=0, le=1, description="Share of the query as asked.")
    when: When = Field(
        default="both", description="Of hybrid: fuse before feedback, after it, or both."
    )
    legs: list[Literal["sparse", "bm25", "dense"]] | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Default all; with pre dense, or the first.",
    )
    dense: Literal["rocchio", "average"] = "rocchio"


class Asked(Closed):
    """What is looked for: a text, a vector or a document to find neighbours of; one of them."""

    query: str | None = Field(default=None, description="Text; the index's encoder reads it.")
    vector: IndexedVector | dict[str, Weight] | None = Field(
        default=None,
        description="Sparse vector: indices and values, or {token: weight}, or {term id: weight}.",
    )
    dense: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        default=None,
        min_length=1,
        description="Vector for the dense leg, which then does not read the text.",
    )
    mode: Mode | None = Field(
        default=None, description="Leg to rank by, or hybrid; default sparse, or the first leg."
    )
    fusion: FusionAsked | None = Field(default=None, description="Of mode hybrid.")
    feedback: FeedbackAsked | None = Field(default=None, description="Off unless asked for.")


class SearchRequest(Asked):
    """A search. Of `query`, `vector` and `like` exactly one is given."""

    like: DocumentId | None = Field(default=None, description="Id of a document to find like.")
    limit: int = Field(default=10, ge=1, le=1_000_000, description="Hits on this page.")
    offset: int = Field(default=0, ge=0, le=1_000_000, description="Hits before this page.")
    depth: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Hits that are found before a page of them is cut; default offset + limit. "
        "Pages of one depth fit together, approximate or not. Of mode hybrid, the hits of each "
        "leg; default 1000, or the most that the service gives.",
    )
    filter: str | dict[str, Any] | None = Field(
        default=None, description='Only documents such as `year >= 2020 and lang = "en"`.'
    )
    fields: list[str] | None = Field(
        default=None, max_length=1000, description="Of title, text and metadata; default all."
    )
    highlight: bool = Field(default=False, description="Add snippets with the matched words.")
    explain: bool = Field(default=False, description="Add each term's share of the score.")
    exact: bool = Field(default=False, description="Find the best for certain.")
    recall: float | None = Field(
        default=None, gt=0, le=1, description="Share of the best to find, on average; 0.99."
    )
    path: Literal["exact", "accumulate", "blocks"] | None = Field(
        default=None, description="Insist on a way through the index."
    )
    timeout_ms: int | None = Field(
        default=None, ge=1, le=3_600_000, description="Give up with 408 after this long."
    )


class BatchRequest(Closed):
    """Several searches, answered in order."""

    searches: list[SearchRequest] = Field(min_length=1)
    timeout_ms: int | None = Field(default=None, ge=1, le=3_600_000)


class ExplainRequest(Asked):
    """Why a document has its score. Of `query` and `vector` exactly one is given."""

    id: DocumentId
    depth: int | None = Field(default=None, ge=1, le=1_000_000, description="Of mode hybrid.")


class EncodeRequest(Closed):
    """Texts to encode with the encoder of an index."""

    texts: list[str] = Field(min_length=1)
    index: Name | None = Field(default=None, description="May be left out if there is one index.")
    side: Literal["query", "document"] = "query"


class Term(Open):
    """A term's share of a score: `product` = `query` x `document`."""

    term: int
    token: str
    query: float
    document: float
    product: float


class Highlight(Open):
    """A snippet; `marks` are the characters, from and to (exclusive), that matched."""

    field: str
    text: str
    marks: list[tuple[int, int]]


class PassageFound(Open):
    """The passage that scored best: characters `start` to `end` (exclusive) of the text."""

    number: int
    start: int
    end: int
    text: str


class Added(Open):
    """A term that feedback gave to a query, its weight there, and what it had before."""

    token: str
    weight: float
    before: float


class LegFound(Open):
    """What a leg made of a document; `share` is what it adds to the score."""

    score: float | None = None
    rank: int | None = None
    share: float | None = None
    terms: list[Term]
    added: list[Added]


class HitFound(Open):
    """A document that was found; `scores` and `ranks` by leg.

    A leg that scored the document and did not find it has a score and no rank.
    """

    id: str
    rank: int
    score: float
    scores: dict[str, float]
    ranks: dict[str, int]
    title: str | None = None
    text: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    passage: PassageFound | None = None
    highlights: list[Highlight] | None = None
    explain: list[Term] | None = None


class Total(Open):
    """How many documents match: exactly `value`, or, with `gte`, at least so many."""

    value: int
    relation: Literal["eq", "gte"]


class SearchResponse(Open):
    """The hits of a search, best first. `timings` are milliseconds in each stage."""

    query_id: str
    took_ms: float
    timings: dict[str, float]
    generation: int
    path: str
    total: Total
    params: dict[str, Any]
    hits: list[HitFound]
    warnings: list[str]
    feedback: dict[str, list[Added]] = Field(default_factory=dict)


class BatchResponse(Open):
    """The answers to several searches, in order."""

    took_ms: float
    results: list[SearchResponse]


class ExplainResponse(Open):
    """The terms that query and document share, largest product first; they sum to the score.

    Of mode hybrid, and with feedback, `legs` has what each leg made of the document.
    """

    id: str
    score: float
    scores: dict[str, float]
    terms: list[Term]
    passage: PassageFound | None = None
    legs: dict[str, LegFound] = Field(default_factory=dict)


class EncodedVector(Open):
    """A sparse vector, terms ascending, with the tokens that they stand for."""

    indices: list[int]
    values: list[float]
    tokens: list[str]


class EncodeResponse(Open):
    """One vector for each text."""

    model: str
    fingerprint: str
    side: str
    vectors: list[EncodedVector]


class DocumentFound(Open):
    """A document as the index holds it."""

    id: str
    title: str
    text: str
    fields: dict[str, Any]
    generation: int


class LineResult(Open):
    """What became of one line, which counts from 1.

    `queued`: on the disk, searchable with a later commit. `indexed` and `deleted`: searchable,
    gone. `absent`: there was nothing to delete. `rejected`: `error` says why.
    """

    line: int
    id: str | None = None
    status: Literal["queued", "indexed", "deleted", "absent", "rejected"]
    error: str | None = None


class WriteResponse(Open):
    """What became of a write. `generation` is that of its commit, null while it is queued."""

    accepted: int
    rejected: int
    generation: int | None
    items: list[LineResult]


class IndexSummary(Open):
    """An index that is served."""

    name: str
    n_documents: int
    generation: int
    encoder: str | None
    legs: list[str] = Field(default_factory=list)


class IndexList(Open):
    """The indexes that are served."""

    indexes: list[IndexSummary]


class IndexDetails(IndexSummary):
    """What an index holds; sizes in bytes. `queued` requests wait for a commit."""

    n_rows: int
    n_deleted: int
    n_segments: int
    postings: int
    bytes: int
    fields: dict[str, str]
    passages: bool
    calibrated: bool
    queued: int
    writable: bool


class Health(Open):
    """Whether the service can do its work."""

    status: Literal["ok", "starting", "stopping"]


class VersionInfo(Open):
    """The version of lsr."""

    version: str


class FieldError(Open):
    """One thing that is wrong with a request, and where in it."""

    loc: list[str | int]
    msg: str


class ProblemDetails(Open):
    """An error (RFC 9457); `request_id` is in the access log, too."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    hint: str | None = None
    errors: list[FieldError] | None = None
