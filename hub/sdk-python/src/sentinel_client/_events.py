"""What the hub's stream tells. It is no body of the OpenAPI document, so its few kinds stand here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from . import models as m
from ._model import Json


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream."""

    #: `hello`, `node`, `decision`, `sample`, `policy`, `reset` or `tick`.
    kind: str
    node: m.NodeView | None
    decision: m.DecisionView | None
    policy: m.PolicyView | None
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        kind = json["event"]
        data: Json = json.get("data") or {}
        return cls(
            kind=kind, node=m.NodeView.of(data) if kind == "node" else None,
            decision=m.DecisionView.of(data) if kind == "decision" else None,
            policy=m.PolicyView.of(data) if kind == "policy" else None, raw=json,
        )

    @classmethod
    def reset(cls) -> Self:
        """Events may have been missed: read your lists again."""
        return cls(kind="reset", node=None, decision=None, policy=None, raw={"event": "reset"})


def is_whole(row: m.VerifyView) -> bool:
    """Everything that the node made is stored once, and its chain holds."""
    return row.chain_ok and row.missing == 0 and row.double == 0
