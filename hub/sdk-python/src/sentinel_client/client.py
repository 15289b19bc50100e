"""The client for plain code. `aio.py` is its twin for async code."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from . import models as m
from . import operations
from ._events import Event
from ._model import Json
from ._wire import PAGE, PAUSES, STREAM, Call, Hub, Lines, answered, as_it_is, pause_before_repeat, unreachable
from .errors import Unavailable

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

    def nodes(self) -> list[m.NodeView]:
        """All nodes, by name."""
        return self.send(operations.get_nodes()).rows

    def node(self, name: str) -> m.NodeView:
        """One node. Raises `NotFound`."""
        return self.send(operations.get_nodes_name(name))

    def domains(self) -> list[m.DomainView]:
        """What nodes have in common and rules count."""
        return self.send(operations.get_domains()).rows

    def decisions(self, node: str | None = None, limit: int | None = None) -> Iterator[m.DecisionView]:
        """Decisions, newest first, of one node or of all; pages are read as they are needed."""
        before: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.send(operations.get_decisions(node=node, before=before, limit=PAGE if left is None else min(PAGE, left)))
            yield from page.rows
            if left is not None:
                left -= len(page.rows)
            before = page.next_cursor
            if before is None:
                return

    def why(self, decision: str) -> str:
        """Why a decision is as it is: every clause with its value and limit, for people."""
        return self.send(operations.get_decisions_id(decision)).explanation

    def policies(self) -> list[m.PolicyView]:
        """Published bundles, newest first."""
        return self.send(operations.get_policies()).rows

    def publish(self, text: str) -> m.PublishView:
        """Signs and publishes a bundle. Raises `BadRequest` with each problem and its place."""
        return self.send(operations.post_policies(text))

    def verify(self) -> list[m.VerifyView]:
        """Compares each node's journal with the hub's store; reads every stored entry, so it may take a while."""
        return self.send(replace(operations.get_verify(), timeout=120.0)).rows

    def act(
        self, node: str, action: str, *, reason: str, device: str = "node", params: Mapping[str, str] | None = None, wait: float = 30.0
    ) -> m.ActView:
        """Asks a node for an action and waits `wait` seconds for its outcome. The node has the last word; a denial is an outcome."""
        body: m.PostActionsBody = {
            "node": node, "device": device, "action": action, "params": dict(params or {}), "reason": reason, "wait_seconds": wait,
        }
        return self.send(replace(operations.post_actions(body), timeout=wait + 30.0))

    def hold(self, node: str, *, reason: str) -> m.ActView:
        """Vetoes all but protective actions on a node."""
        return self.send(replace(operations.post_nodes_name_hold(node, {"reason": reason}), timeout=60.0))

    def release(self, node: str, *, reason: str) -> m.ActView:
        """Takes a hold back."""
        return self.send(replace(operations.post_nodes_name_release(node, {"reason": reason}), timeout=60.0))

    def create_token(self, *, site: str = "default", name: str | None = None, ttl: float = 3600.0) -> m.TokenView:
        """Makes a join token for one machine, good for `ttl` seconds."""
        return self.send(operations.post_tokens({"site": site, "name": name, "ttl_seconds": ttl}))

    def watch(self) -> Iterator[Event]:
        """What changes, as it happens, for ever. Connects again by itself; then comes a `reset`: read your lists again."""
        first = True
        for event in self._follow("/api/v1/stream", Lines()):
            if event is not None:
                yield Event.of(event)
            elif not first:
                yield Event.reset()
            first = False

    def events(self, after: str | None = None) -> Iterator[m.CloudEvent]:
        """Everything that arrived after a cursor and arrives from now on, oldest first, for ever.

        Connects again by itself and goes on where it was, so that nothing is missed and nothing comes twice. `sentinelcursor` of the last event
        that you have dealt with is `after` of your next start.
        """
        for event in self._follow("/api/v1/events", Lines(last_id=after)):
            if event is not None:
                yield m.CloudEvent.of(event)

    def send(self, call: Call[T]) -> T:
        """Carries out one of `operations`. What can be repeated is tried again while the hub cannot be reached or says "not now"."""
        for pause in (*PAUSES, None):
            try:
                response = self._http.request(call.method, call.path, **call.arguments())
            except httpx.ConnectError as cause:
                # Nothing was sent: it may be tried again, whatever it is.
                if pause is None:
                    raise unreachable(self._hub.url, cause) from cause
            except httpx.TransportError as cause:
                if pause is None or not call.repeatable:
                    raise unreachable(self._hub.url, cause) from cause
            else:
                pause = None if pause is None else pause_before_repeat(call, response, pause)
                if pause is None:
                    return answered(call, response)
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _follow(self, path: str, lines: Lines) -> Iterator[Json | None]:
        """The events of a stream, over any number of connections; each connection begins with `None`."""
        tries = 0
        while True:
            try:
                with self._http.stream("GET", path, headers=lines.headers(), timeout=STREAM) as response:
                    if not response.is_success:
                        response.read()
                        answered(Call("GET", path, as_it_is), response)
                    yield None
                    for line in response.iter_lines():
                        tries = 0
                        event = lines.feed(line)
                        if event is not None:
                            yield event
            except httpx.TransportError as cause:
                if tries >= len(PAUSES):
                    raise unreachable(self._hub.url, cause) from cause
            except Unavailable:
                if tries >= len(PAUSES):
                    raise
            lines.cut()
            time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
