"""The sealer: closed segments become Parquet files by day, each event in exactly one, whenever the sealer is killed.

Run as a child of low priority: `python -m mainstay.usage.seal DATA --keep-days N`.

A round brings its files whole to the disk, then names them and the segments that they are made of in one transaction,
and only then removes the segments. So a file that no row names is half of a round that was killed, and is removed; a
segment that a row names is what another such round left, and is removed unread.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.db.engine import Database
from mainstay.db.ledger import (
    LedgerFile,
    LedgerLoss,
    delete_old,
    load_files,
    replace_files,
    save_sealed,
    sync_commits,
)
from mainstay.errors import MainstayError, StoreError, StoreFull
from mainstay.store.lock import acquire
from mainstay.telemetry.log import configure_logging, get_logger
from mainstay.usage.event import Event
from mainstay.usage.ledger import LOG_FOLDER, PARQUET_FOLDER, READING_LOCK
from mainstay.usage.loss import Segment, list_segments

if TYPE_CHECKING:
    from mainstay.usage.columnar import EventFile

NICENESS = 15
SEALING_LOCK = Path("usage", "sealing.lock")
SETTLED_S = 3600.0
"""The files of a day that is over are merged when none has come for so long."""
BATCH_SEGMENTS = 8
"""Segments that go into one transaction."""
_DAY_US = 86_400_000_000
_DAY_S = 86_400.0
_EPOCH = date(1970, 1, 1)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = get_logger("mainstay.usage.seal")  # run as a program, the module has another name


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one round did. `is_busy`: another process was at it, so nothing was done here."""

    segments: int = 0
    events: int = 0
    losses: tuple[LedgerLoss, ...] = ()
    merged_days: int = 0
    expired_files: int = 0
    is_busy: bool = False


def seal(data: Path, database: Database, *, keep_days: int = 0, now: float | None = None) -> Sealed:
    """One round: seal every segment that nobody writes to any more, merge days that are over, remove those that ended
    more than `keep_days` ago (0: none). `now` is in seconds. Blocks: for a process or thread of its own.

    Raises:
        StoreFull: no space left; what was not sealed is still there, and is read from its segment.
        StoreError: the disk or the database fails.
    """
    if not (data / LOG_FOLDER).is_dir():
        return Sealed()
    lock = acquire(data / SEALING_LOCK, wait=False)
    if lock is None:
        return Sealed(is_busy=True)
    try:
        with _told():
            return _Round(data, database, time.time() if now is None else now).run(keep_days)
    finally:
        os.close(lock)


