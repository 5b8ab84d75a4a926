"""The CONNECT proxy on loopback: answers for known hosts, tunnels or refuses the others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import cast

from uvicorn.server import ServerState

from mainstay.errors import MainstayError
from mainstay.intercept.authority import Authority
from mainstay.intercept.dial import MAX_HEAD_BYTES, dial
from mainstay.intercept.head import Head, Target, parse_head
from mainstay.intercept.hosted import AsgiApp, HostedProtocol, http_config
from mainstay.intercept.journal import Journal
from mainstay.intercept.peer import is_foreign
from mainstay.intercept.tunnel import Pipe, join
from mainstay.upstream.proxies import ProxySettings

HEAD_TIMEOUT_S = 30.0
HANDSHAKE_TIMEOUT_S = 30.0
DRAIN_S = 2.0

Known = Callable[[str, int], Awaitable[bool]]


class Proxy:
    """Serves `app` under the addresses of known hosts, with TLS by `authority`.

    Each request's scope carries `mainstay.origin`, the origin that the client asked (`https://host[:port]`), and
    `mainstay.passage`, which gives the `Passage` to count in when `app` itself passes a request on unseen.
    Hosts for which `known` is false are tunnelled, through `upstream_proxy` where the user has one, or refused when
    `strict`. Everything seen goes to `journal`.
    """

    def __init__(
        self,
        app: AsgiApp,
        authority: Authority,
        known: Known,
        *,
        strict: bool,
        upstream_proxy: ProxySettings | None,
        journal: Journal,
    ) -> None:
        self.authority = authority
        self.known = known
        self.strict = strict
        self.upstream_proxy = upstream_proxy
        self.journal = journal
        self.sealed = False
        self.http_config = http_config(app)
        self.http_state = ServerState()
        self.open: set[asyncio.Transport] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, listener: socket.socket | None = None) -> int:
        """Accept connections on a free port of 127.0.0.1, or on `listener` from a sealed namespace; gives the port."""
        self.sealed = listener is not None
        if listener is None:
            listener = socket.create_server(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Reception(self), sock=listener, backlog=1024
        )
        return port

    async def close(self) -> None:
        """Stop accepting, give replies under way a moment, and drop what is left."""
        if self._server is not None:
            self._server.close()
        if self.http_state.tasks:
            await asyncio.wait(set(self.http_state.tasks), timeout=DRAIN_S)
        pending = [*self.tasks, *self.http_state.tasks]
        for task in pending:
            task.cancel()
        for transport in list(self.open):
            transport.abort()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports tell their protocols

    def start(self, work: Awaitable[None]) -> None:
        """Run `work` beside everything else, until the proxy closes."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Reception(asyncio.Protocol):
    """Reads a client's first request head and decides who takes the connection over."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._received = b""
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the head, from our own users only. A sealed namespace holds nobody else."""
        self._transport = cast(asyncio.Transport, transport)
        peer, here = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not self._proxy.sealed and is_foreign(peer, here):
            self._proxy.journal.foreign += 1
            self._transport.abort()
            return
        self._proxy.open.add(self._transport)
        self._deadline = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_clock()
        self._proxy.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Collect the head; then hand over."""
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD_BYTES:
            self._refuse(431, "The request head is longer than 16 KiB.")
        elif end:
            self._stop_clock()
            # Nothing may be read before the next owner is in place: its first bytes would come here.
            self._transport.pause_reading()
            self._proxy.start(self._hand_over(head, rest))

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _refuse(self, status: int, words: str) -> None:
        self._stop_clock()
        body = f"Mainstay: {words}\n".encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self._transport.close()

    async def _hand_over(self, raw: bytes, rest: bytes) -> None:
        target = None
        try:
            head = parse_head(raw)
            target = head.target
            if await self._proxy.known(target.host, target.port):
                await self._answer(head, rest)
            elif self._proxy.strict:
                self._proxy.journal.refused[target.authority] += 1
                self._refuse(403, f"this run is strict, and {target.authority} is not a registry that it knows.")
            else:
                await self._pass(head, rest)
        except MainstayError as error:
            if target is not None:
                self._proxy.journal.failures[target.authority] = error.message
            self._refuse(error.status, error.diagnostics())
        except BaseException:
            self._transport.abort()
            raise

    async def _answer(self, head: Head, rest: bytes) -> None:
        proxy = self._proxy
        forget = partial(proxy.open.discard, self._transport)
        protocol = HostedProtocol(proxy.http_config, proxy.http_state, head.target, proxy.journal, forget)
        if not head.is_connect:
            self._transport.set_protocol(protocol)
            protocol.adopt(self._transport, head.relay + rest)
            self._transport.resume_reading()
        elif rest:
            # The bytes are already out of the socket, where the TLS layer would look for them.
            self._refuse(400, "the client sent data before the answer to CONNECT.")
        else:
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._secure(protocol, head.target)

    async def _secure(self, protocol: HostedProtocol, target: Target) -> None:
        journal = self._proxy.journal
        try:
            secured = await asyncio.get_running_loop().start_tls(
                self._transport,
                protocol,
                self._proxy.authority.context(target.host),
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            )
        except ssl.SSLError as error:
            journal.untrusting[target.authority] = (error.reason or str(error)).lower().replace("_", " ")
        except ConnectionError:
            journal.untrusting[target.authority] = "closed during the handshake"
        else:
            if secured is None or protocol.is_lost:  # lost in the same turn in which the handshake ended
                journal.silent[target.authority] += 1
            else:
                protocol.adopt(secured)
                return
        self._proxy.open.discard(self._transport)

    async def _pass(self, head: Head, rest: bytes) -> None:
        target = head.target
        settings = self._proxy.upstream_proxy
        proxy = settings.choose(target.scheme, target.host, target.port) if settings else None
        journal = self._proxy.journal
        up = CountedPipe(partial(journal.add_up, target.authority), self._proxy, self._transport)
        down = Pipe(partial(journal.add_down, target.authority))
        other, early_down = await dial(target.host, target.port, proxy, down, connect=head.is_connect)
        if self._transport.is_closing():
            other.abort()
            return
        journal.passage(target.authority).connections += 1
        self._transport.set_protocol(up)
        if head.is_connect:
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            early_up = rest
        else:
            early_up = _relayed(head, proxy.authorization if proxy else None) + rest
        join(self._transport, other, up, down, early_up, early_down)


class CountedPipe(Pipe):
    """The client's end of a tunnel, known to the proxy so that it can be closed at the end of the run."""

    def __init__(self, count: Callable[[int], None], proxy: Proxy, transport: asyncio.Transport) -> None:
        super().__init__(count)
        self._proxy = proxy
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and close the other side."""
        self._proxy.open.discard(self._transport)
        super().connection_lost(exc)


def _relayed(head: Head, authorization: str | None) -> bytes:
    """The head for the origin, or (`authorization` not None) for the user's own proxy."""
    if authorization is None:
        return head.relay
    if not authorization:
        return head.relay_to_proxy
    return head.relay_to_proxy[:-2] + f"Proxy-Authorization: {authorization}\r\n\r\n".encode("ascii")
