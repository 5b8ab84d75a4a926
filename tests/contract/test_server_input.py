"""What every HTTP server under the gateway must keep out: hostile request lines, headers and framing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from contract.servers import SERVERS, Wire, connected, request
from doubles.gateway import Gateway
from doubles.stand import PypiStand
from doubles.upstream import Upstream


@pytest.fixture(scope="module")
def gateways(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """One gateway on each server, in front of one upstream."""
    ecosystems = {"pypi": {"upstream": shared_upstream.simple_url}, "npm": {"upstream": shared_upstream.npm_url}}
    folder = tmp_path_factory.mktemp("servers")
    started = {name: kind(folder / name, {"ecosystems": ecosystems}) for name, kind in SERVERS.items()}
    for gateway in started.values():
        gateway.wait_ready()
    yield started
    for gateway in started.values():
        gateway.stop()
        assert gateway.unexpected_errors() == [], "what a client sends is never an error of ours"


@pytest.fixture(params=SERVERS)
def stand(request: pytest.FixtureRequest, gateways: dict[str, Gateway], shared_upstream: Upstream) -> PypiStand:
    """A project of the test's own behind each server."""
    own = PypiStand(shared_upstream, gateways[request.param])
    own.release("1.0")
    own.beside("npm").release("1.0")
    return own


@pytest.fixture
def wire(stand: PypiStand) -> Iterator[Wire]:
    """A connection to the stand's gateway."""
    with connected(stand.gateway.port) as wire:
        yield wire


TRAVERSALS = [
    "/pypi/files/../../mainstay.db",
    "/pypi/files/demo/%2e%2e/%2e%2e/mainstay.db",
    "/pypi/files/demo/..%2f..%2fmainstay.db",
    "/pypi/files/demo/%252e%252e%252fmainstay.db",
    "/pypi/files/demo/..%5c..%5cmainstay.db",
    "/pypi/files/demo/..\\..\\mainstay.db",
    "/pypi/simple/%2e%2e/",
    "/pypi/simple/..%252f/",
    "/pypi/simple/demo%00/",
    "/pypi/simple/%C0%AE%C0%AE/",
    "/npm/..%2f..%2fetc",
    "/npm/%252e%252e%252f",
    "/npm/@s%2f..%2f..%2fx",
    "/npm/left/-/..%2fmainstay.db",
    "/npm/left%00",
    "/../../etc/passwd",
    "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "http://127.0.0.1/../../etc/passwd",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_traversal_leads_nowhere(path: str, stand: PypiStand, wire: Wire) -> None:
    """400 or 404 in every spelling, nothing of a file, and upstream is asked of nothing outside its own paths."""
    before = len(stand.upstream.requests)
    answer = wire.send(request(path)).read()
    assert answer is None or answer.status in (400, 404), answer
    assert answer is None or (b"SQLite" not in answer.body and b"root:" not in answer.body)
    for seen in stand.upstream.requests[before:]:
        assert ".." not in seen.path and "\0" not in seen.path and "\\" not in seen.path
        assert seen.path.startswith(("/simple/", "/npm/"))


@pytest.mark.parametrize("line_end", ["%0d%0a", "%0a", "%0d", "%E5%98%8A%E5%98%8D"])
@pytest.mark.parametrize("path", ["/pypi/simple/demo{}x-evil:1/", "/npm/left{}x-evil:1", "/npm/@s{}x-evil:1%2fy"])
def test_a_line_end_in_a_name_stays_in_the_name(path: str, line_end: str, stand: PypiStand, wire: Wire) -> None:
    """Neither the reply nor upstream's request gains a header."""
    before = len(stand.upstream.requests)
    answer = wire.get(path.format(line_end))
    assert answer.status in (400, 404) and "x-evil" not in answer.headers
    assert all("x-evil" not in seen.headers for seen in stand.upstream.requests[before:])


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Host: a\rX-Evil: 1",
        "X-Forwarded-Proto: http\nX-Evil: 1",
        "Host: a\r\n X-Evil: 1",
        'If-None-Match: "a\x00"',
        "Range: bytes=0-\x00",
        "Accept: \x7f\x01",
    ],
)
def test_control_characters_in_a_header_do_no_harm(header: str, stand: PypiStand, wire: Wire) -> None:
    """Refused by the server or taken as data: no header appears, no defect is logged, the next client is served."""
    answer = wire.send(request(stand.beside("npm").index, header)).read()
    assert answer is None or ("x-evil" not in answer.headers and b"X-Evil" not in answer.body)
    assert answer is None or answer.status in (200, 400)
    assert stand.fetch("/healthz").status == 200


@pytest.mark.parametrize("size", [40_000, 70_000, 1_000_000])
def test_a_huge_header_is_no_defect(size: int, stand: PypiStand, wire: Wire) -> None:
    """Served, or refused as the client's mistake; a megabyte is not taken in."""
    answer = wire.send(request(stand.index, "X-Huge: " + "a" * size)).read()
    assert answer is None or answer.status in (200, 400, 413, 431), answer
    assert size < 1_000_000 or answer is None or answer.status != 200
    assert stand.fetch("/healthz").status == 200


def test_hundreds_of_headers_are_no_defect(stand: PypiStand, wire: Wire) -> None:
    """Served or refused as the client's mistake."""
    answer = wire.send(request(stand.index, *(f"X-H{number}: 1" for number in range(500)))).read()
    assert answer is None or answer.status in (200, 400, 431), answer
    assert stand.fetch("/healthz").status == 200


def test_a_request_for_a_websocket_is_answered_as_one_for_a_page(stand: PypiStand, wire: Wire) -> None:
    """There is none: no upgrade, no error in the log, and the server goes on."""
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + "A" * 22 + "==",
    )
    answer = wire.send(request(stand.index, *upgrade)).read()
    assert answer is None or (answer.status != 101 and answer.status < 500), answer
    assert stand.fetch("/healthz").status == 200


def test_two_differing_lengths_are_refused(stand: PypiStand, wire: Wire) -> None:
    """RFC 9112, 6.3: what cannot be framed is not served."""
    hidden = request("/healthz")
    wire.send(request(stand.index, "Content-Length: 0", f"Content-Length: {len(hidden)}") + hidden)
    answer = wire.read()
    assert answer is None or answer.status == 400


def test_chunked_with_a_length_is_never_two_requests(stand: PypiStand, wire: Wire) -> None:
    """RFC 9112, 6.3: Transfer-Encoding wins or the request is refused; what hides in the body is not answered."""
    body = b"0\r\n\r\n"
    hidden = request("/nothing-smuggled")
    wire.send(
        request(stand.index, f"Content-Length: {len(body + hidden)}", "Transfer-Encoding: chunked") + body + hidden
    )
    first = wire.read()
    assert first is None or first.status in (200, 400)
    if first is not None and first.status == 200:
        following = wire.read()
        assert following is None or following.status in (400, 404)


def test_a_client_that_sends_slowly_holds_up_nobody(stand: PypiStand) -> None:
    """Fifty connections with half a request each: another client is served at once."""
    half = request(stand.index)[:-2]
    with connected(stand.gateway.port) as one:
        one.send(half)
        others = [connected(stand.gateway.port) for _ in range(50)]
        wires = [other.__enter__() for other in others]
        for wire in wires:
            wire.send(half)
        begun_s = time.monotonic()
        assert stand.fetch(stand.beside("npm").index).status == 200
        assert time.monotonic() - begun_s < 2
        answer = one.send(b"\r\n").read()
        assert answer is not None and answer.status == 200
        for other in others:
            other.__exit__(None, None, None)
