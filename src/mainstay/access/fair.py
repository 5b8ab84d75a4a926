"""Turns at upstream, shared out fairly: by lane, then by consumer, in the order of asking within one.

What somebody waits for goes before CI, CI before scanners and mirrors; within a lane the consumers take part in a
deficit round robin. What holds, in any order of events:

- A turn that may be had is had at once. Nobody polls, and a waiter that leaves takes nothing with it.
- While the interactive lane is in use, the lower two hold no more than a quarter of the slots when they get one (at
  least one slot). Bulk never takes the last quarter (none where there is one slot only). So who installs something by
  hand finds room at once, and others delay it by one of their turns and by what they keep, however many they are.
- Nobody starves: a lane that was passed over for `PATIENCE` turns has the next slot that it may have.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mainstay.access.rounds import Flow, Rounds, Turn
from mainstay.access.tiers import Lane

PATIENCE = 8
LINGER_S = 2.0
"""The interactive lane counts as in use for so long after it was: one request leads to the next."""
KEPT_OF_BURST = (0.0, 0.25, 0.75)
"""By lane: the part of a burst that it leaves to the lanes before it."""


class Pace:
    """A request rate with bursts (token bucket). The lower lanes leave part of a burst to those before them."""

    def __init__(self, requests_per_s: float, burst: float) -> None:
        self._rate, self._burst = requests_per_s, max(1.0, burst)
        self._level, self._at = self._burst, -math.inf

    def wait_s(self, lane: Lane, now: float) -> float:
        """Until a request of this lane may go; 0 where it may."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        missing = 1 + KEPT_OF_BURST[lane] * (self._burst - 1) - self._level
        return missing / self._rate if missing > 1e-6 else 0.0

    def take(self) -> None:
        """A request goes."""
        self._level -= 1


class _Line:
    """One lane of a queue."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.rounds = Rounds()
        self.held = 0
        self.passed_over = 0
        """Turns that other lanes had while somebody waited here, since this lane had its last."""

    @property
    def is_overdue(self) -> bool:
        return self.passed_over >= PATIENCE

    @property
    def rank(self) -> int:
        """Its place among the lanes: the overdue ones go first, the lowest of them before all."""
        return -self.lane - 1 if self.is_overdue else self.lane


class FairQueue:
    """The turns of one worker at one registry: at most `slots` at a time, and at a `pace` where one is given.

    Belongs to one event loop.
    """

    def __init__(self, slots: int, pace: Pace | None = None) -> None:
        self._slots, self._pace = slots, pace
        self._quarter = max(1, slots // 4)
        self._lines = [_Line(lane) for lane in Lane]
        self._held: dict[str, int] = {}
        self._in_use = 0
        self._interactive_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(
        self,
        consumer: str,
        lane: int,
        weight: float = 1.0,
        concurrency: int | None = None,
        on_wait: Callable[[Turn], None] = lambda _: None,
    ) -> AsyncIterator[Turn]:
        """Wait for a turn, and hold it for the length of the request.

        `weight` and `concurrency` are those of the consumer's tier; what was given last holds for all its turns.
        `on_wait` is given the turn before it is had, for `hasten`.
        """
        flow = self._flow(consumer, lane, weight, concurrency)
        turn = Turn(Lane(lane), flow, asyncio.get_running_loop().create_future())
        on_wait(turn)
        await self._have(turn)
        try:
            yield turn
        finally:
            self._give_back(turn)

    def hasten(self, turn: Turn, consumer: str, lane: int, weight: float = 1.0, concurrency: int | None = None) -> None:
        """Somebody else waits for what a turn is to bring. If it is still waited for, and that one's lane goes before
        its own, it is that one's turn from now on."""
        if turn.granted.done() or lane >= turn.lane:
            return
        self._lines[turn.lane].rounds.drop(turn.flow, turn)
        turn.lane, turn.flow = Lane(lane), self._flow(consumer, lane, weight, concurrency)
        self._lines[lane].rounds.add(turn.flow, turn)
        self._share_out()

    def _flow(self, consumer: str, lane: int, weight: float, concurrency: int | None) -> Flow:
        flow = self._lines[lane].rounds.flow(consumer)
        flow.weight, flow.concurrency = weight, concurrency
        return flow

    async def _have(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._lines[turn.lane].rounds.add(turn.flow, turn)
        self._share_out()
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn.granted.cancelled():
                self._lines[turn.lane].rounds.drop(turn.flow, turn)
                self._share_out()
            else:
                # Granted in the moment of leaving.
                self._give_back(turn)
            raise
        turn.waited_s = loop.time() - began

    def _give_back(self, turn: Turn) -> None:
        line, flow = self._lines[turn.lane], turn.flow
        self._in_use -= 1
        line.held -= 1
        flow.held -= 1
        self._held[flow.consumer] -= 1
        if not self._held[flow.consumer]:
            del self._held[flow.consumer]
        if line.lane is Lane.INTERACTIVE:
            self._interactive_at = asyncio.get_running_loop().time()
        self._share_out()

    def _share_out(self) -> None:
        """Give out every turn that may be had now, and come back where time alone will allow another."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._lines[Lane.INTERACTIVE].rounds:
            self._interactive_at = now
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait_s = 0.0
        while self._in_use < self._slots and not wait_s:
            wait_s = self._grant_one(now)
        if 0 < wait_s < math.inf:
            self._timer = loop.call_later(wait_s, self._share_out)

    def _grant_one(self, now: float) -> float:
        """Give out one turn and return 0.0, or how long none may be had if nothing but time passes."""
        wait_s = math.inf
        for line in sorted((line for line in self._lines if line.rounds), key=lambda line: line.rank):
            flow = line.rounds.next(self._held)
            if flow is None:
                continue
            own_wait_s = max(self._room_wait_s(line, now), self._pace_wait_s(line, now))
            if not own_wait_s:
                self._grant(line, flow)
                return 0.0
            wait_s = min(wait_s, own_wait_s)
        return wait_s

    def _grant(self, line: _Line, flow: Flow) -> None:
        for other in self._lines:
            other.passed_over = other.passed_over + 1 if other is not line and other.rounds else 0
        turn = line.rounds.take(flow)
        self._in_use += 1
        line.held += 1
        flow.held += 1
        self._held[flow.consumer] = self._held.get(flow.consumer, 0) + 1
        if self._pace is not None:
            self._pace.take()
        turn.granted.set_result(None)

    def _room_wait_s(self, line: _Line, now: float) -> float:
        """0.0 where the lane may have one of the free slots; else how long not, if no turn ends before."""
        if line.lane is Lane.INTERACTIVE:
            return 0.0
        bulk, lower = self._lines[Lane.BULK].held, self._lines[Lane.CI].held + self._lines[Lane.BULK].held
        if line.lane is Lane.BULK and self._slots > 1 and bulk >= self._slots - self._quarter:
            return math.inf
        if lower < self._quarter:
            return 0.0
        return math.inf if self._lines[Lane.INTERACTIVE].rounds else max(0.0, self._interactive_at + LINGER_S - now)

    def _pace_wait_s(self, line: _Line, now: float) -> float:
        if self._pace is None:
            return 0.0
        # Who was passed over for too long has as good a claim to what there is as the first lane.
        return self._pace.wait_s(Lane.INTERACTIVE if line.is_overdue else line.lane, now)
