from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mainstay.db.artifacts import StoredArtifact
from mainstay.errors import UpstreamRefused
from mainstay.upstream import artifacts
from mainstay.upstream.client import Reply
from mainstay.upstream.fill import Head, Wanted
from mainstay.upstream.sums import Sums

BEFORE = Head("https://registry.example/a.whl", 100, "", '"one"', "", 1)


@pytest.mark.parametrize(
    ("status", "content_range", "etag", "goes_on"),
    [
        (206, "bytes 40-99/100", '"one"', True),
        (206, "bytes 40-99/*", '"one"', True),
        (206, "bytes 40-99/100", None, True),
        (206, "bytes 40-99/100", '"two"', False),
        (206, "bytes 40-199/200", '"one"', False),
        (206, "bytes 30-99/100", '"one"', False),
        (206, "", '"one"', False),
        (200, "bytes 40-99/100", '"one"', False),
        (416, "bytes */100", '"one"', False),
    ],
)
def test_a_file_goes_on_only_with_the_rest_of_itself(
    status: int, content_range: str, etag: str | None, goes_on: bool
) -> None:
    """Another length or another ETag is another file: with no digest to tell, two of them must never meet."""
    headers = {"content-range": content_range} | ({"etag": etag} if etag is not None else {})
    response: Any = None
    assert artifacts._goes_on(Reply(status, headers, BEFORE.url, response), BEFORE, 40) == goes_on


@pytest.mark.parametrize(
    ("filename", "media_type", "digests", "refused"),
    [
        ("v1.0.0.mod", "text/html; charset=utf-8", {}, True),
        ("demo-1.0.jar", "Text/HTML", {}, True),
        ("demo-1.0.jar", "text/html", {"sha1": "00"}, False),
        ("v1.0.0.mod", "text/plain", {}, False),
        ("report-1.0.html", "text/html", {}, False),
    ],
)
def test_a_page_does_not_pass_for_a_file_that_nothing_vouches_for(
    filename: str, media_type: str, digests: dict[str, str], refused: bool
) -> None:
    """A proxy's sign-in page would be kept as the file for good."""
    ids = ("toy", "https://registry.example/", "demo", "1.0")
    blank = StoredArtifact("key", *ids, filename, "", "", 0, "", "", "", "", 0.0)
    wanted = Wanted("key", f"https://registry.example/{filename}", digests, None, blank)
    head = Head(wanted.url, 100, media_type, "", "", 1)
    if refused:
        with pytest.raises(UpstreamRefused, match="an HTML page"):
            artifacts._refuse_page(wanted, head)
    else:
        artifacts._refuse_page(wanted, head)


async def test_a_fill_that_is_cancelled_waits_for_the_write_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor is closed afterwards, and a later write would go to whatever has that number then."""
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def write(descriptor: int, data: bytes, sums: Sums) -> None:
        begun.set()
        go.wait(10)
        done.set()

    monkeypatch.setattr(artifacts, "_write", write)
    flush = asyncio.create_task(artifacts._flush(-1, bytearray(artifacts.INLINE_BYTES + 1), Sums({})))
    await asyncio.to_thread(begun.wait, 10)
    flush.cancel()
    await asyncio.wait({flush}, timeout=0.05)
    assert not flush.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await flush
    assert done.is_set()
