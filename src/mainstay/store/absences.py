"""What upstream was asked for in vain lately, seen by all workers at once."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from pathlib import Path

from mainstay.errors import DataFolderError

_SLOTS = 1 << 17
_WINDOW = 8
"""Slots looked at from a key's own slot on; when all are taken the one that ends first is reused."""
_SIZE = 16 * _SLOTS


class Absences:
    """One file of fixed size (2 MiB) mapped by every worker: a hash table of keys and until when each holds.

    Build tools probe many places for what only one of them has (a Maven build does so by the thousand), and whichever
    worker is asked must know. Neither reads nor writes take a lock: two writers of one slot leave the key of one with
    an end of the other, and both had just been found absent.
    """

    def __init__(self, path: Path) -> None:
        """Map the file, made where it is absent; one of another size is started anew.

        Raises:
            DataFolderError: it cannot be made or mapped.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_size != _SIZE:
                    os.ftruncate(descriptor, 0)
                # A hole in a mapped file is a SIGBUS on the day that the disk is full.
                os.posix_fallocate(descriptor, 0, _SIZE)
                self._words = memoryview(mmap.mmap(descriptor, _SIZE)).cast("Q")
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
        except (OSError, ValueError) as error:
            raise DataFolderError(
                f"{path} cannot be used: {error}.", hint="Name another folder with --data."
            ) from error

    def absent(self, key: str) -> bool:
        """Whether `key` (hex, 16 digits or more) was noted and its time is not over."""
        name, words = _name(key), self._words
        for slot in _probe(name):
            found = words[slot]
            if found == name:
                until = words[slot + 1]
                # The slot may be given to another key between the two reads.
                return words[slot] == name and until > _now_ms()
            if found == 0:
                return False
        return False

    def note(self, key: str, for_s: float) -> None:
        """Hold `key` for absent for so many seconds."""
        name, words, now = _name(key), self._words, _now_ms()
        slot = min(_probe(name), key=lambda slot: _rank(words[slot], words[slot + 1], name))
        words[slot + 1] = 0
        words[slot] = name
        words[slot + 1] = now + round(for_s * 1000)


def _rank(found: int, until: int, name: int) -> tuple[int, int]:
    """The key's own slot first, then an empty one, then the one that ends first."""
    return (0 if found == name else 1 if found == 0 else 2, until)


def _probe(name: int) -> list[int]:
    return [2 * ((name + step) % _SLOTS) for step in range(_WINDOW)]


def _name(key: str) -> int:
    return int(key[:16], 16) or 1


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
