"""Every call as data: what to send, and how to read the answer. Both clients carry out the same calls, so they cannot differ."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx

from . import errors
from .models import ActOutcome, Decision, Domain, JoinToken, Node, Policy, PublishedBundle, Verification

T = TypeVar("T")

#: Pauses before a read is tried again, in seconds. A restarted hub is back within one or two.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
#: Rows of one page.
PAGE = 200


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    json: Any = None
    text: str | None = None
    #: How long the answer may take, in seconds.
    timeout: float = 30.0

    @property
    def repeatable(self) -> bool:
        return self.method == "GET"


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a hub is and how to be known to it."""

    url: str
    token: str = field(repr=False)
    ca_pem: str = field(repr=False)

    @classmethod
    def of_context(cls, path: str | Path) -> Hub:
        context = json.loads(Path(path).read_text())
        return cls(url=context["hub"], token=context["token"], ca_pem=context["ca_pem"])

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "accept": "application/json"}

    def tls(self) -> ssl.SSLContext:
        # Nobody but the hub's own CA is trusted: the system's list has no say.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.ca_pem)
        return context


def answered(call: Call[T], response: httpx.Response) -> T:
    """Reads an answer, or raises what it says."""
    if response.is_success:
        return call.read(response.json() if response.content else None)
    try:
        document = response.json()
    except ValueError:
        document = {"detail": response.text[:200]}
    raise errors.of_answer(response.status_code, document)


def may_repeat(call: Call[Any], response: httpx.Response) -> bool:
    # Of too many requests none was carried out: it may be asked again, whatever it is.
    if response.status_code == 429:
        return True
    return call.repeatable and response.status_code in (502, 503, 504)


def unreachable(url: str, cause: Exception) -> errors.Unreachable:
    return errors.Unreachable(f"{url}: {cause or type(cause).__name__}")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    rows: list[T]
    next_cursor: str | None


def _page(read: Callable[[Any], T]) -> Callable[[Any], Page[T]]:
    return lambda answer: Page([read(row) for row in answer["items"]], answer.get("next_cursor"))


def nodes() -> Call[Page[Node]]:
    return Call("GET", "/api/v1/nodes", _page(Node.of))


def node(name: str) -> Call[Node]:
    return Call("GET", f"/api/v1/nodes/{name}", Node.of)


def domains() -> Call[Page[Domain]]:
    return Call("GET", "/api/v1/domains", _page(Domain.of))


def decisions(node: str | None, before: str | None, limit: int) -> Call[Page[Decision]]:
    params: dict[str, str | int] = {"limit": limit}
    if node:
        params["node"] = node
    if before:
        params["before"] = before
    return Call("GET", "/api/v1/decisions", _page(Decision.of), params)


def why(decision: str) -> Call[str]:
    return Call("GET", f"/api/v1/decisions/{decision}", lambda answer: str(answer["explanation"]))


def policies() -> Call[Page[Policy]]:
    return Call("GET", "/api/v1/policies", _page(Policy.of))


def publish(text: str) -> Call[PublishedBundle]:
    return Call("POST", "/api/v1/policies", PublishedBundle.of, text=text)


def verify() -> Call[Page[Verification]]:
    return Call("GET", "/api/v1/verify", _page(Verification.of), timeout=120.0)


def act(node: str, action: str, device: str, params: Mapping[str, str], reason: str, wait: float) -> Call[ActOutcome]:
    body = {"node": node, "device": device, "action": action, "params": dict(params), "reason": reason, "wait_seconds": wait}
    return Call("POST", "/api/v1/actions", ActOutcome.of, json=body, timeout=wait + 30.0)


def hold(node: str, reason: str, release: bool) -> Call[ActOutcome]:
    verb = "release" if release else "hold"
    return Call("POST", f"/api/v1/nodes/{node}/{verb}", ActOutcome.of, json={"reason": reason}, timeout=60.0)


def create_token(site: str, name: str | None, ttl: float) -> Call[JoinToken]:
    body: dict[str, Any] = {"site": site, "ttl_seconds": ttl}
    if name:
        body["name"] = name
    return Call("POST", "/api/v1/tokens", JoinToken.of, json=body)


def event_of_line(line: str) -> Any | None:
    """The JSON of a `data:` line of server-sent events; `None` for any other line."""
    return json.loads(line[5:]) if line.startswith("data:") else None
