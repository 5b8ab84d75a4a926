"""kill -9 in the middle of a fill: of the worker that fills, and of everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from doubles.claims import assert_right
from doubles.client import drain, open_reply
from doubles.faults import Gate
from doubles.gateway import Gateway, Serve, kill
from doubles.herd import Herd, crc32
from doubles.registry import content
from doubles.stand import STANDS, Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

FILE = "/pypi/files/demo/demo-1.0.tar.gz"
RIGHT = content(20_000_000)
HELD_BYTES = 8_000_000


def gather_herd(gateway: Gateway, path: str) -> Herd:
    """Clients that have connected, and of which each worker has some."""
    herd = Herd(gateway.url + path)

    def spread() -> bool:
        herd.join(10)
        own = {member.port for member in herd.members}
        return all(own & gateway.client_ports(pid) for pid in gateway.worker_pids())

    wait_until(spread, "clients on each worker")
    return herd


def test_clients_of_the_other_worker_outlive_a_worker_killed_in_mid_fill(upstream: Upstream, serve: Serve) -> None:
    """Takeover: the other worker goes on with Range and If-Range, its clients finish whole, the rest is cut."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gate = Gate(after=HELD_BYTES)
    upstream.on("*.tar.gz").fault(gate, times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    herd = gather_herd(gateway, FILE)
    herd.ask()
    herd.run(10, until_bytes=1_000_000)

    (filler,) = gateway.filling_pids()
    lost = gateway.client_ports(filler)
    kill(filler)
    members = herd.run(15)

    for member in members:
        if member.port in lost:
            assert not member.whole
        else:
            assert (member.status, member.whole, member.crc) == (200, True, crc32(RIGHT)), member.broken
    first, second = upstream.seen("*.tar.gz")
    assert (first.status, second.status) == (200, 206)
    assert "if-range" in second.headers and int(second.headers["range"][6:-1]) >= 1_000_000
    assert_right(gateway.fetch(FILE), RIGHT)
    assert len(upstream.seen("*.tar.gz")) == 2


@pytest.mark.parametrize("ecosystem", ["pypi", "golang"])
def test_a_takeover_that_finds_another_file_mixes_nothing(ecosystem: str, upstream: Upstream, serve: Serve) -> None:
    """Upstream answers the Range with 200 because the file has changed: old bytes and new ones never meet, with a
    digest that would tell (PyPI) and without (Go), where the new file may be served to those who have nothing of the
    old."""
    gateway = serve(**upstream.urls, workers=2)
    gateway.expect_error("does not match its index")
    stand = STANDS[ecosystem](upstream, gateway).release("1.0", RIGHT)
    other = content(20_000_000, seed=7)
    gate = Gate(after=HELD_BYTES)
    stand.on_file().fault(gate, times=1)
    herd = gather_herd(gateway, stand.file)
    herd.ask()
    herd.run(10, until_bytes=1_000_000)
    stand.held("1.0").body = other
    (filler,) = gateway.filling_pids()
    kill(filler)
    for member in herd.run(15):
        allowed = stand.vouched == "first-seen" and member.crc == crc32(other)
        assert not member.whole or member.status >= 500 or allowed


def test_clients_of_the_other_worker_outlive_a_worker_killed_while_it_fetches_an_index(
    upstream: Upstream, serve: Serve
) -> None:
    """The lock comes free with the process: the other worker asks for itself, once, and its clients get the index."""
    upstream.project("demo").release("1.0")
    gate = Gate()
    upstream.on("/simple/*").fault(gate, times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    herd = gather_herd(gateway, "/pypi/simple/demo/")
    herd.ask()
    gate.wait_reached()
    wait_until(lambda: len(gateway.filling_pids()) == 1, "the one who fetches")
    (fetcher,) = gateway.filling_pids()
    lost = gateway.client_ports(fetcher)
    kill(fetcher)
    members = herd.run(15)
    gate.open()
    for member in members:
        assert member.port in lost or (member.status, member.whole) == (200, True), member.broken
    assert [seen.status for seen in upstream.requests] == [0, 200]
    assert gateway.fetch("/pypi/simple/demo/").status == 200


def fill_and_kill(gateway: Gateway, stands: list[Stand]) -> None:
    """A client is in the middle of each fill when the whole server dies."""
    gates = [Gate(after=HELD_BYTES) for _ in stands]
    for stand, gate in zip(stands, gates, strict=True):
        stand.on_file().fault(gate, times=1)
    with ExitStack() as stack:
        replies = [stack.enter_context(open_reply(gateway.url + stand.file)) for stand in stands]
        for response in replies:
            assert len(response.read(1_000_000)) == 1_000_000
        for gate in gates:
            gate.wait_reached()
        gateway.kill()
        for gate in gates:
            gate.open()
        for response in replies:
            got = drain(response)
            assert not got.whole and len(got.body) < len(RIGHT) - 1_000_000


def leftovers(gateway: Gateway) -> list[Path]:
    """What fills have left behind."""
    return [path for path in (gateway.data / "fills").iterdir() if path.suffix in (".part", ".head", ".tmp")]


def test_a_server_killed_in_mid_fill_starts_clean(upstream: Upstream, serve: Serve) -> None:
    """The clients saw a broken transfer; after the restart on the same folder each ecosystem's file is whole and
    nothing is left."""
    gateway = serve(**upstream.urls, workers=2)
    stands = [kind(upstream, gateway).release("1.0", RIGHT).release("2.0") for kind in STANDS.values()]
    others = [gateway.fetch(stand.file_of("2.0")).body for stand in stands]
    fill_and_kill(gateway, stands)

    gateway.restart()
    for stand, other in zip(stands, others, strict=True):
        assert_right(gateway.fetch(stand.file), RIGHT)
        kept = gateway.fetch(stand.file_of("2.0"))
        assert_right(kept, other)
        assert "hit" in kept.cache
    wait_until(lambda: not leftovers(gateway), f"a clean fills folder, not {leftovers(gateway)}")


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda body: body[:-65536] + bytes(65536),
    "longer": lambda body: body + bytes(65536),
    "shorter": lambda body: body[:-4097],
}


@pytest.mark.parametrize("ecosystem", ["pypi", "golang"])
def test_a_half_file_that_the_crash_has_harmed_is_not_trusted(ecosystem: str, upstream: Upstream, serve: Serve) -> None:
    """After a power cut the part file may hold anything: what is served in the end has the right bytes, where a digest
    tells them from wrong ones (PyPI) and where nothing does (Go)."""
    gateway = serve(**upstream.urls)
    gateway.expect_error("does not match its index")
    stands = [STANDS[ecosystem](upstream, gateway).release("1.0", content(20_000_000, seed=n)) for n in range(3)]
    fill_and_kill(gateway, stands)
    parts = [path for path in leftovers(gateway) if path.stat().st_size > 1_000_000]
    assert len(parts) == len(stands), "no part file to harm: this test has lost its subject"
    for part, harm in zip(parts, HARMS.values(), strict=True):
        part.write_bytes(harm(part.read_bytes()))

    gateway.restart()
    for number, stand in enumerate(stands):
        right = content(20_000_000, seed=number)
        first = gateway.fetch(stand.file)
        assert not first.whole or first.status >= 500 or first.body == right
        assert_right(gateway.fetch(stand.file), right)


def test_a_server_killed_while_idle_keeps_what_it_had(upstream: Upstream, serve: Serve) -> None:
    """What was served once is a hit after the crash, with upstream gone, in every ecosystem."""
    gateway = serve(**upstream.urls, workers=2)
    stands = [kind(upstream, gateway).release("1.0", RIGHT) for kind in STANDS.values()]
    for stand in stands:
        stand.wait_for(stand.file, lambda got: "; hit" in got.cache, "a hit")
    gateway.kill()
    upstream.down()
    gateway.restart()
    for stand in stands:
        assert_right(stand.fetch(stand.file), RIGHT)
