"""SearchParams: a search as the parameters of a URL."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .schemas import FusionMethod, Mode, SearchRequest, When


class SearchParams(BaseModel):
    """What a search by URL may say; see SearchRequest. Of `query` and `like` one is given."""

    model_config = ConfigDict(extra="forbid")

    query: str | None = None
    like: str | None = Field(default=None, min_length=1, max_length=512)
    mode: Mode | None = None
    fusion: FusionMethod | None = None
    feedback: When | None = None
    limit: int = Field(default=10, ge=1, le=1_000_000)
    offset: int = Field(default=0, ge=0, le=1_000_000)
    depth: int | None = Field(default=None, ge=1, le=1_000_000)
    filter: str | None = None
    fields: list[str] | None = Field(default=None, max_length=1000)
    highlight: bool = False
    explain: bool = False
    exact: bool = False
    recall: float | None = Field(default=None, gt=0, le=1)
    path: Literal["exact", "accumulate", "blocks"] | None = None
    timeout_ms: int | None = Field(default=None, ge=1, le=3_600_000)

    def request(self) -> SearchRequest:
        """Return the same as the body of a search; fusion and feedback have their defaults."""
        body = self.model_dump()
        if self.fusion is not None:
            body["fusion"] = {"method": self.fusion}
        if self.feedback is not None:
            body["feedback"] = {"when": self.feedback}
        return SearchRequest.model_validate(body)
