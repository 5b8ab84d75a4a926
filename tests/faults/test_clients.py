"""Clients that are slow, leave, or ask for a part."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from doubles.claims import assert_right
from doubles.client import open_reply
from doubles.faults import Gate, Status
from doubles.gateway import Serve
from doubles.registry import content
from doubles.stand import Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

FILE = "/pypi/files/demo/demo-1.0.tar.gz"
RIGHT = content(3_000_000)


def test_slow_readers_cost_little_memory_and_delay_nobody(upstream: Upstream, serve: Serve) -> None:
    """Twenty clients stop reading a 100 MB file early: a fast one gets it whole, and memory stays bounded."""
    right = content(100_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": right}).release("2.0")
    gateway = serve(pypi=upstream.simple_url)
    gateway.fetch("/pypi/files/demo/demo-2.0.tar.gz")
    before = gateway.rss_bytes()
    with ExitStack() as stack:
        for _ in range(20):
            assert stack.enter_context(open_reply(gateway.url + FILE)).status == 200
        assert_right(gateway.fetch(FILE), right)
        assert gateway.rss_bytes() - before < 64 << 20
        assert gateway.fetch("/healthz", timeout_s=1).status == 200
    assert len(upstream.seen("*-1.0.tar.gz")) == 1


def test_a_slow_reader_gets_the_whole_file_in_the_end(upstream: Upstream, serve: Serve) -> None:
    """The fill does not wait for its slowest client, and the client loses nothing by that."""
    right = content(30_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": right})
    gateway = serve(pypi=upstream.simple_url)
    with open_reply(gateway.url + FILE) as response:
        begun = response.read(1000)
        assert_right(gateway.fetch(FILE), right)
        assert begun + response.read() == right


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_that_hangs_up_does_not_abort_the_fill(workers: int, upstream: Upstream, serve: Serve) -> None:
    """The first client leaves in the middle; a second one gets all of it from the one upstream request."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gate = Gate(after=1_000_000)
    upstream.on("*.tar.gz").fault(gate)
    gateway = serve(pypi=upstream.simple_url, workers=workers)
    with open_reply(gateway.url + FILE) as response:
        assert len(response.read(100_000)) == 100_000
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(gateway.fetch, FILE)
        gate.wait_reached()
        gate.open()
        assert_right(second.result(), RIGHT)
    assert len(upstream.seen("*.tar.gz")) == 1


def test_a_fill_whose_only_client_has_left_ends_in_the_store(upstream: Upstream, serve: Serve) -> None:
    """Nobody waits any more, and yet the next client has a hit with upstream gone."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gate = Gate(after=1_000_000)
    upstream.on("*.tar.gz").fault(gate)
    gateway = serve(pypi=upstream.simple_url)
    with open_reply(gateway.url + FILE) as response:
        response.read(100_000)
    gate.open()
    wait_until(lambda: upstream.seen("*.tar.gz")[0].sent_bytes == len(RIGHT), "the fill to end")
    wait_until(lambda: not [*(gateway.data / "fills").glob("*.head")], "the file to be published")
    upstream.down()
    got = gateway.fetch(FILE)
    assert_right(got, RIGHT)
    assert "hit" in got.cache


def test_clients_that_leave_in_a_crowd_stall_nobody(upstream: Upstream, serve: Serve) -> None:
    """Fifty clients hang up at once in the middle of a large file: the server answers others at once."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": content(50_000_000)})
    gateway = serve(pypi=upstream.simple_url)
    gateway.fetch(FILE)
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(open_reply(gateway.url + FILE)).read(1000)
    for _ in range(10):
        assert gateway.fetch("/healthz", timeout_s=1).status == 200


SETTINGS: dict[str, object] = {}
RANGES = {
    "bytes=1000-1999": (1000, 2000),
    "bytes=2999000-": (2_999_000, 3_000_000),
    "bytes=-500": (2_999_500, 3_000_000),
    "bytes=0-0": (0, 1),
    "bytes=2999999-9999999": (2_999_999, 3_000_000),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("asked", RANGES)
def test_a_range_is_answered_with_that_part(asked: str, warm: bool, stand: Stand) -> None:
    """206 with the right bytes and Content-Range, cold and warm; upstream is asked for the whole file, once."""
    stand.release("1.0", RIGHT)
    if warm:
        stand.fetch(stand.file)
    start, stop = RANGES[asked]
    got = stand.fetch(stand.file, headers={"range": asked})
    assert (got.status, got.whole) == (206, True)
    assert got.body == RIGHT[start:stop]
    assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(RIGHT)}"
    assert_right(stand.fetch(stand.file), RIGHT)
    assert [("range" in seen.headers, seen.status) for seen in stand.seen_file()] == [(False, 200)]


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_range_past_the_end_is_not_satisfiable(warm: bool, stand: Stand) -> None:
    """416 that says how long the file is."""
    stand.release("1.0", RIGHT)
    if warm:
        stand.fetch(stand.file)
    got = stand.fetch(stand.file, headers={"range": "bytes=3000000-"})
    assert got.status == 416 and got.headers["content-range"] == "bytes */3000000"


