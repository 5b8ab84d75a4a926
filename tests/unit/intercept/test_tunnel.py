"""Tunnelled bytes."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc

from mainstay.intercept.authority import Authority
from mainstay.intercept.journal import Journal
from mainstay.intercept.proxy import Proxy

SIZE_BYTES = 64 * 1024 * 1024


async def _unknown(host: str, port: int) -> bool:
    return False


def _proxy(journal: Journal) -> Proxy:
    async def app(scope, receive, send):
        raise AssertionError("nothing is answered in these tests")

    return Proxy(app, Authority(), _unknown, strict=False, upstream_proxy=None, journal=journal)


async def _connect(port: int, target: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT 127.0.0.1:{target} HTTP/1.1\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    return reader, writer


async def test_a_slow_reader_slows_the_sender_down():
    """Sixty-four megabytes for a client that does not read do not pile up here."""

    async def pour(reader, writer):
        piece = b"z" * 65536
        for _ in range(SIZE_BYTES // len(piece)):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    journal = Journal()
    proxy = _proxy(journal)
    port = await proxy.listen()
    target = server.sockets[0].getsockname()[1]
    reader, writer = await _connect(port, target)
    tracemalloc.start()
    last = -1
    while last != (last := journal.passage(f"127.0.0.1:{target}").bytes_down):
        await asyncio.sleep(0.2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert last < SIZE_BYTES
    assert peak < 8 * 1024 * 1024
    received = 0
    while piece := await reader.read(1 << 20):
        received += len(piece)
    assert received == SIZE_BYTES
    writer.close()
    await proxy.close()
    server.close()


async def test_a_half_closed_connection_still_answers():
    """The client says that it is done, the server answers then."""

    async def answer(reader, writer):
        body = await reader.read()
        writer.write(b"got %d" % len(body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    journal = Journal()
    proxy = _proxy(journal)
    port = await proxy.listen()
    target = server.sockets[0].getsockname()[1]
    reader, writer = await _connect(port, target)
    writer.write(b"x" * 1000)
    writer.write_eof()
    assert await reader.read() == b"got 1000"
    assert journal.passages[f"127.0.0.1:{target}"].bytes_up == 1000
    writer.close()
    await proxy.close()
    server.close()


async def test_bytes_sent_together_with_the_request_reach_the_host():
    """A client in a hurry does not wait for the answer to CONNECT."""

    async def echo(reader, writer):
        writer.write(await reader.readexactly(5))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = _proxy(Journal())
    port = await proxy.listen()
    target = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT 127.0.0.1:{target} HTTP/1.1\r\n\r\nhello".encode())
    assert (await reader.read()).endswith(b"\r\n\r\nhello")
    writer.close()
    await proxy.close()
    server.close()


async def test_a_head_without_an_end_is_cut_off():
    """Sixteen kilobytes are enough for any client."""
    proxy = _proxy(Journal())
    port = await proxy.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT a.example:443 HTTP/1.1\r\nX: " + b"y" * 20_000)
    assert (await reader.read()).startswith(b"HTTP/1.1 431")
    writer.close()
    await proxy.close()


async def test_closing_the_proxy_ends_open_tunnels():
    """A daemon that the command left behind must not keep the run alive."""

    async def hold(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    proxy = _proxy(Journal())
    port = await proxy.listen()
    reader, writer = await _connect(port, server.sockets[0].getsockname()[1])
    await proxy.close()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), timeout=5) == b""
    writer.close()
    server.close()