async def run_sealer(data: Path, keep_days: int) -> bool:
    """One round in a child process of low priority; whether it went well. A failure is logged. When this is cancelled
    the child is killed, which costs nothing but its work."""
    command = [sys.executable, "-m", "mainstay.usage.seal", str(data), "--keep-days", str(keep_days)]
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        _log.error("the usage ledger is not sealed: no process could be started", why=str(error))
        return False
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code:
        _log.error("the usage ledger is not sealed: its process failed", exit_code=code)
    return code == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """One round from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mainstay.usage.seal", description="Seal the usage ledger.")
    parser.add_argument("data", type=Path, help="the data folder")
    parser.add_argument("--keep-days", type=int, default=0, help="remove what is older (0: keep everything)")
    given = parser.parse_args(arguments)
    from mainstay.usage.rollup import roll_up  # it brings the engine with it, which the gateway does not need

    os.nice(NICENESS)
    configure_logging("info")
    try:
        with closing(Database.open(given.data)) as database:
            done = seal(given.data, database, keep_days=given.keep_days)
        roll_up(given.data, datetime.now(UTC).date())
    except MainstayError as error:
        _log.error("the usage ledger was not sealed", reason=error.diagnostics())
        return error.exit_code
    for loss in done.losses:
        say = _log.error if loss.events else _log.warning
        say("the usage ledger has a loss", source=loss.source, reason=loss.reason, events=loss.events, bytes=loss.size)
    if done.segments or done.merged_days or done.expired_files:
        _log.info(
            "the usage ledger was sealed",
            segments=done.segments,
            events=done.events,
            merged_days=done.merged_days,
            expired_files=done.expired_files,
        )
    return 0


class _Round:
    """One round, by the only sealer there is."""

    def __init__(self, data: Path, database: Database, now: float) -> None:
        self._log, self._parquet, self._reading = data / LOG_FOLDER, data / PARQUET_FOLDER, data / READING_LOCK
        self._database, self._now = database, now
        self._today = datetime.fromtimestamp(now, UTC).date()

    def run(self, keep_days: int) -> Sealed:
        """All of it."""
        self._tidy()
        done = Sealed()
        paths = list_segments(self._log)
        for start in range(0, len(paths), BATCH_SEGMENTS):
            batch = self._seal(paths[start : start + BATCH_SEGMENTS])
            done = Sealed(done.segments + batch.segments, done.events + batch.events, done.losses + batch.losses)
        merged = self._merge_days()
        expired = self._expire(keep_days) if keep_days else 0
        if merged or expired:
            self._remove_unnamed()
        return replace(done, merged_days=merged, expired_files=expired)

    def _tidy(self) -> None:
        """Finish what a killed round began."""
        files = self._database.read_sync(load_files) or self._adopt()
        sources = {source for file in files for source in file.sources}
        self._remove([path for path in list_segments(self._log) if path.name in sources])
        self._remove_unnamed()

    def _adopt(self) -> list[LedgerFile]:
        """Name the files of a ledger whose database was moved away, which is what a damaged one asks for.

        Not those of a killed round, whose segments are all there and may have events of other days that it did not come
        to; nor those that another one replaces.
        """
        paths = list(self._parquet.glob("*/*.parquet"))
        if not paths:
            return []
        from mainstay.usage.columnar import DAMAGED, load_origin

        present = {path.name for path in list_segments(self._log)}
        origins = {path: load_origin(path) for path in paths}
        replaced = {path for origin in origins.values() if origin for path in origin[2]}
        files, losses = [], []
        for path, origin in sorted(origins.items()):
            name, size = str(path.relative_to(self._parquet)), path.stat().st_size
            if origin is None:
                losses.append(LedgerLoss(name, DAMAGED, 0, size, self._now))
            elif name not in replaced and not (origin[1] and present.issuperset(origin[1])):
                day = path.parent.name.partition("=")[2]
                files.append(LedgerFile(name, day, origin[0], size, origin[1], self._now))
        if files or losses:
            _log.warning("the usage ledger is read in anew", files=len(files), damaged=len(losses))
            self._database.run_sync(save_sealed, files, losses)
        return files

    def _seal(self, paths: Iterable[Path]) -> Sealed:
        """Seal those segments of a batch that nobody writes to."""
        with ExitStack() as stack:
            segments = [stack.enter_context(segment) for path in paths if (segment := self._claim(path)) is not None]
            if not segments:
                return Sealed()
            days = stack.enter_context(closing(_Days(self._parquet, self._now)))
            for segment in segments:
                for events in segment.batches():
                    days.add(events, segment.name)
            files = days.publish()
            # One that the disk does not give back is left as it is: it may do so another time.
            readable = [segment for segment in segments if segment.is_readable]
            self._database.run_sync(save_sealed, files, [loss for segment in readable for loss in segment.losses])
            self._remove([self._log / segment.name for segment in readable])
            losses = tuple(loss for segment in segments for loss in segment.losses)
        return Sealed(len(readable), sum(file.events for file in files), losses)

    def _claim(self, path: Path) -> Segment | None:
        """A segment with its lock, or None where its writer has that."""
        descriptor = acquire(path, wait=False)
        if descriptor is None:
            return None
        return Segment(path.name, os.fdopen(descriptor, "rb"), False, self._now)

    def _merge_days(self) -> int:
        merged = 0
        for day, files in groupby(self._database.read_sync(load_files), attrgetter("day")):
            of_day = list(files)
            newest = max(file.created_at for file in of_day)
            if day < self._today.isoformat() and len(of_day) > 1 and newest <= self._now - SETTLED_S:
                merged += self._merge_day(day, of_day)
        return merged

    def _merge_day(self, day: str, files: Sequence[LedgerFile]) -> bool:
        """Have one file in the place of a day's. One that is damaged stays as it is: it is a loss to be shown."""
        from mainstay.usage.columnar import EventFile, find_fault, merge_files

        sound = [file for file in files if not find_fault(self._parquet / file.path, file, thorough=True)]
        if len(sound) < 2:
            return False
        path = f"day={day}/{_file_name(self._now)}"
        with closing(EventFile(self._parquet / path)) as target:
            target.replaces = tuple(file.path for file in sound)
            merge_files([self._parquet / file.path for file in sound], target)
            row = LedgerFile(path, day, target.events, target.publish(), (), self._now)
        if row.events != sum(file.events for file in sound):
            raise StoreError(f"The ledger's files of {day} could not be merged: rows are missing in {path}.")
        self._database.run_sync(replace_files, [file.path for file in sound], row)
        return True

    def _expire(self, keep_days: int) -> int:
        first_day = (self._today - timedelta(days=keep_days)).isoformat()
        return self._database.run_sync(delete_old, first_day, self._now - keep_days * _DAY_S)

    def _remove(self, segments: Sequence[Path]) -> None:
        """Remove segments that rows name, when those rows are on the disk for good."""
        if segments:
            self._database.run_sync(sync_commits)
        for path in segments:
            path.unlink()

    def _remove_unnamed(self) -> None:
        """Remove Parquet files that no row names, unless somebody is reading: then a later round does."""
        named = {file.path for file in self._database.read_sync(load_files)}
        unnamed = [path for path in self._parquet.glob("*/*") if str(path.relative_to(self._parquet)) not in named]
        lock = acquire(self._reading, wait=False) if unnamed else None
        if lock is None:
            return
        try:
            self._database.run_sync(sync_commits)
            for path in unnamed:
                path.unlink()
                with suppress(OSError):
                    # Not empty: there are other files of that day.
                    path.parent.rmdir()
        finally:
            os.close(lock)


