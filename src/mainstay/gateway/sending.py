"""Sending bodies over ASGI with back-pressure, and noticing that the client has gone.

After a client has gone granian's `send` returns at once, raises nothing and does not yield: a loop of read and send
would race through the rest of the file and freeze every other request. So a task waits for `http.disconnect`, and the
loops give way to it. A body that ends early is ended by an error, which cuts the connection.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from mainstay.errors import StoreError
from mainstay.gateway.reply import StoredFile

WHOLE_BYTES = 256 * 1024
PIECE_BYTES = 128 * 1024
YIELD_EVERY = 4
_buffer = memoryview(bytearray(WHOLE_BYTES))
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Gone(Exception):
    """The client has left."""

    def __init__(self, sent_bytes: int) -> None:
        super().__init__("the client has left")
        self.sent_bytes = sent_bytes


class Sender:
    """One request's receiving and sending."""

    def __init__(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._send = send
        self._body_read = False
        self._left = False
        self.started = False
        """Whether headers of a reply in pieces are out."""

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body as it comes.

        Raises:
            Gone: the client left in the middle of it.
        """
        while not self._body_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone(0)
            self._body_read = not message.get("more_body", False)
            yield message.get("body", b"")

    async def short(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """A reply without a body."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
        """A reply with a body in one piece; returns its size."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
        return len(body)

    async def file(self, status: int, headers: list[tuple[bytes, bytes]], reply: StoredFile) -> int:
        """A part of a stored file; its descriptor is closed."""
        try:
            if reply.length <= WHOLE_BYTES:
                body = await read_piece(reply.descriptor, reply.length, reply.offset)
                if len(body) != reply.length:
                    raise StoreError("a stored file is shorter than it was.")
                return await self.whole(status, headers, body)
            return await self.pieces(status, headers, _file_pieces(reply))
        finally:
            os.close(reply.descriptor)

    async def pieces(self, status: int, headers: list[tuple[bytes, bytes]], pieces: AsyncIterator[bytes]) -> int:
        """A reply whose body comes piece by piece; returns the bytes sent. Headers go out with the first piece: until
        then a failure can still be told in words.

        Raises:
            Gone: the client left. Whatever `pieces` raises: once `started`, the server must cut the connection.
        """
        sent = 0
        watcher = asyncio.create_task(self._watch())
        try:
            number = 0
            async for piece in pieces:
                if not self.started:
                    self.started = True
                    await self._send({"type": "http.response.start", "status": status, "headers": headers})
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                sent += len(piece)
                number += 1
                if number % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                if self._left:
                    raise Gone(sent)
            if not self.started:
                await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return sent
        finally:
            watcher.cancel()
            await pieces.aclose()  # type: ignore[attr-defined]

    async def _watch(self) -> None:
        while not self._left:
            message = await self._receive()
            self._left = message["type"] == "http.disconnect"


async def _file_pieces(reply: StoredFile) -> AsyncIterator[bytes]:
    at, end = reply.offset, reply.offset + reply.length
    while at < end:
        piece = await read_piece(reply.descriptor, min(PIECE_BYTES, end - at), at)
        if not piece:
            raise StoreError("a stored file is shorter than it was.")
        at += len(piece)
        yield piece


async def read_piece(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes of a file: at once where the page cache has them, else in a thread: the loop never waits for a disk."""
    # One buffer does for all: nothing is awaited between reading into it and copying out of it.
    view = _buffer[:length]
    try:
        count = os.preadv(descriptor, [view], offset, _NOWAIT) if _NOWAIT else 0
    except (BlockingIOError, OSError):
        count = 0
    if count == length:
        return bytes(view)
    return await asyncio.to_thread(os.pread, descriptor, length, offset)


def read_whole(reply: StoredFile) -> bytes:
    """The whole of a small stored file; its descriptor is closed."""
    try:
        body = os.pread(reply.descriptor, reply.length, reply.offset)
    finally:
        os.close(reply.descriptor)
    if len(body) != reply.length:
        raise StoreError("a stored file is shorter than it was.")
    return body
