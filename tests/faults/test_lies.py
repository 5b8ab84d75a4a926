"""An upstream that lies: a clear error to the client, nothing wrong served complete, nothing kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.client import Received
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
    Status,
    Truncated,
    WrongDigest,
)
from doubles.gateway import Serve
from doubles.registry import JSON_INDEX, content
from doubles.stand import STANDS, MavenStand, Stand, in_every_ecosystem, where_upstream_vouches
from doubles.upstream import Upstream, wait_until
from doubles.wire import Exchange

pytestmark = pytest.mark.faults

SETTINGS = {
    "fetch": {"attempts": 1, "read_timeout_s": 5},
    "cache": {"max_document": "2 MB", "max_artifact": "8 MB"},
}


@dataclass(frozen=True)
class Instead:
    """200 with other bytes, made from the right ones."""

    make: Callable[[bytes], bytes]

    async def apply(self, exchange: Exchange) -> None:
        """Answer with them."""
        await exchange.answer(replace(exchange.full, body=self.make(exchange.full.body)))


BROKEN_FILES: dict[str, Fault] = {
    "truncated": Truncated(60_000),
    "endless": Endless(),
    "cut chunks": Chunked(cut=60_000),
    "huge header": HugeHeader(200_000),
}
WRONG_FILES: dict[str, Fault] = {
    "wrong digest": WrongDigest(),
    "empty": Body(b""),
    "login page": LoginPage(),
    "one byte more": Instead(lambda right: right + b"x"),
    "another file": Instead(lambda right: content(len(right), seed=9)),
}


def assert_a_lie_is_caught(stand: Stand, lie: Fault, right: bytes) -> None:
    """The client sees a failure, it is counted and logged, and the right file comes as soon as upstream is well."""
    stand.release("1.0", right)
    stand.gateway.expect_error("does not match its index", "but the index says")
    before = stand.failures("artifact")
    script = stand.on_file().fault(lie)

    assert_refused(stand.fetch(stand.file), right)
    again = stand.fetch(stand.file)
    if again.body != right:  # a cut file may be completed, piece by piece
        assert_refused(again, right)
    wait_until(lambda: stand.failures("artifact") > before, "the failure to be counted at /metrics", 5)
    assert stand.word in stand.gateway.log.lower()
    script.heal()
    assert_right(stand.fetch(stand.file), right)


@pytest.mark.parametrize("lie", BROKEN_FILES)
@in_every_ecosystem
def test_a_file_that_is_not_whole_is_never_served_complete_nor_kept(lie: str, stand: Stand) -> None:
    """What breaks the reply's own promise is noticed in every protocol, whether a digest is known or not."""
    assert_a_lie_is_caught(stand, BROKEN_FILES[lie], content(100_000))


@pytest.mark.parametrize("lie", WRONG_FILES)
@where_upstream_vouches
def test_a_file_that_lies_is_never_served_complete_nor_kept(lie: str, stand: Stand) -> None:
    """Against the digest of the index, in each one's own spelling, or of the .sha1 beside a Maven artifact."""
    assert_a_lie_is_caught(stand, WRONG_FILES[lie], content(100_000))


@pytest.mark.parametrize("lie", BROKEN_FILES | WRONG_FILES)
def test_a_large_file_that_lies_is_never_served_complete_nor_kept(lie: str, stand: Stand) -> None:
    """The same where most of it is on its way to the client before the end is seen."""
    assert_a_lie_is_caught(stand, (BROKEN_FILES | WRONG_FILES)[lie], content(3_000_000))


@in_every_ecosystem
def test_no_later_file_takes_the_place_of_one_that_is_held(stand: Stand) -> None:
    """A release's file is what it was when it was first fetched, whatever upstream has there now. For Go, where nothing
    tells a right zip from a wrong one but the client's go.sum, this is all that the gateway can vouch for."""
    right = content(100_000, seed=3)
    stand.release("1.0", right)
    assert_right(stand.fetch(stand.file), right)
    wait_until(lambda: "; hit" in stand.fetch(stand.file).cache, "the file to be kept")
    stand.held("1.0").body = content(100_000, seed=4)
    for _ in range(3):
        got = stand.fetch(stand.file)
        assert_right(got, right)
        assert got.headers["mainstay-verified"] == stand.vouched
    assert len(stand.seen_file()) == 1


INDEX_LIES: dict[str, Fault] = {
    "login page": LoginPage(),
    "not JSON": Body(b'{"meta": {"api-version": "1.1"}, "files": ['),
    "another document": Body(b'{"hello": "world"}'),
    "a list": Body(b"[]"),
    "binary": Body(content(5000)),
    "empty": Body(b""),
    "wrong type": ContentType("image/png"),
    "truncated": Truncated(5),
    "cut chunks": Chunked(cut=5),
    "endless": Endless(),
    "gzip bomb": GzipBomb(256 << 20),
    "garbled gzip": Gzipped(garbled=True),
    "huge header": HugeHeader(200_000),
}
# An empty list of versions is no lie of a Go proxy's: a module without releases has one.
LIES = [
    pytest.param(name, accept, lie, id=f"{name}-{accept}-{lie}")
    for name, accept in (*((name, "*/*") for name in STANDS), ("pypi", JSON_INDEX))
    for lie in INDEX_LIES
    if (name, lie) != ("golang", "empty")
]


