"""Who may ask upstream when: the limits of the caller's tier, then its place in the queue for that registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from mainstay.access.balances import Balances
from mainstay.access.fair import FairQueue, Pace
from mainstay.access.headers import concurrency_of, render_policies, render_retry_after, render_standings
from mainstay.access.identity import Caller
from mainstay.access.limits import Decision, Limits, duration_in_words
from mainstay.access.rounds import Turn
from mainstay.access.tiers import Lane, Tier, Tiers
from mainstay.errors import QuotaExceeded
from mainstay.upstream.cost import Cost, current_cost
from mainstay.upstream.politeness import load_budget
from mainstay.upstream.registry import Upstream


class Payer(NamedTuple):
    """On whose account upstream is asked: the caller, and the class of its program."""

    caller: Caller
    client_class: str


class Turns:
    """The turns of one worker at every registry."""

    def __init__(self, tiers: Tiers, balances: Balances, workers: int) -> None:
        self._tiers, self._workers = tiers, workers
        self._limits = {name: Limits(balances, tier) for name, tier in tiers.items()}
        self._queues: dict[str, FairQueue] = {}
        self.counts_hits = any(tier.charges_hits and tier.limits for tier in tiers.values())
        """Whether any tier is charged with what the store answers, so that no reply may be given uncounted."""

    @asynccontextmanager
    async def turn(self, upstream: Upstream) -> AsyncIterator[Callable[[int], None]]:
        """Wait for a turn at `upstream` on the account of the request that this task works for, and hold it. What it
        gives is to be called with the bytes that came.

        Raises:
            QuotaExceeded: the caller's tier does not allow it in time.
        """
        cost = current_cost()
        payer = cost.payer if cost is not None else None
        if cost is None or not isinstance(payer, Payer):
            async with self._queue(upstream).turn("mainstay", Lane.CI) as turn:
                yield turn.charge
            return
        caller, tier = payer.caller, self._tiers.of(payer.caller.tier)
        if not tier.charges_hits:
            await self._admit(caller, tier, cost)
        queue = self._queue(upstream)

        def on_wait(turn: Turn) -> None:
            # Who joins a fetch that waits far back in the queue is not to wait there as well.
            def hasten(other: object) -> None:
                if isinstance(other, Payer):
                    queue.hasten(turn, *self._place(other))

            cost.on_join = hasten

        waiting = [payer, *(other for other in cost.joined_by if isinstance(other, Payer))]
        place = min((self._place(other) for other in waiting), key=lambda place: place[1])
        async with queue.turn(*place, on_wait=on_wait) as turn:
            cost.on_join = None
            cost.queue_s += turn.waited_s

            def charge(size_bytes: int) -> None:
                turn.charge(size_bytes)
                if not tier.charges_hits and cost.throttled != "would-refuse":
                    self._limits[tier.name].charge(caller.consumer, size_bytes)

            yield charge

    def _place(self, payer: Payer) -> tuple[str, Lane, float, int | None]:
        tier = self._tiers.of(payer.caller.tier)
        lane, share = tier.lane_of(payer.client_class), tier.concurrency_share(self._workers)
        return payer.caller.consumer, lane, tier.weight, share

    async def admit_reply(self, caller: Caller, cost: Cost) -> None:
        """Count a request of a tier that is charged with every reply, before it is answered. Raises as `turn`."""
        tier = self._tiers.of(caller.tier)
        if tier.charges_hits:
            await self._admit(caller, tier, cost)

    def charge_reply(self, caller: Caller, size_bytes: int) -> None:
        """Charge such a tier with what was sent."""
        tier = self._tiers.of(caller.tier)
        if tier.charges_hits and size_bytes:
            self._limits[tier.name].charge(caller.consumer, size_bytes)

    async def _admit(self, caller: Caller, tier: Tier, cost: Cost) -> None:
        limits = self._limits[tier.name]
        # Evaluated as it would be enforced: what would have been refused is not charged, or all that follows would be.
        decision: Decision = limits.check(caller.consumer, max_wait_s=tier.max_wait_s)
        if not tier.is_enforced:
            if decision.wait_s:
                cost.throttled = "would-wait" if decision.allowed else "would-refuse"
            return
        if not decision.allowed:
            cost.throttled = "refused"
            raise _refused(caller, tier, decision)
        if decision.wait_s:
            cost.throttled = "waited"
            cost.queue_s += decision.wait_s
            try:
                await asyncio.sleep(decision.wait_s)
            except asyncio.CancelledError:
                limits.refund(caller.consumer)
                raise

    def _queue(self, upstream: Upstream) -> FairQueue:
        if upstream.id not in self._queues:
            budget = load_budget(upstream.ecosystem.id, self._workers)
            self._queues[upstream.id] = FairQueue(budget.concurrency, Pace(budget.requests_per_s, budget.burst))
        return self._queues[upstream.id]


def _refused(caller: Caller, tier: Tier, decision: Decision) -> QuotaExceeded:
    over, consumer = decision.exceeded, caller.consumer
    used = " and its ".join(standing.limit.words for standing in over)
    retry_after_s = int(render_retry_after(over, decision.wait_s))
    return QuotaExceeded(
        f"{consumer} has used up its {used} (tier {tier.name}).",
        hint=f"Try again in {duration_in_words(retry_after_s)}; for more, ask whoever runs this gateway.",
        retry_after_s=retry_after_s,
        headers=(
            ("ratelimit-policy", render_policies(tier.limits, concurrency_of(tier), consumer)),
            ("ratelimit", render_standings(over, consumer)),
        ),
        violated=tuple(standing.limit.name for standing in over),
    )
