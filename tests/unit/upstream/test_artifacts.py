from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mainstay.upstream import artifacts
from mainstay.upstream.client import Reply
from mainstay.upstream.fill import Head
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
