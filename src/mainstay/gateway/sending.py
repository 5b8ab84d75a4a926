"""Sending bodies over ASGI with back-pressure, and noticing that the client has gone.

After a client has gone the server's `send` returns at once, raises nothing and does not yield: a loop of read and send
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
PIECE_BYTES = 256 * 1024
SMALL_PIECE_BYTES = 64 * 1024
FEW = 64
"""So many transfers get large pieces, which cost less for each byte; more get small ones, which take less memory when
clients are slow."""
YIELD_EVERY = 4
Piece = bytes | bytearray
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Gone(Exception):
    """The client has left."""

    def __init__(self, sent_bytes: int) -> None:
        super().__init__("the client has left")
        self.sent_bytes = sent_bytes


class Sender:
    """One request's receiving and sending."""

    transfers = 0
    """Replies in pieces under way in this process."""

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

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: Piece) -> int:
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
            return await self.pieces(status, headers, file_pieces(reply))
        finally:
            os.close(reply.descriptor)

    async def pieces(self, status: int, headers: list[tuple[bytes, bytes]], pieces: AsyncIterator[Piece]) -> int:
        """A reply whose body comes piece by piece; returns the bytes sent. Headers go out with the first piece: until
        then a failure can still be told in words.

        Raises:
            Gone: the client left. Whatever `pieces` raises: once `started`, the server must cut the connection.
        """
        sent = 0
        watcher = asyncio.create_task(self._watch())
        Sender.transfers += 1
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
            Sender.transfers -= 1
            watcher.cancel()
            await pieces.aclose()  # type: ignore[attr-defined]

    async def _watch(self) -> None:
        while not self._left:
            message = await self._receive()
            self._left = message["type"] == "http.disconnect"


async def file_pieces(reply: StoredFile) -> AsyncIterator[Piece]:
    """The bytes of a stored file, as far as the reply has them."""
    at, end = reply.offset, reply.offset + reply.length
    while at < end:
        most = PIECE_BYTES if Sender.transfers <= FEW else SMALL_PIECE_BYTES
        piece = await read_piece(reply.descriptor, min(most, end - at), at)
        if not piece:
            raise StoreError("a stored file is shorter than it was.")
        at += len(piece)
        yield piece


async def read_piece(descriptor: int, length: int, offset: int) -> Piece:
    """Bytes of a file: at once where the page cache has them, else in a thread: the loop never waits for a disk."""
    piece = bytearray(length)
    try:
        count = os.preadv(descriptor, [piece], offset, _NOWAIT) if _NOWAIT else 0
    except (BlockingIOError, OSError):
        count = 0
    if count == length:
        return piece
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
