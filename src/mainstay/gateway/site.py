"""The pages and the JSON API from the gateway's side: a process of its own answers, which the first request starts.

That process has what is heavy (DuckDB, charts, templates) and may end at any moment: the workers that answer package
managers have none of it and never wait for it. One serves all workers: whoever finds none starts one, and of several
that start at once a lock leaves one. It ends with the worker that started it, and when nobody asks for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from mainstay.config import Config
from mainstay.errors import MethodRefused, SiteFailed
from mainstay.gateway.call import Call
from mainstay.gateway.reply import Bytes, Note
from mainstay.telemetry.log import get_logger

SOCKET, LOCK = "site.sock", "site.lock"
SEGMENTS = frozenset({"", "-", "api", "consumers", "projects", "waste", "statement", "health", "admin"})
"""The first segments of the paths that it answers."""
START_TIMEOUT_S, STOP_TIMEOUT_S = 30.0, 5.0
LOOK_EVERY_S, START_AGAIN_S = 0.05, 0.5
ATTEMPTS = 3
OTHER_SETTINGS = 0
"""The status by which the process says that it has other settings than who asks, and ends."""
_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
_COMMAND = (sys.executable, "-m", "mainstay.web.process")
_LENGTH_BYTES = 8
# The gateway adds these by itself.
_OWN = ("x-content-type-options", "content-length")
T = TypeVar("T")
_log = get_logger(__name__)


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """One request, whole. `path` is percent-encoded, `base` the gateway's address as this client reaches it."""

    fingerprint: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    client: str
    base: str
    body: bytes


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """One reply, whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Site:
    """One worker's way to the process."""

    def __init__(self, config: Config, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._fingerprint = fingerprint(config)
        self._folder = open_folder(config.data_path)
        self._child: Process | None = None
        self._started = 0.0
        self._has_answered = False
        self._starting = asyncio.Lock()

    def has(self, path: str) -> bool:
        """Whether it answers at this path."""
        return path == "/" or (path.startswith("/") and path.split("/", 2)[1] in SEGMENTS - {""})

    async def answer(self, call: Call) -> Bytes:
        """The reply to a call, as the process gives it.

        Raises:
            SiteFailed: the process does not start, or ended in the middle.
            BodyTooLarge: over server.max_body. MethodRefused: no method that a page has.
        """
        if call.method not in _METHODS:
            raise MethodRefused(f"{call.method} is refused.")
        headers = list(call.headers.items())
        if call.token:
            headers.append(("mainstay-token", call.token))
        # What a HEAD is answered with is what a GET would be, without its body.
        method = "GET" if call.method == "HEAD" else call.method
        body = await call.whole_body(self._max_body_bytes)
        asked = Asked(self._fingerprint, method, call.raw_path, call.query, headers, call.client, call.base, body)
        answered = await self._exchange(asked)
        kept = [(name, value) for name, value in answered.headers if name.lower() not in _OWN]
        return Bytes(answered.status, kept, answered.body, Note())

    async def close(self) -> None:
        """End the process, if this worker started it."""
        child, self._child = self._child, None
        if child is not None and child.stdin is not None:
            child.stdin.close()
            try:
                await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                child.kill()
                await child.wait()
        os.close(self._folder)

    async def _exchange(self, asked: Asked) -> Answered:
        for attempt in range(ATTEMPTS):
            reader, writer = await self._connect()
            try:
                writer.write(encode_frame(asked))
                await writer.drain()
                answered = await read_frame(reader, Answered)
            except (OSError, EOFError):
                # It was just ending. What may have been done is not done again.
                if asked.method == "GET" and attempt + 1 < ATTEMPTS:
                    continue
                raise SiteFailed("the process of the pages ended in the middle of a request.") from None
            finally:
                writer.close()
            if answered.status != OTHER_SETTINGS:
                return answered
        raise SiteFailed("the process of the pages has other settings than this worker.")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                connection = await asyncio.open_unix_connection(socket_path(self._folder))
                self._has_answered = True
                return connection
            if time.monotonic() > deadline:
                raise SiteFailed("the process of the pages did not start in time.")
            await self._start()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _start(self) -> None:
        async with self._starting:
            child = self._child
            if child is not None and child.returncode is None:
                return
            if child is not None and child.returncode:
                self._child = None
                _log.warning("the process of the pages ended", exit_code=child.returncode)
                if not self._has_answered:
                    raise SiteFailed("the process of the pages cannot start.")
            self._has_answered = False
            # Without a code, another worker's was first, and is about to answer.
            if time.monotonic() - self._started > START_AGAIN_S:
                self._started = time.monotonic()
                self._child = await asyncio.create_subprocess_exec(*_COMMAND, stdin=PIPE)


def fingerprint(config: Config) -> str:
    """Tells settings apart, without showing any."""
    return hashlib.sha256(msgspec.json.encode(config)).hexdigest()


def open_folder(data: Path) -> int:
    """A descriptor of the data folder, for `socket_path`."""
    return os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def socket_path(folder: int) -> str:
    """Where the socket is, by the folder's descriptor: its own path may be longer than the 107 bytes that the address
    of a socket has room for (unix(7))."""
    return f"/proc/self/fd/{folder}/{SOCKET}"


def encode_frame(message: msgspec.Struct) -> bytes:
    """A message as MessagePack, its length before it."""
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


async def read_frame(reader: asyncio.StreamReader, kind: type[T]) -> T:
    """The next message.

    Raises:
        EOFError: the other side has ended. OSError: or the connection has.
    """
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    return msgspec.msgpack.decode(await reader.readexactly(length), type=kind)
