"""Limits on what a consumer uses in a time: whether a request may go now, and what it is charged with afterwards.

The rule is the generic cell rate algorithm with one difference. A consumer that comes out of rest may use its whole
quota at once, as there; but what it used comes back, evenly, only after the first window has passed. The plain rule
lets twice the quota through in that window. Here, from a consumer's first request on, what passes is at no time more
than one quota, or its rate times the time gone by, whichever is more. A cost that is known only afterwards (bytes) may
go below nothing: the next request waits until that is made up for.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from mainstay.access.balances import Account, Balances
from mainstay.access.tiers import REQUESTS, Limit, Tier

KNOWN_CONSUMERS = 20_000
OTHER_CLOCK_S = 60.0
"""A time further ahead than this was not measured by our clock. Workers that wait for the lock are behind by less."""
_HAIR = 1e-3
"""Units by which a sum of floating-point numbers may be wrong."""


class Standing(NamedTuple):
    """How a consumer stands with one limit, this request counted in unless it has to wait for that limit."""

    limit: Limit
    wait_s: float
    """Until this request is within the limit; 0 where it is."""
    remaining: int
    """Units left, at least 0."""
    reset_s: float
    """Until there is more: in the first window its end; later, where some are left, until all are, so that who spreads
    `remaining` over `reset_s` keeps to the rate; where none is left, until one is."""


class Decision(NamedTuple):
    """`allowed` with `wait_s` above 0: the place is taken, go after that time. Not allowed: nothing was charged, and
    after `wait_s` it would be within the limits. `remaining` and `reset_s` are those of the tightest limit."""

    allowed: bool
    wait_s: float
    remaining: int
    reset_s: float
    standings: tuple[Standing, ...] = ()

    @property
    def exceeded(self) -> tuple[Standing, ...]:
        """Those that the request has to wait for."""
        return tuple(standing for standing in self.standings if standing.wait_s > 0)


UNLIMITED = Decision(True, 0.0, 0, 0.0)


class Limits:
    """The limits of one tier. Each consumer has a balance of its own, which all workers share."""

    def __init__(self, balances: Balances, tier: Tier) -> None:
        self._balances = balances
        self._limits = tier.limits
        self._accounts: dict[str, list[tuple[Limit, Account]]] = {}

    def check(self, consumer: str, cost: int = 1, now: float | None = None, *, max_wait_s: float = 0.0) -> Decision:
        """Whether a request may go, now or within `max_wait_s`; if so, limits on requests are charged with `cost`.
        Limits on bytes only have to be in credit. All of them allow it and are charged, or none is.

        `now` is in seconds of CLOCK_MONOTONIC. Takes a few microseconds, and next to nothing without limits.
        """
        if not self._limits:
            return UNLIMITED
        now = time.monotonic() if now is None else now
        accounts, balances = self._accounts_of(consumer), self._balances
        balances.lock()
        try:
            wait_s, standings = 0.0, []
            for limit, account in accounts:
                standing = _take(balances, account, limit, cost, now, max_wait_s)
                standings.append(standing)
                wait_s = max(wait_s, standing.wait_s)
            if wait_s > max_wait_s:
                for standing, (_, account) in zip(standings, accounts):
                    if standing.wait_s <= max_wait_s and standing.limit.unit == REQUESTS:
                        _add(balances, account, standing.limit, -cost, now)
        finally:
            balances.unlock()
        tightest = standings[0] if len(standings) == 1 else min(standings, key=_tightness)
        return Decision(wait_s <= max_wait_s, wait_s, tightest.remaining, tightest.reset_s, tuple(standings))

    def charge(self, consumer: str, size_bytes: int, now: float | None = None) -> None:
        """Charge limits on bytes with a reply that has ended, whether there is credit for it or not."""
        self._charge(consumer, size_bytes, now, is_requests=False)

    def refund(self, consumer: str, cost: int = 1, now: float | None = None) -> None:
        """Give back what `check` charged: the request was not made after all, or costs nothing."""
        self._charge(consumer, -cost, now, is_requests=True)

    def _charge(self, consumer: str, units: int, now: float | None, *, is_requests: bool) -> None:
        meant = [(limit.unit == REQUESTS) == is_requests for limit in self._limits]
        if not any(meant) or not units:
            return
        now = time.monotonic() if now is None else now
        accounts, balances = self._accounts_of(consumer), self._balances
        balances.lock()
        try:
            for (limit, account), is_meant in zip(accounts, meant):
                if is_meant:
                    _add(balances, account, limit, units, now)
        finally:
            balances.unlock()

    def _accounts_of(self, consumer: str) -> list[tuple[Limit, Account]]:
        accounts = self._accounts.get(consumer)
        if accounts is None:
            if len(self._accounts) >= KNOWN_CONSUMERS:
                self._accounts.clear()
            accounts = [(limit, Account(f"{consumer} {limit.name} {limit.quota}")) for limit in self._limits]
            self._accounts[consumer] = accounts
        return accounts


def _take(balances: Balances, account: Account, limit: Limit, cost: int, now: float, max_wait_s: float) -> Standing:
    """Charge `cost`, unless it would have to wait too long or is known only later, and say how things stand then."""
    used, since = _settled(balances, account, limit, now)
    elapsed_s = now - since
    quota, window_s = limit.quota, limit.window_s
    if limit.unit != REQUESTS:
        cost = 0
    room = quota if elapsed_s <= window_s else quota * elapsed_s / window_s
    # What costs more than the whole quota goes when all of it is there, and leaves a debt.
    wanted = used + min(cost, quota)
    wait_s = wanted * window_s / quota - elapsed_s if wanted > room + _HAIR else 0.0
    if wait_s <= max_wait_s:
        used += cost
        balances.save(account, used, since, since + (used / quota + 1) * window_s)
    remaining = max(0, int(room - used + _HAIR))
    if not remaining:
        reset_s = (used + 1) * window_s / quota - elapsed_s
    elif elapsed_s < window_s:
        reset_s = window_s - elapsed_s
    else:
        reset_s = (used / quota + 1) * window_s - elapsed_s
    return Standing(limit, wait_s, remaining, reset_s)


def _add(balances: Balances, account: Account, limit: Limit, units: int, now: float) -> None:
    used, since = _settled(balances, account, limit, now)
    used = max(0.0, used + units)
    balances.save(account, used, since, since + (used / limit.quota + 1) * limit.window_s)


def _settled(balances: Balances, account: Account, limit: Limit, now: float) -> tuple[float, float]:
    """What was used since when; begun anew where all of the quota is there again, or the clock is another one."""
    used, since = balances.load(account, now)
    elapsed_s = now - since
    if elapsed_s < -OTHER_CLOCK_S or used <= limit.quota * (elapsed_s / limit.window_s - 1):
        return 0.0, now
    return used, since


def _tightness(standing: Standing) -> tuple[float, float]:
    return -standing.wait_s, standing.remaining / standing.limit.quota


def duration_in_words(seconds: float) -> str:
    """Such as "61 s", "3 minutes", "2 days"; rounded up, so that who comes back then is let in."""
    for size_s, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size_s:
            return f"{-(-seconds // size_s):.0f} {unit}"
    return f"{-(-seconds // 1):.0f} s"
