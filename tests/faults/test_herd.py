"""Very many clients want one thing that is not there yet: upstream is asked once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Answer, Fault, Gate, Reset, Status, Truncated, WrongDigest
from doubles.gateway import Gateway, Serve, serving
from doubles.herd import Herd, Member, crc32
from doubles.registry import JSON_INDEX, content
from doubles.stand import STANDS, VOUCHED, PypiStand, Stand
from doubles.upstream import Upstream, wait_until
from doubles.wire import Exchange, Reply

pytestmark = pytest.mark.faults

INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"
CLIENTS = 1000
CROWD = 100


@pytest.fixture(scope="module")
def gateways(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Gateway]]:
    """Gateways of two workers that all tests share, by the attempts that they make."""
    with serving(tmp_path_factory.mktemp("herds")) as start:
        yield {n: start(**shared_upstream.urls, workers=2, fetch={"attempts": n}) for n in (1, 3)}


@pytest.fixture
def stand(request: pytest.FixtureRequest, shared_upstream: Upstream, gateways: dict[int, Gateway]) -> Iterator[Stand]:
    """A project of the test's own behind the one that tries three times."""
    own = STANDS[request.param](shared_upstream, gateways[3])
    yield own
    own.heal()


in_every_ecosystem = pytest.mark.parametrize("stand", STANDS, indirect=True)


def send_herd(gateway: Gateway, path: str, size: int, gate: Gate | None = None, headers: str = "") -> list[Member]:
    """Everybody connects, everybody asks, and only then may upstream's first reply pass `gate`."""
    herd = Herd(gateway.url + path, headers)
    herd.join(size)
    herd.ask()
    if gate is not None:
        gate.wait_reached()
        gate.open()
    return herd.run(timeout_s=120)


def outcomes(members: list[Member]) -> set[tuple[int, bool, int, str]]:
    """What the clients got, each kind once: (status, whole, CRC, how it broke)."""
    return {(member.status, member.whole, member.crc, member.broken) for member in members}


@pytest.mark.parametrize("stand", ["pypi"], indirect=True)
def test_a_thousand_clients_of_a_cold_file_make_one_upstream_request(stand: PypiStand) -> None:
    """1,000 clients, 20 MB, two workers: every client has every byte, upstream was asked once for index and file."""
    assert_one_request_serves_all(stand, content(20_000_000), CLIENTS)


@in_every_ecosystem
def test_a_crowd_on_a_cold_file_makes_one_upstream_request(stand: Stand) -> None:
    """The same with fewer clients, however the file is found: cargo's description is asked for once, and Maven's
    checksum once."""
    described = len(stand.upstream.seen("/cargo/config.json"))
    assert_one_request_serves_all(stand, content(3_000_000), CROWD)
    if stand.ecosystem == "maven":
        assert len(stand.upstream.seen(f"{stand.file}.sha1")) == 1
    assert len(stand.upstream.seen("/cargo/config.json")) <= described + (stand.ecosystem == "cargo")


def assert_one_request_serves_all(stand: Stand, right: bytes, clients: int) -> None:
    """Everybody asks before upstream's reply begins."""
    stand.release("1.0", right)
    gate = Gate()
    stand.on_file().fault(gate)
    members = send_herd(stand.gateway, stand.file, clients, gate)
    assert outcomes(members) == {(200, True, crc32(right), "")}
    assert len(stand.seen_file()) == 1
    assert len(stand.seen_index()) == int(stand.listed), "who lists no files is not asked for a list"


@pytest.mark.parametrize("stand", ["pypi"], indirect=True)
def test_a_thousand_clients_of_a_cold_index_make_one_upstream_request(stand: PypiStand) -> None:
    """The same for a document."""
    assert_one_request_serves_all_an_index(stand, CLIENTS, f"Accept: {JSON_INDEX}\r\n")


@in_every_ecosystem
def test_a_crowd_on_a_cold_index_makes_one_upstream_request(stand: Stand) -> None:
    """With fewer clients, in every ecosystem."""
    assert_one_request_serves_all_an_index(stand, CROWD, "")


