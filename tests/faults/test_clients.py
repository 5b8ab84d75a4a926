"""Clients that are slow, leave, or ask for a part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from doubles.claims import assert_right
from doubles.client import open_reply
from doubles.faults import Gate, Reset, Status
from doubles.gateway import Gateway, Serve, serving
from doubles.registry import content
from doubles.stand import STANDS, Stand, in_every_ecosystem
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


@pytest.fixture(scope="module")
def pair(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of two workers that all tests share."""
    with serving(tmp_path_factory.mktemp("pair")) as start:
        yield start(**shared_upstream.urls, workers=2)


@pytest.mark.parametrize("workers", [1, 2])
@in_every_ecosystem
def test_a_client_that_hangs_up_does_not_abort_the_fill(workers: int, stand: Stand, pair: Gateway) -> None:
    """The first client leaves in the middle; a second one gets all of it from the one upstream request."""
    own = stand if workers == 1 else type(stand)(stand.upstream, pair)
    own.release("1.0", RIGHT)
    gate = Gate(after=1_000_000)
    own.on_file().fault(gate)
    with open_reply(own.gateway.url + own.file) as response:
        assert len(response.read(100_000)) == 100_000
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(own.fetch, own.file)
        gate.wait_reached()
        gate.open()
        assert_right(second.result(), RIGHT)
    assert len(own.seen_file()) == 1


@in_every_ecosystem
def test_a_fill_whose_only_client_has_left_ends_in_the_store(stand: Stand) -> None:
    """Nobody waits any more, and yet the next client has a hit without upstream."""
    stand.release("1.0", RIGHT)
    gate = Gate(after=1_000_000)
    stand.on_file().fault(gate)
    with open_reply(stand.gateway.url + stand.file) as response:
        response.read(100_000)
    gate.open()
    wait_until(lambda: stand.seen_file()[0].sent_bytes == len(RIGHT), "the fill to end")
    wait_until(lambda: not [*(stand.gateway.data / "fills").glob("*.head")], "the file to be published")
    stand.on(f"*{stand.word}*").fault(Reset())
    got = stand.fetch(stand.file)
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
    assert_part(asked, warm, stand)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("stand", [name for name in STANDS if name != "pypi"], indirect=True)
def test_a_part_of_any_ecosystems_file_is_answered(warm: bool, stand: Stand) -> None:
    """The same where the index tells no length, or there is none: the length is upstream's word."""
    assert_part("bytes=1000-1999", warm, stand)


def assert_part(asked: str, warm: bool, stand: Stand) -> None:
    """A range is answered rightly, and the whole file after it."""
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
@in_every_ecosystem
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


@in_every_ecosystem
def test_if_range_gives_the_part_only_of_the_same_file(stand: Stand) -> None:
    """With our own ETag the part, with another one the whole."""
    stand.release("1.0", RIGHT)
    wait_until(lambda: "; hit" in stand.fetch(stand.file).cache, "the file to be kept")
    etag = stand.fetch(stand.file).headers["etag"]
    part = {"range": "bytes=10-19"}
    same = stand.fetch(stand.file, headers=part | {"if-range": etag})
    assert (same.status, same.body) == (206, RIGHT[10:20])
    assert_right(stand.fetch(stand.file, headers=part | {"if-range": '"another"'}), RIGHT)


@in_every_ecosystem
def test_a_cold_if_range_from_elsewhere_gives_the_whole(stand: Stand) -> None:
    """A client that began at another server holds other validators: it gets everything anew."""
    stand.release("1.0", RIGHT)
    headers = {"range": "bytes=10-", "if-range": '"another"'}
    assert_right(stand.fetch(stand.file, headers=headers), RIGHT)


@in_every_ecosystem
def test_a_file_is_not_sent_to_one_who_has_it(stand: Stand) -> None:
    """If-None-Match with our ETag: 304 without a body."""
    stand.release("1.0", RIGHT)
    wait_until(lambda: "; hit" in stand.fetch(stand.file).cache, "the file to be kept")
    etag = stand.fetch(stand.file).headers["etag"]
    got = stand.fetch(stand.file, headers={"if-none-match": etag})
    assert (got.status, got.body) == (304, b"")


BESIDE = {
    "pypi": ["{index}absent", "{file}.asc", "/pypi/simple/{word}"],
    "npm": ["{index}/latest", "{index}/9.9.9"],
    "golang": ["{folder}v1.0.0.info", "{folder}v1.0.0.mod", "/go/registry.example/!{word}/@latest"],
    "cargo": ["/cargo/config.json"],
    "maven": ["{file}.sha1", "{file}.md5", "{file}.sha256", "{file}.asc", "{index}.sha1"],
}


@in_every_ecosystem
def test_head_is_get_without_the_body(stand: Stand) -> None:
    """Cold and warm, found and missing: the same status, type and length as GET, and no byte of a body."""
    stand.release("1.0", RIGHT)
    absent = type(stand)(stand.upstream, stand.gateway)
    words = {
        "index": stand.index,
        "file": stand.file,
        "word": stand.word,
        "folder": stand.file.rpartition("/")[0] + "/",
    }
    stand.on(f"*/{stand.word}-1.0.tar.gz.asc").fault(Status(200))
    beside = [path.format(**words) for path in BESIDE[stand.ecosystem]]
    for path in [
        stand.index,
        stand.file,
        *beside,
        absent.index,
        absent.file,
        stand.file_of("9.0"),
        "/nothing",
        "/readyz",
    ]:
        cold = stand.fetch(path, method="HEAD")
        full = stand.fetch(path)
        warm = stand.fetch(path, method="HEAD")
        for head in (cold, warm):
            assert (head.status, head.body) == (full.status, b""), path
            # What is said of something absent may change once its absence is remembered, and so may its length.
            for name in ("content-type", "content-length") if full.status == 200 else ("content-type",):
                assert head.headers.get(name) == full.headers.get(name), (path, name)


@in_every_ecosystem
def test_documents_travel_packed_and_files_as_they_are(stand: Stand) -> None:
    """gzip to clients that take it, and from upstream, for documents; never for files, cold or warm, from or to."""
    stand.release("1.0", bytes(300_000))
    packed = {"accept-encoding": "gzip"}
    for _ in range(2):
        got = stand.fetch(stand.index, headers=packed)
        assert (got.status, got.headers.get("content-encoding")) == (200, "gzip")
        varies = {name.strip() for name in got.headers["vary"].lower().split(",")}
        assert "accept-encoding" in varies
        assert ("accept" in varies) == (stand.ecosystem in ("pypi", "npm")), "where it has several forms"
        got = stand.fetch(stand.file, headers=packed)
        assert (got.status, got.headers.get("content-encoding")) == (200, None)
        assert got.body == bytes(300_000) and "vary" not in got.headers
    assert [seen.headers["accept-encoding"] for seen in stand.seen_index()] == ["gzip"]
    assert [seen.headers["accept-encoding"] for seen in stand.seen_file()] == ["identity"]


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
