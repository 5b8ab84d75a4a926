"""Whose account upstream is asked on, and how far back in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.access.balances import Balances
from mainstay.access.identity import Caller
from mainstay.access.tiers import Tiers
from mainstay.config import Config, TierSetting
from mainstay.ecosystems import ecosystems
from mainstay.errors import QuotaExceeded
from mainstay.gateway import turns as turns_module
from mainstay.gateway.turns import Payer, Turns
from mainstay.upstream.cost import Cost, open_cost
from mainstay.upstream.flights import Flights
from mainstay.upstream.politeness import Budget
from mainstay.upstream.registry import Upstream

UPSTREAM = Upstream(ecosystems()["pypi"], "https://registry.example/simple/", {})
SCANNER = Payer(Caller("scanner", "free", "token"), "scanner")
PERSON = Payer(Caller("person", "free", "token"), "person")


@pytest.fixture
def balances(tmp_path: Path) -> Iterator[Balances]:
    """A table of the test's own."""
    table = Balances(tmp_path / "balances.bin")
    yield table
    table.close()


@pytest.fixture
def one_at_a_time(balances: Balances, monkeypatch: pytest.MonkeyPatch) -> Turns:
    """A registry that takes one request at a time."""
    monkeypatch.setattr(turns_module, "load_budget", lambda *_: Budget(1e6, 1e6, 1))
    return Turns(Tiers(Config()), balances, 1)


class Asking:
    """Requests of callers, and the order in which their turns came."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.order = turns, list[str]()
        self.go = asyncio.Event()

    async def ask(self, what: str) -> str:
        """Ask upstream for it."""
        async with self.turns.turn(UPSTREAM) as charge:
            self.order.append(what)
            await self.go.wait()
            charge(10)
        return what

    def call(self, payer: Payer, what: str) -> asyncio.Task[str]:
        """A request of that caller's."""

        async def answer() -> str:
            open_cost().payer = payer
            return await self.ask(what)

        return asyncio.create_task(answer())


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_who_joins_a_fetch_that_waits_far_back_does_not_wait_there(one_at_a_time: Turns) -> None:
    """A person wants what a scanner has asked for, behind thirty others of its kind: it is fetched next."""
    asking, flights = Asking(one_at_a_time), Flights[str]()
    held = asking.call(SCANNER, "held")
    await settle()
    others = [asking.call(SCANNER, f"other {number}") for number in range(30)]

    async def share(payer: Payer) -> str:
        open_cost().payer = payer
        return await (flights.join("shared") or flights.begin("shared", asking.ask("shared")))

    first = asyncio.create_task(share(SCANNER))
    await settle()
    second = asyncio.create_task(share(PERSON))
    await settle()
    assert asking.order == ["held"]
    asking.go.set()
    assert await asyncio.gather(held, first, second) == ["held", "shared", "shared"]
    assert asking.order[:2] == ["held", "shared"]
    await asyncio.gather(*others)
    assert len(asking.order) == 32, "nobody was forgotten, and nobody had two turns"


async def test_who_joins_before_the_wait_begins_counts_too(one_at_a_time: Turns) -> None:
    """The first may still have been looking into its store."""
    asking = Asking(one_at_a_time)
    held = asking.call(SCANNER, "held")
    await settle()
    others = [asking.call(SCANNER, f"other {number}") for number in range(5)]

    async def answer() -> str:
        cost = open_cost()
        cost.payer = SCANNER
        cost.join(Cost(PERSON))
        return await asking.ask("shared")

    shared = asyncio.create_task(answer())
    await settle()
    asking.go.set()
    await asyncio.gather(held, shared, *others)
    assert asking.order[:2] == ["held", "shared"]


async def test_a_scanner_that_joins_a_person_changes_nothing(one_at_a_time: Turns) -> None:
    """The more urgent one counts."""
    asking = Asking(one_at_a_time)
    held = asking.call(SCANNER, "held")
    await settle()
    costs: list[Cost] = []

    async def answer() -> str:
        costs.append(open_cost())
        costs[0].payer = PERSON
        return await asking.ask("shared")

    shared = asyncio.create_task(answer())
    others = [asking.call(SCANNER, f"other {number}") for number in range(5)]
    await settle()
    costs[0].join(Cost(SCANNER))
    asking.go.set()
    await asyncio.gather(held, shared, *others)
    assert asking.order[:2] == ["held", "shared"]


async def test_the_gateways_own_work_has_turns_too(one_at_a_time: Turns) -> None:
    """What no request asked for is on nobody's account."""
    async with one_at_a_time.turn(UPSTREAM) as charge:
        charge(5)


async def test_a_limit_is_charged_with_requests_and_then_with_bytes(balances: Balances) -> None:
    """And only on the account of who asked."""
    tier = TierSetting(requests="10/hour", bytes="100 B/hour", mode="enforce", max_wait_s=0)
    turns = Turns(Tiers(Config(tiers={"small": tier})), balances, 1)
    small, other = (Payer(Caller(name, "small", "token"), "person") for name in ("small", "other"))
    cost = open_cost()
    cost.payer = small
    async with turns.turn(UPSTREAM) as charge:
        charge(500)
    with pytest.raises(QuotaExceeded) as caught:
        async with turns.turn(UPSTREAM):
            pass
    assert cost.throttled == "refused"
    assert caught.value.violated == ("small-content-bytes-per-hour",)
    assert "small has used up its 100 bytes per hour (tier small)" in caught.value.message
    headers = dict(caught.value.headers)
    assert headers["ratelimit-policy"].count(";q=") == 2
    assert headers["ratelimit"].startswith('"small-content-bytes-per-hour";r=0;t=')
    open_cost().payer = other
    async with turns.turn(UPSTREAM):
        pass
