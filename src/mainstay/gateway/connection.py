"""One client's connection: uvicorn's own, and ahead of it the answers that need no parsing.

A client asks for the same thing in the same bytes again and again. Where these bytes, a whole request, were answered
from memory before, and no message is under way on the connection, they are answered at once: one look-up and one
write, no parser, no task. Everything else goes to uvicorn's protocol. It adds what that leaves to a proxy in front: a
limit on the size of a head, and on the time without a whole request.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mainstay.gateway.asgi import HEADER_BYTES, REQUEST_KEY, Application
from mainstay.gateway.hot import REQUEST_BYTES

QUIET_S = 75.0
"""How long a connection may be open without a whole request, be it idle or one that comes byte by byte."""
LATE_S = 1.0
"""How long a connection that has not asked yet may still do so when the worker stops."""
_END = b"\r\n\r\n"
_STATUS = {200: b"HTTP/1.1 200 OK\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}


class Connection(HttpToolsProtocol):
    """Given to uvicorn as its `http` protocol. The application is always ours, without middleware around it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._application = cast(Application, config.loaded_app)
        self._request = b""
        """The bytes just received, if they look like one whole request."""
        self._is_between = True
        """Whether no message is half read."""
        self._is_head_whole = True
        self._has_asked = False
        self._head_bytes = 0
        self._quiet_since = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to watch over the time without a request."""
        super().connection_made(transport)
        self._quiet_since = self.loop.time()
        self._watch = self.loop.call_later(QUIET_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The worker stops. A client that connected just now could not know: its first request is still answered."""
        if not self._has_asked and self._quiet_since + LATE_S > self.loop.time():
            self.loop.call_later(LATE_S, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Answer what is known byte for byte, hand on everything else."""
        if self.transport.is_closing():
            return
        is_free = self._is_between and not self._is_answering()
        if is_free and not self.flow.write_paused:
            started = perf_counter()
            if (ready := self._application.ready(data)) is not None:
                self.transport.writelines((_first_lines(self.server_state, ready.status), ready.head, ready.body))
                self._application.sent(ready, self.client[0] if self.client else "", started)
                self._quiet_since, self._has_asked = self.loop.time(), True
                return
        self._request = data if is_free and _is_plain(data) else b""
        was_in_head = not self._is_head_whole
        super().data_received(data)
        if was_in_head and not self._is_head_whole:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES:
                self.send_400_response("the request's headers are too large.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._is_between = self._is_head_whole = False
        self._has_asked, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The end of its head."""
        self._is_head_whole = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The end of a request; let the application know its bytes if they may be answered without parsing."""
        self._is_between = True
        super().on_message_complete()
        is_usual = self.cycle.keep_alive and not self.expect_100_continue and not self.parser.should_upgrade()
        if self._request and is_usual:
            cast(dict[str, Any], self.scope)[REQUEST_KEY] = self._request

    def on_response_complete(self) -> None:
        """The end of a reply."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's own watch, which does not see what is answered here; `_look` is the one that counts."""

    def _is_answering(self) -> bool:
        # uvicorn has None for the cycle of a connection that has had no request yet.
        cycle = cast(Any, self.cycle)
        return cycle is not None and not cycle.response_complete

    def _look(self) -> None:
        left_s = QUIET_S if self._is_answering() else self._quiet_since + QUIET_S - self.loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(left_s + 0.1, self._look)


def _is_plain(data: bytes) -> bool:
    """Whether this looks like one GET without a body, complete in itself."""
    return len(data) <= REQUEST_BYTES and data.startswith(b"GET ") and data.find(_END) == len(data) - len(_END)


class _FirstLines:
    """The status line and the headers that uvicorn sets for all, Date among them: new once a second."""

    def __init__(self) -> None:
        self._defaults: list[tuple[bytes, bytes]] | None = None
        self._lines: dict[int, bytes] = {}

    def __call__(self, state: ServerState, status: int) -> bytes:
        if state.default_headers is not self._defaults:
            self._defaults = state.default_headers
            common = b"".join(b"%b: %b\r\n" % header for header in state.default_headers)
            self._lines = {code: line + common for code, line in _STATUS.items()}
        return self._lines[status]


_first_lines = _FirstLines()
