"""Who has the next turn at upstream."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from mainstay.access import rounds as rounds_module
from mainstay.access.fair import LINGER_S, PATIENCE, FairQueue, Pace
from mainstay.access.rounds import TURN_BYTES, Turn
from mainstay.access.tiers import Lane
from unit.access.virtual import run

Queue = Callable[..., AbstractAsyncContextManager[Any]]


class FirstCome:
    """No queue: a semaphore, and a token bucket behind it, as without fairness."""

    def __init__(self, slots: int, pace: Pace | None) -> None:
        self._slots, self._pace = asyncio.Semaphore(slots), pace

    @asynccontextmanager
    async def turn(self, consumer: str, lane: int) -> AsyncIterator[None]:
        """Whoever asked first."""
        async with self._slots:
            if self._pace is not None:
                while wait_s := self._pace.wait_s(Lane.INTERACTIVE, asyncio.get_running_loop().time()):
                    await asyncio.sleep(wait_s)
                self._pace.take()
            yield


async def install(turn: Queue, waves: Sequence[int], chance: random.Random, served_s: float) -> float:
    """How long a person waits whose requests come in waves, each made possible by the one before."""

    async def request() -> None:
        async with turn("person", Lane.INTERACTIVE):
            await asyncio.sleep(served_s * chance.uniform(0.5, 1.5))

    loop = asyncio.get_running_loop()
    began = loop.time()
    for wave in waves:
        await asyncio.gather(*(request() for _ in range(wave)))
        await asyncio.sleep(0.02)
    return loop.time() - began


async def scan(turn: Queue, name: str, chance: random.Random, served_s: float) -> None:
    """One connection of a scanner: fetch after fetch, for ever."""
    while True:
        async with turn(name, Lane.BULK):
            await asyncio.sleep(served_s * chance.uniform(0.5, 1.5))


async def contest(
    make: Callable[[], Any], waves: Sequence[int], scanners: Sequence[str], served_s: float, seed: int
) -> float:
    """The time of a person's cold install against these scanners, which were there first."""
    queue = make()
    chance = random.Random(seed)
    tasks = [asyncio.create_task(scan(queue.turn, name, chance, served_s)) for name in scanners]
    await asyncio.sleep(7.3 * served_s + 5)
    time_s = await install(queue.turn, waves, chance, served_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return time_s


SEQUENTIAL = [1] * 20
PARALLEL = [1, 1, 4, 8, 20, 12, 6, 4, 2, 1]
ONE_SCANNER = ["scanner"] * 200
MANY_SCANNERS = [f"scanner {number}" for number in range(200)]


@pytest.mark.parametrize("scanners", [ONE_SCANNER, MANY_SCANNERS], ids=["one name", "200 names"])
@pytest.mark.parametrize("waves", [SEQUENTIAL, PARALLEL], ids=["sequential", "parallel"])
@pytest.mark.parametrize(("slots", "served_s"), [(2, 1.0), (4, 0.2), (8, 1.0), (16, 0.2)])
def test_a_person_against_200_scanners_waits_at_most_half_as_long_again(
    scanners: Sequence[str], waves: Sequence[int], slots: int, served_s: float
) -> None:
    """The time of a cold install from a slow upstream, alone and among 200 connections that never rest."""
    for seed in range(2):
        alone_s = run(contest(lambda: FairQueue(slots), waves, [], served_s, seed))
        among_s = run(contest(lambda: FairQueue(slots), waves, scanners, served_s, seed))
        assert among_s <= 1.5 * alone_s, f"{among_s:.2f} s among scanners, {alone_s:.2f} s alone"


def test_without_the_queue_a_person_would_wait_ten_times_as_long() -> None:
    """What the queue is for: first come, first served."""
    alone_s = run(contest(lambda: FirstCome(8, None), PARALLEL, [], 0.2, 1))
    among_s = run(contest(lambda: FirstCome(8, None), PARALLEL, MANY_SCANNERS, 0.2, 1))
    assert among_s > 10 * alone_s


@pytest.mark.parametrize("waves", [SEQUENTIAL, [1, 1, 3, 10, 10, 5]], ids=["sequential", "parallel"])
@pytest.mark.parametrize("rate_per_s", [10.0, 40.0])
def test_scanners_do_not_use_up_the_rate_that_a_person_needs(rate_per_s: float, waves: Sequence[int]) -> None:
    """Where a registry's budget in requests a second is what is scarce."""

    def make() -> FairQueue:
        return FairQueue(8, Pace(rate_per_s, 60))

    alone_s = run(contest(make, waves, [], 0.2, 1))
    among_s = run(contest(make, waves, MANY_SCANNERS, 0.2, 1))
    assert among_s <= 1.5 * alone_s
    first_come_s = run(contest(lambda: FirstCome(8, Pace(rate_per_s, 60)), waves, MANY_SCANNERS, 0.2, 1))
    assert first_come_s > 5 * among_s


async def keep_asking(
    queue: FairQueue, consumer: str, lane: Lane, weight: float, served: Callable[[], tuple[float, int]], log: list[str]
) -> None:
    """One connection that never rests: each turn takes so many seconds and brings so many bytes."""
    while True:
        async with queue.turn(consumer, lane, weight) as turn:
            log.append(consumer)
            seconds, size_bytes = served()
            await asyncio.sleep(seconds)
            turn.charge(size_bytes)


async def for_a_while(seconds: float, *work: Awaitable[None]) -> None:
    """Have them work so long, then end them."""
    tasks = [asyncio.ensure_future(part) for part in work]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("lane", "largest_bytes"), [(Lane.INTERACTIVE, 50_000_000), (Lane.CI, 0), (Lane.BULK, 100_000)]
)
def test_consumers_share_by_weight(lane: Lane, largest_bytes: int) -> None:
    """Of what turns and bytes cost, each has its part within 5 percent, however large its own files are."""
    weights = {"small": 1.0, "middle": 2.5, "large": 6.0}
    spent = dict.fromkeys(weights, 0.0)
    chance = random.Random(7)

    def work(queue: FairQueue, name: str, scale: float) -> Awaitable[None]:
        def served() -> tuple[float, int]:
            size_bytes = round(chance.uniform(0, largest_bytes) * scale)
            spent[name] += size_bytes + TURN_BYTES
            return 0.05 + size_bytes / 1e9, size_bytes

        return keep_asking(queue, name, lane, weights[name], served, [])

    async def share() -> None:
        queue = FairQueue(4)
        scales = {"small": 1.0, "middle": 0.3, "large": 0.6}
        await for_a_while(400, *(work(queue, name, scales[name]) for name in weights for _ in range(12)))

    run(share())
    for name, weight in weights.items():
        assert spent[name] / sum(spent.values()) == pytest.approx(weight / sum(weights.values()), rel=0.05)


