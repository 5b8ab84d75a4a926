"""The access log: one line of JSON for each reply, appended by every worker to one file."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

import msgspec

from mainstay.telemetry.log import get_logger

FLUSH_EVERY_S = 0.1
ROTATE_BYTES = 64_000_000
BUFFER_BYTES = 16_000_000
"""Lines waiting to be written above this are dropped: a disk that stalls must not take the memory."""

log = get_logger("mainstay.access")
T = TypeVar("T", bound=msgspec.Struct)


class AccessLog:
    """Lines are kept in memory and appended in one write; a kill loses those of the last 100 ms.

    At `rotate_bytes` the file is renamed to `<name>.1`, over the one before. Made after a fork, never before: its lock
    belongs to the process.
    """

    def __init__(self, path: Path, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        """Opens nothing yet: what cannot be written is said when it is."""
        self.path = path
        self.dropped = 0
        """Lines lost to a full or failing disk since the start."""
        self._rotate_bytes = rotate_bytes
        self._encode = msgspec.json.Encoder().encode_into
        self._buffer = bytearray()
        self._file: int | None = None
        self._lock: int | None = None
        self._torn = False
        self._failing = False
        self._writing = Lock()
        self._task: asyncio.Task[None] | None = None

    def record(self, entry: msgspec.Struct) -> None:
        """Add a line. Costs well under a microsecond and never fails for want of disk."""
        buffer = self._buffer
        start = len(buffer)
        if start > BUFFER_BYTES:
            self._drop(1)
            return
        try:
            self._encode(entry, buffer, -1)
        except UnicodeEncodeError:
            # A path of arbitrary bytes, decoded with surrogates, which JSON cannot carry.
            del buffer[start:]
            self._encode(without_surrogates(entry), buffer, -1)
        buffer += b"\n"

    def flush(self) -> None:
        """Write what is waiting, now; from the thread that records. A failure is logged once, its lines are counted."""
        lines, self._buffer = self._buffer, bytearray()
        if lines:
            self._write(lines)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush every 100 ms from now on, in a thread of `loop`."""
        self._task = loop.create_task(self._flush_forever(), name="access log")

    async def close(self) -> None:
        """Stop the task and write what is left. Recording afterwards is possible, writing it takes another flush."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        lines, self._buffer = self._buffer, bytearray()
        if lines:
            await asyncio.to_thread(self._write, lines)
        with self._writing:
            self._close_file()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            lines, self._buffer = self._buffer, bytearray()
            if lines:
                # Shielded: lines taken from the buffer are written even when the task is cancelled.
                await asyncio.shield(asyncio.to_thread(self._write, lines))

    def _write(self, lines: bytearray) -> None:
        with self._writing:
            try:
                self._append(lines)
            except OSError as error:
                self._close_file()
                self._drop(lines.count(b"\n"), error)
                return
        if self._failing:
            self._failing = False
            log.warning("the access log is written again", path=str(self.path), dropped=self.dropped)

    def _append(self, lines: bytearray) -> None:
        if self._lock is None:
            self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Shared while appending, alone while renaming: nobody writes to a file that was already rotated away.
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            if self._open_current() > self._rotate_bytes:
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                if self._open_current() > self._rotate_bytes:
                    os.replace(self.path, f"{self.path}.1")
                    self._open_current()
            self._append_whole(lines)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _append_whole(self, lines: bytearray) -> None:
        assert self._file is not None, "_open_current has run"
        # A line of ours that a full disk cut off is ended first, so that the next is not spoiled with it.
        rest = memoryview(b"\n" + bytes(lines) if self._torn else lines)
        while rest:
            written = os.write(self._file, rest)
            self._torn = written < len(rest)
            rest = rest[written:]

    def _open_current(self) -> int:
        """Have `_file` be the one at the path; returns its size in bytes."""
        if self._file is not None:
            held = os.fstat(self._file)
            try:
                if os.path.samestat(os.stat(self.path), held):
                    return held.st_size
            except FileNotFoundError:
                pass
            self._close_file()
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fstat(self._file).st_size

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _drop(self, lines: int, error: OSError | None = None) -> None:
        self.dropped += lines
        if not self._failing:
            self._failing = True
            why = str(error) if error else "writing stalls"
            log.error("the access log cannot be written: its lines are dropped", path=str(self.path), why=why)


def without_surrogates(entry: T) -> T:
    """The same with every surrogate written out: neither JSON nor MessagePack can carry one."""
    changes = {
        name: value.encode("utf-8", "backslashreplace").decode()
        for name, value in msgspec.structs.asdict(entry).items()
        if isinstance(value, str)
    }
    return msgspec.structs.replace(entry, **changes)
