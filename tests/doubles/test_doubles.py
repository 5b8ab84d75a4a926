"""The doubles do what they say: without a gateway, one honest reply and each fault as a client sees it."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from doubles.client import Received, fetch
from doubles.faults import (
    Chunked,
    ContentType,
    Delay,
    Endless,
    Fault,
    Gate,
    GzipBomb,
    Gzipped,
    HugeHeader,
    LoginPage,
    Rate,
    Redirect,
    Reset,
    SilentClose,
    Status,
    Truncated,
    Unauthorized,
    WrongDigest,
    too_many_requests,
)
from doubles.herd import Herd, crc32
from doubles.registry import JSON_INDEX, content
from doubles.upstream import Upstream, wait_until

BODY = content(100_000)


@pytest.fixture
def file_url(upstream: Upstream) -> str:
    """Where the double keeps the one file of `demo`."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": BODY})
    index = fetch(upstream.simple_url + "demo/", headers={"accept": JSON_INDEX})
    return str(json.loads(index.body)["files"][0]["url"])


def test_files_are_on_another_port_and_host_name(upstream: Upstream, file_url: str) -> None:
    """An index that leads elsewhere, as public ones do; the HTML form leads to the same place."""
    index, file = urlsplit(upstream.simple_url), urlsplit(file_url)
    assert (index.hostname, file.hostname) == ("127.0.0.1", "localhost")
    assert index.port != file.port
    assert file_url in fetch(upstream.simple_url + "demo/").text
    assert fetch(file_url).body == BODY


def test_conditional_requests_and_ranges_are_honoured(upstream: Upstream, file_url: str) -> None:
    """304 by either validator, 206 for a range, 200 where If-Range names another file."""
    index_url = upstream.simple_url + "demo/"
    first = fetch(index_url)
    assert fetch(index_url, headers={"if-none-match": first.headers["etag"]}).status == 304
    assert fetch(index_url, headers={"if-modified-since": first.headers["last-modified"]}).status == 304
    part = fetch(file_url, headers={"range": "bytes=10-19"})
    assert (part.status, part.body) == (206, BODY[10:20])
    assert fetch(file_url, headers={"range": "bytes=10-", "if-range": '"other"'}).body == BODY
    assert fetch(file_url, headers={"range": "bytes=100000-"}).status == 416


def test_packages_have_a_packument_and_tarballs(upstream: Upstream) -> None:
    """Scoped names in either spelling; the abbreviated form has no times."""
    upstream.package("@s/left").release("1.0.0", BODY)
    full = json.loads(fetch(upstream.npm_url + "@s%2fleft").body)
    short = json.loads(
        fetch(upstream.npm_url + "@s/left", headers={"accept": "application/vnd.npm.install-v1+json"}).body
    )
    assert "time" in full and "time" not in short
    assert fetch(short["versions"]["1.0.0"]["dist"]["tarball"]).body == BODY


WHOLE = {"honest": Chunked(), "late": Delay(0.05), "held": Rate(10_000_000), "closing": SilentClose()}
BROKEN = {
    "reset before headers": (Reset(), 0, 0),
    "reset after headers": (Reset(0), 200, 0),
    "reset in the body": (Reset(5000), 200, 5000),
    "truncated": (Truncated(5000), 200, 5000),
    "cut chunks": (Chunked(cut=5000), 200, 5000),
}


@pytest.mark.parametrize("fault", WHOLE.values(), ids=WHOLE)
def test_an_odd_but_honest_reply_has_the_whole_body(fault: Fault, upstream: Upstream, file_url: str) -> None:
    """Odd framing and pace change nothing of what arrives."""
    upstream.on("*.tar.gz").fault(fault)
    assert fetch(file_url).body == BODY


@pytest.mark.parametrize(("fault", "status", "received"), BROKEN.values(), ids=BROKEN)
def test_a_broken_reply_is_seen_as_broken(
    fault: Fault, status: int, received: int, upstream: Upstream, file_url: str
) -> None:
    """The client can tell, and the double is well again after the times that were asked for."""
    upstream.on("*.tar.gz").fault(fault, times=1)
    got = fetch(file_url)
    assert (got.status, len(got.body), got.whole) == (status, received, False)
    assert fetch(file_url).body == BODY


def altered(upstream: Upstream, file_url: str, fault: Fault) -> Received:
    """The file under a fault."""
    upstream.on("*.tar.gz").fault(fault, times=1)
    return fetch(file_url)


def test_altered_replies_are_whole_and_wrong(upstream: Upstream, file_url: str) -> None:
    """Bytes, type, headers, coding and status as announced."""
    wrong = altered(upstream, file_url, WrongDigest())
    assert len(wrong.body) == len(BODY) and wrong.body != BODY
    assert altered(upstream, file_url, ContentType("x/y")).headers["content-type"] == "x/y"
    assert b"Sign in" in altered(upstream, file_url, LoginPage()).body
    assert len(altered(upstream, file_url, HugeHeader(9000)).headers["x-padding"]) == 9000
    assert altered(upstream, file_url, Gzipped()).headers["content-encoding"] == "gzip"
    assert len(altered(upstream, file_url, GzipBomb(64 << 20)).body) < 1 << 20
    assert altered(upstream, file_url, Endless(1 << 20)).broken
    assert altered(upstream, file_url, Redirect()).headers["location"] == urlsplit(file_url).path
    assert altered(upstream, file_url, too_many_requests(7)).headers["retry-after"] == "7"
    assert altered(upstream, file_url, Status(503)).status == 503
    assert altered(upstream, file_url, Unauthorized("Basic x")).status == 401


def test_a_gate_holds_a_herd_until_it_is_opened(upstream: Upstream, file_url: str) -> None:
    """Everybody has the bytes before the gate, and all of them afterwards."""
    gate = Gate(after=5000)
    upstream.on("*.tar.gz").fault(gate)
    herd = Herd(file_url)
    herd.join(50)
    herd.ask()
    assert {member.received for member in herd.run(5, until_bytes=5000)} == {5000}
    gate.open()
    assert {(member.whole, member.crc) for member in herd.run(5)} == {(True, crc32(BODY))}
    assert len(upstream.seen("*.tar.gz")) == 50


def test_an_upstream_that_is_down_comes_back_at_the_same_address(upstream: Upstream, file_url: str) -> None:
    """Connections are refused and cut, then accepted again."""
    upstream.down()
    assert fetch(file_url).status == 0
    upstream.up()
    assert fetch(file_url).body == BODY


def test_what_is_awaited_and_never_comes_is_a_failure() -> None:
    """A wait has an end."""
    with pytest.raises(AssertionError, match="the impossible"):
        wait_until(lambda: False, "the impossible", 0.05)