def test_a_consumer_with_one_connection_has_its_share_too() -> None:
    """It never waits and has a turn at the same time, so it is out of the round again and again."""
    log: list[str] = []

    async def share() -> None:
        queue = FairQueue(1)
        one = keep_asking(queue, "one", Lane.CI, 1, lambda: (0.1, 0), log)
        many = [keep_asking(queue, "many", Lane.CI, 1, lambda: (0.1, 0), log) for _ in range(20)]
        await for_a_while(200, one, *many)

    run(share())
    assert log.count("one") / len(log) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_no_lane_starves(slots: int) -> None:
    """With all three lanes full each has its turn before the others have had `PATIENCE` and what is under way."""
    log: list[str] = []

    async def flood() -> None:
        queue = FairQueue(slots)
        work = [
            keep_asking(queue, lane.name, lane, 1, lambda: (0.1, 0), log) for lane in Lane for _ in range(3 * slots)
        ]
        await for_a_while(100, *work)

    run(flood())
    settled = log[3 * slots :]
    for lane in (Lane.CI, Lane.BULK):
        turns = [number for number, name in enumerate(settled) if name == lane.name]
        assert max(after - before for before, after in pairwise(turns)) <= PATIENCE + 1 + slots
    assert settled.count(Lane.INTERACTIVE.name) > 0.75 * len(settled)


def test_ci_goes_before_bulk() -> None:
    """With nobody waiting in person."""
    log: list[str] = []

    async def flood() -> None:
        queue = FairQueue(2)
        lanes = [lane for lane in (Lane.CI, Lane.BULK) for _ in range(6)]
        await for_a_while(60, *(keep_asking(queue, lane.name, lane, 1, lambda: (0.1, 0), log) for lane in lanes))

    run(flood())
    assert log.count("CI") > 7 * log.count("BULK") > 0


def test_an_endless_stream_of_new_names_does_not_keep_an_old_one_waiting() -> None:
    """Who comes new takes part from the next round on."""
    log: list[str] = []

    async def once(queue: FairQueue, name: str) -> None:
        async with queue.turn(name, Lane.CI):
            await asyncio.sleep(0.1)

    async def flood() -> None:
        queue = FairQueue(1)
        old = asyncio.create_task(keep_asking(queue, "old", Lane.CI, 1, lambda: (0.1, 0), log))
        new = []
        for number in range(3000):
            new.append(asyncio.create_task(once(queue, f"new {number}")))
            await asyncio.sleep(0.1)
        await for_a_while(0, old, *new)

    run(flood())
    assert len(log) > 40


