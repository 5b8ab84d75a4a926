"""Deficit round robin over the consumers that wait for one thing (Shreedhar and Varghese, SIGCOMM 1995).

Each consumer gets credit in proportion to its weight round by round, pays for its turns and, when they are known, for
the bytes, and has no turn while it owes. Rounds in which nobody could go are leapt over, so a big debt costs no time.
Who comes new takes part from the next round on: a stream of new names cannot keep an old one waiting.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping

from mainstay.access.tiers import Lane

TURN_BYTES = 64 * 1024
"""What a turn costs beside its bytes, since a short answer is work for a registry too; and what a round brings to a
consumer of weight 1."""
KNOWN_FLOWS = 1024


class Turn:
    """One turn, or the wait for it."""

    __slots__ = ("flow", "granted", "lane", "waited_s")

    def __init__(self, lane: Lane, flow: Flow, granted: asyncio.Future[None]) -> None:
        self.lane, self.flow, self.granted = lane, flow, granted
        self.waited_s = 0.0

    def charge(self, size_bytes: int) -> None:
        """Have the consumer pay for bytes as soon as they are known; they add up."""
        self.flow.pay(size_bytes)


class Flow:
    """One consumer's turns, first come first go."""

    __slots__ = ("_credit", "_round", "_rounds", "concurrency", "consumer", "held", "waiting", "weight")

    def __init__(self, consumer: str, rounds: Rounds) -> None:
        self.consumer = consumer
        self.waiting: deque[Turn] = deque()
        self.held = 0
        self.weight = 1.0
        self.concurrency: int | None = None
        self._rounds = rounds
        self._credit, self._round = 0.0, rounds.number

    def credit(self) -> float:
        """What it has in this round, or owes: never more than one round brings."""
        if self._round != self._rounds.number:
            gained = (self._rounds.number - self._round) * TURN_BYTES * self.weight
            self._credit = min(self._credit + gained, TURN_BYTES * self.weight)
            self._round = self._rounds.number
        return self._credit

    def pay(self, size_bytes: float) -> None:
        """It may come to owe."""
        self._credit = self.credit() - size_bytes

    def rounds_owed(self) -> int:
        """Rounds until it is in credit, where it is not."""
        return math.floor(-self.credit() / (TURN_BYTES * self.weight)) + 1


class Rounds:
    """Those who wait, by consumer."""

    def __init__(self) -> None:
        self.number = 0
        self._ring: deque[Flow] = deque()
        self._flows: dict[str, Flow] = {}

    def __bool__(self) -> bool:
        return bool(self._ring)

    def flow(self, consumer: str) -> Flow:
        """The consumer's place. One that neither waits nor owes is forgotten where there are many."""
        flow = self._flows.get(consumer)
        if flow is None:
            if len(self._flows) >= KNOWN_FLOWS:
                self._flows = {
                    name: flow for name, flow in self._flows.items() if flow.waiting or flow.held or flow.credit() < 0
                }
            flow = self._flows[consumer] = Flow(consumer, self)
        return flow

    def add(self, flow: Flow, turn: Turn) -> None:
        """Have a turn wait, behind those of its consumer."""
        if not flow.waiting:
            self._ring.append(flow)
        flow.waiting.append(turn)

    def drop(self, flow: Flow, turn: Turn) -> None:
        """A waiter leaves."""
        if turn in flow.waiting:
            flow.waiting.remove(turn)
            if not flow.waiting:
                self._ring.remove(flow)

    def next(self, held: Mapping[str, int]) -> Flow | None:
        """Whose turn it is among those below their own concurrency, by what each consumer holds; None for nobody."""
        self._shed()
        able = [
            flow for flow in self._ring if flow.concurrency is None or held.get(flow.consumer, 0) < flow.concurrency
        ]
        if not able:
            return None
        if all(flow.credit() <= 0 for flow in able):
            self.number += min(flow.rounds_owed() for flow in able)
        return next(flow for flow in able if flow.credit() > 0)

    def take(self, flow: Flow) -> Turn:
        """The next turn of `flow`, which then stands behind the others."""
        turn = flow.waiting.popleft()
        self._ring.remove(flow)
        if flow.waiting:
            self._ring.append(flow)
        flow.pay(TURN_BYTES)
        return turn

    def _shed(self) -> None:
        """Pass over those who were cancelled in this moment and have not come round to leaving."""
        for flow in tuple(self._ring):
            while flow.waiting and flow.waiting[0].granted.cancelled():
                flow.waiting.popleft()
            if not flow.waiting:
                self._ring.remove(flow)
