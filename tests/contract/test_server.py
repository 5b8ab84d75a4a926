"""What every HTTP server under the gateway must let through: the same replies and connections that stay in step."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator

import pytest

from contract.servers import SERVERS, Answer, Wire, connected, request
from doubles.faults import Reset, Status
from doubles.gateway import Gateway
from doubles.registry import content
from doubles.stand import PypiStand
from doubles.upstream import Upstream
from mainstay.db.engine import Database
from mainstay.db.takedowns import Takedown, record_takedowns
from mainstay.store.shared import Shared

BODY_CAP = 100_000
FILE = content(300_000, seed=7)
AUDIT = "/npm/-/npm/v1/security/advisories/bulk"


@pytest.fixture(scope="module")
def gateways(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """One gateway on each server, in front of one upstream."""
    settings = {
        "server": {"max_body": f"{BODY_CAP} B"},
        "fetch": {"attempts": 1},
        "ecosystems": {
            "pypi": {"upstream": shared_upstream.simple_url},
            "npm": {"upstream": shared_upstream.npm_url},
        },
    }
    folder = tmp_path_factory.mktemp("servers")
    started = {name: kind(folder / name, settings) for name, kind in SERVERS.items()}
    for gateway in started.values():
        gateway.wait_ready()
    yield started
    codes = {name: gateway.stop() for name, gateway in started.items()}
    assert codes == {"serve": 0, "uvicorn": -15}, "uvicorn ends by the signal it got, once it is done"
    for gateway in started.values():
        assert gateway.unexpected_errors() == []


@pytest.fixture(params=SERVERS)
def stand(
    request: pytest.FixtureRequest, gateways: dict[str, Gateway], shared_upstream: Upstream
) -> Iterator[PypiStand]:
    """A project of the test's own behind each server: 1.0 on the simple index, 1.0.0 on the npm-like registry."""
    own = PypiStand(shared_upstream, gateways[request.param])
    own.release("1.0", FILE)
    own.beside("npm").release("1.0")
    yield own
    own.heal()


@pytest.fixture
def wire(stand: PypiStand) -> Iterator[Wire]:
    """A connection to the stand's gateway."""
    with connected(stand.gateway.port) as wire:
        yield wire


def assert_in_step(wire: Wire) -> None:
    """The next reply on this connection is the next request's: right status, right body, nothing before it."""
    answer = wire.get("/healthz")
    assert answer.status == 200
    assert json.loads(answer.body)["status"] == "ok"


