"""What the client does with a real hub."""

import asyncio
import inspect
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from conftest import Running

import sentinel_client
from sentinel_client import AsyncSentinel, BadRequest, NotFound, Sentinel, Unauthorized, Unreachable, _calls
from sentinel_client.models import Event

BUNDLE = "bundle: python\npermits:\n  - kinds: [notify]\nrules: []\n"


def until(check: Callable[[], bool]) -> None:
    """Asks the hub until it is so; each look is a request."""
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, inspect.getsource(check)


def in_force(client: Sentinel, node: str, text: str) -> None:
    """Publishes a bundle and waits until the node judges by it."""
    published = client.publish(text)
    until(lambda: client.node(node).policy_generation == published.generation)


@pytest.fixture
def client(hub: Running) -> Iterator[Sentinel]:
    with Sentinel.from_context(hub.context) as client:
        yield client


def test_a_bundle_is_published_and_reaches_the_node(client: Sentinel, node: str) -> None:
    published = client.publish(BUNDLE)
    assert published.generation >= 1
    newest = client.policies()[0]
    assert (newest.name, newest.generation, newest.active) == ("python", published.generation, True)
    for event in client.watch():
        if client.node(node).policy_generation == published.generation:
            break
        assert event.kind != "reset"


def test_what_is_wrong_with_a_bundle_has_its_place(client: Sentinel) -> None:
    with pytest.raises(BadRequest) as caught:
        client.publish("bundle: x\nruless: []\n")
    problem = caught.value.problem
    assert problem.errors and "line 2" in problem.errors[0][1], problem


def test_a_denial_is_an_outcome_and_says_why(client: Sentinel, node: str) -> None:
    in_force(client, node, "bundle: strict\npermits:\n  - { kinds: [restart], targets: [workload] }\nrules: []\n")
    outcome = client.act(node, "notify", params={"message": "hello"}, reason="test", wait=20)
    assert (outcome.status, bool(outcome.detail)) == ("denied", True), outcome


def test_what_was_done_is_among_the_decisions_and_can_be_explained(client: Sentinel, node: str) -> None:
    in_force(client, node, BUNDLE)
    outcome = client.act(node, "notify", params={"message": "hello"}, reason="test", wait=20)
    assert outcome.status == "done" and outcome.decision, outcome
    assert outcome.decision.id in [decision.id for decision in client.decisions(node=node)]
    assert "notify" in client.why(outcome.decision.id)
    assert [decision.id for decision in client.decisions(limit=1)] != []


def test_a_node_is_held_and_released(client: Sentinel, node: str) -> None:
    assert client.hold(node, reason="test").status == "done"
    until(lambda: client.node(node).held_by is not None)
    assert client.release(node, reason="test").status == "done"
    until(lambda: client.node(node).held_by is None)


def test_every_journal_is_whole(client: Sentinel, node: str) -> None:
    # What the node has just decided may still be on its way.
    until(lambda: {row.node: row for row in client.verify()}[node].whole)


def test_errors_are_told_apart(client: Sentinel, hub: Running) -> None:
    with pytest.raises(NotFound, match="there is no node"):
        client.node("edge-99")
    with pytest.raises(BadRequest, match="limit"):
        list(client._send(_calls.decisions(None, None, 100_000)).rows)
    known = _calls.Hub.of_context(hub.context)
    with Sentinel(known.url, "sat_wrong", known.ca_pem) as stranger, pytest.raises(Unauthorized):
        stranger.nodes()


def test_another_ca_is_not_believed(client: Sentinel, hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    known = _calls.Hub.of_context(hub.context)
    monkeypatch.setattr(sentinel_client.client, "PAUSES", ())
    with Sentinel(known.url, known.token, known.ca_pem) as other:
        other._http = httpx.Client(base_url=known.url, verify=ssl.create_default_context())
        with pytest.raises(Unreachable, match="certificate"):
            other.nodes()


def test_a_read_outlives_a_restart_of_the_hub_and_a_watcher_is_told(hub: Running, node: str) -> None:
    kinds: list[str] = []
    began, again = threading.Event(), threading.Event()

    def watch() -> None:
        with Sentinel.from_context(hub.context) as client:
            for event in client.watch():
                kinds.append(event.kind)
                began.set()
                if event.kind == "reset":
                    again.set()
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert began.wait(30)
    hub.stop()
    reader: list[object] = []
    read = threading.Thread(target=lambda: reader.append(Sentinel.from_context(hub.context).nodes()))
    read.start()
    hub.start()
    read.join(60)
    assert reader and reader[0], "the read was tried again until the hub was back"
    assert again.wait(60), kinds
    assert kinds[0] == "hello"


def test_async_code_has_the_same_calls(hub: Running, node: str) -> None:
    async def story() -> None:
        async with AsyncSentinel.from_context(hub.context) as client:
            assert [found.name for found in await client.nodes()] == [node]
            assert [d async for d in client.decisions(limit=1)] is not None
            async for event in client.watch():
                assert event.kind == "hello"
                break
            with pytest.raises(NotFound):
                await client.node("edge-99")

    asyncio.run(story())

    def calls(kind: type) -> dict[str, list[str]]:
        public = {name: member for name, member in vars(kind).items() if not name.startswith("_") and inspect.isroutine(member)}
        return {name: list(inspect.signature(member).parameters) for name, member in public.items() if inspect.isfunction(member)}

    plain, twin = calls(Sentinel), calls(AsyncSentinel)
    twin["close"] = twin.pop("aclose")
    assert plain == twin


def test_an_event_of_a_later_hub_is_passed_on() -> None:
    event = Event.of({"event": "novel", "data": {"x": 1}})
    assert (event.kind, event.node, event.raw["data"]["x"]) == ("novel", None, 1)
