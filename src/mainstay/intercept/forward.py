"""`run --gateway URL`: sends what is asked of the registries to a shared gateway, and its replies back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from mainstay.config import Fetch
from mainstay.errors import BodyTooLarge, ConfigError, MainstayError, PolicyRefused, UpstreamError, UpstreamRefused
from mainstay.intercept.hosted import AsgiApp
from mainstay.intercept.receipt import Totals
from mainstay.intercept.routes import RouteTable
from mainstay.intercept.tally import Tally
from mainstay.intercept.trust import load_user_trust
from mainstay.upstream.client import HttpClient, Reply
from mainstay.usage.surroundings import CLIENT_HEADER

TABLE_PATH = "/api/v1/upstreams"
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_TABLE_BYTES = 4 * 1024 * 1024
_PER_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    " upgrade host content-length expect".split()
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@asynccontextmanager
async def open_forward(settings: Fetch, url: str, token: str, *, strict: bool) -> AsyncIterator[ForwardGateway]:
    """The way to the shared gateway at `url`, with its route table fetched.

    Raises:
        ConfigError: not an address. UpstreamError: the gateway cannot be reached, or does not give a route table.
    """
    client = HttpClient(settings, load_user_trust(os.environ))
    try:
        gateway = ForwardGateway(client, url, token, strict=strict)
        await gateway.start()
        yield gateway
    finally:
        await client.close()


class ForwardGateway:
    """A shared gateway at `url`, seen as what answers for the registries in this run.

    `token` identifies this run to the gateway. It goes to the gateway alone, in `Mainstay-Token`, because the client's
    own `Authorization` is meant for the registry and travels unchanged.
    """

    def __init__(self, client: HttpClient, url: str, token: str = "", *, strict: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"The gateway {url!r} is not an http:// or https:// address.")
        self._client = client
        self._url = url.rstrip("/")
        self._own = {"mainstay-links": "upstream"} | ({"mainstay-token": token} if token else {})
        self._strict = strict
        self._table = RouteTable()
        self._tally = Tally()
        self._learning: asyncio.Task[None] | None = None

    @property
    def app(self) -> AsgiApp:
        """The ASGI application."""
        return self._answer

    async def start(self) -> None:
        """Fetch the route table.

        Raises:
            UpstreamError: the gateway cannot be reached, or does not give one.
        """
        await self._fetch_table("")

    async def knows(self, host: str, port: int) -> bool:
        """Whether the gateway answers for this host. The first unknown one makes it look for its file hosts."""
        if self._table.knows(host, port):
            return True
        if self._learning is None or _has_failed(self._learning):
            self._learning = asyncio.ensure_future(self._fetch_table("?learn=1"))
        await asyncio.shield(self._learning)
        return self._table.knows(host, port)

    def hosts(self) -> list[str]:
        """The hosts of the route table."""
        return self._table.hosts()

    def totals(self) -> Totals:
        """What the gateway's replies say of where they came from."""
        return self._tally.totals()

    async def _fetch_table(self, query: str) -> None:
        url = f"{self._url}{TABLE_PATH}{query}"
        async with self._client.stream("GET", url, self._own, guarded=False, follow=False) as reply:
            if reply.status != 200:
                raise UpstreamRefused(
                    f"The gateway answers {reply.status} to {url}.",
                    upstream_status=reply.status,
                    hint="Check --gateway (or MAINSTAY_URL) and MAINSTAY_TOKEN.",
                )
            body = b""
            async for chunk in reply.chunks():
                body += chunk
                if len(body) > MAX_TABLE_BYTES:
                    raise UpstreamError(f"The gateway's route table is over {MAX_TABLE_BYTES} bytes.")
        self._table.merge(body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_noting(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            body = await _read_body(receive)
            if body is not None:
                await self._exchange(scope, body, receive, send_noting)
        except MainstayError as error:
            self._tally.note_failure(error)
            # A reply that broke off must not look complete: without its end, the server closes the connection.
            if not started:
                await _send_error(send, error)

    async def _exchange(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode("latin-1")
        found = self._table.find(scope["mainstay.origin"], path)
        headers = _sent_headers(scope)
        query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        passage = None
        if found is not None:
            url = f"{self._url}{found[1]}{query}"
            headers |= self._own | _said(scope)
        elif self._strict:
            raise PolicyRefused(f"This run is strict, and the gateway has nothing at {scope['mainstay.origin']}{path}.")
        else:
            url = f"{scope['mainstay.origin']}{path}{query}"
            passage = scope["mainstay.passage"]()
            passage.connections += 1
            passage.bytes_up += len(body)
        exchange = self._client.stream(scope["method"], url, headers, body=body or None, guarded=False, follow=False)
        async with exchange as reply:
            if found is not None and found[0].learns is not None:
                for base in _listed(reply.headers.get("mainstay-origin", "")):
                    self._table.add(base, found[0].learns)
            size_bytes = await _send_reply(reply, receive, send, self._tally if found else None)
        if passage is not None:
            passage.bytes_down += size_bytes


async def _send_reply(reply: Reply, receive: Receive, send: Send, tally: Tally | None) -> int:
    """Stream a reply to the client; stops when the client is gone. Gives the bytes sent and counts them in `tally`."""
    fields = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in reply.headers.items()
        if name not in _PER_HOP or name == "content-length"
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": fields})
    gone = asyncio.ensure_future(_disconnected(receive))
    count = tally.open(reply.status, reply.headers) if tally else None
    size_bytes = 0
    try:
        async for chunk in reply.chunks():
            size_bytes += len(chunk)
            if count is not None:
                count.add(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if gone.done():
                return size_bytes
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
        if count is not None:
            count.close()
    return size_bytes


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, None where the client went away in the middle: half an upload must not be sent on as one."""
    pieces: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size_bytes += len(pieces[-1])
        if size_bytes > MAX_BODY_BYTES:
            raise BodyTooLarge(f"The request body is over {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_error(send: Send, error: MainstayError) -> None:
    body = f"Mainstay: {error.diagnostics()}\n".encode()
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _sent_headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in _PER_HOP and not name.startswith("mainstay-"):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _said(scope: Scope) -> dict[str, str]:
    """What this run says of itself to the gateway."""
    wanted = CLIENT_HEADER.encode()
    said = next((value for name, value in scope["headers"] if name == wanted), b"")
    return {CLIENT_HEADER: said.decode("latin-1")} if said else {}


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and task.exception() is not None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
