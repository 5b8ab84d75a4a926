"""The ledger's writer: each worker appends its events to a segment of its own, in frames that a crash cannot spoil."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mainstay.errors import StoreFull
from mainstay.store.lock import acquire
from mainstay.telemetry.access import without_surrogates
from mainstay.telemetry.log import get_logger
from mainstay.usage.event import Event
from mainstay.usage.frames import Kind, close_batch, encode_again, encode_event, name_sum, open_batch, render_frame

LOG_FOLDER = Path("usage", "log")
"""Below the data folder: the segments."""
PARQUET_FOLDER = Path("usage", "parquet")
"""Below the data folder: what is sealed, as `day=2026-11-21/<name>.parquet`."""
PART = ".part"
"""What a sealed file's name ends with while it is being written."""
READING_LOCK = Path("usage", "reading.lock")
"""Below the data folder: held shared by who reads sealed files, alone by who removes them."""
FLUSH_EVERY_S = 0.1
SYNC_EVERY_S = 0.8
"""With the flush before it and the time that it takes, events are on the disk within a second."""
SEGMENT_BYTES = 64_000_000
SEGMENT_S = 600.0
BUFFER_BYTES = 16_000_000
"""Events waiting to be written above this are lost: a disk that stalls must not take the memory."""

_log = get_logger(__name__)


