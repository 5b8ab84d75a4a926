"""Clients that mean harm: nothing leaves the protocol's own tree, nothing is reflected, nothing falls over."""

from __future__ import annotations

import socket

import pytest

from doubles.gateway import Gateway
from doubles.stand import NpmStand, Stand, in_every_ecosystem
from doubles.upstream import Upstream

pytestmark = pytest.mark.faults

SETTINGS = {"server": {"max_body": "100 kB"}}


def raw(gateway: Gateway, request: bytes) -> bytes:
    """What comes back for bytes sent as they are, until the server closes or says nothing more for a second."""
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=1) as sock:
        try:
            sock.sendall(request)
            while piece := sock.recv(65536):
                received += piece
        except (ConnectionError, TimeoutError):
            return received
    return received


TRAVERSALS = [
    "/pypi/files/../../mainstay.db",
    "/pypi/files/demo/../../../mainstay.db",
    "/pypi/files/demo/..%2f..%2f..%2fmainstay.db",
    "/pypi/files/demo/%2e%2e/%2e%2e/mainstay.db",
    "/pypi/files/demo/..%5c..%5cmainstay.db",
    "/pypi/simple/..%2fadmin/",
    "/pypi/simple/%2e%2e/",
    "/pypi/simple/demo%00/",
    "/pypi/files/demo/demo-1.0.tar.gz%00.whl",
    "/npm/..%2f..%2fetc",
    "/npm/@s%2f..%2f..%2fx",
    "/npm/left/-/..%2f..%2fmainstay.db",
    "/go/..%2f..%2fetc/@v/list",
    "/go/registry.example/..%2f..%2f..%2fx/@v/v1.0.0.zip",
    "/go/registry.example/x/@v/..%2f..%2fmainstay.db",
    "/go/registry.example/x/@v/v1.0.0%00.zip",
    "/go/sumdb/..%2f../lookup/registry.example/x@v1.0.0",
    "/go/sumdb/sum.example/tile/8/0/..%2f..%2fx",
    "/cargo/de/mo/..%2f..%2fmainstay.db",
    "/cargo/de/mo/demo%00",
    "/cargo/crates/..%2f../1.0.0/download",
    "/cargo/crates/demo/..%2f..%2fx/download",
    "/cargo/%2e%2e/config.json",
    "/maven/example/demo/..%2f..%2fmainstay.db",
    "/maven/example/demo/%2e%2e/%2e%2e/maven-metadata.xml",
    "/maven/example/demo/1.0/..%5c..%5cdemo-1.0.jar",
    "/maven/example/demo/1.0/demo-1.0.jar%00.sha1",
    "/npm//etc/passwd",
    "/pypi//etc/passwd",
    "/go//etc/passwd",
    "/cargo//etc/passwd",
    "/maven//etc/passwd",
    "/../../etc/passwd",
    "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_traversal_leads_nowhere(path: str, stand: Stand) -> None:
    """404 or 400 in every spelling, and upstream never hears of it outside its own paths."""
    before = len(stand.upstream.requests)
    reply = raw(stand.gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert reply.split(b" ")[1] in (b"404", b"400"), reply[:200]
    assert b"SQLite" not in reply and b"root:" not in reply
    for seen in stand.upstream.requests[before:]:
        assert ".." not in seen.path and "\0" not in seen.path
        assert seen.path.startswith(("/simple/", "/npm/", "/packages/", "/go/", "/cargo/", "/crates/", "/maven/"))


@pytest.mark.parametrize("sent", ["%0d%0aX-Evil:%20yes", "%0aX-Evil:%20yes", "%E5%98%8A%E5%98%8DX-Evil:yes"])
def test_a_header_cannot_be_smuggled_through_a_path(sent: str, stand: Stand) -> None:
    """Line ends in a name stay data: neither the reply nor upstream's request gains a header."""
    before = len(stand.upstream.requests)
    for path in (
        f"/pypi/simple/demo{sent}/",
        f"/npm/left{sent}",
        f"/pypi/files/demo/demo-1.0{sent}.tar.gz",
        f"/go/registry.example/x{sent}/@v/list",
        f"/go/registry.example/x/@v/v1.0.0{sent}.zip",
        f"/cargo/de/mo/demo{sent}",
        f"/cargo/crates/demo/1.0.0{sent}/download",
        f"/maven/example/demo{sent}/maven-metadata.xml",
        f"/maven/example/demo/1.0/demo-1.0{sent}.jar",
    ):
        reply = raw(stand.gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = reply.partition(b"\r\n\r\n")[0].lower()
        assert b"\nx-evil" not in head and head.startswith(b"http/1.1 4"), reply[:300]
    assert all("x-evil" not in seen.headers for seen in stand.upstream.requests[before:])


@in_every_ecosystem
def test_links_are_never_built_from_an_untrusted_forwarded_header(stand: Stand) -> None:
    """Neither for the sender nor for the next caller; in cargo's description of the registry, too."""
    stand.release()
    sent = {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil"}
    for path in (stand.index, "/cargo/config.json"):
        for headers in (sent, {"forwarded": "host=evil.example;proto=https"}, {}):
            got = stand.fetch(path, headers=headers)
            assert got.status == 200 and "evil" not in got.text


@pytest.fixture
def npm(shared_upstream: Upstream, shared_gateway: Gateway) -> NpmStand:
    """A package of the test's own: its document has absolute links, made from the Host."""
    return NpmStand(shared_upstream, shared_gateway).release("1.0")


@pytest.mark.parametrize("config", [False, True], ids=["packument", "config.json"])
def test_a_host_header_that_is_no_host_is_not_reflected(config: bool, npm: NpmStand) -> None:
    """Quotes and spaces in Host never reach a document, nor does one caller's host reach another: neither npm's nor
    cargo's, which have absolute links."""
    path = "/cargo/config.json" if config else npm.index
    for host in (b'evil.example"><script>', b"evil.example/path", b"user@evil.example"):
        request = b"GET " + path.encode() + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        assert b"evil" not in raw(npm.gateway, request).partition(b"\r\n\r\n")[2]
    named = npm.fetch(path, headers={"host": "first.example"})
    assert named.status == 200 and "http://first.example/" in named.text
    assert "first.example" not in npm.fetch(path).text


@in_every_ecosystem
def test_a_write_is_refused_in_words(stand: Stand) -> None:
    """405 that says that the gateway is read-only, and 404 where the protocol has no such write; upstream hears nothing
    of either."""
    stand.release()
    refused = set()
    for method in ("PUT", "DELETE", "PATCH", "POST"):
        for path in (stand.index, stand.file):
            got = stand.fetch(path, method=method, body=b"{}")
            assert got.status == 404 or (got.status == 405 and "read-only" in got.text), (method, path, got)
            refused.add(got.status)
    assert refused == ({404} if stand.ecosystem == "cargo" else {405}), "cargo's writes have paths of their own"
    assert [seen.method for seen in stand.seen()] == []


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("PUT", "/cargo/api/v1/crates/new", "publish"),
        ("DELETE", "/cargo/api/v1/crates/demo/1.0.0/yank", "yank"),
        ("PUT", "/cargo/api/v1/crates/demo/1.0.0/unyank", "unyank"),
        ("PUT", "/cargo/api/v1/crates/demo/owners", "owners"),
        ("PUT", "/maven/example/demo/1.0/demo-1.0.jar", "deploy"),
    ],
)
def test_publishing_is_refused_by_its_name(method: str, path: str, word: str, stand: Stand) -> None:
    """What cargo and Maven send to publish is answered with what it is, and what the gateway is."""
    before = len(stand.upstream.requests)
    got = stand.fetch(path, method=method, body=b"{}")
    assert got.status == 405 and word in got.text and "read-only" in got.text
    assert stand.upstream.requests[before:] == []


def test_a_request_body_over_the_cap_is_refused(stand: Stand) -> None:
    """413, announced or not, and the server lives."""
    path = "/npm/-/npm/v1/security/advisories/bulk"
    assert stand.fetch(path, method="POST", body=bytes(200_000)).status == 413
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    reply = raw(stand.gateway, head + chunk * 4 + b"0\r\n\r\n")
    assert reply.split(b" ")[1:2] == [b"413"], reply[:200]
    assert stand.fetch("/healthz").status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: a\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n0\r\n\r\nGET /evil",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"\r\n" * 1000,
        b"\x00" * 10_000,
    ],
    ids=["tls", "version", "target", "header", "headers", "smuggling", "length", "newlines", "zeros"],
)
def test_garbage_is_turned_away_and_the_server_lives(garbage: bytes, stand: Stand) -> None:
    """At most one reply and no hang, whatever is sent, and the next client is served."""
    reply = raw(stand.gateway, garbage)
    assert b"Traceback" not in reply and reply.count(b"HTTP/1.1") <= 1
    assert stand.fetch("/healthz").status == 200
