"""The gateway on each HTTP server that it must run on, and a client that sees every byte."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Self

from doubles.gateway import Gateway, clean_environ


class UvicornGateway(Gateway):
    """The same application on uvicorn as it comes, without our connection: settings by MAINSTAY_BOOT, as `serve` gives
    them to its workers."""

    def _start(self) -> subprocess.Popen[bytes]:
        flags = {"data": str(self.data), "server": {"host": "127.0.0.1", "port": self.port, "workers": 1}}
        boot = json.dumps({"config": str(self.config), "flags": flags})
        command = [sys.executable, "-m", "uvicorn", "--factory", "mainstay.app:worker", "--port", str(self.port)]
        command += ["--no-access-log", "--log-level", "warning", "--lifespan", "on"]
        environ = clean_environ() | {"MAINSTAY_BOOT": boot}
        with self.log_path.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)

    def worker_pids(self) -> list[int]:
        """One process listens and serves."""
        return [self.process.pid]


SERVERS: Mapping[str, type[Gateway]] = {"serve": Gateway, "uvicorn": UvicornGateway}


@dataclass(frozen=True)
class Answer:
    """One reply off the wire. Header names are lower case; `pairs` keeps repeated ones; `whole` is False where the
    connection ended before the body did."""

    status: int
    pairs: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """By name, the last of repeated ones."""
        return dict(self.pairs)


class Wire:
    """One connection: bytes out as they are, replies in one after another, framed as RFC 9112 section 6 says."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stream = sock.makefile("rb")

    def send(self, data: bytes) -> Self:
        """Send these bytes. A server that has turned away already is seen when reading."""
        try:
            self._sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return self
        return self

    def end(self) -> Self:
        """Say that nothing more is sent."""
        self._sock.shutdown(socket.SHUT_WR)
        return self

    def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """One request that leaves the connection open, and its reply."""
        self.send(request(path, *headers, method=method))
        answer = self.read(method)
        assert answer is not None, "the connection ended without a reply"
        return answer

    def read(self, method: str = "GET") -> Answer | None:
        """The next reply, None where the connection has ended instead."""
        try:
            return self._read(method)
        except ConnectionResetError:
            return None

    def _read(self, method: str) -> Answer | None:
        first = self._stream.readline()
        if not first:
            return None
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n", first)
        assert match, f"out of step: {first[:200]!r}"
        pairs = []
        while (line := self._stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            pairs.append((name.lower(), value.strip()))
        headers, status = dict(pairs), int(match[1])
        if method == "HEAD" or status in (204, 304):
            return Answer(status, tuple(pairs), b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, tuple(pairs), *self._chunks())
        length = int(headers["content-length"]) if "content-length" in headers else -1
        body = self._take(length)
        return Answer(status, tuple(pairs), body, len(body) == length or length < 0)

    def _take(self, length: int) -> bytes:
        body = b""
        while length < 0 or len(body) < length:
            try:
                piece = self._stream.read1(65536 if length < 0 else min(65536, length - len(body)))
            except ConnectionResetError:
                break
            if not piece:
                break
            body += piece
        return body

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while size := self._stream.readline():
            length = int(size.split(b";")[0], 16)
            piece = self._take(length)
            body += piece
            if len(piece) < length:
                break
            self._stream.readline()
            if length == 0:
                return body, True
        return body, False


@contextmanager
def connected(port: int) -> Iterator[Wire]:
    """A connection to a server on loopback."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as sock:
        yield Wire(sock)


def request(path: str, *headers: str, method: str = "GET", host: str = "gateway.example") -> bytes:
    """The bytes of a request without a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
