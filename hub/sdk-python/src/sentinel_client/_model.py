"""How answers become dataclasses: by the types of their fields, so that `models.py` needs declarations only."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Generic, Self, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .errors import NotUnderstood

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")
Read: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Something that a hub tells."""

    #: The whole answer, with fields that this version does not know.
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, json: Json) -> Self:
        """Reads it. Raises `NotUnderstood` where the hub tells something else, as a hub of another time may."""
        try:
            return cls(raw=json, **{name: read(json[key]) for name, key, read in _plan(cls) if key in json})
        except (AttributeError, KeyError, TypeError, ValueError) as cause:
            raise NotUnderstood(f"{cls.__name__} is not what this client knows: {cause}") from cause


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    rows: list[T]
    #: Give it back as `before` or `after` for the next page; `None` on the last one.
    next_cursor: str | None


Plan: TypeAlias = list[tuple[str, str, Read]]
_PLANS: dict[type[Model], Plan] = {}


def _plan(kind: type[Model]) -> Plan:
    """Each field's name, its key in JSON, and what reads it; found out once."""
    if kind not in _PLANS:
        hints = get_type_hints(kind)
        names = [part.name for part in fields(kind) if part.name != "raw"]
        _PLANS[kind] = [(name, name.removesuffix("_"), _reader(hints[name])) for name in names]
    return _PLANS[kind]


def _reader(hint: Any) -> Read:
    origin, inside = get_origin(hint), get_args(hint)
    if hint is datetime:
        return _time
    if isinstance(hint, type) and issubclass(hint, Model):
        return hint.of
    if origin is list:
        one = _reader(inside[0])
        return lambda value: [one(item) for item in value]
    if origin is dict:
        one = _reader(inside[1])
        return lambda value: {key: one(item) for key, item in value.items()}
    if origin is tuple:
        each = [_reader(part) for part in inside]
        return lambda value: tuple(read(item) for read, item in zip(each, value, strict=True))
    if origin in (Union, types.UnionType):
        some = [part for part in inside if part is not types.NoneType]
        if len(some) == 1:
            one = _reader(some[0])
            return lambda value: None if value is None else one(value)
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def _time(text: str) -> datetime:
    """RFC 3339; what lies beyond its years (`unix-ms:…`) is the last moment or the first that Python knows."""
    if text.startswith("unix-ms:"):
        return (datetime.min if text.startswith("unix-ms:-") else datetime.max).replace(tzinfo=UTC)
    return datetime.fromisoformat(text)


def page_of(read: Callable[[Json], T]) -> Callable[[Any], Page[T]]:
    """What reads a page by what reads a row."""

    def whole(answer: Any) -> Page[T]:
        try:
            items, cursor = cast("list[Json]", answer["items"]), answer.get("next_cursor")
        except (AttributeError, KeyError, TypeError) as cause:
            raise NotUnderstood(f"this is no page of a list: {cause}") from cause
        return Page([read(row) for row in items], cursor)

    return whole
