from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from doubles.faults import Body, Fault, GzipBomb, Gzipped, Reset, Truncated
from doubles.registry import content, sha256
from doubles.upstream import Upstream
from doubles.wire import Exchange
from mainstay.errors import StoreFull, TooLarge, UnsupportedDocument, UpstreamError
from mainstay.store.local import LocalStore
from mainstay.upstream.client import HttpClient
from mainstay.upstream.spool import MEMORY_BYTES, Spool

CAP = 8 * 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    """An empty store, which must hold no temporary file at the end."""
    store = LocalStore(tmp_path)
    yield store
    assert [path.name for path in store.fills.glob("*.tmp")] == []
    store.close()


class Coded:
    """These bytes under this content coding."""

    def __init__(self, body: bytes, coding: str) -> None:
        self._body, self._coding = body, coding

    async def apply(self, exchange: Exchange) -> None:
        """Send them."""
        reply = exchange.full.with_headers(("content-encoding", self._coding))
        await exchange.answer(type(reply)(200, self._body, reply.headers))


async def take(upstream: Upstream, client: HttpClient, store: LocalStore, fault: Fault) -> tuple[str, int]:
    """Spool the page as `fault` has it."""
    upstream.project("demo").release("1.0")
    upstream.on("/simple/demo/").fault(fault)
    async with client.stream("GET", upstream.simple_url + "demo/", {}, guarded=False) as reply:
        return await Spool(store, CAP, asyncio.Semaphore(1)).take(reply)


@pytest.mark.parametrize("size", [0, 10, MEMORY_BYTES, MEMORY_BYTES + 1, 3 * MEMORY_BYTES])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_a_document_is_stored_decompressed(
    size: int, packed: bool, upstream: Upstream, client: HttpClient, store: LocalStore
) -> None:
    """Small in memory, large by a file; digest, size and bytes are those of the plain document."""
    body = content(size)
    fault = Coded(gzip.compress(body, 1), "gzip") if packed else Body(body)
    digest, taken = await take(upstream, client, store, fault)
    assert (digest, taken) == ("sha256:" + sha256(body), size)
    assert store.path(digest).read_bytes() == body


async def test_a_small_body_cannot_become_a_huge_document(
    upstream: Upstream, client: HttpClient, store: LocalStore
) -> None:
    """The cap counts decompressed bytes, and is felt on the way, not at the end."""
    with pytest.raises(TooLarge):
        await take(upstream, client, store, GzipBomb(1 << 30))
    assert upstream.requests[0].sent_bytes < 1 << 21
    assert list(store.scan()) == []


async def test_a_document_over_the_cap_is_refused(upstream: Upstream, client: HttpClient, store: LocalStore) -> None:
    """As is a plain one."""
    with pytest.raises(TooLarge, match=r"cache\.max_document"):
        await take(upstream, client, store, Body(content(CAP + 1)))


async def test_a_gzip_stream_without_its_end_is_refused(
    upstream: Upstream, client: HttpClient, store: LocalStore
) -> None:
    """All bytes of the body are there, but the document is not: a shorter page would look like takedowns."""
    packed = gzip.compress(content(50_000))
    with pytest.raises(UnsupportedDocument, match="cut short"):
        await take(upstream, client, store, Coded(packed[:-9], "gzip"))
    assert list(store.scan()) == []


@pytest.mark.parametrize("tail", [gzip.compress(b"second"), b"garbage"], ids=["member", "garbage"])
@pytest.mark.parametrize("size", [100, 200_000])
async def test_what_follows_a_gzip_stream_is_never_dropped_silently(
    size: int, tail: bytes, upstream: Upstream, client: HttpClient, store: LocalStore
) -> None:
    """Half a document must not pass for the whole: several members (RFC 1952, 2.2) are refused, as is garbage."""
    with pytest.raises(UnsupportedDocument):
        await take(upstream, client, store, Coded(gzip.compress(content(size)) + tail, "gzip"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Gzipped(garbled=True), "damaged"), (Coded(b"x", "br"), "br"), (Coded(b"x", "gzip, gzip"), "gzip, gzip")],
    ids=["no gzip", "br", "twice"],
)
async def test_a_coding_that_was_not_asked_for_or_is_a_lie_is_refused(
    fault: Fault, words: str, upstream: Upstream, client: HttpClient, store: LocalStore
) -> None:
    """Nothing of it is stored."""
    with pytest.raises(UnsupportedDocument, match=words):
        await take(upstream, client, store, fault)
    assert list(store.scan()) == []


@pytest.mark.parametrize("fault", [Reset(after=100), Truncated(100)], ids=["reset", "short"])
async def test_a_document_that_breaks_off_is_not_stored(
    fault: Fault, upstream: Upstream, client: HttpClient, store: LocalStore
) -> None:
    """Neither part nor trace of it."""
    with pytest.raises(UpstreamError):
        await take(upstream, client, store, fault)
    assert list(store.scan()) == []


async def test_large_documents_wait_for_one_another(upstream: Upstream, client: HttpClient, store: LocalStore) -> None:
    """`large` admits one at a time here; small ones pass meanwhile; who waits is let in when the first is done."""
    large = asyncio.Semaphore(1)
    await large.acquire()
    upstream.project("demo").release("1.0")
    upstream.on("/simple/large/").fault(Body(content(2 * MEMORY_BYTES)))

    async def spool(name: str) -> int:
        async with client.stream("GET", f"{upstream.simple_url}{name}/", {}, guarded=False) as reply:
            return (await Spool(store, CAP, large).take(reply))[1]

    waiting = asyncio.create_task(spool("large"))
    assert await spool("demo") > 0
    assert not waiting.done()
    large.release()
    assert await waiting == 2 * MEMORY_BYTES


async def test_a_full_disk_is_told_as_such(
    upstream: Upstream, client: HttpClient, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a large document is written: StoreFull, not a defect."""
    monkeypatch.setattr(store, "temporary", lambda: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(StoreFull):
        await take(upstream, client, store, Body(content(3 * MEMORY_BYTES)))
