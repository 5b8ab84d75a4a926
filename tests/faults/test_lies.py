"""An upstream that lies: a clear error to the client, nothing wrong served complete, nothing kept."""

from __future__ import annotations

import json

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import (
    LOGIN_PAGE,
    Body,
    Chunked,
    ContentType,
    Endless,
    Fault,
    GzipBomb,
    Gzipped,
    HugeHeader,
    LoginPage,
    Truncated,
    WrongDigest,
)
from doubles.gateway import Serve
from doubles.registry import JSON_INDEX, content
from doubles.stand import Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS = {
    "fetch": {"attempts": 1, "read_timeout_s": 5},
    "cache": {"max_document": "2 MB", "max_artifact": "8 MB"},
}

FILE_LIES: dict[str, Fault] = {
    "wrong digest": WrongDigest(),
    "truncated": Truncated(60_000),
    "empty": Body(b""),
    "login page": LoginPage(),
    "endless": Endless(),
    "cut chunks": Chunked(cut=60_000),
    "one byte more": Body(content(3_000_000) + b"x"),
    "another file": Body(content(3_000_000, seed=9)),
    "huge header": HugeHeader(200_000),
}


@pytest.mark.parametrize("size", [100_000, 3_000_000])
@pytest.mark.parametrize("lie", FILE_LIES)
def test_a_file_that_lies_is_never_served_complete_nor_kept(lie: str, size: int, stand: Stand) -> None:
    """Whatever the lie, the client sees a failure, and the next request gets the right file."""
    right = content(size)
    stand.release("1.0", right)
    stand.gateway.expect_error("does not match its index", "but the index says")
    before = stand.failures("artifact")
    script = stand.on_file().fault(FILE_LIES[lie])

    assert_refused(stand.fetch(stand.file), right)
    again = stand.fetch(stand.file)
    if again.body != right:  # a cut file may be completed, piece by piece
        assert_refused(again, right)
    wait_until(lambda: stand.failures("artifact") > before, "the failure to be counted at /metrics", 3)
    assert stand.name in stand.gateway.log
    script.heal()
    assert_right(stand.fetch(stand.file), right)


INDEX_LIES: dict[str, Fault] = {
    "login page": LoginPage(),
    "not JSON": Body(b'{"meta": {"api-version": "1.1"}, "files": ['),
    "another document": Body(b'{"hello": "world"}'),
    "a list": Body(b"[]"),
    "binary": Body(content(5000)),
    "empty": Body(b""),
    "wrong type": ContentType("image/png"),
    "truncated": Truncated(100),
    "cut chunks": Chunked(cut=100),
    "endless": Endless(),
    "gzip bomb": GzipBomb(256 << 20),
    "garbled gzip": Gzipped(garbled=True),
    "huge header": HugeHeader(200_000),
}


@pytest.mark.parametrize("accept", [JSON_INDEX, "text/html"])
@pytest.mark.parametrize("lie", INDEX_LIES)
def test_an_index_that_lies_gets_a_clear_error_and_is_not_kept(lie: str, accept: str, stand: Stand) -> None:
    """The client gets words and a status of the 500s, and the right index as soon as upstream is well again."""
    stand.release()
    before = stand.failures("index")
    script = stand.on_index().fault(INDEX_LIES[lie])

    got = stand.fetch(stand.index, headers={"accept": accept})
    assert got.whole and got.status in (502, 503, 504), (got.status, got.body[:200])
    assert "text/plain" in got.headers["content-type"]
    assert "Traceback" not in got.text and len(got.text) > 10
    wait_until(lambda: stand.failures("index") > before, "the failure to be counted at /metrics", 3)
    assert stand.name in stand.gateway.log
    script.heal()
    healed = stand.fetch(stand.index, headers={"accept": accept})
    assert healed.status == 200 and f"{stand.name}-1.0.tar.gz" in healed.text


