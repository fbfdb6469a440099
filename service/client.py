"""Client: a service's indexes from Python, with types, retries and a helper for many documents.

>>> from lsr.service.client import Client
>>> client = Client("http://127.0.0.1:8321", key=None)
>>> client.base_url
'http://127.0.0.1:8321'
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from lsr.errors import ConfigError, DataError, LsrError

from .schemas import (
    Action,
    BatchResponse,
    Commit,
    DocumentFound,
    EncodeResponse,
    ExplainResponse,
    IndexDetails,
    IndexList,
    IndexSummary,
    LineResult,
    Mode,
    ProblemDetails,
    SearchResponse,
    WriteResponse,
)

Answer = TypeVar("Answer", bound=BaseModel)

_RETRIED = frozenset({429, 503})
_LONGEST_PAUSE = 30.0
_BULK_LINES = 1000
_BULK_BYTES = 4_000_000


class ServiceError(LsrError):
    """The service refused a request, or could not be reached.

    `status` is that of its answer, 0 when there was none; `request_id` finds it in its log.
    """

    title = "Service failed"

    def __init__(
        self, message: str, *, status: int, hint: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.request_id = request_id


class Address(NamedTuple):
    """Where an index is served: `http://host:port/name`."""

    base_url: str
    name: str


def parse_address(url: str) -> Address:
    """Return the service and the index that a URL names.

    >>> parse_address("http://127.0.0.1:8321/shop")
    Address(base_url='http://127.0.0.1:8321', name='shop')
    """
    parts = urlsplit(url)
    path = parts.path.strip("/")
    prefix, _, index = path.rpartition("/")
    prefix = prefix.removesuffix("v1/indexes").strip("/")
    if parts.scheme not in ("http", "https") or not parts.netloc or not index:
        raise ConfigError(
            f"{url!r} names no index of a service",
            hint="write it like http://127.0.0.1:8321/NAME",
        )
    base = f"{parts.scheme}://{parts.netloc}"
    return Address(f"{base}/{prefix}" if prefix else base, index)


class Client:
    """A connection to a service. Safe to use from many threads; close it, or use `with`.

    An answer 429 or 503 is tried again, `retries` times, after what Retry-After says or a pause
    that doubles. Every failure is a ServiceError that carries the service's own words.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._retries = retries
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx2.Client(
            base_url=self.base_url, headers=headers, timeout=timeout, transport=transport
        )

    def search(
        self,
        index: str,
        query: str | None = None,
        *,
        vector: Mapping[str, float] | None = None,
        like: str | None = None,
        limit: int = 10,
        offset: int = 0,
        depth: int | None = None,
        filter: str | Mapping[str, Any] | None = None,
        fields: Sequence[str] | None = None,
        highlight: bool = False,
        explain: bool = False,
        exact: bool = False,
        recall: float | None = None,
        path: str | None = None,
        mode: Mode | None = None,
        fusion: Mapping[str, Any] | None = None,
        feedback: Mapping[str, Any] | None = None,
        dense: Sequence[float] | None = None,
        timeout_ms: int | None = None,
    ) -> SearchResponse:
        """Return the hits of a search, best first; of query, vector and like give one."""
        asked = {
            "query": query, "vector": vector, "like": like, "limit": limit, "offset": offset,
            "depth": depth, "filter": filter, "fields": fields, "highlight": highlight,
            "explain": explain, "exact": exact, "recall": recall, "path": path,
            "mode": mode, "fusion": fusion, "feedback": feedback, "dense": dense,
            "timeout_ms": timeout_ms,
        }  # fmt: skip
        body = {name: value for name, value in asked.items() if value is not None}
        return self._post(f"{_path(index)}/search", body, SearchResponse)

    def search_batch(self, index: str, searches: Sequence[Mapping[str, Any]]) -> BatchResponse:
        """Return the answers to several searches, each given as the body of one."""
        body = {"searches": [dict(one) for one in searches]}
        return self._post(f"{_path(index)}/search:batch", body, BatchResponse)

    def explain(
        self,
        index: str,
        query: str,
        id: str,
        *,
        mode: Mode | None = None,
        fusion: Mapping[str, Any] | None = None,
        feedback: Mapping[str, Any] | None = None,
    ) -> ExplainResponse:
        """Return why a document has its score for a query."""
        asked = {"query": query, "id": id, "mode": mode, "fusion": fusion, "feedback": feedback}
        body = {name: value for name, value in asked.items() if value is not None}
        return self._post(f"{_path(index)}/explain", body, ExplainResponse)

    def encode(
        self, texts: Sequence[str], *, index: str | None = None, side: str = "query"
    ) -> EncodeResponse:
        """Return the vectors of texts."""
        body = {"texts": list(texts), "side": side} | ({} if index is None else {"index": index})
        return self._post("/v1/encode", body, EncodeResponse)

    def indexes(self) -> list[IndexSummary]:
        """Return the indexes that are served."""
        return self._send("GET", "/v1/indexes", IndexList).indexes

    def index(self, name: str) -> IndexDetails:
        """Return what an index holds."""
        return self._send("GET", _path(name), IndexDetails)

    def get(self, index: str, id: str) -> DocumentFound | None:
        """Return a document by its id, or None."""
        try:
            return self._send("GET", _document(index, id), DocumentFound)
        except ServiceError as error:
            if error.status == 404 and "no document" in error.message:
                return None
            raise

    def delete(self, index: str, id: str, *, commit: Commit = "auto") -> WriteResponse:
        """Delete a document by its id. Raises ServiceError 404 when there is none."""
        path = _document(index, id)
        return self._send("DELETE", path, WriteResponse, params={"commit": commit})

    def write(
        self,
        index: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        action: Action = "upsert",
        commit: Commit = "auto",
    ) -> WriteResponse:
        """Write documents in one request; every line has its status in `items`.

        With "auto" they are safe on the service's disk when this returns, and searchable a little
        later; with "wait" and "force" they are searchable.
        """
        lines = b"".join(_line(document) for document in documents)
        return self._write(index, lines, action, commit)

    def bulk(
        self,
        index: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        action: Action = "upsert",
        commit: Commit = "auto",
    ) -> Iterator[LineResult]:
        """Write any number of documents in requests of a good size; yield the rejected lines.

        `line` counts from 1 over all documents. It streams: the documents are never held at once.
        Nothing is written before the result is iterated over.
        """
        lines: list[bytes] = []
        size = done = 0
        for document in documents:
            lines.append(_line(document))
            size += len(lines[-1])
            if len(lines) >= _BULK_LINES or size >= _BULK_BYTES:
                yield from self._rejected(index, lines, action, commit, done)
                done, size, lines = done + len(lines), 0, []
        if lines:
            yield from self._rejected(index, lines, action, commit, done)

    def is_ready(self) -> bool:
        """Return whether the service is there and ready."""
        try:
            return bool(self._http.get("/readyz").status_code == 200)
        except httpx2.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rejected(
        self, index: str, lines: Sequence[bytes], action: Action, commit: Commit, before: int
    ) -> Iterator[LineResult]:
        for item in self._write(index, b"".join(lines), action, commit).items:
            if item.status == "rejected":
                yield item.model_copy(update={"line": item.line + before})

    def _write(self, index: str, lines: bytes, action: Action, commit: Commit) -> WriteResponse:
        return self._send(
            "POST",
            f"{_path(index)}/documents",
            WriteResponse,
            params={"action": action, "commit": commit},
            content=lines,
            kind="application/x-ndjson",
        )

    def _post(self, path: str, body: Mapping[str, Any], answer: type[Answer]) -> Answer:
        content = json.dumps(body, default=dict, allow_nan=False).encode()
        return self._send("POST", path, answer, content=content, kind="application/json")

    def _send(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        kind: str | None = None,
    ) -> Answer:
        headers = {} if kind is None else {"Content-Type": kind}
        for turn in range(self._retries + 1):
            try:
                found = self._http.request(
                    method, path, params=params, content=content, headers=headers
                )
            except httpx2.HTTPError as error:
                raise ServiceError(
                    f"{self.base_url} does not answer: {error}",
                    status=0,
                    hint="is the service running? lsr serve DIR starts one",
                ) from error
            if found.status_code not in _RETRIED or turn == self._retries:
                break
            time.sleep(_pause(found.headers.get("retry-after"), turn))
        if found.is_success:
            return answer.model_validate_json(found.content)
        raise _error(found)


def _pause(given: str | None, turn: int) -> float:
    """Return the seconds to wait: what the service asks for, else 0.1 doubled each turn."""
    wanted = float(given) if given is not None and given.isdigit() else 0.1 * 2**turn
    return min(wanted, _LONGEST_PAUSE) * random.uniform(0.8, 1.2)


def _error(found: httpx2.Response) -> ServiceError:
    try:
        problem = ProblemDetails.model_validate_json(found.content)
    except ValidationError:
        return ServiceError(
            f"the service answered {found.status_code} {found.reason_phrase}",
            status=found.status_code,
        )
    return ServiceError(
        problem.detail,
        status=found.status_code,
        hint=problem.hint,
        request_id=problem.request_id,
    )


def _line(document: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise DataError(f"document {document.get('_id')!r} is not JSON: {error}") from error


def _path(index: str) -> str:
    return f"/v1/indexes/{quote(index, safe='')}"


def _document(index: str, id: str) -> str:
    return f"{_path(index)}/documents/{quote(id, safe='')}"
