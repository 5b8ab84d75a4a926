"""What upstream is spared: a request budget per registry, rest when it asks for rest, one probe at a time after."""

from __future__ import annotations

import random
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.resources import files
from typing import Any, Protocol

from mainstay.errors import UpstreamUnavailable

LONGEST_REST_S = 3600.0
SHORTEST_REST_S = 0.001
LONGEST_OWN_REST_S = 60.0
FAILURES_BEFORE_REST = 8
PROBE_LEASE_S = 5.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests a second, requests at once after a pause, and requests under way, for the whole gateway."""

    requests_per_s: float
    burst: float
    concurrency: int

    def share(self, workers: int) -> Budget:
        """One worker's part."""
        return Budget(
            self.requests_per_s / workers, max(1.0, self.burst / workers), max(1, self.concurrency // workers)
        )


class Rests(Protocol):
    """Until when each upstream rests (wall clock, seconds), seen by every worker. 0 where it does not."""

    def rest_until(self, upstream: str) -> float:
        """The time until which it rests."""

    def set_rest(self, upstream: str, until: float) -> None:
        """Have it rest until then."""

    def replace_rest(self, upstream: str, seen: float, until: float) -> bool:
        """Have it rest until then, unless the time is no longer the one that was seen."""


def load_budget(ecosystem: str, workers: int) -> Budget:
    """The dated budget of an ecosystem's registry, as one worker's share."""
    data: dict[str, Any] = tomllib.loads((files("mainstay.upstream") / "registries.toml").read_text("utf-8"))
    entry = {**data["default"], **data["registries"].get(ecosystem, {})}
    return Budget(entry["requests_per_s"], entry["burst"], entry["concurrency"]).share(workers)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from a Retry-After of either form (RFC 9110 section 10.2.3), at most an hour; or None."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), LONGEST_REST_S)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - datetime.fromtimestamp(now, UTC).timestamp()), LONGEST_REST_S)


class Breaker:
    """Keeps away from an upstream that asked for rest or keeps failing.

    The whole state is the shared rest time: 0 is closed, a time to come is open, a time gone by is half open. Who finds
    it half open takes a short lease by setting a new rest time, asks once, and its outcome closes or opens it. A prober
    that dies just lets its lease run out, so the probe cannot wedge.
    """

    def __init__(self, upstream: str, rests: Rests) -> None:
        self._upstream = upstream
        self._rests = rests
        self._failures = 0
        self._next_rest_s = 1.0
        self._lease = 0.0

    @property
    def rest_s(self) -> float:
        """Seconds of rest left."""
        return max(0.0, self._rests.rest_until(self._upstream) - time.time())

    def check(self) -> float:
        """Pass where it does not rest; returns the rest time that has gone by, 0 where there was none.

        Raises:
            UpstreamUnavailable: resting, with the time left.
        """
        until, now = self._rests.rest_until(self._upstream), time.time()
        if until > now:
            raise UpstreamUnavailable(
                f"{self._upstream} is given a rest after it failed or asked for one.",
                hint=f"Try again in {max(1, round(until - now))} s.",
                retry_after_s=max(1.0, until - now),
            )
        return until

    def admit(self) -> None:
        """Pass, or take the probe, in the moment of asking.

        Raises:
            UpstreamUnavailable: resting, with the time left.
        """
        while until := self.check():
            lease = time.time() + PROBE_LEASE_S
            if self._rests.replace_rest(self._upstream, until, lease):
                self._lease = lease
                return

    def answered(self) -> None:
        """Upstream answers: a probe need not wait for the end of a long body to let others pass."""
        # A reply that was under way when upstream asked for rest does not end it: the probe's does.
        if self._rests.rest_until(self._upstream) == self._lease > 0:
            self._rests.set_rest(self._upstream, 0.0)

    def succeeded(self) -> None:
        """A reply has come whole, so that failures are counted from none."""
        self.answered()
        self._failures, self._next_rest_s = 0, 1.0

    def failed(self, retry_after_s: float | None = None, *, overloaded: bool = False) -> None:
        """Upstream failed. With a Retry-After it rests that long; overloaded (429) or failing again and again, for a
        growing time of our own choosing, with jitter so that many gateways do not come back together."""
        self._failures += 1
        resting, now = self._rests.rest_until(self._upstream), time.time()
        probing = resting == self._lease > 0
        if retry_after_s is None and not overloaded and not probing and self._failures < FAILURES_BEFORE_REST:
            return
        if retry_after_s is None and not probing and resting > now:
            # It was under way when the rest began: one trouble, however many requests it meets, is one rest.
            return
        if retry_after_s is None:
            retry_after_s = self._next_rest_s * random.uniform(0.75, 1.25)  # noqa: S311
            self._next_rest_s = min(self._next_rest_s * 2, LONGEST_OWN_REST_S)
        until = now + max(retry_after_s, SHORTEST_REST_S)
        self._rests.set_rest(self._upstream, until if probing else max(until, resting))
