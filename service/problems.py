"""Problems: every error of the service as an RFC 9457 document, without a stack trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from lsr.errors import LsrError

MEDIA_TYPE = "application/problem+json"

_MODE = (
    "this version searches the sparse leg only: mode is 'sparse' or left out; "
    "bm25, dense and hybrid are not built yet"
)
#: Longer messages quote the request, which may be large.
_LONGEST = 1000
_MOST_ERRORS = 20


class Problem(LsrError):
    """An error of the service's own, with the status and the headers of its answer."""

    title = "Refused"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.title = HTTPStatus(status).phrase
        self.headers = dict(headers or {})
        self.errors = None if errors is None else list(errors)


def problem_of(error: Exception) -> Problem:
    """Return an error as a Problem; one that nobody foresaw says no more than that it happened."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationError):
        return invalid(error.errors(include_url=False, include_input=False, include_context=False))
    if isinstance(error, LsrError):
        found = Problem(error.status, error.message, hint=error.hint)
        found.title = error.title
        return found
    return Problem(
        500,
        "the service failed at this request",
        hint="look in the service's log for the request id",
    )


def invalid(errors: Sequence[Mapping[str, Any]], *, within: str = "body") -> Problem:
    """Return the problem that lists what pydantic found wrong with a request."""
    listed = [_field_error(one, within) for one in errors[:_MOST_ERRORS]]
    more = len(errors) - len(listed)
    first = listed[0]
    where = ".".join(str(part) for part in first["loc"])
    rest = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if more > 0:
        listed.append({"loc": [within], "msg": f"{more} more errors"})
    return Problem(422, f"{where}: {first['msg']}{rest}"[:_LONGEST], errors=listed)


def to_body(problem: Problem, request_id: str, path: str) -> bytes:
    """Return the JSON document of a problem."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.message[:_LONGEST],
        "instance": path[:_LONGEST],
        "request_id": request_id,
    }
    if problem.hint:
        content["hint"] = problem.hint[:_LONGEST]
    if problem.errors is not None:
        content["errors"] = problem.errors
    return to_json(content, serialize_unknown=True, inf_nan_mode="null")


def _field_error(error: Mapping[str, Any], within: str) -> dict[str, Any]:
    loc = [part if isinstance(part, int) else str(part)[:100] for part in error.get("loc", ())]
    message = str(error.get("msg", "invalid"))
    if loc[-1:] == ["mode"] and error.get("type") == "literal_error":
        message = _MODE
    if error.get("type") == "extra_forbidden":
        message = "this key is not known here"
    if loc[:1] != [within]:
        loc = [within, *loc]
    return {"loc": loc, "msg": message[:_LONGEST]}
