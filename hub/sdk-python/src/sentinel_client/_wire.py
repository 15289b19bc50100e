"""Every call as data: what to send, and how to read the answer. Both clients carry out the same calls, so they cannot differ."""

from __future__ import annotations

import json
import ssl
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx

from . import errors
from ._model import Model, Page, page_of

T = TypeVar("T")
M = TypeVar("M", bound=Model)

#: Pauses before a request is tried again, in seconds. A restarted hub is back within one or two.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
#: The longest pause that a hub may ask for with `Retry-After`, in seconds; who asks for more is not asked again.
LONGEST = 30.0
#: Rows of one page.
PAGE = 200
#: The hub says something every ten seconds on a stream: a silence of thirty is a lost connection.
STREAM = httpx.Timeout(10.0, read=30.0)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | int | bool] = field(default_factory=dict[str, str | int | bool])
    json: Any = None
    text: str | None = None
    content: bytes | None = None
    #: Under this key the hub does it once, however often it is sent.
    key: str | None = None
    #: How long the answer may take, in seconds.
    timeout: float = 30.0

    @property
    def repeatable(self) -> bool:
        return self.method == "GET" or self.key is not None

    def arguments(self) -> dict[str, Any]:
        """What `httpx` takes."""
        headers = {} if self.key is None else {"idempotency-key": self.key}
        content = self.content if self.text is None else self.text
        return {"params": self.params, "json": self.json, "content": content, "headers": headers, "timeout": self.timeout}


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
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return call.read(response.json() if is_json else response.text)
    try:
        document = response.json()
    except ValueError:
        document = {"detail": response.text[:200]}
    raise errors.of_answer(response.status_code, document)


def pause_before_repeat(call: Call[Any], response: httpx.Response, usual: float) -> float | None:
    """How long to wait before the same is sent again, in seconds; `None`: the answer stands."""
    asked = response.headers.get("retry-after", "")
    pause = max(usual, float(asked)) if asked.isdigit() else usual
    if pause > LONGEST:
        return None
    # Of too many requests none was carried out: it may be asked again, whatever it is.
    if response.status_code == 429:
        return pause
    if not call.repeatable:
        return None
    if response.status_code == 409 and call.key is not None:
        # The first sending is still being done.
        return pause if "in_flight" in response.text else None
    return pause if response.status_code in (502, 503, 504) else None


def unreachable(url: str, cause: Exception) -> errors.Unreachable:
    return errors.Unreachable(f"{url}: {cause or type(cause).__name__}")


# What `operations.py` is written with.


def as_it_is(answer: Any) -> Any:
    return answer


def text(answer: Any) -> str:
    return str(answer)


def nothing(_: Any) -> None:
    return None


def page(kind: type[M]) -> Callable[[Any], Page[M]]:
    return page_of(kind.of)


def rows(kind: type[M]) -> Callable[[Any], list[M]]:
    return lambda answer: [kind.of(row) for row in answer]


def part(text: str) -> str:
    """A part of a path."""
    return urllib.parse.quote(text, safe="")


def given(*pairs: tuple[str, str | int | bool | float | None]) -> dict[str, str | int | bool]:
    """The parameters that were given, as the hub reads them."""
    return {name: value if isinstance(value, str | int) else str(value) for name, value in pairs if value is not None}


def fresh_key() -> str:
    return str(uuid.uuid4())


# Streams.


@dataclass(slots=True)
class Lines:
    """Reads server-sent events line by line."""

    #: The last event's id: where a stream goes on after a cut.
    last_id: str | None = None
    _data: list[str] = field(default_factory=list[str])
    _id: str | None = None

    def headers(self) -> dict[str, str]:
        return {"accept": "text/event-stream"} | ({} if self.last_id is None else {"last-event-id": self.last_id})

    def feed(self, line: str) -> Any | None:
        """The JSON of the event that this line ends, or `None`."""
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:"):
            self._id = line[3:].strip()
        elif line == "":
            data, self._data = self._data, []
            if data:
                self.last_id = self._id or self.last_id
                return json.loads("\n".join(data))
        return None

    def cut(self) -> None:
        """The connection ended: half an event is none."""
        self._data, self._id = [], None
