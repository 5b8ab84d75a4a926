"""HTTP/1.1 by hand on asyncio streams: a double has the last word on every byte and on how a connection ends."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import unquote

PIECE_BYTES = 256 * 1024


@dataclass
class Seen:
    """One request as it arrived. `status` is what was answered, 0 while nothing was; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    host: str
    body: bytes = b""
    at_s: float = field(default_factory=time.monotonic)
    status: int = 0
    sent_bytes: int = 0
    broken: bool = False

    @property
    def path(self) -> str:
        """The percent-decoded path, without the query."""
        return unquote(self.target.partition("?")[0])


@dataclass(frozen=True)
class Reply:
    """What an honest server would answer. The content-length is added when sending."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, *headers: tuple[str, str]) -> Reply:
        """The same reply with these headers in place of those of the same name."""
        names = {name.lower() for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return replace(self, headers=kept + headers)


class Exchange:
    """One request with its honest reply and the means to answer it otherwise.

    `reply` may be a 304; `full` is the same with its body, for those who want to spoil it.
    """

    def __init__(self, seen: Seen, full: Reply, reply: Reply, writer: asyncio.StreamWriter) -> None:
        self.seen = seen
        self.full = full
        self.reply = reply
        self.keep_open = seen.headers.get("connection", "").lower() != "close"
        self._writer = writer

    async def send_head(self, reply: Reply, *framing: tuple[str, str]) -> None:
        """Status line and headers. `framing` are the headers that say how long the body is."""
        self.seen.status = reply.status
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in (*reply.headers, *framing)]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await self._writer.drain()

    async def send(self, data: bytes | memoryview) -> None:
        """Body bytes, as fast as the other side takes them."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            self._writer.write(piece)
            await self._writer.drain()
            self.seen.sent_bytes += len(piece)

    async def send_chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; an empty one ends it."""
        self._writer.write(b"%x\r\n" % len(data) + data + b"\r\n")
        await self._writer.drain()
        self.seen.sent_bytes += len(data)

    async def start(self, reply: Reply) -> bool:
        """Send the head that announces the whole body. False where no body may follow."""
        bodiless = self.seen.method == "HEAD" or reply.status in (204, 304)
        length = () if reply.status in (204, 304) else (("content-length", str(len(reply.body))),)
        await self.send_head(reply, *length)
        return not bodiless

    async def answer(self, reply: Reply) -> None:
        """Answer honestly."""
        if await self.start(reply):
            await self.send(reply.body)

    def close(self) -> None:
        """Close the connection after what was written."""
        self.keep_open = False

    def reset(self) -> None:
        """Break the connection off with RST; what the kernel has not sent yet is lost."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.keep_open = False


Respond = Callable[[Seen, asyncio.StreamWriter], Awaitable[bool]]


async def read_request(reader: asyncio.StreamReader, host: str) -> Seen | None:
    """The next request of a connection, or None where the other side has closed it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, host, body)


async def talk(host: str, respond: Respond, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until either side ends it. A peer that leaves is no error of the double."""
    seen: Seen | None = None
    try:
        while (seen := await read_request(reader, host)) is not None:
            if not await respond(seen, writer):
                break
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        if seen is not None:
            seen.broken = True
    finally:
        writer.close()
