"""What all workers must see at once: a generation counter and until when each upstream rests."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainstay.errors import DataFolderError

_MAGIC = int.from_bytes(b"mnstay01", "little")
_HEADER = 4
"""8-byte words: generation, magic, stored artifacts, one spare."""
_SLOTS = 4096
_WINDOW = 32
"""Slots looked at from a name's own slot on; when all are taken the one whose rest ends first is reused."""
_WORDS = _HEADER + 2 * _SLOTS
_SIZE = 8 * _WORDS


class Shared:
    """One small file mapped by every worker. Reads take no lock; writes do.

    A rest time is a wall-clock time in seconds, 0.0 for none. It survives a restart, as it should: a registry that
    asked for an hour did not ask this process only.
    """

    def __init__(self, path: Path) -> None:
        """Map the file, made where it is absent; a file of another form is started anew.

        Raises:
            DataFolderError: it cannot be made or mapped.
        """
        self._path = path
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_size != _SIZE:
                    # Written, not only sized: a hole that cannot be filled later on a full disk is a SIGBUS.
                    os.pwrite(descriptor, bytes(_SIZE), 0)
                    os.ftruncate(descriptor, _SIZE)
                # A hole in a mapped file is a SIGBUS on the day that the disk is full.
                os.posix_fallocate(descriptor, 0, _SIZE)
                self._map = mmap.mmap(descriptor, _SIZE)
                self._words = memoryview(self._map).cast("Q")
                if self._words[1] != _MAGIC:
                    self._map[:] = bytes(_SIZE)
                    self._words[1] = _MAGIC
            finally:
                # The map keeps a duplicate of the descriptor, and with it the lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise DataFolderError(
                f"{path} cannot be used: {error}.", hint="Name another folder with --data."
            ) from error
        self._hashes: dict[str, int] = {}

    @property
    def generation(self) -> int:
        """Changes whenever any worker bumps it."""
        return self._words[0]

    def bump(self) -> None:
        """Tell every worker that what it derived from rules or takedowns is out of date."""
        with self._exclusive():
            self._words[0] = (self._words[0] + 1) & 0xFFFF_FFFF_FFFF_FFFF

    @property
    def stored_count(self) -> int:
        """Changes whenever any worker has stored an artifact."""
        return self._words[2]

    def note_stored(self) -> None:
        """Tell every worker that an artifact was stored: what was found absent before may be there now."""
        with self._exclusive():
            self._words[2] = (self._words[2] + 1) & 0xFFFF_FFFF_FFFF_FFFF

    def rest_until(self, upstream: str) -> float:
        """The time until which `upstream` is to be left alone; 0.0 for none."""
        name = self._hash(upstream)
        words = self._words
        for slot in _probe(name):
            found = words[slot]
            if found == name:
                until = words[slot + 1]
                # The slot may be given to another name between the two reads.
                return _seconds(until) if words[slot] == name else 0.0
            if found == 0:
                return 0.0
        return 0.0

    def set_rest(self, upstream: str, until: float) -> None:
        """Leave `upstream` alone until `until` (wall clock, seconds); a time that is past ends the rest."""
        with self._exclusive():
            self._write_rest(upstream, until)

    def replace_rest(self, upstream: str, seen: float, until: float) -> bool:
        """As `set_rest`, unless the time is no longer the one that was seen: then another was first."""
        with self._exclusive():
            if self.rest_until(upstream) != seen:
                return False
            self._write_rest(upstream, until)
            return True

    def _write_rest(self, upstream: str, until: float) -> None:
        name, words = self._hash(upstream), self._words
        slot = self._slot(name)
        if words[slot] != name:
            words[slot + 1] = 0
            words[slot] = name
        words[slot + 1] = _bits(max(until, 0.0))

    def close(self) -> None:
        """Unmap. The object cannot be used afterwards."""
        self._words.release()
        self._map.close()

    def _slot(self, name: int) -> int:
        taken: list[int] = []
        for slot in _probe(name):
            if self._words[slot] in (name, 0):
                return slot
            taken.append(slot)
        return min(taken, key=lambda slot: _seconds(self._words[slot + 1]))

    def _hash(self, upstream: str) -> int:
        name = self._hashes.get(upstream)
        if name is None:
            name = int.from_bytes(hashlib.blake2b(upstream.encode(), digest_size=8).digest(), "little") or 1
            self._hashes[upstream] = name
        return name

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        # Opened anew each time: a descriptor kept over a fork would share its lock with the other process.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _probe(name: int) -> Iterator[int]:
    """Word offsets of the slots that may hold `name`, its own first."""
    for step in range(_WINDOW):
        yield _HEADER + 2 * ((name + step) % _SLOTS)


def _bits(seconds: float) -> int:
    return int.from_bytes(struct.pack("<d", seconds), "little")


def _seconds(bits: int) -> float:
    value: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return value
