"""kill -9 in the middle of a fill: of the worker that fills, and of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from doubles.claims import assert_right
from doubles.client import drain, open_reply
from doubles.faults import Gate
from doubles.gateway import Gateway, Serve, kill
from doubles.herd import Herd, crc32
from doubles.registry import content
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


def test_a_takeover_that_finds_another_file_mixes_nothing(upstream: Upstream, serve: Serve) -> None:
    """Upstream answers the Range with 200 because the file has changed: old bytes and new ones never meet."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gate = Gate(after=HELD_BYTES)
    upstream.on("*.tar.gz").fault(gate, times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    gateway.expect_error("does not match its index")
    herd = gather_herd(gateway, FILE)
    herd.ask()
    herd.run(10, until_bytes=1_000_000)
    (file,) = upstream.project("demo").releases["1.0"]
    file.body = content(20_000_000, seed=7)
    (filler,) = gateway.filling_pids()
    kill(filler)
    for member in herd.run(15):
        assert not member.whole or member.status >= 500


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


def fill_and_kill(gateway: Gateway, upstream: Upstream) -> None:
    """A client is in the middle of a fill when the whole server dies."""
    gate = Gate(after=HELD_BYTES)
    upstream.on("*.tar.gz").fault(gate, times=1)
    with open_reply(gateway.url + FILE) as response:
        assert len(response.read(1_000_000)) == 1_000_000
        gate.wait_reached()
        gateway.kill()
        gate.open()
        got = drain(response)
    assert not got.whole and len(got.body) < len(RIGHT) - 1_000_000


def leftovers(gateway: Gateway) -> list[Path]:
    """What fills have left behind."""
    return [path for path in (gateway.data / "fills").iterdir() if path.suffix in (".part", ".head", ".tmp")]


def test_a_server_killed_in_mid_fill_starts_clean(upstream: Upstream, serve: Serve) -> None:
    """The client saw a broken transfer; after the restart on the same folder the file is whole and nothing is left."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT}).release("2.0")
    gateway = serve(pypi=upstream.simple_url, workers=2)
    other = gateway.fetch("/pypi/files/demo/demo-2.0.tar.gz")
    fill_and_kill(gateway, upstream)

    gateway.restart()
    assert_right(gateway.fetch(FILE), RIGHT)
    kept = gateway.fetch("/pypi/files/demo/demo-2.0.tar.gz")
    assert_right(kept, other.body)
    assert "hit" in kept.cache
    wait_until(lambda: not leftovers(gateway), f"a clean fills folder, not {leftovers(gateway)}")


@pytest.mark.parametrize("harm", ["zeros", "longer", "shorter"])
def test_a_half_file_that_the_crash_has_harmed_is_not_trusted(harm: str, upstream: Upstream, serve: Serve) -> None:
    """After a power cut the part file may hold anything: what is served in the end has the right digest."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gateway = serve(pypi=upstream.simple_url)
    gateway.expect_error("does not match its index")
    fill_and_kill(gateway, upstream)
    parts = [path for path in leftovers(gateway) if path.stat().st_size > 1_000_000]
    assert parts, "no part file to harm: this test has lost its subject"
    for part in parts:
        body = part.read_bytes()
        harmed = {"zeros": body[:-65536] + bytes(65536), "longer": body + bytes(65536), "shorter": body[:-4097]}
        part.write_bytes(harmed[harm])

    gateway.restart()
    first = gateway.fetch(FILE)
    assert not first.whole or first.status >= 500 or first.body == RIGHT
    assert_right(gateway.fetch(FILE), RIGHT)


def test_a_server_killed_while_idle_keeps_what_it_had(upstream: Upstream, serve: Serve) -> None:
    """What was served once is a hit after the crash, with upstream gone."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gateway = serve(pypi=upstream.simple_url, workers=2)
    wait_until(lambda: "; hit" in gateway.fetch(FILE).cache, "a hit")
    gateway.kill()
    upstream.down()
    gateway.restart()
    assert_right(gateway.fetch(FILE), RIGHT)