def test_what_a_consumer_owes_it_pays_while_others_have_their_turns() -> None:
    """A file of 100 MB is worth some 1,500 turns; who is alone does not wait for its own debt."""
    log: list[str] = []

    async def share() -> float:
        queue = FairQueue(1)
        loop = asyncio.get_running_loop()
        async with queue.turn("big", Lane.INTERACTIVE) as turn:
            turn.charge(100_000_000)
        began = loop.time()
        async with queue.turn("big", Lane.INTERACTIVE) as turn:
            turn.charge(100_000_000)
        alone_s = loop.time() - began
        names = ("small", "small", "big", "big")
        await for_a_while(50, *(keep_asking(queue, name, Lane.INTERACTIVE, 1, lambda: (0.1, 0), log) for name in names))
        return alone_s

    assert run(share()) == 0.0
    assert log.count("big") == 0 and log.count("small") >= 499


@pytest.mark.parametrize("lanes", [[Lane.INTERACTIVE], list(Lane)])
def test_a_consumer_has_no_more_turns_at_a_time_than_its_tier_allows(lanes: list[Lane]) -> None:
    """Over all lanes; and those behind it go on."""
    most = {"bounded": 0, "free": 0}
    now = {"bounded": 0, "free": 0}

    async def work(queue: FairQueue, name: str, lane: Lane, concurrency: int | None) -> None:
        async with queue.turn(name, lane, 1, concurrency):
            now[name] += 1
            most[name] = max(most[name], now[name])
            await asyncio.sleep(0.1)
            now[name] -= 1

    async def main() -> None:
        queue = FairQueue(8)
        bounded = [work(queue, "bounded", lane, 2) for lane in lanes for _ in range(20)]
        await asyncio.gather(*bounded, *(work(queue, "free", Lane.INTERACTIVE, None) for _ in range(20)))

    run(main())
    assert most["bounded"] == 2
    assert most["free"] >= 6


def test_scanners_take_what_nobody_waits_for_but_for_a_quarter() -> None:
    """While a person is at work they have a quarter; some time later, with no event to tell them, all but a quarter."""

    async def main() -> list[int]:
        queue, ended, held = FairQueue(8), asyncio.Event(), []

        async def hold(lane: Lane) -> None:
            async with queue.turn(lane.name, lane):
                held.append(lane)
                await ended.wait()

        async with queue.turn("person", Lane.INTERACTIVE):
            await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(hold(Lane.BULK)) for _ in range(20)]
        seen = []
        for wait_s in (LINGER_S - 0.1, 0.2, 3600):
            await asyncio.sleep(wait_s)
            seen.append(len(held))
        tasks.append(asyncio.create_task(hold(Lane.INTERACTIVE)))
        await asyncio.sleep(0)
        seen.append(len(held))
        ended.set()
        await asyncio.gather(*tasks)
        return seen

    assert run(main()) == [2, 6, 6, 7]


def test_turns_of_one_consumer_come_in_the_order_of_asking() -> None:
    """Also where some have left in between."""
    order: list[int] = []

    async def work(queue: FairQueue, number: int) -> None:
        async with queue.turn("one", Lane.CI):
            order.append(number)
            await asyncio.sleep(0.1)

    async def main() -> None:
        queue = FairQueue(2)
        tasks = [asyncio.create_task(work(queue, number)) for number in range(20)]
        await asyncio.sleep(0.15)
        for number in (7, 8, 19):
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())
    assert order == [number for number in range(20) if number not in (7, 8, 19)]


def test_who_leaves_in_the_moment_of_being_called_passes_the_turn_on() -> None:
    """Granted, and cancelled before it could run; cancelled, and passed over before it could leave."""

    async def main() -> list[str]:
        queue, log, free = FairQueue(1), [], asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def hold() -> None:
            tasks[1].cancel()
            async with queue.turn("a", Lane.CI):
                await free.wait()
                tasks[0].cancel()
            # Its turn was passed on just now, and who has it has not run since.
            tasks[2].cancel()

        async def work(name: str) -> None:
            async with queue.turn("b", Lane.CI):
                log.append(name)

        holder = asyncio.create_task(hold())
        tasks += [asyncio.create_task(work(name)) for name in ("first", "second", "third", "fourth")]
        await asyncio.sleep(0.1)
        free.set()
        ends = await asyncio.gather(holder, *tasks, return_exceptions=True)
        assert [type(end) for end in ends[1:4]] == [asyncio.CancelledError] * 3
        async with queue.turn("c", Lane.INTERACTIVE):
            log.append("last")
        return log

    assert run(main()) == ["fourth", "last"]