@pytest.mark.parametrize("nonsense", ["bytes=9-1", "bytes=x-y", "lines=1-2", "bytes=", "bytes=--5"])
def test_a_range_that_makes_no_sense_is_ignored(nonsense: str, stand: Stand) -> None:
    """RFC 9110, 14.2: an invalid ranges-specifier is not an error but no range at all."""
    stand.release("1.0", RIGHT)
    assert_right(stand.fetch(stand.file, headers={"range": nonsense}), RIGHT)


def test_if_range_gives_the_part_only_of_the_same_file(stand: Stand) -> None:
    """With our own ETag the part, with another one the whole."""
    stand.release("1.0", RIGHT)
    etag = stand.fetch(stand.file).headers["etag"]
    part = {"range": "bytes=10-19"}
    same = stand.fetch(stand.file, headers=part | {"if-range": etag})
    assert (same.status, same.body) == (206, RIGHT[10:20])
    assert_right(stand.fetch(stand.file, headers=part | {"if-range": '"another"'}), RIGHT)


def test_a_cold_if_range_from_elsewhere_gives_the_whole(stand: Stand) -> None:
    """A client that began at another server holds other validators: it gets everything anew."""
    stand.release("1.0", RIGHT)
    headers = {"range": "bytes=10-", "if-range": '"another"'}
    assert_right(stand.fetch(stand.file, headers=headers), RIGHT)


def test_a_file_is_not_sent_to_one_who_has_it(stand: Stand) -> None:
    """If-None-Match with our ETag: 304 without a body."""
    stand.release("1.0", RIGHT)
    etag = stand.fetch(stand.file).headers["etag"]
    got = stand.fetch(stand.file, headers={"if-none-match": etag})
    assert (got.status, got.body) == (304, b"")


def test_head_is_get_without_the_body(stand: Stand) -> None:
    """Cold and warm, found and missing: the same status, type and length as GET, and no byte of a body."""
    stand.release("1.0", RIGHT)
    stand.publish()
    stand.upstream.on(f"*/{stand.name}-1.0.tar.gz.asc").fault(Status(200))
    absent = [f"/pypi/simple/{stand.name}-absent/", stand.file_of("9"), f"/npm/{stand.name}-absent", "/nothing"]
    others = [f"{stand.packument}/latest", f"{stand.file}.asc", f"/pypi/simple/{stand.name}", "/api/v1/upstreams"]
    own = ["/healthz", "/readyz"]
    for path in [stand.index, stand.file, stand.packument, stand.tarball, *others, *absent, *own]:
        cold = stand.fetch(path, method="HEAD")
        full = stand.fetch(path)
        warm = stand.fetch(path, method="HEAD")
        for head in (cold, warm):
            assert (head.status, head.body) == (full.status, b""), path
            for name in ("content-type", "content-length"):
                assert head.headers.get(name) == full.headers.get(name), (path, name)


def test_documents_travel_packed_and_files_as_they_are(stand: Stand) -> None:
    """gzip to clients that take it, and from upstream, for documents; never for files, cold or warm, from or to."""
    stand.release("1.0", bytes(300_000))
    stand.publish("1.0.0", bytes(300_000))
    for path in (stand.index, stand.packument, stand.file, stand.tarball) * 2:
        got = stand.fetch(path, headers={"accept-encoding": "gzip"})
        assert got.status == 200
        assert got.headers.get("content-encoding") == ("gzip" if path in (stand.index, stand.packument) else None)
        if path in (stand.index, stand.packument):
            assert {"accept", "accept-encoding"} <= {name.strip() for name in got.headers["vary"].lower().split(",")}
        else:
            assert got.body == bytes(300_000) and "vary" not in got.headers
    asked = {seen.path: seen.headers["accept-encoding"] for seen in stand.upstream.seen(f"*{stand.name}*")}
    assert sorted(asked.values()) == ["gzip", "gzip", "identity", "identity"]


def test_head_leaves_the_connection_in_step(stand: Stand) -> None:
    """On one connection: HEAD, HEAD, GET. A body after HEAD would shift every reply."""
    right = content(100_000)
    stand.release("1.0", right)
    assert_right(stand.fetch(stand.file), right)
    head = f"HEAD {stand.file} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
    last = f"GET {stand.file} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n".encode()
    address = ("127.0.0.1", stand.gateway.port)
    with socket.create_connection(address, timeout=10) as sock, sock.makefile("rb") as stream:
        sock.sendall(head + head + last)
        raw = stream.read()
    assert raw.count(b"HTTP/1.1 200") == 3
    assert raw.endswith(b"\r\n\r\n" + right) and len(raw) < len(right) + 3000
