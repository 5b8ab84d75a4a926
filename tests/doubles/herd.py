"""Very many clients of one address at once, in one thread: epoll, one shared buffer, a running CRC for each."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from isal import isal_zlib

RECEIVE_BYTES = 128 * 1024


@dataclass
class Member:
    """One client of a herd and what it got. `length` is the announced one, None before the head has arrived."""

    sock: socket.socket
    port: int
    status: int = 0
    head: bytes = b""
    length: int | None = None
    received: int = 0
    crc: int = 0
    broken: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all that was announced has arrived."""
        return self.length is not None and self.received == self.length

    def take(self, data: memoryview) -> None:
        """Account for received bytes."""
        if self.length is None:
            self.head += data
            head, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self.status, self.length = int(first.split(" ")[1]), int(self.headers["content-length"])
            data = memoryview(rest)
        self.received += len(data)
        self.crc = isal_zlib.crc32(data, self.crc)


class Herd:
    """Clients that ask for `url` at the same time: `join`, then `ask`, then `run`."""

    def __init__(self, url: str, headers: str = "") -> None:
        parts = urlsplit(url)
        self._request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode()
        self._buffer = bytearray(RECEIVE_BYTES)
        self._selector = selectors.DefaultSelector()
        self._open = 0
        self._address = (parts.hostname or "", parts.port or 80)
        self.members: list[Member] = []

    def join(self, count: int) -> list[Member]:
        """Connect `count` more clients, before `ask`."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = len(self.members) + count + 512
        assert hard == resource.RLIM_INFINITY or hard >= wanted, f"needs {wanted} open files, the limit is {hard}"
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        joined = [self._connect() for _ in range(count)]
        self.members += joined
        return joined

    def _connect(self) -> Member:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * RECEIVE_BYTES)
        sock.settimeout(10)
        sock.connect(self._address)
        sock.setblocking(False)
        return Member(sock, sock.getsockname()[1])

    def ask(self) -> None:
        """All connections exist: send the request on each."""
        for member in self.members:
            member.sock.sendall(self._request)
            self._selector.register(member.sock, selectors.EVENT_READ, member)
        self._open = len(self.members)

    def run(self, timeout_s: float, until_bytes: int | None = None) -> list[Member]:
        """Receive until every client is done, or until each open one has `until_bytes` of the body.

        A client that is not done in time is left as it is, with `broken` set.
        """
        end_s = time.monotonic() + timeout_s
        while self._open and time.monotonic() < end_s:
            if until_bytes is not None and self._all_have(until_bytes):
                return self.members
            for key, _ in self._selector.select(0.05):
                self._receive(key.data)
        if until_bytes is None:
            self._finish()
        return self.members

    def _all_have(self, count: int) -> bool:
        return all(member.received >= count or member.broken or member.whole for member in self.members)

    def _receive(self, member: Member) -> None:
        try:
            count = member.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except ConnectionError as error:
            count, member.broken = 0, repr(error)
        if count:
            member.take(memoryview(self._buffer)[:count])
        if not count or member.whole:
            if not member.whole:
                member.broken = member.broken or "closed early"
            self._selector.unregister(member.sock)
            member.sock.close()
            self._open -= 1

    def _finish(self) -> None:
        for key in [*self._selector.get_map().values()]:
            key.data.broken = "not done in time"
            self._selector.unregister(key.data.sock)
            key.data.sock.close()
        self._selector.close()


def crc32(data: bytes) -> int:
    """The CRC that a `Member` computes."""
    return isal_zlib.crc32(data)