def test_an_index_comes_whole_with_its_validators_and_is_not_sent_twice(stand: PypiStand, wire: Wire) -> None:
    """200 with ETag, length, Vary and revalidation demanded; 304 repeats the validators and has no body."""
    first = wire.get(stand.beside("npm").index)
    again = wire.get(stand.beside("npm").index, f"If-None-Match: {first.headers['etag']}")
    assert (first.status, len(first.body)) == (200, int(first.headers["content-length"]))
    assert first.headers["cache-control"] == "no-cache" and "accept-encoding" in first.headers["vary"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert (again.status, again.body) == (304, b"")
    for name in ("etag", "vary", "cache-control"):
        assert again.headers[name] == first.headers[name]
    assert_in_step(wire)


@pytest.mark.parametrize("tags", ["W/{}", '"other", {}', "*", '"x" , W/{} ,"y"'])
def test_if_none_match_is_compared_weakly_and_as_a_list(tags: str, stand: PypiStand, wire: Wire) -> None:
    """RFC 9110, 13.1.2: any listed tag will do, weak or strong, and the star fits everything; cold, warm and hot."""
    etag = wire.get(stand.index).headers["etag"]
    for path, tag in ((stand.index, etag), (stand.index, etag)):
        assert wire.get(path, f"If-None-Match: {tags.format(tag)}").status == 304
    assert wire.get(stand.index, 'If-None-Match: "other"').status == 200


def test_each_encoding_has_an_etag_of_its_own(stand: PypiStand, wire: Wire) -> None:
    """gzip only where it is accepted, and the ETag of one form is not a match for the other."""
    plain = wire.get(stand.index)
    packed = wire.get(stand.index, "Accept-Encoding: br, gzip;q=0.5")
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert plain.headers["etag"] != packed.headers["etag"]
    assert wire.get(stand.index, f"If-None-Match: {packed.headers['etag']}").status == 200
    assert wire.get(stand.index, "Accept-Encoding: gzip", f"If-None-Match: {packed.headers['etag']}").status == 304


@pytest.mark.parametrize("refused", ["gzip;q=0", "gzip;q=0.000, *;q=0", "br", "identity", ""])
def test_gzip_is_not_sent_to_one_who_refuses_it(refused: str, stand: PypiStand, wire: Wire) -> None:
    """RFC 9110, 12.5.3: a weight of zero means not acceptable."""
    assert "content-encoding" not in wire.get(stand.index, f"Accept-Encoding: {refused}").headers


def test_a_file_is_immutable_and_says_so(stand: PypiStand, wire: Wire) -> None:
    """The ETag is the digest, so that no server change makes clients fetch again."""
    answer = wire.get(stand.file)
    (listed,) = stand.upstream.project(stand.name).releases["1.0"]
    assert answer.body == FILE
    assert answer.headers["etag"] == f'"{listed.digests["sha256"]}"'
    assert "immutable" in answer.headers["cache-control"] and answer.headers["accept-ranges"] == "bytes"
    again = wire.get(stand.file, f"If-None-Match: {answer.headers['etag']}")
    assert (again.status, again.body) == (304, b"")
    assert_in_step(wire)


def test_head_has_the_headers_of_get_and_no_body(stand: PypiStand, wire: Wire) -> None:
    """On one connection for each kind of reply; a body after HEAD would shift the next reply."""
    for path in (stand.index, stand.file, stand.beside("npm").index, "/healthz", "/nothing", stand.file_of("9")):
        get = wire.get(path)
        head = wire.get(path, method="HEAD")
        assert head.status == get.status, path
        assert head.headers.get("content-length") == get.headers.get("content-length"), path
        assert head.headers.get("etag") == get.headers.get("etag"), path
    assert_in_step(wire)


def test_a_part_is_sent_as_asked_for(stand: PypiStand, wire: Wire) -> None:
    """206 with Content-Range; If-Range lets the part through for the same file only."""
    etag = wire.get(stand.file).headers["etag"]
    part = wire.get(stand.file, "Range: bytes=100-199")
    assert (part.status, part.body) == (206, FILE[100:200])
    assert part.headers["content-range"] == "bytes 100-199/300000"
    same = wire.get(stand.file, "Range: bytes=-10", f"If-Range: {etag}")
    assert (same.status, same.body) == (206, FILE[-10:])
    for other in ('"other"', f"W/{etag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert wire.get(stand.file, "Range: bytes=0-1", f"If-Range: {other}").body == FILE
    assert_in_step(wire)


def test_several_ranges_are_answered_with_the_whole(stand: PypiStand, wire: Wire) -> None:
    """RFC 9110, 14.2 lets a server ignore Range; two parts in one reply serve no package manager."""
    answer = wire.get(stand.file, "Range: bytes=0-9,20-29")
    assert (answer.status, answer.body) == (200, FILE)


@pytest.mark.parametrize("asked", ["bytes=300000-", "bytes=-0", "bytes=999999999-9999999999"])
def test_a_range_outside_the_file_is_refused_with_its_size(asked: str, stand: PypiStand, wire: Wire) -> None:
    """416 with the length, cold and warm, and the connection goes on."""
    for _ in range(2):
        answer = wire.get(stand.file, f"Range: {asked}")
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */300000")
        assert_in_step(wire)
        wire.get(stand.file)


@pytest.mark.parametrize("asked", ["bytes=" + "9" * 5000 + "-", "bytes=0-" + "9" * 5000, "bytes=-" + "9" * 5000])
def test_a_range_of_thousands_of_digits_is_no_defect(asked: str, stand: PypiStand, wire: Wire) -> None:
    """Python refuses to make a number of so many digits: the reply is one that RFC 9110 knows all the same."""
    assert wire.get(stand.file, f"Range: {asked}").status in (200, 206, 416)
    assert_in_step(wire)


def test_range_counts_for_get_only(stand: PypiStand, wire: Wire) -> None:
    """RFC 9110, 14.2: HEAD with Range is answered as without."""
    wire.get(stand.file)
    head = wire.get(stand.file, "Range: bytes=0-9", method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, "300000")


def test_a_file_that_is_there_is_not_sent_in_parts_either(stand: PypiStand, wire: Wire) -> None:
    """RFC 9110, 13.2.2: If-None-Match comes before Range."""
    etag = wire.get(stand.file).headers["etag"]
    assert wire.get(stand.file, "Range: bytes=0-9", f"If-None-Match: {etag}").status == 304


@pytest.mark.parametrize("path", ["/nothing", "/pypi", "/pypi/", "/pypi/nothing", "/npm/-/nothing"])
def test_an_unknown_path_is_not_found_in_words(path: str, wire: Wire) -> None:
    """404 with an explanation, and the connection goes on."""
    answer = wire.get(path)
    assert answer.status == 404 and 10 < len(answer.body) < 1000
    assert_in_step(wire)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["index", "file", "packument", "/healthz", "/metrics", "/api/v1/upstreams"])
def test_a_method_that_changes_something_is_refused(method: str, path: str, stand: PypiStand, wire: Wire) -> None:
    """405 that names the methods there are; nothing of the request comes back (TRACE), upstream hears nothing."""
    npm = stand.beside("npm")
    target = {"index": stand.index, "file": stand.file, "packument": npm.index}.get(path, path)
    answer = wire.get(target, "X-Canary: canary", method=method)
    assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD"
    assert b"canary" not in answer.body
    assert_in_step(wire)
    assert [seen for seen in stand.upstream.seen(f"*{stand.name}*") if seen.method == method] == []


def test_replies_to_pipelined_requests_come_in_order(stand: PypiStand, wire: Wire) -> None:
    """Index, file, part, 304, 404, 405, 416 and HEAD in one go: each reply is framed and in its place."""
    etag = wire.get(stand.file).headers["etag"]
    asked = [
        ("GET", stand.index, (), 200),
        ("GET", stand.file, (), 200),
        ("GET", stand.file, ("Range: bytes=5-9",), 206),
        ("GET", stand.file, (f"If-None-Match: {etag}",), 304),
        ("HEAD", stand.file, (), 200),
        ("GET", "/nothing", (), 404),
        ("DELETE", stand.index, (), 405),
        ("GET", stand.file, ("Range: bytes=300000-",), 416),
        ("GET", stand.beside("npm").index, (), 200),
    ]
    wire.send(b"".join(request(path, *headers, method=method) for method, path, headers, _ in asked))
    for method, path, _, status in asked:
        answer = wire.read(method)
        assert answer is not None and answer.whole and answer.status == status, (method, path)
        if path == stand.file and (method, status) == ("GET", 200):
            assert answer.body == FILE
    assert_in_step(wire)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST with its length said rightly."""
    return request(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


def test_a_chunked_request_body_arrives_whole(stand: PypiStand, wire: Wire) -> None:
    """An audit call in chunks reaches upstream as it was, and the connection goes on."""
    stand.upstream.on(AUDIT).fault(Status(200), times=1)
    name = stand.name
    body = json.dumps({name: ["1.0.0"]}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 5]), body[i : i + 5]) for i in range(0, len(body), 5))
    head = request(AUDIT, "Transfer-Encoding: chunked", "Content-Type: application/json", method="POST")
    answer = wire.send(head + chunks + b"0\r\n\r\n").read()
    assert answer is not None and answer.status == 200, answer
    bodies = [json.loads(seen.body) for seen in stand.upstream.seen(AUDIT) if seen.method == "POST"]
    assert {name: ["1.0.0"]} in bodies
    assert_in_step(wire)


def test_a_body_over_the_cap_is_refused(stand: PypiStand, wire: Wire) -> None:
    """413 in words; the connection ends or the next reply is in step; upstream hears nothing."""
    body = json.dumps({f"{stand.name}": ["x" * BODY_CAP]}).encode()
    answer = wire.send(post(AUDIT, body)).read()
    assert answer is not None and answer.status == 413 and b"max_body" in answer.body
    assert_ends_or_in_step(wire)
    assert not [seen for seen in stand.upstream.seen(AUDIT) if stand.name.encode() in seen.body]


def assert_ends_or_in_step(wire: Wire) -> None:
    """Both are right after a body that was not read; an answer to the body's bytes is not."""
    answer = wire.send(request("/healthz")).read()
    assert answer is None or (answer.status == 200 and json.loads(answer.body)["status"] == "ok"), answer


@pytest.mark.parametrize("path", ["index", "file", "/healthz", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_body_that_nobody_reads_does_not_become_the_next_request(
    method: str, path: str, stand: PypiStand, wire: Wire
) -> None:
    """The body looks like a request; it is skipped, or the connection ends."""
    target = path if path.startswith("/") else getattr(stand, path)
    hidden = request("/nothing-smuggled")
    wire.send(request(target, f"Content-Length: {len(hidden)}", method=method) + hidden)
    answer = wire.read(method)
    assert answer is not None and answer.whole
    assert_ends_or_in_step(wire)


def test_a_body_longer_than_said_is_a_request_of_its_own(stand: PypiStand, wire: Wire) -> None:
    """What follows the announced bytes is no part of the body: refused as a request, never added to it."""
    wire.send(request(AUDIT, "Content-Length: 2", method="POST") + b"{}GARBAGE\r\n\r\n")
    first, second = wire.read(), wire.read()
    assert first is not None and first.status in (200, 404, 400)
    assert second is None or second.status == 400
    assert all(b"GARBAGE" not in seen.body for seen in stand.upstream.seen(AUDIT))


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_defect(stand: PypiStand, wire: Wire) -> None:
    """Half an audit call: upstream hears nothing, no error is written (checked at the end), the server lives."""
    before = len(stand.upstream.seen(AUDIT))
    wire.send(request(AUDIT, "Content-Length: 5000", method="POST") + b'{"half').end()
    answer = wire.read()
    assert answer is None or answer.status == 400
    assert stand.fetch("/healthz").status == 200
    assert len(stand.upstream.seen(AUDIT)) == before


def test_a_broken_transfer_ends_the_connection(stand: PypiStand, wire: Wire) -> None:
    """Upstream breaks off in the middle of a large file: the client sees fewer bytes than announced, then the end."""
    right = content(3_000_000, seed=11)
    stand.release("2.0", right)
    stand.upstream.on(f"*/{stand.name}-2.0.tar.gz").fault(Reset(after=1_000_000), times=1)
    stand.gateway.expect_error("broken off", "broke off", "Traceback", "Exception in ASGI")
    answer = wire.get(stand.file_of("2.0"))
    assert (answer.status, answer.headers["content-length"]) == (200, "3000000")
    assert not answer.whole and right.startswith(answer.body)
    assert wire.send(request("/healthz")).read() is None
    assert stand.fetch(stand.file_of("2.0")).body == right


def test_a_taken_down_release_is_refused_and_the_connection_goes_on(stand: PypiStand, wire: Wire) -> None:
    """403 with the reason, for GET, HEAD and a part, at once after another process blocked it, also where the reply was
    hot before; the index no longer lists it."""
    stand.release("2.0")
    for path in (stand.file, stand.index, stand.file, stand.index):
        assert wire.get(path).status == 200
    block(stand, "1.0")
    answer = wire.get(stand.file)
    assert answer.status == 403 and f"unblock pkg:pypi/{stand.name}@1.0".encode() in answer.body
    assert wire.get(stand.file, method="HEAD").status == 403
    assert wire.get(stand.file, "Range: bytes=0-9").status == 403
    assert wire.get(stand.file, "If-None-Match: *").status == 403
    assert b"-1.0.tar.gz" not in wire.get(stand.index).body
    assert_in_step(wire)


def block(stand: PypiStand, version: str) -> None:
    """Record a takedown from outside, as another worker would."""
    place = ("pypi", stand.upstream.simple_url, stand.name)
    entry = Takedown(*place, version, "", "upstream no longer lists it", "a test", time.time())
    database = Database.open(stand.gateway.data)
    database.run_sync(record_takedowns, [entry], [], 0.0)
    database.close()
    shared = Shared(stand.gateway.data / "shared.bin")
    shared.bump()
    shared.close()


def test_every_reply_has_one_of_each_framing_header(stand: PypiStand, wire: Wire) -> None:
    """Repeated Content-Length or both kinds of framing is what smuggling is made of (RFC 9112, 6.3)."""
    for path in (stand.index, stand.file, "/healthz", "/metrics", "/nothing"):
        answer: Answer = wire.get(path)
        names = [name for name, _ in answer.pairs]
        assert names.count("content-length") + names.count("transfer-encoding") == 1, (path, names)
        assert names.count("content-type") == 1, path