class Ledger:
    """Events are kept in memory and appended as one frame in one write; a kill loses those of the last 100 ms.

    While the disk takes nothing, they wait, as many as `BUFFER_BYTES` hold, twice; of what is lost above that the
    number is written down once there is room. A segment is closed at 64 MB or after 10 minutes, for the sealer, and is
    locked by its writer until then. Made after a fork, never before: thread, lock and name belong to the process.
    """

    def __init__(self, data: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """For the data folder `data`. Opens nothing yet: what cannot be written is said when it is."""
        self.folder = data / LOG_FOLDER
        self.lost = 0
        """Events lost since the start."""
        self._segment_bytes = segment_bytes
        self._buffer = open_batch()
        self._events = self._dropped = 0
        self._waiting: _Batch | None = None
        self._segment: _Segment | None = None
        self._failing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mainstay-ledger")
        self._task: asyncio.Task[None] | None = None

    def record(self, event: Event) -> None:
        """Take an event. Costs about a microsecond, and neither waits nor fails for want of disk."""
        buffer = self._buffer
        start = len(buffer)
        if start > BUFFER_BYTES:
            self._drop("writing stalls")
            return
        try:
            encode_event(event, buffer, -1)
        except UnicodeEncodeError:
            # A name of arbitrary bytes, decoded with surrogates, which MessagePack cannot carry.
            del buffer[start:]
            encode_event(without_surrogates(event), buffer, -1)
        self._events += 1

    def record_again(self, time_us: int, rest: bytes) -> None:
        """As `record`, for an event that was recorded before at another time: `rest` is `frames.encode_rest(event)`."""
        if len(self._buffer) > BUFFER_BYTES:
            self._drop("writing stalls")
            return
        encode_again(time_us, rest, self._buffer)
        self._events += 1

    def flush(self) -> None:
        """Write what is waiting, now, and wait for it; from the thread that records. A failure is logged once."""
        self._take()
        self._thread.submit(self._turn).result()
        if self._waiting is None:
            # What had waited for the disk was written: now what was recorded since.
            self._take()
            self._thread.submit(self._turn).result()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush every 100 ms from now on, in a thread."""
        self._task = loop.create_task(self._flush_forever(), name="ledger")

    async def close(self) -> None:
        """Stop the task, write what is left and close the segment. What is recorded afterwards is lost."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        loop = asyncio.get_running_loop()
        # A batch that was waiting for the disk goes before what has come since.
        await loop.run_in_executor(self._thread, self._turn)
        self._take()
        await loop.run_in_executor(self._thread, self._end)
        self._thread.shutdown(wait=True)

    async def _flush_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0 if self._is_behind() else FLUSH_EVERY_S)
            self._take()
            if self._waiting is not None or (self._segment is not None and self._segment.needs_care):
                # Cancelled here, the turn is finished all the same, or what it was to write waits for the last one.
                await loop.run_in_executor(self._thread, self._turn)

    def _is_behind(self) -> bool:
        """Whether the disk has taken what waited for it, and there is as much again."""
        return self._waiting is None and len(self._buffer) > BUFFER_BYTES

    def _take(self) -> None:
        """Have what was recorded wait for the thread, unless a batch that the disk refused waits already."""
        if self._waiting is None and (self._events or self._dropped):
            self._waiting = _Batch(self._buffer, self._events, self._dropped)
            self._buffer = open_batch()
            self._events = self._dropped = 0

    def _turn(self) -> None:
        """One round in the ledger's thread: write, sync what is due, close what is full or old."""
        try:
            if self._waiting is not None:
                self._append(self._waiting)
                self._waiting = None
            if self._segment is not None:
                self._segment.sync_if_due()
                if self._segment.size_bytes >= self._segment_bytes or self._segment.age_s >= SEGMENT_S:
                    self._segment.end()
                    self._segment = None
        except (OSError, StoreFull) as error:
            self._fail(str(error))
            return
        if self._failing:
            self._failing = False
            _log.warning("the usage ledger is written again", folder=str(self.folder), lost=self.lost)

    def _append(self, batch: _Batch) -> None:
        if self._segment is None:
            self._segment = _Segment(self.folder)
        if batch.lost:
            self._segment.append(Kind.LOST, batch.lost, b"the disk did not take them")
            batch.lost = 0
        if batch.events:
            self._segment.append_batch(batch.frame, batch.events)

    def _end(self) -> None:
        """The last turn."""
        self._turn()
        unwritten = self._events + (self._waiting.events if self._waiting is not None else 0)
        if unwritten:
            self.lost += unwritten
            _log.error("the usage ledger could not be written to the end", lost=self.lost)
        if self._segment is None:
            return
        try:
            self._segment.end()
        except OSError as error:
            self._fail(str(error))
        finally:
            self._segment.close()
            self._segment = None

    def _drop(self, why: str) -> None:
        self.lost += 1
        self._dropped += 1
        self._fail(why)

    def _fail(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            _log.error("the usage ledger cannot be written: replies are not metered", folder=str(self.folder), why=why)


@dataclass(slots=True)
class _Batch:
    """A frame to be, its events, and how many were lost before it."""

    frame: bytearray
    events: int
    lost: int


class _Segment:
    """A file that frames are appended to. It is locked as long as it is open."""

    def __init__(self, folder: Path) -> None:
        """A new one, with a name that sorts by time.

        Raises:
            StoreFull, OSError: it cannot be made.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = datetime.fromtimestamp(time.time(), UTC)
        name = f"{stamp:%Y%m%dT%H%M%SZ}-{os.getpid()}-{secrets.token_hex(4)}.log"
        descriptor = acquire(folder / name, wait=True)
        assert descriptor is not None, "a lock that is waited for is always got"
        self._descriptor = descriptor
        try:
            sync_folder(folder)
        except OSError:
            self.close()
            raise
        self._begin = name_sum(name)
        self.size_bytes = 0
        self._events = 0
        self._opened_s = time.monotonic()
        self._written_s: float | None = None

    @property
    def age_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._opened_s

    @property
    def needs_care(self) -> bool:
        """Whether it is to be synced or closed, though nothing new is written."""
        return self._is_sync_due() or self.age_s >= SEGMENT_S

    def append_batch(self, batch: bytearray, events: int) -> None:
        """Append a batch. Raises OSError, and then nothing of it stands before what follows."""
        close_batch(batch, events, self._begin)
        self._write(batch)
        self._events += events

    def append(self, kind: Kind, events: int, payload: bytes) -> None:
        """Append another frame. Raises as `append_batch`."""
        self._write(render_frame(kind, events, payload, self._begin))

    def sync_if_due(self) -> None:
        """Bring what was written to the disk, where the first of it waits for that long enough."""
        if self._is_sync_due():
            self._sync()

    def end(self) -> None:
        """Write the last frame, sync and close. Raises OSError, and then it is still open."""
        self.append(Kind.END, self._events, b"")
        self._sync()
        self.close()

    def close(self) -> None:
        """Close it as it is. Can be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, frame: bytearray) -> None:
        if self._written_s is None:
            self._written_s = time.monotonic()
        at = self.size_bytes
        try:
            with memoryview(frame) as whole:
                while at < self.size_bytes + len(whole):
                    at += os.pwrite(self._descriptor, whole[at - self.size_bytes :], at)
        except OSError:
            with suppress(OSError):
                # Where even this fails the next frame is written over the half one all the same, by its place.
                os.ftruncate(self._descriptor, self.size_bytes)
            raise
        self.size_bytes = at

    def _is_sync_due(self) -> bool:
        return self._written_s is not None and time.monotonic() - self._written_s >= SYNC_EVERY_S

    def _sync(self) -> None:
        os.fdatasync(self._descriptor)
        self._written_s = None


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
