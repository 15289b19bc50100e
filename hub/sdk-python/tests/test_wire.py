"""What the client sends and how it reads answers, with no hub: the transport is a function."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from sentinel_client import AsyncSentinel, Conflict, Event, NotUnderstood, Sentinel, Unavailable, Unreachable, aio, client, operations
from sentinel_client._wire import Hub, Lines
from sentinel_client.models import ClaimView, CloudEvent, GlassView, NodeView, PlanView

Answer = Callable[[httpx.Request], httpx.Response]
ACTED: dict[str, object] = {"status": "done", "detail": "it is done", "decision": None, "command": None, "clauses": [], "until": None}
BODY: Any = {"node": "edge-01", "action": "notify", "reason": "test"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, aio):
        monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))


def plain(answer: Answer) -> Sentinel:
    made = Sentinel.__new__(Sentinel)
    made._hub = Hub("https://hub:1", "t", "")
    made._http = httpx.Client(base_url="https://hub:1", transport=httpx.MockTransport(answer))
    return made


def twin(answer: Answer) -> AsyncSentinel:
    made = AsyncSentinel.__new__(AsyncSentinel)
    made._hub = Hub("https://hub:1", "t", "")
    made._http = httpx.AsyncClient(base_url="https://hub:1", transport=httpx.MockTransport(answer))
    return made


class Script:
    """Answers in order; remembers what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"title": code, "detail": code, "status": status, "code": code, "type": "x"}, headers=headers)


@pytest.mark.parametrize("lost", [httpx.ReadError("cut"), problem(503, "unavailable"), problem(409, "in_flight"), problem(429, "too_often")])
def test_what_acts_is_sent_again_under_the_same_key(lost: httpx.Response | Exception) -> None:
    script = Script(lost, httpx.Response(200, json=ACTED))
    assert plain(script).send(operations.post_actions(BODY)).status == "done"
    keys = [request.headers["idempotency-key"] for request in script.asked]
    assert len(keys) == 2 and len(set(keys)) == 1
    again = Script(httpx.Response(200, json=ACTED))
    plain(again).send(operations.post_actions(BODY))
    assert again.asked[0].headers["idempotency-key"] not in keys, "another call is another thing to do"


def test_async_code_sends_it_again_too() -> None:
    script = Script(httpx.ReadError("cut"), httpx.Response(200, json=ACTED))
    assert asyncio.run(twin(script).send(operations.post_actions(BODY))).status == "done"
    assert script.asked[0].headers["idempotency-key"] == script.asked[1].headers["idempotency-key"]


def test_what_has_no_key_is_sent_once() -> None:
    script = Script(httpx.ReadError("cut"))
    with pytest.raises(Unreachable):
        plain(script).send(operations.delete_users_name("anna"))
    assert len(script.asked) == 1


def test_a_conflict_stands() -> None:
    script = Script(problem(409, "conflict"))
    with pytest.raises(Conflict):
        plain(script).send(operations.post_actions(BODY))


def test_who_is_told_to_come_much_later_is_told_so() -> None:
    script = Script(problem(503, "unavailable", **{"retry-after": "3600"}))
    with pytest.raises(Unavailable):
        plain(script).send(operations.get_nodes())
    assert len(script.asked) == 1


def test_a_hub_that_stays_away_is_said() -> None:
    script = Script(*[httpx.ConnectError("refused")] * 4)
    with pytest.raises(Unreachable, match="refused"):
        plain(script).send(operations.get_nodes())
    assert len(script.asked) == 4


def test_parts_of_paths_are_only_parts() -> None:
    script = Script(problem(404, "not_found"))
    with pytest.raises(Exception, match="not_found"):
        plain(script).node("../users/a?b")
    assert script.asked[0].url.raw_path == b"/api/v1/nodes/..%2Fusers%2Fa%3Fb"


def test_an_event_of_a_later_hub_is_passed_on() -> None:
    event = Event.of({"event": "novel", "data": {"x": 1}})
    assert (event.kind, event.node, event.raw["data"]["x"]) == ("novel", None, 1)


def test_what_a_later_hub_adds_is_kept_and_what_it_lacks_is_said() -> None:
    claim = ClaimView.of({"class": "overheats", "confidence": 0.9, "horizon_seconds": 60.0, "prediction": "p1", "novel": 1})
    assert (claim.class_, claim.raw["novel"]) == ("overheats", 1)
    with pytest.raises(NotUnderstood, match="ClaimView"):
        ClaimView.of({"class": "overheats"})
    with pytest.raises(NotUnderstood, match="NodeView"):
        NodeView.of({"name": 5, "gpus": 7})


def test_times_are_times() -> None:
    event: dict[str, Any] = {"specversion": "1.0", "id": "i", "source": "/hub", "type": "t", "subject": "s", "datacontenttype": "application/json"}
    assert CloudEvent.of(event | {"time": "2026-03-01T12:00:00Z", "sentinelcursor": "1", "data": {}}).time == "2026-03-01T12:00:00Z"
    hints = {"of": [kind for kind in (GlassView, NodeView, PlanView) if "datetime" in str(kind.__annotations__)]}
    assert hints["of"], "some fields are times"
    from sentinel_client._model import _time

    assert _time("2026-03-01T12:00:00.5Z") == datetime(2026, 3, 1, 12, 0, 0, 500_000, UTC)
    assert _time("unix-ms:999999999999999999") == datetime.max.replace(tzinfo=UTC)


def stream(*lines: str, cut: bool) -> httpx.Response:
    def body() -> Any:
        yield "".join(lines).encode()
        if cut:
            raise httpx.ReadError("cut")

    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(body))


class Body(httpx.SyncByteStream):
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __iter__(self) -> Any:
        return self.make()


def arrived(number: int) -> str:
    event = (
        f'{{"specversion":"1.0","id":"e{number}","source":"/hub","type":"t","subject":"s","time":"t",'
        f'"datacontenttype":"application/json","sentinelcursor":"c{number}","data":{{}}}}'
    )
    return f"id: c{number}\ndata: {event}\n\n"


def test_a_stream_goes_on_after_the_last_whole_event() -> None:
    script = Script(
        stream(arrived(1), arrived(2), arrived(3)[:40], cut=True), httpx.ConnectError("refused"), problem(503, "unavailable"),
        stream(":\n\n", arrived(3), arrived(4), cut=False),
    )
    events = plain(script).events(after="c0")
    assert [next(events).id for _ in range(4)] == ["e1", "e2", "e3", "e4"]
    assert [request.headers["last-event-id"] for request in script.asked] == ["c0", "c2", "c2", "c2"]


def test_half_an_event_is_none() -> None:
    lines = Lines()
    assert [lines.feed(line) for line in ("id: a", "data: {}", "")] == [None, None, {}]
    lines.feed("id: b")
    lines.cut()
    assert (lines.feed(""), lines.last_id) == (None, "a")
