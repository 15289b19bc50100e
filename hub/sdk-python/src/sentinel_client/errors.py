"""What a hub says when it does not do something: a problem document (RFC 9457), as an exception."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document."""

    status: int
    code: str
    title: str
    detail: str
    #: For each field at fault a JSON pointer and what is wrong with it.
    errors: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    #: The decision that refused it.
    decision_id: str | None = None


class SentinelError(Exception):
    """Anything that went wrong."""


class Unreachable(SentinelError):
    """The hub was not reached, or did not answer in time. Whether it did what was asked is not known."""


class NotUnderstood(SentinelError):
    """The hub answered with something that this client does not know: it is much older or newer than the hub."""


class Answered(SentinelError):
    """The hub answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        where = "".join(f"; {pointer}: {detail}" for pointer, detail in problem.errors if detail not in problem.detail)
        super().__init__(f"{problem.title}: {problem.detail}{where}")
        self.problem = problem


class BadRequest(Answered):
    """A field is not right."""


class Unauthorized(Answered):
    """The token is not this hub's."""


class Denied(Answered):
    """Policy or the caller's role forbids it."""


class NotFound(Answered):
    """There is no such thing."""


class Conflict(Answered):
    """The present state does not allow it."""


class Unavailable(Answered):
    """Not now: the hub stops, or its store accepts nothing."""


_BY_STATUS: dict[int, type[Answered]] = {
    400: BadRequest, 401: Unauthorized, 403: Denied, 404: NotFound, 409: Conflict, 412: Conflict, 413: BadRequest, 422: BadRequest,
    503: Unavailable, 504: Unavailable,
}


def of_answer(status: int, document: dict[str, Any]) -> Answered:
    """The exception for an answer; a status without a class of its own is a plain `Answered`."""
    problem = Problem(
        status=status,
        code=str(document.get("code", "")),
        title=str(document.get("title", f"HTTP {status}")),
        detail=str(document.get("detail", "")),
        errors=[(str(error["pointer"]), str(error["detail"])) for error in document.get("errors", [])],
        decision_id=document.get("decision_id"),
    )
    return _BY_STATUS.get(status, Answered)(problem)
