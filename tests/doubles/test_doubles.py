"""The doubles do what they say: without a gateway, one honest reply and each fault as a client sees it."""

from __future__ import annotations

import hashlib
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


def test_modules_have_their_files_at_escaped_addresses(upstream: Upstream) -> None:
    """The list grows and shrinks, `@latest` follows, and a module that is gone is gone whole; so is one not escaped."""
    module = upstream.module("registry.example/Left").release("v1.0.0", BODY).release("v1.1.0")
    url = upstream.go_url + "registry.example/!left/"
    assert fetch(url + "@v/list").body == b"v1.0.0\nv1.1.0\n"
    assert json.loads(fetch(url + "@latest").body)["Version"] == "v1.1.0"
    assert json.loads(fetch(url + "@v/v1.0.0.info").body) == {"Version": "v1.0.0", "Time": "2025-01-01T00:00:00Z"}
    assert fetch(url + "@v/v1.0.0.mod").body == b"module registry.example/Left\n"
    assert fetch(url + "@v/v1.0.0.zip").body == BODY
    assert (
        "registry.example/Left v1.0.0 h1:"
        in fetch(upstream.go_url + "sumdb/sum.example/lookup/registry.example/!left@v1.0.0").text
    )
    assert fetch(upstream.go_url + "registry.example/Left/@v/list").status == 404
    module.remove("v1.0.0")
    assert [fetch(f"{url}@v/{rest}").status for rest in ("list", "v1.0.0.zip", "v1.1.0.zip")] == [200, 404, 200]
    module.disappear(410)
    assert [fetch(f"{url}@v/{rest}").status for rest in ("list", "v1.1.0.zip")] == [410, 410]


def test_crates_are_found_by_the_description(upstream: Upstream) -> None:
    """The description leads to another port and host name; lines have validators and digests."""
    crate = upstream.crate("Left_pad").release("1.0.0", BODY).release("2.0.0")
    description = json.loads(fetch(upstream.cargo_url + "config.json").body)
    assert urlsplit(description["dl"]).hostname == "localhost"
    url = upstream.cargo_url + "le/ft/left_pad"
    got = fetch(url)
    line = json.loads(got.text.splitlines()[0])
    assert (line["name"], line["vers"], line["pubtime"]) == ("Left_pad", "1.0.0", "2025-01-01T00:00:00Z")
    assert line["cksum"] == hashlib.sha256(BODY).hexdigest()
    assert fetch(url, headers={"if-none-match": got.headers["etag"]}).status == 304
    assert fetch(f"{description['dl']}/Left_pad/1.0.0/download").body == BODY
    crate.remove("1.0.0")
    assert '"1.0.0"' not in fetch(url).text and fetch(f"{description['dl']}/Left_pad/1.0.0/download").status == 404
    crate.disappear()
    assert fetch(url).status == 404


def test_artifacts_have_metadata_and_checksums(upstream: Upstream) -> None:
    """Each file has its own beside it, metadata too; HEAD has no body."""
    held = upstream.coordinates("org.example/left").release("1.0", BODY).release("2.0")
    url = upstream.maven_url + "org/example/left/"
    metadata = fetch(url + "maven-metadata.xml")
    assert b"<version>1.0</version>" in metadata.body and b"<release>2.0</release>" in metadata.body
    assert fetch(url + "maven-metadata.xml.sha1").text == hashlib.sha1(metadata.body, usedforsecurity=False).hexdigest()
    assert fetch(url + "1.0/left-1.0.jar").body == BODY
    assert fetch(url + "1.0/left-1.0.jar.md5").text == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    head = fetch(url + "1.0/left-1.0.jar", method="HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, "100000", b"")
    held.summed = False
    assert fetch(url + "1.0/left-1.0.jar.sha1").status == 404
    held.remove("1.0")
    assert fetch(url + "1.0/left-1.0.jar").status == 404 and b">1.0<" not in fetch(url + "maven-metadata.xml").body
    held.disappear(410)
    assert fetch(url + "maven-metadata.xml").status == 410


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
