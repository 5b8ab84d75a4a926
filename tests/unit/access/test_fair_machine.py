"""What holds of the fair queue in any order of events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from mainstay.access.fair import LINGER_S, FairQueue
from mainstay.access.tiers import Lane
from unit.access.virtual import VirtualLoop

LIMITS = {"a": None, "b": 1, "c": 3, "d": None}


@dataclass(eq=False)
class Visit:
    """One who asks for a turn: waiting, having it, or gone."""

    consumer: str
    lane: Lane
    number: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    state: str = "waiting"
    task: asyncio.Task[None] | None = None
    then: list[asyncio.Task[None]] = field(default_factory=list)
    """Who is cancelled in the moment in which its turn has ended."""


class Turns(RuleBasedStateMachine):
    """Consumers come, go, are charged, leave, while time passes."""

    visits = Bundle("visits")

    @initialize(slots=st.integers(1, 9))
    def begin(self, slots: int) -> None:
        """An empty queue."""
        self.loop = VirtualLoop()
        self.slots, self.queue = slots, FairQueue(slots)
        self.all: list[Visit] = []
        self.granted: list[Visit] = []

    @rule(
        target=visits,
        consumer=st.sampled_from(sorted(LIMITS)),
        lane=st.sampled_from(Lane),
        weight=st.sampled_from([0.01, 0.5, 1, 7, 100]),
    )
    def ask(self, consumer: str, lane: Lane, weight: float) -> Visit:
        """Somebody asks for a turn."""
        visit = Visit(consumer, lane, len(self.all))
        self.all.append(visit)
        visit.task = self.loop.create_task(self._visit(visit, weight))
        self._settle()
        return visit

    @rule(visit=consumes(visits), size_bytes=st.sampled_from([0, 1, 10**5, 10**10]))
    def leave(self, visit: Visit, size_bytes: int) -> None:
        """A turn ends, or will as soon as it is had."""
        self.size_bytes = size_bytes
        visit.ended.set()
        self._settle()

    @rule(visit=consumes(visits))
    def give_up(self, visit: Visit) -> None:
        """A waiter leaves, or a turn is broken off."""
        assert visit.task is not None
        visit.task.cancel()
        self._settle()

    @rule(leaving=st.lists(consumes(visits), min_size=2, max_size=5), cancelled=st.integers(0, 31))
    def many_at_once(self, leaving: list[Visit], cancelled: int) -> None:
        """Ends and cancellations before any of them has run."""
        self.size_bytes = 0
        for number, visit in enumerate(leaving):
            assert visit.task is not None
            if cancelled >> number & 1:
                visit.task.cancel()
            else:
                visit.ended.set()
        self._settle()

    @rule(leaving=consumes(visits), cancelled=st.lists(consumes(visits), min_size=1, max_size=3))
    def leave_and_cancel(self, leaving: Visit, cancelled: list[Visit]) -> None:
        """Who has just been given the turn is cancelled before it could run."""
        self.size_bytes = 0
        leaving.then = [visit.task for visit in cancelled if visit.task is not None]
        leaving.ended.set()
        self._settle()

    @rule()
    def pass_time(self) -> None:
        """Long enough for the interactive lane to count as unused, where nobody waits in it."""
        self.loop.run_until_complete(asyncio.sleep(LINGER_S + 0.01))
        if not self._waiting(Lane.INTERACTIVE):
            assert self._is_free() == 0 or not self._able(Lane.CI), "CI waits beside a free slot"
            quarter = max(1, self.slots // 4) if self.slots > 1 else 0
            has_room = len(self._having(Lane.BULK)) < self.slots - quarter
            assert not (self._is_free() and has_room and self._able(Lane.BULK)), "bulk waits beside a free slot"

    @precondition(lambda self: hasattr(self, "loop"))
    @invariant()
    def holds(self) -> None:
        """After every event."""
        assert len(self._having()) <= self.slots
        for consumer, limit in LIMITS.items():
            assert limit is None or sum(visit.consumer == consumer for visit in self._having()) <= limit
        assert self._is_free() == 0 or not self._able(Lane.INTERACTIVE), "a person waits beside a free slot"
        assert self._having() or not self._able(Lane.CI, Lane.BULK), "all wait, and nobody has a turn"
        for consumer in LIMITS:
            for lane in Lane:
                order = [visit.number for visit in self.granted if (visit.consumer, visit.lane) == (consumer, lane)]
                assert order == sorted(order)

    def teardown(self) -> None:
        """Everybody leaves, and all slots are there again."""
        if hasattr(self, "loop"):
            for visit in self.all:
                visit.ended.set()
            self.size_bytes = 0
            self.loop.run_until_complete(asyncio.sleep(3600))
            ends = [visit.task.exception() for visit in self.all if visit.task and not visit.task.cancelled()]
            assert not any(ends), ends
            assert all(visit.state != "waiting" for visit in self.all), "somebody never had a turn"
            assert self.queue._in_use == 0 and not self.queue._held
            self.loop.close()

    async def _visit(self, visit: Visit, weight: float) -> None:
        try:
            async with self.queue.turn(visit.consumer, visit.lane, weight, LIMITS[visit.consumer]) as turn:
                visit.state = "having"
                self.granted.append(visit)
                await visit.ended.wait()
                turn.charge(self.size_bytes)
            for task in visit.then:
                task.cancel()
        finally:
            visit.state = "gone"

    def _settle(self) -> None:
        for _ in range(30):
            self.loop.run_until_complete(asyncio.sleep(0))

    def _having(self, *lanes: Lane) -> list[Visit]:
        return [visit for visit in self.all if visit.state == "having" and visit.lane in (lanes or Lane)]

    def _waiting(self, *lanes: Lane) -> list[Visit]:
        return [visit for visit in self.all if visit.state == "waiting" and visit.lane in lanes]

    def _able(self, *lanes: Lane) -> list[Visit]:
        """Those who wait and are below their own limit."""
        having = [visit.consumer for visit in self._having()]
        return [
            visit
            for visit in self._waiting(*lanes)
            if (limit := LIMITS[visit.consumer]) is None or having.count(visit.consumer) < limit
        ]

    def _is_free(self) -> int:
        return self.slots - len(self._having())


TestTurns = Turns.TestCase
TestTurns.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
