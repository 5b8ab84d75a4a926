"""Bytes both ways between two connections, with back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pipe(asyncio.Protocol):
    """One direction: what arrives here is written to the other side, which is slowed down when this one is slow.

    `count` is told how many bytes went across.
    """

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._here: asyncio.Transport | None = None
        self._other: asyncio.Transport | None = None
        self.has_ended = False
        self.peer: Pipe | None = None

    def join(self, here: asyncio.Transport, other: asyncio.Transport, peer: Pipe, early: bytes) -> None:
        """Start: `here` is this side's transport, `early` what it received before, `other` where it goes."""
        self._here, self._other, self.peer = here, other, peer
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self._other is not None:
            self._count(len(data))
            self._other.write(data)

    def eof_received(self) -> bool:
        """Half-close: the other direction may still run. A TLS transport (to an https proxy) knows no half-close."""
        self.has_ended = True
        if self._other is None or (self.peer is not None and self.peer.has_ended):
            return False
        if not self._other.can_write_eof():
            self._other.close()
            return False
        self._other.write_eof()
        return True

    def pause_writing(self) -> None:
        """This side takes no more for now: stop reading from the other."""
        if self._other is not None and not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        """This side takes more again."""
        if self._other is not None and not self._other.is_closing():
            self._other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side, after what is still to be written there."""
        if self._other is not None:
            self._other.close()


def join(
    left: asyncio.Transport, right: asyncio.Transport, up: Pipe, down: Pipe, early_up: bytes, early_down: bytes
) -> None:
    """Tie `left` (whose protocol is `up`) and `right` (whose protocol is `down`) together and let them run."""
    up.join(left, right, down, early_up)
    down.join(right, left, up, early_down)
    for transport in (left, right):
        if not transport.is_closing():
            transport.resume_reading()