def test_a_waiter_that_leaves_no_longer_holds_the_lower_lanes_back() -> None:
    """Though it had to wait for its own consumer's other turn, and nothing else happens."""

    async def main() -> None:
        queue, ended, held = FairQueue(4), asyncio.Event(), []

        async def hold(consumer: str, lane: Lane) -> None:
            async with queue.turn(consumer, lane, 1, 1 if consumer == "person" else None):
                held.append(lane)
                await ended.wait()

        tasks = [asyncio.create_task(hold("person", Lane.INTERACTIVE)) for _ in range(2)]
        tasks += [asyncio.create_task(hold("ci", Lane.CI)) for _ in range(3)]
        await asyncio.sleep(60)
        assert held == [Lane.INTERACTIVE, Lane.CI]
        assert queue._timer is None, "time alone changes nothing as long as somebody waits"
        tasks[1].cancel()
        await asyncio.sleep(0.1)
        assert held == [Lane.INTERACTIVE, Lane.CI, Lane.CI, Lane.CI]
        ended.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


def test_who_has_waited_long_for_one_answer_finds_room_for_the_next_question() -> None:
    """The lane counts as in use from the end of a turn, too."""

    async def main() -> int:
        queue, ended, held = FairQueue(4), asyncio.Event(), []

        async def hold() -> None:
            async with queue.turn("ci", Lane.CI):
                held.append(1)
                await ended.wait()

        async with queue.turn("person", Lane.INTERACTIVE):
            await asyncio.sleep(100)
            tasks = [asyncio.create_task(hold()) for _ in range(3)]
            await asyncio.sleep(0.1)
            tasks += [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(1)
        ended.set()
        seen = len(held)
        await asyncio.gather(*tasks)
        return seen

    assert run(main()) == 3


def test_turns_of_several_consumers_alternate() -> None:
    """A weight is a share, and no right to go many times in a row."""
    log: list[str] = []

    async def main() -> None:
        queue = FairQueue(1)
        work = [keep_asking(queue, name, Lane.CI, 10, lambda: (0.1, 0), log) for name in "abab"]
        await for_a_while(20, *work)

    run(main())
    assert sum(before == after for before, after in pairwise(log)) <= len(log) / 8


def test_a_turn_tells_how_long_it_was_waited_for() -> None:
    """Seconds, 0 where it was had at once."""

    async def main() -> tuple[float, float]:
        queue = FairQueue(1)

        async def work() -> float:
            async with queue.turn("a", Lane.CI) as turn:
                await asyncio.sleep(1.5)
                return turn.waited_s

        first, second = await asyncio.gather(work(), work())
        return first, second

    assert run(main()) == (0.0, pytest.approx(1.5))


def test_an_error_in_a_turn_gives_it_back() -> None:
    """As its end does."""

    async def main() -> None:
        queue = FairQueue(1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with queue.turn("a", Lane.CI):
                    raise ZeroDivisionError

    run(main())


def test_the_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    """Five at once, then two a second, without anything to wake the queue but time."""

    async def main() -> list[float]:
        queue, loop = FairQueue(100, Pace(2, 5)), asyncio.get_running_loop()
        began = loop.time()

        async def work() -> float:
            async with queue.turn("a", Lane.INTERACTIVE):
                return loop.time() - began

        return sorted(await asyncio.gather(*(work() for _ in range(9))))

    assert run(main()) == pytest.approx([0] * 5 + [0.5, 1.0, 1.5, 2.0])


@pytest.mark.parametrize("burst", [0.5, 1, 4, 60])
def test_every_lane_gets_on_with_any_burst(burst: float) -> None:
    """What the lower lanes leave is a part of the burst above one, so a small one stops nobody."""
    log: list[str] = []

    async def main() -> None:
        queue = FairQueue(4, Pace(10, burst))
        work = [keep_asking(queue, lane.name, lane, 1, lambda: (0.01, 0), log) for lane in (Lane.CI, Lane.BULK)]
        await for_a_while(60, *work)

    run(main())
    assert len(log) >= 590
    assert log.count("BULK") > 10


def test_consumers_that_came_once_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the names that were ever seen, and a debt is not forgotten."""
    monkeypatch.setattr(rounds_module, "KNOWN_FLOWS", 10)
    turns: list[Turn] = []

    async def main() -> tuple[int, float]:
        queue = FairQueue(1)
        async with queue.turn("debtor", Lane.CI) as turn:
            turn.charge(10**9)
        for number in range(1000):
            async with queue.turn(f"name {number}", Lane.CI) as turn:
                turns.append(turn)
        rounds = queue._lines[Lane.CI].rounds
        return len(rounds._flows), rounds.flow("debtor").credit()

    known, credit = run(main())
    assert known <= 20
    assert -math.inf < credit < -900_000_000
