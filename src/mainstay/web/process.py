"""The process that answers for the pages and the API: `python -m mainstay.web.process`, started by a gateway's worker.

Requests come over a Unix socket in the data folder, one to a connection, and go to the site, an ASGI application.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mainstay.app import BOOT_VARIABLE
from mainstay.ecosystems import ecosystems
from mainstay.gateway.site import (
    LOCK,
    OTHER_SETTINGS,
    SOCKET,
    Answered,
    Asked,
    encode_frame,
    fingerprint,
    open_folder,
    read_frame,
    socket_path,
)
from mainstay.settings import load_config
from mainstay.store.lock import acquire
from mainstay.telemetry.log import configure_logging, get_logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from mainstay.config import Config

IDLE_S = 600.0
NICENESS = 5
PREFIX_KEY = "mainstay.prefix"
"""ASGI scope key: what stands before every path of the gateway in this client's addresses, no slash at its end."""
_log = get_logger(__name__)


class _Server:
    """Answers connections until it is told to stop."""

    def __init__(self, app: ASGIApp, own_fingerprint: str) -> None:
        self._app, self._fingerprint = app, own_fingerprint
        self.stopped = asyncio.Event()
        self._used = time.monotonic()
        self._busy = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one reply."""
        self._busy += 1
        try:
            asked = await read_frame(reader, Asked)
            writer.write(encode_frame(await self._answer(asked)))
            await writer.drain()
        except (OSError, EOFError):
            _log.debug("a worker left before its answer")
        finally:
            self._busy -= 1
            self._used = time.monotonic()
            writer.close()

    async def _answer(self, asked: Asked) -> Answered:
        if asked.fingerprint != self._fingerprint:
            self.stopped.set()
            return Answered(OTHER_SETTINGS, [], b"")
        return await answer(self._app, asked)

    async def watch(self) -> None:
        """Stop when nobody asks for a while."""
        while self._busy or time.monotonic() - self._used < IDLE_S:
            await asyncio.sleep(1)
        self.stopped.set()


async def answer(app: ASGIApp, asked: Asked) -> Answered:
    """What an ASGI application answers; 500 where it fails."""
    status, headers, body = 500, [("content-type", "text/plain; charset=utf-8")], bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        else:
            body.extend(message.get("body", b""))

    try:
        await app(make_scope(asked), receive, send)
    except Exception:  # noqa: BLE001 - a defect is logged and answered, and takes no other request with it
        _log.exception("a page failed in a way that is a defect", path=asked.path[:200])
        body = body or bytearray(b"This page failed. The gateway's log says why.\n")
    return Answered(status, headers, bytes(body))


def make_scope(asked: Asked) -> dict[str, Any]:
    """The request in the words of ASGI."""
    base = urlsplit(asked.base)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": base.scheme,
        "path": unquote(asked.path),
        "raw_path": asked.path.encode("latin-1"),
        "query_string": asked.query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in asked.headers],
        "client": (asked.client, 0),
        "server": (base.hostname or "", base.port or (443 if base.scheme == "https" else 80)),
        "mainstay.base": asked.base,
        PREFIX_KEY: base.path.rstrip("/"),
    }


def main() -> int:
    """Serve the site; the exit code, 0 also where another process is at it already."""
    boot = json.loads(os.environ[BOOT_VARIABLE])
    path = Path(boot["config"]) if boot["config"] else None
    config = load_config(path, os.environ, boot["flags"], tuple(ecosystems()))
    lock = acquire(config.data_path / LOCK, wait=False)
    if lock is None:
        return 0
    os.nice(NICENESS)
    configure_logging(config.log.level)
    asyncio.run(_serve(config))
    os.close(lock)
    return 0


async def _serve(config: Config) -> None:
    # Only who has the lock pays for these imports.
    from mainstay.web.site import make_site

    server = _Server(make_site(config), fingerprint(config))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, server.stopped.set)
    # Its other end is the worker's: it closes when that ends, however it does.
    loop.add_reader(sys.stdin.fileno(), server.stopped.set)
    folder = open_folder(config.data_path)
    place = config.data_path / SOCKET
    place.unlink(missing_ok=True)
    before = os.umask(0o177)
    listener = await asyncio.start_unix_server(server.connected, socket_path(folder))
    os.umask(before)
    watching = asyncio.create_task(server.watch())
    await server.stopped.wait()
    place.unlink(missing_ok=True)
    listener.close()
    watching.cancel()
    os.close(folder)


if __name__ == "__main__":
    sys.exit(main())
