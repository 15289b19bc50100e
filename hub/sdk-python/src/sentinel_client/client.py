"""The client for plain code. `aio.py` is its twin for async code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from . import _calls
from ._calls import PAGE, PAUSES, Call, Hub
from .models import ActOutcome, Decision, Domain, Event, JoinToken, Node, Policy, PublishedBundle, Verification

T = TypeVar("T")


class Sentinel:
    """A hub. Use it in a `with` statement, or close it."""

    def __init__(self, url: str, token: str, ca_pem: str) -> None:
        """A hub at `https://HOST:PORT`, known by a token, trusted by its own CA."""
        self._hub = Hub(url.rstrip("/"), token, ca_pem)
        self._http = httpx.Client(base_url=self._hub.url, headers=self._hub.headers(), verify=self._hub.tls())

    @classmethod
    def from_context(cls, path: str | Path) -> Self:
        """The hub of a context file, as `sentinel` uses it."""
        hub = Hub.of_context(path)
        return cls(hub.url, hub.token, hub.ca_pem)

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def nodes(self) -> list[Node]:
        """All nodes, by name."""
        return self._send(_calls.nodes()).rows

    def node(self, name: str) -> Node:
        """One node. Raises `NotFound`."""
        return self._send(_calls.node(name))

    def domains(self) -> list[Domain]:
        """What nodes have in common and rules count."""
        return self._send(_calls.domains()).rows

    def decisions(self, node: str | None = None, limit: int | None = None) -> Iterator[Decision]:
        """Decisions, newest first, of one node or of all; pages are read as they are needed."""
        before: str | None = None
        left = limit
        while left is None or left > 0:
            page = self._send(_calls.decisions(node, before, PAGE if left is None else min(PAGE, left)))
            for row in page.rows:
                yield row
            if left is not None:
                left -= len(page.rows)
            before = page.next_cursor
            if before is None:
                return

    def why(self, decision: str) -> str:
        """Why a decision is as it is: every clause with its value and limit, for people."""
        return self._send(_calls.why(decision))

    def policies(self) -> list[Policy]:
        """Published bundles, newest first."""
        return self._send(_calls.policies()).rows

    def publish(self, text: str) -> PublishedBundle:
        """Signs and publishes a bundle. Raises `BadRequest` with each problem and its place."""
        return self._send(_calls.publish(text))

    def verify(self) -> list[Verification]:
        """Compares each node's journal with the hub's store; reads every stored entry, so it may take a while."""
        return self._send(_calls.verify()).rows

    def act(
        self, node: str, action: str, *, reason: str, device: str = "node", params: Mapping[str, str] | None = None, wait: float = 30.0
    ) -> ActOutcome:
        """Asks a node for an action and waits `wait` seconds for its outcome. The node has the last word; a denial is an outcome."""
        return self._send(_calls.act(node, action, device, params or {}, reason, wait))

    def hold(self, node: str, *, reason: str) -> ActOutcome:
        """Vetoes all but protective actions on a node."""
        return self._send(_calls.hold(node, reason, release=False))

    def release(self, node: str, *, reason: str) -> ActOutcome:
        """Takes a hold back."""
        return self._send(_calls.hold(node, reason, release=True))

    def create_token(self, *, site: str = "default", name: str | None = None, ttl: float = 3600.0) -> JoinToken:
        """Makes a join token for one machine, good for `ttl` seconds."""
        return self._send(_calls.create_token(site, name, ttl))

    def watch(self) -> Iterator[Event]:
        """Events as they happen, for ever. Connects again by itself; then comes a `reset`: read your lists again."""
        tries = 0
        while True:
            try:
                # The hub says something every ten seconds: a silence of thirty is a lost connection.
                timeout = httpx.Timeout(10.0, read=30.0)
                with self._http.stream("GET", "/api/v1/stream", timeout=timeout) as response:
                    if not response.is_success:
                        response.read()
                        _calls.answered(Call("GET", "/api/v1/stream", lambda answer: answer), response)
                    if tries > 0:
                        yield Event.reset()
                    tries = 0
                    for line in response.iter_lines():
                        event = _calls.event_of_line(line)
                        if event is not None:
                            yield Event.of(event)
            except httpx.TransportError as cause:
                if tries >= len(PAUSES):
                    raise _calls.unreachable(self._hub.url, cause) from cause
            time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    def _send(self, call: Call[T]) -> T:
        for pause in (*PAUSES, None):
            try:
                response = self._http.request(
                    call.method, call.path, params=call.params, json=call.json, content=call.text, timeout=call.timeout
                )
            except httpx.ConnectError as cause:
                # Nothing was sent: it may be tried again, whatever it is.
                if pause is None:
                    raise _calls.unreachable(self._hub.url, cause) from cause
            except httpx.TransportError as cause:
                if pause is None or not call.repeatable:
                    raise _calls.unreachable(self._hub.url, cause) from cause
            else:
                if pause is None or not _calls.may_repeat(call, response):
                    return _calls.answered(call, response)
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")
