"""Typed client of a Sentinel hub's API.

`Sentinel` is for plain code, `AsyncSentinel` for async code; both have the same calls.
"""

from .aio import AsyncSentinel
from .client import Sentinel
from .errors import BadRequest, Conflict, Denied, NotFound, Problem, SentinelError, Unauthorized, Unavailable, Unreachable
from .models import ActOutcome, Decision, Domain, Event, Gpu, JoinToken, Node, Policy, PublishedBundle, Verification

__all__ = [
    "ActOutcome", "AsyncSentinel", "BadRequest", "Conflict", "Decision", "Denied", "Domain", "Event", "Gpu", "JoinToken", "Node",
    "NotFound", "Policy", "Problem", "PublishedBundle", "Sentinel", "SentinelError", "Unauthorized", "Unavailable", "Unreachable",
    "Verification",
]
__version__ = "0.1.0"
