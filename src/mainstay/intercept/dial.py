"""Dialling a host directly or through the proxy that the user already had."""

from __future__ import annotations

import asyncio
import ssl

from mainstay.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from mainstay.upstream.proxies import ProxyAddress

DIAL_TIMEOUT_S = 30.0
MAX_HEAD_BYTES = 16 * 1024


class _ConnectReply(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT. What follows the head is kept for the tunnel."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = b""

    @property
    def rest(self) -> bytes:
        return self._received.partition(b"\r\n\r\n")[2]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if self.head.done():
            return
        if end:
            self.head.set_result(head)
        elif len(self._received) > MAX_HEAD_BYTES:
            self.head.set_exception(UpstreamError("The proxy's answer to CONNECT is too long."))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(UpstreamError("The proxy closed the connection without an answer to CONNECT."))


async def dial(
    host: str, port: int, proxy: ProxyAddress | None, pipe: asyncio.Protocol, *, connect: bool = True
) -> tuple[asyncio.Transport, bytes]:
    """Connect to `host:port`, through `proxy` if there is one, and put `pipe` on the connection.

    With `connect` False the proxy gets no CONNECT (it is asked for plain http in absolute form). Returns the transport,
    paused, and the bytes that arrived already.

    Raises:
        UpstreamUnavailable: unreachable, or the proxy says no. UpstreamTimeout: no answer in time.
    """
    target = proxy.host if proxy else host
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            if proxy is None or not connect:
                return await _open(target, proxy.port if proxy else port, proxy, pipe), b""
            return await _open_through(proxy, host, port, pipe)
    except TimeoutError:
        raise UpstreamTimeout(f"{target} did not answer within {DIAL_TIMEOUT_S:.0f} seconds.") from None
    except OSError as error:
        raise UpstreamUnavailable(f"{target} cannot be reached: {error.strerror or error}.") from error


async def _open(host: str, port: int, proxy: ProxyAddress | None, protocol: asyncio.Protocol) -> asyncio.Transport:
    context = ssl.create_default_context() if proxy and proxy.scheme == "https" else None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(
        lambda: protocol, host, port, ssl=context, happy_eyeballs_delay=0.25, interleave=1
    )
    transport.pause_reading()
    return transport


async def _open_through(
    proxy: ProxyAddress, host: str, port: int, pipe: asyncio.Protocol
) -> tuple[asyncio.Transport, bytes]:
    reply = _ConnectReply()
    transport = await _open(proxy.host, proxy.port, proxy, reply)
    try:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
        if proxy.authorization:
            request += f"Proxy-Authorization: {proxy.authorization}\r\n"
        transport.write(f"{request}\r\n".encode("ascii"))
        transport.resume_reading()
        status = (await reply.head).split(b"\r\n", 1)[0].decode("latin-1")
        if status.split(" ")[1:2] != ["200"]:
            raise UpstreamUnavailable(f"The proxy {proxy.host}:{proxy.port} refused {authority}: {status}.")
    except BaseException:
        transport.abort()
        raise
    transport.pause_reading()
    transport.set_protocol(pipe)
    return transport, reply.rest