def test_an_index_of_html_alone_may_be_a_login_page(serve: Serve) -> None:
    """An upstream that only speaks HTML and then answers with a login page is caught too."""
    with Upstream(html_only=True) as upstream:
        upstream.project("demo").release("1.0")
        gateway = serve(pypi=upstream.simple_url, **SETTINGS)
        script = upstream.on("/simple/demo/").fault(LoginPage())
        got = gateway.fetch("/pypi/simple/demo/")
        assert got.status == 502 and LOGIN_PAGE not in got.body
        script.heal()
        assert "demo-1.0.tar.gz" in gateway.fetch("/pypi/simple/demo/").text


def test_an_index_that_upstream_packs_is_read(stand: Stand) -> None:
    """Honest gzip and honest chunks are no lies."""
    stand.release()
    stand.on_index().fault(Gzipped())
    assert f"{stand.name}-1.0.tar.gz" in stand.fetch(stand.index).text
    stand.publish()
    stand.on_packument().fault(Chunked())
    assert stand.fetch(stand.packument).status == 200


def test_a_file_without_a_length_is_served_whole(stand: Stand) -> None:
    """Chunked replies carry files too; the digest says that all is there."""
    stand.release("1.0", content(3_000_000))
    stand.on_file().fault(Chunked())
    for _ in range(2):
        assert_right(stand.fetch(stand.file), content(3_000_000))
    assert len(stand.seen_file()) == 1


def test_a_file_without_a_digest_is_still_never_served_cut(stand: Stand) -> None:
    """Where the index gives no digest, the announced length still has to arrive."""
    stand.release("1.0", content(3_000_000)).digests = False
    script = stand.on_file().fault(Truncated(1_000_000))
    assert_refused(stand.fetch(stand.file), content(3_000_000))
    script.heal()
    assert_right(stand.fetch(stand.file), content(3_000_000))


@pytest.mark.parametrize(("digests", "said"), [(True, "sha256"), (False, "first-seen")])
def test_each_file_says_what_vouches_for_it(digests: bool, said: str, stand: Stand) -> None:
    """The digest of the index; where it gives none, the first copy counts, and the reply owns up to that."""
    stand.release().digests = digests
    first = stand.fetch(stand.file)
    assert (first.status, first.whole) == (200, True)
    assert (first.headers.get("mainstay-verified") == "first-seen") == (not digests), "said before the bytes are there"
    wait_until(lambda: "; hit" in stand.fetch(stand.file).cache, "the file to be kept")
    held = stand.fetch(stand.file)
    assert (held.headers["mainstay-verified"], held.body) == (said, first.body)


@pytest.mark.parametrize("lie", [WrongDigest(), Truncated(60_000), LoginPage()], ids=lambda lie: type(lie).__name__)
def test_a_tarball_that_lies_is_never_served_complete_nor_kept(lie: Fault, stand: Stand) -> None:
    """The same door for the other ecosystem, with the digest in the packument's own spelling."""
    stand.publish("1.0.0", content(3_000_000))
    stand.gateway.expect_error("does not match its index", "but the index says")
    script = stand.on_tarball().fault(lie)
    assert_refused(stand.fetch(stand.tarball), content(3_000_000))
    script.heal()
    assert_right(stand.fetch(stand.tarball), content(3_000_000))


@pytest.mark.parametrize(
    "lie", [LoginPage(), Truncated(50), Body(b"[]"), GzipBomb(256 << 20)], ids=lambda lie: type(lie).__name__
)
def test_a_packument_that_lies_gets_an_error_that_npm_shows(lie: Fault, stand: Stand) -> None:
    """npm prints the `error` field, so that is where the words are."""
    stand.publish()
    script = stand.on_packument().fault(lie)
    got = stand.fetch(stand.packument)
    assert got.whole and got.status in (502, 503, 504)
    assert len(json.loads(got.body)["error"]) > 10
    script.heal()
    assert stand.fetch(stand.packument).status == 200
