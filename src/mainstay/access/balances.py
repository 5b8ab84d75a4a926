"""How much of each limit each consumer has used, in one file that every worker of the gateway has mapped."""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from mainstay.errors import DataFolderError

_MAGIC = int.from_bytes(b"mnstyb01", "little")
_HEADER = 8
"""8-byte words: magic, start-up of the machine, six spare."""
_SLOTS = 1 << 14
_SLOT = 24
"""8-byte words of a slot: name, used, since, until, then the key."""
_KEY_BYTES = 8 * (_SLOT - 4)
_WINDOW = 32
"""Slots looked at from a key's own slot on; when all are taken, the one that is or will be idle first is reused."""
_SIZE = 8 * (_HEADER + _SLOT * _SLOTS)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_USED, _SINCE, _UNTIL, _KEY = 1, 2, 3, 4


class Account:
    """One key, as one worker knows it. `offset` is where its slot was found last."""

    __slots__ = ("key", "name", "offset")

    def __init__(self, words: str) -> None:
        """`words` hold no NUL. Above the room of a slot, their digest stands for them."""
        key = words.encode("utf-8", "surrogateescape")
        if len(key) > _KEY_BYTES:
            key = hashlib.sha256(key).digest()
        self.name = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") or 1
        self.key = key.ljust(_KEY_BYTES, b"\0")
        self.offset = _HEADER + _SLOT * (self.name % _SLOTS)


class Balances:
    """A table of fixed size (3 MiB): for each key what was used since when, and until when that matters.

    Times are CLOCK_MONOTONIC, which is one for all processes of a machine and does not jump; it begins anew when the
    machine does, and so does the table. All access is between `lock` and `unlock`, from one thread of each process. The
    lock is the kernel's (flock) and ends with the process that has it, and each of the few words that it protects is
    written so that a process killed between two of them leaves a slot that is right, or is free.
    """

    def __init__(self, path: Path) -> None:
        """Map the file, made where it is absent; one of another form, or of before the last start of the machine, is
        started anew.

        Raises:
            DataFolderError: it cannot be made or mapped.
        """
        self._path = path
        self._descriptor, self._process = -1, 0
        try:
            self.lock()
            try:
                self._open()
            finally:
                self.unlock()
        except (OSError, ValueError) as error:
            raise DataFolderError(
                f"{path} cannot be used: {error}.", hint="Name another folder with --data."
            ) from error

    def lock(self) -> None:
        """Keep every other process out. Held for microseconds only."""
        if self._process != os.getpid():
            # A descriptor kept over a fork would share its lock with the other process.
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._process = os.getpid()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Let others in."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def load(self, account: Account, now: float) -> tuple[float, float]:
        """What was used, and since when; (0.0, now) for one that has no slot yet, which then gets one."""
        offset, times = account.offset, self._times
        start = 8 * (offset + _KEY)
        if self._words[offset] != account.name or self._map[start : start + _KEY_BYTES] != account.key:
            offset = account.offset = self._slot(account, now)
        return times[offset + _USED], times[offset + _SINCE]

    def save(self, account: Account, used: float, since: float, until: float) -> None:
        """Note what was used, and since when. From `until` on the slot says no more than an empty one.

        `account` was loaded under the same lock, and no other since.
        """
        times, offset = self._times, account.offset
        times[offset + _UNTIL] = until
        times[offset + _USED] = used
        # Last: whoever dies in between leaves too little used since too long ago, which is as good as new.
        times[offset + _SINCE] = since

    def close(self) -> None:
        """Unmap. The object cannot be used afterwards."""
        self._words.release()
        self._times.release()
        self._map.close()
        os.close(self._descriptor)

    def _open(self) -> None:
        descriptor, boot = self._descriptor, _boot()
        if os.fstat(descriptor).st_size != _SIZE:
            os.ftruncate(descriptor, 0)
        # A hole in a mapped file is a SIGBUS on the day that the disk is full.
        os.posix_fallocate(descriptor, 0, _SIZE)
        self._map = mmap.mmap(descriptor, _SIZE)
        view = memoryview(self._map)
        self._words, self._times = view.cast("Q"), view.cast("d")
        if self._words[0] != _MAGIC or self._words[1] != boot:
            self._words[0] = 0
            self._map[8:] = bytes(_SIZE - 8)
            self._words[1] = boot
            self._words[0] = _MAGIC

    def _slot(self, account: Account, now: float) -> int:
        words, name = self._words, account.name
        best, best_until = account.offset, math.inf
        for offset in _probe(name):
            found = words[offset]
            if found == name and self._key(offset) == account.key:
                return offset
            if found == 0:
                best = offset
                break
            if (until := self._times[offset + _UNTIL]) < best_until:
                best, best_until = offset, until
        self._give(best, account, now)
        return best

    def _give(self, offset: int, account: Account, now: float) -> None:
        """Have the slot be this account's. One that is left unfinished is as good as new, or belongs to nobody."""
        times = self._times
        times[offset + _UNTIL] = times[offset + _USED] = 0.0
        times[offset + _SINCE] = now
        start = 8 * (offset + _KEY)
        self._map[start : start + _KEY_BYTES] = account.key
        self._words[offset] = account.name

    def _key(self, offset: int) -> bytes:
        start = 8 * (offset + _KEY)
        return self._map[start : start + _KEY_BYTES]


def _probe(name: int) -> Iterator[int]:
    """Word offsets of the slots that may hold `name`, its own first."""
    for step in range(_WINDOW):
        yield _HEADER + _SLOT * ((name + step) % _SLOTS)


def _boot() -> int:
    """This start of the machine. Where the system does not tell, 1: a time that lies ahead then gives it away."""
    try:
        text = _BOOT_ID.read_bytes()
    except OSError:
        return 1
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") or 1
