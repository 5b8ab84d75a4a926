"""Very many clients want one thing that is not there yet: upstream is asked once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Answer, Fault, Gate, Reset, Status, Truncated, WrongDigest
from doubles.gateway import Gateway, Serve
from doubles.herd import Herd, Member, crc32
from doubles.registry import JSON_INDEX, content
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"
CLIENTS = 1000


def send_herd(gateway: Gateway, path: str, size: int, gate: Gate | None = None, headers: str = "") -> list[Member]:
    """Everybody connects, everybody asks, and only then may upstream's first reply pass `gate`."""
    herd = Herd(gateway.url + path, headers)
    herd.join(size)
    herd.ask()
    if gate is not None:
        gate.wait_reached()
        gate.open()
    return herd.run(timeout_s=30)


def outcomes(members: list[Member]) -> set[tuple[int, bool, int, str]]:
    """What the clients got, each kind once: (status, whole, CRC, how it broke)."""
    return {(member.status, member.whole, member.crc, member.broken) for member in members}


def test_a_thousand_clients_of_a_cold_file_make_one_upstream_request(upstream: Upstream, serve: Serve) -> None:
    """1,000 clients, 20 MB, two workers: every client has every byte, upstream was asked once for index and file."""
    right = content(20_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": right})
    gate = Gate()
    upstream.on("*.tar.gz").fault(gate)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    members = send_herd(gateway, FILE, CLIENTS, gate)
    assert outcomes(members) == {(200, True, crc32(right), "")}
    assert len(upstream.seen("*.tar.gz")) == 1
    assert len(upstream.seen("/simple/*")) == 1


def test_a_thousand_clients_of_a_cold_index_make_one_upstream_request(upstream: Upstream, serve: Serve) -> None:
    """The same for a document."""
    upstream.project("demo").release("1.0")
    gate = Gate()
    upstream.on("/simple/*").fault(gate)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    members = send_herd(gateway, INDEX, CLIENTS, gate, headers=f"Accept: {JSON_INDEX}\r\n")
    assert len(outcomes(members)) == 1 and members[0].whole and members[0].status == 200
    assert len(upstream.requests) == 1


def test_a_herd_on_a_stale_index_revalidates_once(upstream: Upstream, serve: Serve) -> None:
    """When a document grows old in front of many clients, one of them asks for all."""
    upstream.project("demo").release("1.0")
    ttl_s = 2
    gateway = serve(pypi=upstream.simple_url, workers=2, cache={"document_ttl_s": ttl_s})
    assert gateway.fetch(INDEX).status == 200
    old_at_s = time.monotonic() + ttl_s
    wait_until(lambda: time.monotonic() > old_at_s, "the index to be old")
    gate = Gate()
    upstream.on("/simple/*").fault(gate)
    members = send_herd(gateway, INDEX, 200, gate)
    assert {member.status for member in members} == {200}
    assert [seen.status for seen in upstream.requests[:2]] == [200, 304]
    assert len(upstream.requests) <= 3, "one for the first client, one for the herd, one for who came very late"


@pytest.mark.parametrize("failure", [Status(503), Reset(), Reset(0), Reset(1_000_000), Truncated(2_000_000)], ids=repr)
def test_no_client_inherits_the_failure_of_a_first_attempt(failure: Fault, upstream: Upstream, serve: Serve) -> None:
    """The first attempt fails, wherever: all clients succeed, with one more upstream request."""
    right = content(3_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": right})
    upstream.on("*.tar.gz").fault(failure, times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    members = send_herd(gateway, FILE, 100)
    assert outcomes(members) == {(200, True, crc32(right), "")}
    assert len(upstream.seen("*.tar.gz")) == 2


def test_followers_try_for_themselves_when_the_leader_has_given_up(upstream: Upstream, serve: Serve) -> None:
    """With a single attempt allowed, one failure costs at most the client that led."""
    right = content(3_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": right})
    gate = Gate()
    upstream.on("/simple/*").fault(gate)
    upstream.on("*.tar.gz").fault(Status(503), times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2, fetch={"attempts": 1})
    members = send_herd(gateway, FILE, 100, gate)
    failed = [member for member in members if member.status != 200]
    assert len(failed) <= 1
    assert outcomes([member for member in members if member not in failed]) == {(200, True, crc32(right), "")}
    assert len(upstream.seen("*.tar.gz")) == 2


def test_followers_of_a_small_file_try_for_themselves_too(upstream: Upstream, serve: Serve) -> None:
    """The same for what belongs to a file: a signature."""
    upstream.project("demo").release("1.0")
    gate = Gate()
    upstream.on("/simple/*").fault(gate)
    upstream.on("*.tar.gz.asc").fault(Status(503), times=1).fault(Answer(b"signature"))
    gateway = serve(pypi=upstream.simple_url, fetch={"attempts": 1})
    members = send_herd(gateway, f"{FILE}.asc", 50, gate)
    assert len([member for member in members if member.status != 200]) <= 1
    assert len(upstream.seen("*.tar.gz.asc")) == 2


def test_no_member_of_a_herd_gets_a_wrong_file(upstream: Upstream, serve: Serve) -> None:
    """The file lies once: those who were streaming are broken off, nobody has it complete."""
    right = content(3_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": right})
    upstream.on("*.tar.gz").fault(WrongDigest(), times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    gateway.expect_error("does not match its index")
    members = send_herd(gateway, FILE, 100)
    for member in members:
        if member.status == 200 and member.whole:
            assert member.crc == crc32(right)
    assert_right(gateway.fetch(FILE), right)
    assert len(upstream.seen("*.tar.gz")) <= 3


def test_a_herd_on_a_failing_upstream_does_not_multiply(upstream: Upstream, serve: Serve) -> None:
    """Nobody succeeds, everybody is told, and upstream is not asked once for each client."""
    upstream.project("demo").release("1.0")
    upstream.on("*.tar.gz").fault(Status(503))
    gateway = serve(pypi=upstream.simple_url, workers=2)
    with ThreadPoolExecutor(50) as pool:
        for got in pool.map(lambda _: gateway.fetch(FILE, timeout_s=30), range(50)):
            assert_refused(got, content(100_000, seed=2))
    assert len(upstream.seen("*.tar.gz")) <= 20
