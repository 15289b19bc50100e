"""Typed client of a Sentinel hub's API.

`Sentinel` is for plain code, `AsyncSentinel` for async code; both have the same calls. `operations` has every route of the API for their `send`,
`models` has what routes take and give; both are generated from the hub's OpenAPI document.
"""

from . import models, operations
from ._events import Event, is_whole
from ._model import Model, Page
from ._wire import Call
from .aio import AsyncSentinel
from .client import Sentinel
from .errors import BadRequest, Conflict, Denied, NotFound, NotUnderstood, Problem, SentinelError, Unauthorized, Unavailable, Unreachable

__all__ = [
    "AsyncSentinel", "BadRequest", "Call", "Conflict", "Denied", "Event", "Model", "NotFound", "NotUnderstood", "Page", "Problem", "Sentinel",
    "SentinelError", "Unauthorized", "Unavailable", "Unreachable", "is_whole", "models", "operations",
]
__version__ = "0.1.0"