class _Days:
    """The files of one transaction, one for each day that its events are of."""

    def __init__(self, folder: Path, now: float) -> None:
        self._folder, self._now = folder, now
        self._files: dict[int, EventFile] = {}

    def add(self, events: Iterable[Event], source: str) -> None:
        """Take events of a segment, each for the day in UTC that it says, whatever the clock has said before."""
        for day, of_day in groupby(events, _day_number):
            self._file(day).add(of_day, source)

    def publish(self) -> list[LedgerFile]:
        """Have each on the disk; the rows that are to name them."""
        return [self._publish(day, file) for day, file in self._files.items()]

    def close(self) -> None:
        """Give up what is not published."""
        for file in self._files.values():
            file.close()

    def _file(self, day: int) -> EventFile:
        from mainstay.usage.columnar import EventFile

        if day not in self._files:
            self._files[day] = EventFile(self._folder / f"day={_day_name(day)}" / _file_name(self._now))
        return self._files[day]

    def _publish(self, day: int, file: EventFile) -> LedgerFile:
        size = file.publish()
        path = str(file.path.relative_to(self._folder))
        return LedgerFile(path, _day_name(day), file.events, size, tuple(file.sources), self._now)


def _day_number(event: Event) -> int:
    return event.time_us // _DAY_US


def _day_name(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


def _file_name(now: float) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.parquet"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in _NO_SPACE else StoreError
        raise kind(f"The usage ledger could not be sealed: {error.strerror or error}.") from error


if __name__ == "__main__":
    sys.exit(main())
