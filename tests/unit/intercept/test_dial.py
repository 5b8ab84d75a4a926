"""Dialling through the user's own proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme

from mainstay.errors import UpstreamError, UpstreamUnavailable
from mainstay.intercept.dial import dial
from mainstay.upstream.proxies import ProxyAddress

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Collector(asyncio.Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self.lost.set_result(exc)


async def _proxy(answer: Answer, context: ssl.SSLContext | None = None) -> tuple[asyncio.Server, ProxyAddress]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    return server, ProxyAddress("https" if context else "http", "127.0.0.1", port, "Basic eDp5")


async def _accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nearly " + head.split(b"\r\n\r\n")[0])
    await writer.drain()
    writer.close()


async def test_a_proxy_that_speaks_tls_itself_is_dialled(monkeypatch, tmp_path):
    """`HTTPS_PROXY=https://...`, trusted by the user's own certificate file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server, proxy = await _proxy(_accept, context)
    collector = Collector()
    transport, early = await dial("forge.example", 443, proxy, collector)
    transport.resume_reading()
    await collector.lost
    text = early + collector.received
    assert text.startswith(b"early CONNECT forge.example:443 HTTP/1.1\r\nHost: forge.example:443\r\n")
    assert b"Proxy-Authorization: Basic eDp5" in text
    server.close()


async def test_an_ipv6_address_is_asked_for_in_brackets():
    """RFC 9110 section 9.3.6."""
    server, proxy = await _proxy(_accept)
    collector = Collector()
    transport, early = await dial("2001:db8::1", 443, proxy, collector)
    transport.resume_reading()
    await collector.lost
    assert b"CONNECT [2001:db8::1]:443 HTTP/1.1" in early + collector.received
    server.close()


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", UpstreamUnavailable, "refused forge.example:443: HTTP/1.1 403 Forbidden"),
        (b"", UpstreamError, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000, UpstreamError, "too long"),
        (b"SSH-2.0-x\r\n\r\n", UpstreamUnavailable, "SSH-2.0-x"),
    ],
)
async def test_a_proxy_that_does_not_connect_is_an_error_in_words(reply, error, words):
    """And no connection stays open."""
    ended = asyncio.get_running_loop().create_future()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        if reply:
            try:
                await reader.read()
            except ConnectionError as broken:
                ended.set_result(broken)
                writer.close()
                return
        writer.close()
        ended.set_result(None)

    server, proxy = await _proxy(refuse)
    with pytest.raises(error, match=words):
        await dial("forge.example", 443, proxy, Collector())
    await asyncio.wait_for(ended, timeout=5)
    server.close()
