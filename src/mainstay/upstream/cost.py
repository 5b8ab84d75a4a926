"""What one request costs upstream: counted where upstream is asked, however deep below the request that is."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field


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
    joined_by: list[object] = field(default_factory=list)
    """Payers of requests that wait for what this one asks upstream."""
    on_join: Callable[[object], None] | None = None
    """Told of each while a turn is waited for."""

    def join(self, other: Cost | None) -> None:
        """Another request waits for the same: what it is asked by must not stand further back than that one would."""
        if other is not None and other is not self:
            self.joined_by.append(other.payer)
            if self.on_join is not None:
                self.on_join(other.payer)


_current: ContextVar[Cost | None] = ContextVar("mainstay_cost", default=None)


def open_cost() -> Cost:
    """Begin to count for the request that this task answers."""
    cost = Cost()
    _current.set(cost)
    return cost


def current_cost() -> Cost | None:
    """Who pays for what this task asks of upstream; None for the gateway's own work."""
    return _current.get()