def assert_one_request_serves_all_an_index(stand: Stand, clients: int, headers: str) -> None:
    """Everybody asks before upstream's reply begins."""
    stand.release("1.0")
    gate = Gate()
    stand.on_index().fault(gate)
    members = send_herd(stand.gateway, stand.index, clients, gate, headers)
    assert len(outcomes(members)) == 1 and members[0].whole and members[0].status == 200
    assert len(stand.seen_index()) == 1


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


FIRST_FAILURES: dict[str, Fault] = {
    "503": Status(503),
    "reset": Reset(),
    "reset after the head": Reset(0),
    "reset in the middle": Reset(1_000_000),
    "truncated": Truncated(2_000_000),
}


@pytest.mark.parametrize("failure", FIRST_FAILURES)
@in_every_ecosystem
def test_no_client_inherits_the_failure_of_a_first_attempt(failure: str, stand: Stand) -> None:
    """The first attempt fails, wherever: all clients succeed, with one more upstream request."""
    right = content(3_000_000)
    stand.release("1.0", right)
    stand.on_file().fault(FIRST_FAILURES[failure], times=1)
    members = send_herd(stand.gateway, stand.file, CROWD)
    assert outcomes(members) == {(200, True, crc32(right), "")}
    assert len(stand.seen_file()) == 2


@in_every_ecosystem
def test_followers_try_for_themselves_when_the_leader_has_given_up(stand: Stand, gateways: dict[int, Gateway]) -> None:
    """With a single attempt allowed, one failure costs at most the client that led."""
    own = type(stand)(stand.upstream, gateways[1])
    right = content(3_000_000)
    own.release("1.0", right)
    gate = Gate()
    own.on_file().fault(Refused(gate), times=1)
    members = send_herd(own.gateway, own.file, CROWD, gate)
    failed = [member for member in members if member.status != 200]
    assert len(failed) <= 1
    assert outcomes([member for member in members if member not in failed]) == {(200, True, crc32(right), "")}
    assert len(own.seen_file()) == 2


@dataclass(frozen=True)
class Refused:
    """503, held at a gate."""

    gate: Gate

    async def apply(self, exchange: Exchange) -> None:
        """Wait, then refuse."""
        exchange.reply = Reply(503, b"no\n", (("content-type", "text/plain"),))
        await self.gate.apply(exchange)


@pytest.mark.parametrize("ecosystem", ["pypi", "maven"])
def test_followers_of_a_small_file_try_for_themselves_too(
    ecosystem: str, shared_upstream: Upstream, gateways: dict[int, Gateway]
) -> None:
    """The same for what belongs to a file: a signature. To Maven it is a file of its own."""
    own = STANDS[ecosystem](shared_upstream, gateways[1]).release("1.0")
    gate = Gate()
    signature = f"{own.file_at()}.asc"
    own.on(signature).fault(Refused(gate), times=1).fault(Answer(b"signature"))
    members = send_herd(own.gateway, f"{own.file}.asc", 50, gate)
    own.heal()
    assert len([member for member in members if member.status != 200]) <= 1
    assert len(own.upstream.seen(signature)) == 2


@pytest.mark.parametrize("stand", VOUCHED, indirect=True)
def test_no_member_of_a_herd_gets_a_wrong_file(stand: Stand) -> None:
    """The file lies once: those who were streaming are broken off, nobody has it complete."""
    right = content(3_000_000)
    stand.release("1.0", right)
    stand.on_file().fault(WrongDigest(), times=1)
    stand.gateway.expect_error("does not match its index")
    members = send_herd(stand.gateway, stand.file, CROWD)
    for member in members:
        if member.status == 200 and member.whole:
            assert member.crc == crc32(right)
    assert_right(stand.fetch(stand.file), right)
    assert len(stand.seen_file()) <= 3


def test_a_herd_on_a_failing_upstream_does_not_multiply(upstream: Upstream, serve: Serve) -> None:
    """Nobody succeeds, everybody is told, and upstream is not asked once for each client."""
    upstream.project("demo").release("1.0")
    upstream.on("*.tar.gz").fault(Status(503))
    gateway = serve(pypi=upstream.simple_url, workers=2)
    with ThreadPoolExecutor(50) as pool:
        for got in pool.map(lambda _: gateway.fetch(FILE, timeout_s=30), range(50)):
            assert_refused(got, content(100_000, seed=2))
    assert len(upstream.seen("*.tar.gz")) <= 20
