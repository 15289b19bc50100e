"""The client for async code. `client.py` is its twin for plain code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from . import _calls
from ._calls import PAGE, PAUSES, Call, Hub
from .models import ActOutcome, Decision, Domain, Event, JoinToken, Node, Policy, PublishedBundle, Verification

T = TypeVar("T")


class AsyncSentinel:
    """A hub. Use it in an `async with` statement, or close it."""

    def __init__(self, url: str, token: str, ca_pem: str) -> None:
        """A hub at `https://HOST:PORT`, known by a token, trusted by its own CA."""
        self._hub = Hub(url.rstrip("/"), token, ca_pem)
        self._http = httpx.AsyncClient(base_url=self._hub.url, headers=self._hub.headers(), verify=self._hub.tls())

    @classmethod
    def from_context(cls, path: str | Path) -> Self:
        """The hub of a context file, as `sentinel` uses it."""
        hub = Hub.of_context(path)
        return cls(hub.url, hub.token, hub.ca_pem)

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def nodes(self) -> list[Node]:
        """All nodes, by name."""
        return (await self._send(_calls.nodes())).rows

    async def node(self, name: str) -> Node:
        """One node. Raises `NotFound`."""
        return await self._send(_calls.node(name))

    async def domains(self) -> list[Domain]:
        """What nodes have in common and rules count."""
        return (await self._send(_calls.domains())).rows

    async def decisions(self, node: str | None = None, limit: int | None = None) -> AsyncIterator[Decision]:
        """Decisions, newest first, of one node or of all; pages are read as they are needed."""
        before: str | None = None
        left = limit
        while left is None or left > 0:
            page = await self._send(_calls.decisions(node, before, PAGE if left is None else min(PAGE, left)))
            for row in page.rows:
                yield row
            if left is not None:
                left -= len(page.rows)
            before = page.next_cursor
            if before is None:
                return

    async def why(self, decision: str) -> str:
        """Why a decision is as it is: every clause with its value and limit, for people."""
        return await self._send(_calls.why(decision))

    async def policies(self) -> list[Policy]:
        """Published bundles, newest first."""
        return (await self._send(_calls.policies())).rows

    async def publish(self, text: str) -> PublishedBundle:
        """Signs and publishes a bundle. Raises `BadRequest` with each problem and its place."""
        return await self._send(_calls.publish(text))

    async def verify(self) -> list[Verification]:
        """Compares each node's journal with the hub's store; reads every stored entry, so it may take a while."""
        return (await self._send(_calls.verify())).rows

    async def act(
        self, node: str, action: str, *, reason: str, device: str = "node", params: Mapping[str, str] | None = None, wait: float = 30.0
    ) -> ActOutcome:
        """Asks a node for an action and waits `wait` seconds for its outcome. The node has the last word; a denial is an outcome."""
        return await self._send(_calls.act(node, action, device, params or {}, reason, wait))

    async def hold(self, node: str, *, reason: str) -> ActOutcome:
        """Vetoes all but protective actions on a node."""
        return await self._send(_calls.hold(node, reason, release=False))

    async def release(self, node: str, *, reason: str) -> ActOutcome:
        """Takes a hold back."""
        return await self._send(_calls.hold(node, reason, release=True))

    async def create_token(self, *, site: str = "default", name: str | None = None, ttl: float = 3600.0) -> JoinToken:
        """Makes a join token for one machine, good for `ttl` seconds."""
        return await self._send(_calls.create_token(site, name, ttl))

    async def watch(self) -> AsyncIterator[Event]:
        """Events as they happen, for ever. Connects again by itself; then comes a `reset`: read your lists again."""
        tries = 0
        while True:
            try:
                # The hub says something every ten seconds: a silence of thirty is a lost connection.
                timeout = httpx.Timeout(10.0, read=30.0)
                async with self._http.stream("GET", "/api/v1/stream", timeout=timeout) as response:
                    if not response.is_success:
                        await response.aread()
                        _calls.answered(Call("GET", "/api/v1/stream", lambda answer: answer), response)
                    if tries > 0:
                        yield Event.reset()
                    tries = 0
                    async for line in response.aiter_lines():
                        event = _calls.event_of_line(line)
                        if event is not None:
                            yield Event.of(event)
            except httpx.TransportError as cause:
                if tries >= len(PAUSES):
                    raise _calls.unreachable(self._hub.url, cause) from cause
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    async def _send(self, call: Call[T]) -> T:
        for pause in (*PAUSES, None):
            try:
                response = await self._http.request(
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
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")
