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
from sentinel_client import AsyncSentinel, BadRequest, Conflict, Event, Model, NotFound, Page, Sentinel, Unauthorized, Unreachable
from sentinel_client import is_whole, operations
from sentinel_client._wire import Call, Hub

BUNDLE = "bundle: python\npermits:\n  - kinds: [notify]\nrules: []\n"


def until(check: Callable[[], bool]) -> None:
    """Asks the hub until it is so; each look is a request."""
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, inspect.getsource(check)


def in_force(client: Sentinel, node: str, text: str) -> None:
    """Publishes a bundle and waits until the node judges by it."""
    published = client.publish(text)
    until(lambda: client.node(node).policy_generation == published.bundle.generation)


@pytest.fixture
def client(hub: Running) -> Iterator[Sentinel]:
    with Sentinel.from_context(hub.context) as client:
        yield client


def test_a_bundle_is_published_and_reaches_the_node(client: Sentinel, node: str) -> None:
    published = client.publish(BUNDLE)
    assert published.bundle.generation >= 1
    newest = client.policies()[0]
    assert (newest.name, newest.generation, newest.active) == ("python", published.bundle.generation, True)
    for event in client.watch():
        if client.node(node).policy_generation == published.bundle.generation:
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
    until(lambda: is_whole({row.node: row for row in client.verify()}[node]))


def test_errors_are_told_apart(client: Sentinel, hub: Running) -> None:
    with pytest.raises(NotFound, match="there is no node"):
        client.node("edge-99")
    with pytest.raises(BadRequest, match="limit"):
        list(client.send(operations.get_decisions(limit=100_000)).rows)
    known = Hub.of_context(hub.context)
    with Sentinel(known.url, "sat_wrong", known.ca_pem) as stranger, pytest.raises(Unauthorized):
        stranger.nodes()


def test_another_ca_is_not_believed(client: Sentinel, hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Hub.of_context(hub.context)
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


def test_every_list_of_the_api_is_read(client: Sentinel, node: str) -> None:
    """Each route that needs nothing is asked: what comes is what the generated models say."""
    asked = 0
    for name, make in inspect.getmembers(operations, inspect.isfunction):
        wanted = inspect.signature(make).parameters.values()
        if not name.startswith("get_") or make.__module__ != operations.__name__ or any(part.default is part.empty for part in wanted):
            continue
        call: Call[object] = make()
        try:
            answer = client.send(call)
        except (BadRequest, NotFound, Conflict):
            # It needs a parameter after all, or something that this hub does not have.
            continue
        assert not isinstance(answer, Page) or all(isinstance(row, Model) for row in answer.rows), name
        asked += 1
    assert asked >= 25, asked


def test_events_go_on_where_they_were_cut(hub: Running, node: str) -> None:
    """A reader that saw half of what there is, and whose hub is then started anew, gets the other half and nothing twice."""
    with Sentinel.from_context(hub.context) as client:
        for _ in range(4):
            client.create_token(site="lab")
        known = client.send(operations.get_events(limit=500)).rows
        assert len(known) > 5
        stream = client.events()
        seen = [next(stream).id for _ in range(3)]
        hub.stop()
        hub.start()
        client.create_token(site="lab")
        last = client.send(operations.get_events(after=known[-1].sentinelcursor)).rows[-1]
        for event in stream:
            seen.append(event.id)
            if event.id == last.id:
                break
        assert len(seen) == len(set(seen))
        assert seen[: len(known)] == [event.id for event in known]
        assert next(client.events(after=known[-2].sentinelcursor)).id == known[-1].id


def test_async_code_has_the_same_calls(hub: Running, node: str) -> None:
    async def story() -> None:
        async with AsyncSentinel.from_context(hub.context) as client:
            assert [found.name for found in await client.nodes()] == [node]
            assert [d async for d in client.decisions(limit=1)] is not None
            async for event in client.watch():
                assert event.kind == "hello"
                break
            async for arrived in client.events():
                assert arrived.specversion == "1.0"
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
