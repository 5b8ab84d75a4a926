"""Attempts to sign in, counted in memory: by address, so that nobody tries at length, and in all, so that nobody keeps
the database busy from many addresses. A token has 190 random bits: none is found by trying."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from mainstay.access.pseudonym import parse_address

KEPT_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """`attempts` at once, and another one every `refill_s` seconds."""

    attempts: int
    refill_s: float


PER_ADDRESS = Allowance(10, 30.0)
IN_ALL = Allowance(300, 0.5)


class Attempts:
    """The attempts that failed or are under way. Addresses are in memory only."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._used_in_all = (0.0, 0.0)

    def take(self, address: str) -> float:
        """Count an attempt and return 0.0; where there are too many, the seconds to wait, and nothing is counted.

        It counts before it is known to fail, or many at one time would be for nothing.
        """
        name, now = _site_of(address), time.monotonic()
        own, in_all = _left(self._used.get(name), PER_ADDRESS, now), _left(self._used_in_all, IN_ALL, now)
        wait_s = max(0.0, _wait_s(own, PER_ADDRESS), _wait_s(in_all, IN_ALL))
        if not wait_s:
            self._keep(name, own + 1, now)
            self._used_in_all = (in_all + 1, now)
        return wait_s

    def give_back(self, address: str) -> None:
        """An attempt was a right one: it does not count."""
        name, now = _site_of(address), time.monotonic()
        self._keep(name, max(0.0, _left(self._used.get(name), PER_ADDRESS, now) - 1), now)
        self._used_in_all = (max(0.0, _left(self._used_in_all, IN_ALL, now) - 1), now)

    def _keep(self, name: str, used: float, now: float) -> None:
        self._used[name] = (used, now)
        self._used.move_to_end(name)
        while len(self._used) > KEPT_ADDRESSES:
            self._used.popitem(last=False)


def _left(kept: tuple[float, float] | None, allowance: Allowance, now: float) -> float:
    """What of the attempts counts still."""
    used, since = kept or (0.0, now)
    return max(0.0, used - (now - since) / allowance.refill_s)


def _wait_s(used: float, allowance: Allowance) -> float:
    return (used + 1 - allowance.attempts) * allowance.refill_s


def _site_of(address: str) -> str:
    """The address, of IPv6 its /64: that is what one caller has."""
    parsed = parse_address(address)
    return (
        str(IPv6Network((int(parsed) >> 64 << 64, 64))) if isinstance(parsed, IPv6Address) else str(parsed or address)
    )
