"""What a hub tells, as plain typed values. `raw` is the whole answer, with fields that this version does not know."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, TypeAlias

Json: TypeAlias = dict[str, Any]


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU with its latest values; `None` where the sensor could not say."""

    id: str
    model: str
    #: A program plays it.
    simulated: bool
    temperature_celsius: float | None
    power_watts: float | None
    power_cap_watts: float | None
    #: 0 to 1.
    used: float | None
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(
            id=json["id"], model=json["model"], simulated=json["simulated"],
            temperature_celsius=json.get("temperature_celsius"), power_watts=json.get("power_watts"),
            power_cap_watts=json.get("power_cap_watts"), used=json.get("used_ratio"), raw=json,
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A node as of `last_seen`."""

    name: str
    site: str
    #: `connected`, `working_alone`, `unknown` or `down`.
    state: str
    last_seen: datetime | None
    #: How long ago that was, by the hub's own clock.
    age_seconds: float | None
    policy_generation: int
    #: Entries that it has made and the hub has not stored.
    backlog_entries: int
    labels: dict[str, str]
    #: What the age of its policy still lets it do: `full`, `reversible`, `protective` or `observe`.
    authority: str
    held_by: str | None
    #: Why the hub itself has quarantined it.
    quarantined: str | None
    #: Why a person has shut it out.
    shut_out: str | None
    version: str
    gpus: list[Gpu]
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(
            name=json["name"], site=json["site"], state=json["state"], last_seen=_time(json.get("last_seen")),
            age_seconds=json.get("age_seconds"), policy_generation=json["policy_generation"],
            backlog_entries=json["backlog_entries"], labels=json.get("labels", {}), authority=json["authority"],
            held_by=json.get("held_by"), quarantined=json.get("quarantined"), shut_out=json.get("shut_out"), version=json["version"],
            gpus=[Gpu.of(gpu) for gpu in json.get("gpus", [])], raw=json,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision of a node."""

    #: `node.epoch.seq`.
    id: str
    node: str
    at: datetime | None
    action: str
    target: str
    summary: str
    #: `allow`, `clamp`, `hold`, `require_approval` or `deny`.
    verdict: str
    #: The rule that determined it.
    rule: str
    #: Whether the node had a session with the hub.
    connected: bool
    outcome: str
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(
            id=json["id"], node=json["node"], at=_time(json.get("at")), action=json["action"], target=json["target"],
            summary=json["summary"], verdict=json["verdict"], rule=json["rule"], connected=json["connected"],
            outcome=json["outcome"], raw=json,
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A published bundle."""

    generation: int
    name: str
    active: bool
    #: Nodes on which it is active, and all that should have it.
    nodes: int
    nodes_total: int
    text: str
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(
            generation=json["generation"], name=json["name"], active=json["active"], nodes=json["nodes"],
            nodes_total=json["nodes_total"], text=json["text"], raw=json,
        )


@dataclass(frozen=True, slots=True)
class PublishedBundle:
    """A bundle that was just published."""

    generation: int
    nodes_total: int
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(generation=json["bundle"]["generation"], nodes_total=json["nodes_total"], raw=json)


@dataclass(frozen=True, slots=True)
class Domain:
    """What nodes have in common and rules count."""

    domain: str
    members: int
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(domain=json["domain"], members=json["members"], raw=json)


@dataclass(frozen=True, slots=True)
class ActOutcome:
    """What came of a request to act."""

    #: `done`, `denied`, `waiting` or `refused`.
    status: str
    detail: str
    decision: Decision | None
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        decision = json.get("decision")
        return cls(status=json["status"], detail=json["detail"], decision=Decision.of(decision) if decision else None, raw=json)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token, good for one machine. It is shown once."""

    token: str = field(repr=False)
    ca_pin: str
    address: str
    ends: datetime | None
    #: The whole line to type on the new node.
    join_line: str = field(repr=False)
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(
            token=json["token"], ca_pin=json["ca_pin"], address=json["address"], ends=_time(json.get("ends")),
            join_line=json["join_line"], raw=json,
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """A node's journal against the hub's store."""

    node: str
    produced: int
    stored: int
    missing: int
    double: int
    chain_ok: bool
    raw: Json = field(repr=False)

    @property
    def whole(self) -> bool:
        """Everything that the node made is stored once, and its chain holds."""
        return self.chain_ok and self.missing == 0 and self.double == 0

    @classmethod
    def of(cls, json: Json) -> Self:
        return cls(
            node=json["node"], produced=json["produced"], stored=json["stored"], missing=json["missing"], double=json["double"],
            chain_ok=json["chain_ok"], raw=json,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream."""

    #: `hello`, `node`, `decision`, `sample`, `policy`, `reset` or `tick`.
    kind: str
    node: Node | None
    decision: Decision | None
    policy: Policy | None
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        kind = json["event"]
        data: Json = json.get("data") or {}
        return cls(
            kind=kind, node=Node.of(data) if kind == "node" else None, decision=Decision.of(data) if kind == "decision" else None,
            policy=Policy.of(data) if kind == "policy" else None, raw=json,
        )

    @classmethod
    def reset(cls) -> Self:
        """Events may have been missed: read your lists again."""
        return cls(kind="reset", node=None, decision=None, policy=None, raw={"event": "reset"})
