"""What one request costs upstream: counted where upstream is asked, however deep below the request that is."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Cost:
    """Requests and body bytes that a request has caused upstream so far, and the time it waited for its turns.

    Tasks inherit it from the request that began them. Once the reply is recorded, `is_closed`: what comes later is told
    of by itself, with `payer` as the one who caused it.
    """

    payer: object = None
    """Who is to be told of it, in words of whoever opened it."""
    requests: int = 0
    size_bytes: int = 0
    queue_s: float = 0.0
    throttled: str = ""
    """What limits did to it: "", waited, refused, would-wait or would-refuse."""
    is_closed: bool = False


_current: ContextVar[Cost | None] = ContextVar("mainstay_cost", default=None)


def open_cost() -> Cost:
    """Begin to count for the request that this task answers."""
    cost = Cost()
    _current.set(cost)
    return cost


def current_cost() -> Cost | None:
    """Who pays for what this task asks of upstream; None for the gateway's own work."""
    return _current.get()