def words_for_a_person(stand: Stand, got: Received) -> str:
    """What the protocol's client shows: npm prints the `error` field, the others the text itself."""
    if stand.ecosystem == "npm":
        return str(json.loads(got.body)["error"])
    assert "text/plain" in got.headers["content-type"]
    return got.text


@pytest.mark.parametrize(("stand", "accept", "lie"), LIES, indirect=["stand"])
def test_an_index_that_lies_gets_a_clear_error_and_is_not_kept(lie: str, accept: str, stand: Stand) -> None:
    """The client gets words and a status of the 500s, and the right index as soon as upstream is well again."""
    stand.release()
    before = stand.failures("index")
    script = stand.on_index().fault(INDEX_LIES[lie])

    got = stand.fetch(stand.index, headers={"accept": accept})
    assert got.whole and got.status in (502, 503, 504), (got.status, got.body[:200])
    assert "Traceback" not in got.text and len(words_for_a_person(stand, got)) > 10
    wait_until(lambda: stand.failures("index") > before, "the failure to be counted at /metrics", 5)
    assert stand.word in stand.gateway.log.lower()
    script.heal()
    assert stand.lists(stand.fetch(stand.index, headers={"accept": accept}))


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


@in_every_ecosystem
def test_an_index_that_upstream_packs_or_sends_in_pieces_is_read(stand: Stand) -> None:
    """Honest gzip and honest chunks are no lies."""
    stand.release()
    stand.on_index().fault(Gzipped(), times=1)
    assert stand.listed_here()
    other = type(stand)(stand.upstream, stand.gateway).release()
    other.on_index().fault(Chunked(), times=1)
    assert other.listed_here()


@in_every_ecosystem
def test_a_file_without_a_length_is_served_whole(stand: Stand) -> None:
    """Chunked replies carry files too; where there is a digest, it says that all is there."""
    stand.release("1.0", content(3_000_000))
    stand.on_file().fault(Chunked())
    for _ in range(2):
        assert_right(stand.fetch(stand.file), content(3_000_000))
    assert len(stand.seen_file()) == 1


def unvouch(stand: Stand) -> None:
    """From now on upstream says nothing of a file's digest, as far as the protocol lets it."""
    if stand.ecosystem == "pypi":
        stand.upstream.project(stand.name).digests = False
    elif stand.ecosystem == "maven":
        stand.upstream.coordinates(stand.name).summed = False
    assert stand.ecosystem in ("pypi", "maven", "golang")


@pytest.mark.parametrize("stand", ["pypi", "maven", "golang"], indirect=True)
def test_a_file_without_a_digest_is_still_never_served_cut(stand: Stand) -> None:
    """Where upstream gives no digest, the announced length still has to arrive."""
    stand.release("1.0", content(3_000_000))
    unvouch(stand)
    script = stand.on_file().fault(Truncated(1_000_000))
    assert_refused(stand.fetch(stand.file), content(3_000_000))
    script.heal()
    assert_right(stand.fetch(stand.file), content(3_000_000))


@pytest.mark.parametrize(
    ("stand", "digests"),
    [*((name, True) for name in STANDS), ("pypi", False), ("maven", False)],
    indirect=["stand"],
)
def test_each_file_says_what_vouches_for_it(digests: bool, stand: Stand) -> None:
    """The digest of the index or of the checksum beside the file; where there is none, the first copy counts, and the
    reply owns up to that."""
    stand.release()
    if not digests:
        unvouch(stand)
    said = stand.vouched if digests else "first-seen"
    first = stand.fetch(stand.file)
    assert (first.status, first.whole) == (200, True)
    if "; hit" not in first.cache:
        assert first.headers.get("mainstay-verified", said) == said
        # A Maven jar's checksum is asked for while the jar is on its way, when this is said already.
        early = said == "first-seen" and stand.ecosystem != "maven"
        assert ("mainstay-verified" in first.headers) == early, "said before the bytes are there"
    wait_until(lambda: "; hit" in stand.fetch(stand.file).cache, "the file to be kept")
    held = stand.fetch(stand.file)
    assert (held.headers["mainstay-verified"], held.body) == (said, first.body)


@pytest.mark.parametrize("lie", [Status(500), Truncated(7), Body(b"0" * 40)], ids=lambda lie: type(lie).__name__)
@pytest.mark.parametrize("stand", ["maven"], indirect=True)
def test_a_checksum_that_fails_or_lies_lets_nothing_unverified_through(lie: Fault, stand: MavenStand) -> None:
    """Maven's .sha1 cannot be had, or is another file's: the jar is not served on upstream's bare word, and comes as
    soon as its checksum does."""
    right = content(100_000, seed=5)
    stand.release("1.0", right)
    stand.gateway.expect_error("does not match its index")
    script = stand.on(f"{stand.file}.sha1").fault(lie)
    assert_refused(stand.fetch(stand.file), right)
    script.heal()
    assert_right(stand.fetch(stand.file), right)


@pytest.mark.parametrize("stand", ["maven"], indirect=True)
def test_a_page_in_the_place_of_a_checksum_is_none(stand: MavenStand) -> None:
    """A repository that answers 200 with a page for what it lacks: the jar is served as first seen, and says so."""
    stand.release("1.0")
    stand.on(f"{stand.file}.sha1").fault(LoginPage())
    assert stand.fetch(stand.file).status == 200
    wait_until(lambda: "; hit" in stand.fetch(stand.file).cache, "the file to be kept")
    assert stand.fetch(stand.file).headers["mainstay-verified"] == "first-seen"
