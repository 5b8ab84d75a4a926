from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.access import identity
from mainstay.access.identity import KEPT_ADDRESSES, Caller, Callers, Network, Networks
from mainstay.access.tokens import hash_token, hint_of, make_token
from mainstay.db.consumers import Consumer, Token, add_consumer, change_consumer, remove_consumer, revoke_tokens
from mainstay.db.engine import Database
from mainstay.errors import UnknownToken
from mainstay.store.shared import Shared
from unit.children import names
from unit.clock import Clock

TOKEN = make_token()


@dataclass
class World:
    """What a worker stands on, and what another process does to it."""

    folder: Path
    database: Database
    shared: Shared
    clock: Clock

    def callers(self) -> Callers:
        """A worker's."""
        return Callers(self.database, self.shared, self.folder / "usage")

    def add(self, name: str, *networks: str, tier: str = "free", token: str = "", agent: str = "") -> None:
        """A consumer, as the command adds it."""
        text = token or make_token()
        entry, kept = Consumer(name, tier, networks, 1.0), Token(hash_token(text).hex(), name, hint_of(text), 1.0)
        self.database.run_sync(add_consumer, entry, replace(kept, agent=agent))
        self.shared.bump()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A data folder without consumers, and a clock that the test moves."""
    clock = Clock()
    monkeypatch.setattr(identity, "time", clock)
    world = World(tmp_path, Database.open(tmp_path), Shared(tmp_path / "shared.bin"), clock)
    yield world
    world.database.close()
    world.shared.close()


async def test_a_token_tells_the_consumer(world: World) -> None:
    """With its tier."""
    world.add("build-farm", tier="gold", token=TOKEN)
    callers = world.callers()
    await callers.refresh()
    assert callers.by_token(TOKEN) == Caller("build-farm", "gold", "token")


async def test_a_token_tells_the_agent_that_works_with_it(world: World) -> None:
    """The network of the same consumer does not."""
    world.add("one", "10.0.0.0/8", token=TOKEN, agent="codex")
    callers = world.callers()
    await callers.refresh()
    assert callers.by_token(TOKEN) == Caller("one", "free", "token", "codex")
    assert callers.by_address("10.0.0.1") == Caller("one", "free", "network")


async def test_a_token_that_is_not_in_force_is_refused_in_words_that_say_why(world: World) -> None:
    """Mistyped, never given out here, revoked, its consumer removed: and never more of it than its beginning."""
    kept = make_token()
    world.add("one", token=TOKEN)
    world.add("two", token=kept)
    callers = world.callers()
    await callers.refresh()
    other = make_token()
    wrong = TOKEN[:20] + ("a" if TOKEN[20] != "a" else "b") + TOKEN[21:]
    for text, words in ((wrong, "mistyped"), (TOKEN[:-1], "mistyped"), ("t0ken", "mistyped"), (other, "not known")):
        with pytest.raises(UnknownToken, match=words) as caught:
            callers.by_token(text)
        assert text not in caught.value.diagnostics()
        assert text[:8] == TOKEN[:8] or "t0ken" in text or text[:8] in caught.value.message
    world.database.run_sync(revoke_tokens, "one", None, 2.0)
    world.database.run_sync(remove_consumer, "two", 2.0)
    world.shared.bump()
    await callers.refresh()
    for text in (TOKEN, kept):
        with pytest.raises(UnknownToken, match="revoked"):
            callers.by_token(text)


@given(st.text(max_size=50) | st.integers(0, 41).map(lambda place: TOKEN[:place] + TOKEN[place + 1 :]))
def test_no_other_text_is_taken_for_a_token(text: str) -> None:
    """Whatever is sent, only the token itself identifies."""
    callers = Callers.__new__(Callers)
    callers._by_hash, callers._revoked = {hash_token(TOKEN): Caller("one", "free", "token")}, frozenset()
    assert callers.by_token(TOKEN).consumer == "one"
    if text != TOKEN:
        with pytest.raises(UnknownToken):
            callers.by_token(text)


async def test_a_change_is_seen_with_the_next_refresh(world: World) -> None:
    """A new consumer, another tier, another network, a revoked token; the generation says that there is something."""
    callers = world.callers()
    await callers.refresh()
    assert callers.is_current
    with pytest.raises(UnknownToken):
        callers.by_token(TOKEN)
    assert callers.by_address("192.0.2.7").identified_by == "address"
    world.add("one", "192.0.2.0/24", token=TOKEN)
    assert not callers.is_current
    assert await callers.refresh() == world.shared.generation and callers.is_current
    assert callers.by_token(TOKEN) == Caller("one", "free", "token")
    assert callers.by_address("192.0.2.7") == Caller("one", "free", "network")
    world.database.run_sync(change_consumer, "one", "gold", ("192.0.2.8/32",))
    world.database.run_sync(revoke_tokens, "one", None, 2.0)
    world.shared.bump()
    assert callers.by_token(TOKEN).tier == "free", "nothing changes between two refreshes"
    await callers.refresh()
    assert callers.by_address("192.0.2.7").identified_by == "address"
    assert callers.by_address("192.0.2.8") == Caller("one", "gold", "network")
    with pytest.raises(UnknownToken, match="revoked"):
        callers.by_token(TOKEN)


async def test_many_requests_at_once_cause_one_reading(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none goes on before it has ended; where nothing has changed there is none."""
    world.add("one", token=TOKEN)
    callers = world.callers()
    reads = []
    real = world.database.read

    async def read(*arguments: object) -> object:
        reads.append(arguments)
        await asyncio.sleep(0)
        return await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(world.database, "read", read)

    async def ask() -> str:
        await callers.refresh()
        return callers.by_token(TOKEN).consumer

    assert await asyncio.gather(*(ask() for _ in range(50))) == ["one"] * 50
    assert len(reads) == 1
    await callers.refresh()
    assert len(reads) == 1


