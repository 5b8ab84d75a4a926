"""A relay on loopback that counts what a server sends: a measure of bytes that nothing of Mainstay takes part in."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import httptools


class _Counter:
    """Counts the body bytes and the replies in a stream of HTTP/1.1 replies."""

    def __init__(self) -> None:
        self.replies = 0
        self.body_bytes = 0

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        self.replies += 1


class Relay:
    """Connections to `port` go on to `target`, a port of this machine. For clients that send GET only: the end of a
    reply to HEAD could not be told."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._counters: list[_Counter] = []
        self._threads: list[threading.Thread] = []

    @property
    def body_bytes(self) -> int:
        """Body bytes of all replies so far."""
        return sum(counter.body_bytes for counter in self._counters)

    @property
    def replies(self) -> int:
        """Whole replies so far, without interim ones."""
        return sum(counter.replies for counter in self._counters)

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=30)

    def _begin(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            counter = _Counter()
            self._counters.append(counter)
            self._begin(self._relay, client, httptools.HttpResponseParser(counter))

    def _relay(self, client: socket.socket, parser: httptools.HttpResponseParser) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            asking = threading.Thread(target=_copy, args=(client, server, None))
            asking.start()
            _copy(server, client, parser)
            asking.join()


def _copy(source: socket.socket, sink: socket.socket, parser: httptools.HttpResponseParser | None) -> None:
    """Until one side ends; the other is told."""
    with suppress(OSError):
        while piece := source.recv(65536):
            if parser is not None:
                parser.feed_data(piece)
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
