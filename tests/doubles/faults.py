"""Ways in which an upstream misbehaves. Each takes an `Exchange` with its honest reply and spoils it."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Protocol

from doubles.wire import Exchange, Reply

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Password</form></body></html>"


class Fault(Protocol):
    """Something that goes wrong with one reply."""

    async def apply(self, exchange: Exchange) -> None:
        """Answer `exchange` in the wrong way."""


@dataclass(frozen=True)
class WrongDigest:
    """The right length and type, but other bytes."""

    async def apply(self, exchange: Exchange) -> None:
        """Flip the middle byte: the head and the tail look right."""
        body = bytearray(exchange.full.body)
        body[len(body) // 2] ^= 0xFF
        await exchange.answer(replace(exchange.full, body=bytes(body)))


@dataclass(frozen=True)
class Truncated:
    """Announces the whole body and closes in good order after `after` bytes of it."""

    after: int

    async def apply(self, exchange: Exchange) -> None:
        """Send a part and close."""
        if await exchange.start(exchange.full):
            await exchange.send(exchange.full.body[: self.after])
        exchange.close()


@dataclass(frozen=True)
class Endless:
    """A body without a length that never ends. `most` only bounds the test."""

    most: int = 1 << 30

    async def apply(self, exchange: Exchange) -> None:
        """Send zeros until the other side has had enough."""
        await exchange.send_head(exchange.full, ("transfer-encoding", "chunked"))
        for _ in range(self.most // 65536):
            await exchange.send_chunk(bytes(65536))
        exchange.reset()


@dataclass(frozen=True)
class Chunked:
    """The right bytes without a content-length. `cut` ends after so many bytes without the last chunk."""

    cut: int | None = None

    async def apply(self, exchange: Exchange) -> None:
        """Send pieces of 16 KiB."""
        body = exchange.full.body[: self.cut]
        await exchange.send_head(exchange.full, ("transfer-encoding", "chunked"))
        for start in range(0, len(body), 16384):
            await exchange.send_chunk(body[start : start + 16384])
        if self.cut is None:
            await exchange.send_chunk(b"")
        else:
            exchange.close()


@dataclass(frozen=True)
class ContentType:
    """The right bytes under another content type."""

    media_type: str

    async def apply(self, exchange: Exchange) -> None:
        """Answer with the other type."""
        await exchange.answer(exchange.full.with_headers(("content-type", self.media_type)))


@dataclass(frozen=True)
class LoginPage:
    """200 with an HTML page, as a captive portal or an expired session answers."""

    async def apply(self, exchange: Exchange) -> None:
        """Answer with the page."""
        await exchange.answer(Reply(200, LOGIN_PAGE, (("content-type", "text/html; charset=utf-8"),)))


@dataclass(frozen=True)
class Body:
    """200 with these bytes under the honest reply's headers."""

    body: bytes

    async def apply(self, exchange: Exchange) -> None:
        """Answer with the bytes."""
        await exchange.answer(Reply(200, self.body, exchange.full.headers))


@dataclass(frozen=True)
class Answer:
    """Says this, also at an address that the double does not know of itself."""

    body: bytes
    media_type: str = "application/json"
    status: int = 200

    async def apply(self, exchange: Exchange) -> None:
        """Say it."""
        await exchange.answer(Reply(self.status, self.body, (("content-type", self.media_type),)))


@dataclass(frozen=True)
class Reset:
    """RST: before anything is sent (None), after the headers (0) or after so many bytes of the body."""

    after: int | None = None

    async def apply(self, exchange: Exchange) -> None:
        """Send up to the point and reset."""
        if self.after is not None and await exchange.start(exchange.full):
            await exchange.send(exchange.full.body[: self.after])
        exchange.reset()


@dataclass(frozen=True)
class SilentClose:
    """A whole reply that promises to keep the connection, which is then closed without a word."""

    async def apply(self, exchange: Exchange) -> None:
        """Answer and close."""
        await exchange.answer(exchange.reply.with_headers(("connection", "keep-alive")))
        exchange.close()


@dataclass(frozen=True)
class Delay:
    """The honest reply after a while."""

    seconds: float

    async def apply(self, exchange: Exchange) -> None:
        """Wait, then answer."""
        await asyncio.sleep(self.seconds)
        await exchange.answer(exchange.reply)