async def test_the_longest_network_wins(world: World) -> None:
    """A team in a site in a company; IPv4 counts as such where a socket for both gives it mapped into IPv6."""
    world.add("company", "10.0.0.0/8", "2001:db8::/32")
    world.add("site", "10.1.0.0/16")
    world.add("team", "10.1.2.0/24", "10.9.9.9/32")
    callers = world.callers()
    await callers.refresh()
    found = {
        address: callers.by_address(address).consumer
        for address in (
            "10.1.2.3",
            "10.1.3.3",
            "10.2.0.1",
            "10.9.9.9",
            "::ffff:10.1.2.3",
            "2001:db8:1::1",
            "[2001:db8::1]:9",
        )
    }
    assert list(found.values()) == ["team", "site", "company", "team", "team", "company", "company"]
    assert callers.by_address("11.0.0.1").identified_by == "address"
    assert callers.by_address("::a01:203").identified_by == "address", "not the mapped form"


NETWORKS = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda it: IPv4Network(it, strict=False)),
    st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(lambda it: IPv6Network(it, strict=False)),
)


@given(st.lists(NETWORKS, max_size=12, unique=True), st.lists(st.ip_addresses(), max_size=4), st.data())
def test_the_network_found_is_the_one_that_trying_all_finds(
    networks: list[Network], addresses: list[object], data: st.DataObject
) -> None:
    """Compared with Python's own arithmetic, for addresses in the networks and for any others."""
    table = Networks((network, Caller(str(network), "free", "network")) for network in networks)
    inside = [network[data.draw(st.integers(0, min(network.num_addresses - 1, 2**40)))] for network in networks]
    for address in [ip_address(str(it)) for it in addresses] + inside:
        holding = [network for network in networks if address in network]
        expected = str(max(holding, key=lambda it: it.prefixlen)) if holding else None
        found = table.find(address)
        assert (found and found.consumer) == expected


