"""The HTTP server's protocol on connections that clients meant for a registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mainstay.intercept.head import Target
from mainstay.intercept.journal import Journal

KEEP_ALIVE_S = 120

AsgiApp = Callable[..., Awaitable[None]]


class HostedProtocol(HttpToolsProtocol):
    """The HTTP server's own protocol on a connection that was meant for a known host."""

    def __init__(
        self, config: Config, state: ServerState, target: Target, journal: Journal, on_lost: Callable[[], None]
    ) -> None:
        super().__init__(config, state, {})
        self._target = target
        self._journal = journal
        self._on_lost = on_lost
        self._early = b""
        self._is_adopted = False
        self._has_asked = False
        self.is_lost = False

    def adopt(self, transport: asyncio.Transport, received: bytes = b"") -> None:
        """Take the connection: `transport` is ready, `received` is what it brought already."""
        self._is_adopted = True
        self.connection_made(transport)
        early = received + self._early
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """A client may send its request together with the end of the handshake, before the transport is adopted."""
        if self._is_adopted:
            super().data_received(data)
        else:
            self._early += data

    def on_message_begin(self) -> None:
        """Say in each request's scope which origin was asked, and where to record what is passed on to it."""
        super().on_message_begin()
        scope = cast(dict[str, Any], self.scope)
        scope["mainstay.origin"] = self._target.origin
        scope["mainstay.passage"] = partial(self._journal.passage, self._target.authority)
        self._has_asked = True
        self._journal.requests[self._target.authority] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a client that went away without a word."""
        self.is_lost = True
        self._on_lost()
        if not self._is_adopted:
            return
        if not self._has_asked:
            self._journal.silent[self._target.authority] += 1
        super().connection_lost(exc)


def http_config(app: AsgiApp) -> Config:
    """The HTTP server's settings: plain HTTP/1.1, no WebSocket, no forwarded headers, no log of its own."""
    config = Config(
        cast(Any, app),
        interface="asgi3",
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    config.load()
    return config