@dataclass(frozen=True)
class Rate:
    """The honest reply held to `bytes_per_s`, in pieces of `piece` bytes (a slow drip when both are small)."""

    bytes_per_s: float
    piece: int = 65536

    async def apply(self, exchange: Exchange) -> None:
        """Send a piece whenever its time has come."""
        if not await exchange.start(exchange.reply):
            return
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        for start in range(0, len(exchange.reply.body), self.piece):
            await exchange.send(exchange.reply.body[start : start + self.piece])
            await asyncio.sleep(max(0.0, begun_s + (start + self.piece) / self.bytes_per_s - clock()))


@dataclass(frozen=True)
class Gate:
    """Holds a reply after `after` bytes of its body (None: before its headers) until `open` is called."""

    after: int | None = None
    _opened: threading.Event = field(default_factory=threading.Event)
    _reached: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        """Let every held reply go on, and hold none that comes later."""
        self._opened.set()

    def wait_reached(self, timeout_s: float = 10) -> None:
        """Return as soon as a reply is held here."""
        assert self._reached.wait(timeout_s), "no request reached the gate"

    async def apply(self, exchange: Exchange) -> None:
        """Send up to the point, wait, send the rest."""
        body = memoryview(exchange.reply.body)
        sending = self.after is not None and await exchange.start(exchange.reply)
        if sending:
            await exchange.send(body[: self.after])
        self._reached.set()
        while not self._opened.is_set():
            await asyncio.sleep(0.005)
        if self.after is None:
            await exchange.answer(exchange.reply)
        elif sending:
            await exchange.send(body[self.after :])


@dataclass(frozen=True)
class Status:
    """Another status with a short text."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()

    async def apply(self, exchange: Exchange) -> None:
        """Answer with the status."""
        await exchange.answer(Reply(self.status, b"no\n", (("content-type", "text/plain"), *self.headers)))


def too_many_requests(retry_after: int | datetime | None = None) -> Status:
    """429; Retry-After in seconds or as an HTTP date, or none (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return Status(429)
    value = str(retry_after) if isinstance(retry_after, int) else format_datetime(retry_after, usegmt=True)
    return Status(429, (("retry-after", value),))


@dataclass(frozen=True)
class Redirect:
    """302 to `to`; "" means back to the same address, which makes a loop."""

    to: str = ""

    async def apply(self, exchange: Exchange) -> None:
        """Answer with the Location."""
        await exchange.answer(Reply(302, b"", (("location", self.to or exchange.seen.target),)))


@dataclass(frozen=True)
class Unauthorized:
    """401 for everyone whose Authorization is not exactly `expected`."""

    expected: str

    async def apply(self, exchange: Exchange) -> None:
        """Check, then answer."""
        if exchange.seen.headers.get("authorization") == self.expected:
            await exchange.answer(exchange.reply)
        else:
            await Status(401, (("www-authenticate", 'Basic realm="double"'),)).apply(exchange)


@dataclass(frozen=True)
class HugeHeader:
    """A response header of `size` bytes."""

    size: int

    async def apply(self, exchange: Exchange) -> None:
        """Answer with the header added."""
        await exchange.answer(exchange.full.with_headers(("x-padding", "x" * self.size)))


@dataclass(frozen=True)
class Gzipped:
    """The honest body under `content-encoding: gzip`; `garbled` sends the plain bytes under that header."""

    garbled: bool = False

    async def apply(self, exchange: Exchange) -> None:
        """Compress, or lie about it."""
        body = exchange.full.body
        if not self.garbled:
            packer = zlib.compressobj(wbits=31)
            body = packer.compress(body) + packer.flush()
        await exchange.answer(replace(exchange.full, body=body).with_headers(("content-encoding", "gzip")))


@dataclass(frozen=True)
class GzipBomb:
    """A small gzip body that unpacks to `size` zeros."""

    size: int

    async def apply(self, exchange: Exchange) -> None:
        """Send the bomb."""
        body = b"".join(_pack_zeros(self.size))
        await exchange.answer(replace(exchange.full, body=body).with_headers(("content-encoding", "gzip")))


def _pack_zeros(size: int) -> Iterator[bytes]:
    """A gzip stream of zeros: one packed block repeated, which a full flush makes possible (its CRC is not right)."""
    packer = zlib.compressobj(wbits=31)
    step = 1 << 20
    yield packer.compress(bytes(step)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(step)) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(1, size // step):
        yield block
    yield packer.flush()