async def test_who_is_no_consumer_is_a_pseudonym(world: World) -> None:
    """In the free tier; never the address."""
    callers = world.callers()
    await callers.refresh()
    caller = callers.by_address("192.0.2.7")
    assert caller.consumer.startswith("address:") and "192" not in caller.consumer.removeprefix("address:")
    assert (caller.tier, caller.identified_by) == ("free", "address")
    assert callers.by_address("192.0.2.7:5123") == callers.by_address("::ffff:192.0.2.7") == caller
    assert callers.by_address("") != callers.by_address("unknown")
    assert b"192.0.2.7" not in b"".join(path.read_bytes() for path in world.folder.rglob("*") if path.is_file())


async def test_the_machine_itself_is_local_unless_it_is_named(world: World) -> None:
    """A loopback address is everybody's, so there is nothing to hide; it can be a consumer's as any other."""
    callers = world.callers()
    await callers.refresh()
    for address in ("127.0.0.1", "127.8.9.10", "::1", "[::1]:80", "::ffff:127.0.0.1"):
        assert callers.by_address(address) == Caller("local", "free", "address")
    world.add("laptop", "127.0.0.0/8")
    await callers.refresh()
    assert callers.by_address("127.0.0.1") == Caller("laptop", "free", "network")
    assert callers.by_address("::1").consumer == "local"


async def test_pseudonyms_change_at_midnight_in_utc(world: World) -> None:
    """At once, also where the request is answered without a refresh, and for all workers the same."""
    callers, other = world.callers(), world.callers()
    await callers.refresh()
    world.clock.advance(86_400 - world.clock.time() % 86_400 - 1)
    await callers.refresh()
    before = callers.by_address("192.0.2.7")
    world.clock.advance(1)
    after = callers.by_address("192.0.2.7")
    assert after != before
    assert not callers.is_current
    await callers.refresh()
    await other.refresh()
    assert callers.by_address("192.0.2.7") == other.by_address("192.0.2.7") == after
    assert len([name for name in names(world.folder / "usage") if name.startswith("key-")]) == 2


async def test_a_worker_that_slept_for_days_needs_no_refresh(world: World) -> None:
    """A kept reply may be older than a day."""
    callers = world.callers()
    before = callers.by_address("192.0.2.7")
    world.clock.advance(10 * 86_400)
    assert callers.by_address("192.0.2.7") not in (before, None)
    world.clock.advance(-10 * 86_400)
    assert callers.by_address("192.0.2.7").consumer.startswith("address:")


async def test_addresses_in_memory_are_bounded(world: World) -> None:
    """A scan from a whole network takes no more memory than a busy day."""
    callers = world.callers()
    await callers.refresh()
    first = callers.by_address("10.0.0.0")
    for number in range(KEPT_ADDRESSES + 10):
        callers.by_address(str(ip_address(0x0A00_0001 + number)))
    assert callers._by_address.cache_info().currsize == KEPT_ADDRESSES
    assert callers.by_address("10.0.0.0") == first


async def test_look_ups_cost_next_to_nothing(world: World) -> None:
    """Each is made for every request that is answered from memory: a few microseconds at the worst of machines."""
    for number in range(300):
        world.add(f"team-{number}", f"10.{number % 200}.{number // 200}.0/24", token=TOKEN if number == 299 else "")
    callers = world.callers()
    await callers.refresh()
    costs = {}
    for name, act in (
        ("token", lambda: callers.by_token(TOKEN)),
        ("network", lambda: callers.by_address("10.99.1.7")),
        ("address", lambda: callers.by_address("192.0.2.7")),
    ):
        best = float("inf")
        for _ in range(20):
            started = time.perf_counter()
            for _ in range(500):
                act()
            best = min(best, (time.perf_counter() - started) / 500 * 1e6)
        costs[name] = best
    print({name: f"{cost_us:.2f} us" for name, cost_us in costs.items()})
    assert max(costs.values()) < 5
