"""The ledger as columns: Parquet files of events, and what a question is asked of.

`mainstay serve` and `run` do not import this module: it brings Arrow with it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # the library has no types here
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from mainstay.db.engine import Database
from mainstay.db.ledger import LedgerFile, LedgerLoss, load_files, load_losses
from mainstay.errors import StoreError
from mainstay.usage.event import COLUMNS, Event
from mainstay.usage.ledger import LOG_FOLDER, PARQUET_FOLDER, PART, READING_LOCK, sync_folder
from mainstay.usage.loss import UNREADABLE, list_segments, open_segment

BATCH_EVENTS = 1024
"""Events that are made into rows at once."""
GROUP_ROWS = 65_536
"""Rows kept in memory until they are written as a row group."""
MERGED_GROUP_ROWS = 131_072
MERGED_ROWS = 131_072
"""Rows that wait in memory at most while files are merged; a row group of each kind comes on top."""
MISSING = "the file is missing"
DAMAGED = "the file is damaged"

_TYPES = {int: pa.int64(), str: pa.string(), bool: pa.bool_()}
SCHEMA = pa.schema([pa.field(name, _TYPES[kind], nullable=False) for name, kind in COLUMNS.items()])
"""The columns of `event.COLUMNS`, none of which is ever null."""
_TEXTS = [name for name, kind in COLUMNS.items() if kind is str]
_values = [attrgetter(name) for name in COLUMNS]
_SOURCES = "mainstay.segments"
_REPLACES = "mainstay.replaces"


class EventFile:
    """A Parquet file being written, under a name of its own until it is whole.

    It says itself which segments it is made of and which files it replaces: with that a ledger is found again whose
    database is gone.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder too. Raises OSError, as every method does."""
        self.path = path
        self.sources: dict[str, None] = {}
        self.replaces: tuple[str, ...] = ()
        self._events: list[Event] = []
        self._batches: list[pa.RecordBatch] = []
        self._batched = self._rows = 0
        self._part = path.with_name(path.name + PART)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._writer = pq.ParquetWriter(
            self._file, SCHEMA, compression="zstd", use_dictionary=_TEXTS, write_page_checksum=True
        )

    @property
    def events(self) -> int:
        """How many it was given."""
        return self._rows + self._batched + len(self._events)

    def add(self, events: Iterable[Event], source: str) -> None:
        """Take events of a segment, in any order."""
        self.sources[source] = None
        self._events += events
        if len(self._events) >= BATCH_EVENTS:
            self._batch()
        if self._batched >= GROUP_ROWS:
            self._write_batches()

    def add_rows(self, rows: pa.Table) -> None:
        """Write a row group."""
        self._writer.write_table(rows, row_group_size=max(1, len(rows)))
        self._rows += len(rows)

    def publish(self, *, sync: bool = True) -> int:
        """Have it whole under its name, with `sync` on the disk too; returns its size in bytes."""
        self._batch()
        self._write_batches()
        origin = {_SOURCES: "\n".join(self.sources), _REPLACES: "\n".join(self.replaces)}
        self._writer.add_key_value_metadata(origin)
        self._writer.close()
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self.path)
        if sync:
            for folder in (self.path.parent, self.path.parent.parent):
                sync_folder(folder)
        return self.path.stat().st_size

    def close(self) -> None:
        """Give it up, unless it is published."""
        if self._file.closed:
            return
        try:
            # Arrow ends its file when it is let go of, so it is let go of before the file is closed.
            self._writer.close()
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _batch(self) -> None:
        events, self._events = self._events, []
        for start in range(0, len(events), BATCH_EVENTS):
            self._batches.append(make_batch(events[start : start + BATCH_EVENTS]))
        self._batched += len(events)

    def _write_batches(self) -> None:
        if self._batches:
            rows = pa.Table.from_batches(self._batches, SCHEMA)
            self._batches, self._batched = [], 0
            self.add_rows(rows.sort_by("time_us"))


def make_batch(events: Sequence[Event]) -> pa.RecordBatch:
    """Events as rows, in their order. Column by column, and few events at once: it halves the time."""
    columns = [pa.array(list(map(value, events)), field.type) for value, field in zip(_values, SCHEMA)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def load_origin(path: Path) -> tuple[int, tuple[str, ...], tuple[str, ...]] | None:
    """Events of a sealed file, the segments that it is made of, the paths that it replaces; None if it is damaged."""
    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return None
    said = footer.metadata or {}
    sources, replaces = (tuple(said.get(key.encode(), b"").decode().split()) for key in (_SOURCES, _REPLACES))
    return footer.num_rows, sources, replaces


def merge_files(paths: Sequence[Path], target: EventFile) -> None:
    """Copy the rows of files into one, sorted by time, a few row groups in memory at a time.

    Of row groups that overlap by more than `MERGED_ROWS` the order is kept roughly: no question rests on it. Raises
    OSError or Arrow's own error for a file that `find_fault` finds damaged.
    """
    with ExitStack() as stack:
        groups = sorted(_groups(paths, stack), key=lambda group: group.start_us)
        rows = SCHEMA.empty_table()
        for number, group in enumerate(groups):
            rows = pa.concat_tables([rows, group.load()])
            is_last = number + 1 == len(groups)
            if is_last or len(rows) >= MERGED_GROUP_ROWS:
                rows = _write_before(rows, None if is_last else groups[number + 1].start_us, target)
                # What Arrow keeps for later adds up to half as much again.
                pa.default_memory_pool().release_unused()


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group of a file."""

    file: pq.ParquetFile
    number: int
    start_us: int

    def load(self) -> pa.Table:
        return _conform(self.file.read_row_group(self.number))


def _groups(paths: Sequence[Path], stack: ExitStack) -> Iterator[_Group]:
    for path in paths:
        file = stack.enter_context(pq.ParquetFile(path, page_checksum_verification=True))
        for number in range(file.num_row_groups):
            statistics = file.metadata.row_group(number).column(0).statistics
            yield _Group(file, number, statistics.min if statistics is not None else 0)


def _conform(rows: pa.Table) -> pa.Table:
    """Give rows of an older file the columns that have come since, each with its default."""
    for field in msgspec.structs.fields(Event)[1:]:
        if field.name not in rows.column_names:
            rows = rows.append_column(field.name, pa.repeat(pa.scalar(field.default, _TYPES[field.type]), len(rows)))
    return rows.select(SCHEMA.names).cast(SCHEMA)


def _write_before(rows: pa.Table, rest_us: int | None, target: EventFile) -> pa.Table:
    """Write the rows before `rest_us`, in whole row groups, or all where it is None; returns the rest."""
    order = pc.sort_indices(rows["time_us"])
    ready = len(rows)
    if rest_us is not None:
        before = pc.sum(pc.less(rows["time_us"], rest_us)).as_py()
        ready = max(before, len(rows) - MERGED_ROWS) // MERGED_GROUP_ROWS * MERGED_GROUP_ROWS
    for start in range(0, ready, MERGED_GROUP_ROWS):
        target.add_rows(rows.take(order[start : min(start + MERGED_GROUP_ROWS, ready)]))
    return rows.take(order[ready:]) if ready else rows


def find_fault(path: Path, file: LedgerFile, *, thorough: bool = False) -> str:
    """What is wrong with a sealed file, "" where nothing is: by its size and footer, with `thorough` by every byte."""
    try:
        if path.stat().st_size != file.size:
            return DAMAGED
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            if opened.metadata.num_rows != file.events:
                return DAMAGED
            if thorough:
                for number in range(opened.num_row_groups):
                    opened.read_row_group(number)
    except FileNotFoundError:
        return MISSING
    except (OSError, pa.ArrowException) as error:
        # Arrow tells of bytes that make no sense by an OSError too, which has no number.
        return UNREADABLE if isinstance(error, OSError) and error.errno else DAMAGED
    return ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger at one moment. Its sealed files stay until it is closed, or the process ends.

    `files` are sealed, `tail_files` are made of what is not sealed yet and lie in the caller's folder; together they
    hold each event once. `losses` says what is missing: of a sealed file that is damaged, every event of it.
    """

    files: tuple[Path, ...]
    tail_files: tuple[Path, ...]
    losses: tuple[LedgerLoss, ...]
    _folder: Path = Path()
    _sealed: tuple[LedgerFile, ...] = ()
    _lock: BinaryIO | None = None

    def examined(self) -> Snapshot:
        """The same without files that are damaged inside, which footers do not show: for when a question has failed
        because of one. Reads everything."""
        sealed, losses = _sound(self._sealed, self._folder, thorough=True)
        paths = tuple(self._folder / file.path for file in sealed)
        return replace(self, files=paths, losses=(*self.losses, *losses), _sealed=tuple(sealed))

    def close(self) -> None:
        """Let sealed files be replaced. The snapshot and what was made of it are of no use afterwards."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_ledger(data: Path, folder: Path) -> Snapshot:
    """What can be asked of the data folder `data`; what is not sealed yet is written as Parquet into `folder`.

    While a sealer works, nothing is seen twice or missed. It names a segment in a row before it removes it. So the rows
    are read, then the names of the segments, then the rows again: where both are the same, a segment is either named by
    a row, and left out here, or no file that a row names has any of its events. Where they differ, and where a segment
    is gone before it was read, all of it is done again. A shared lock keeps the files that the rows name from being
    removed by who has merged or outlived them.

    Raises:
        StoreError: the database or the disk fails.
    """
    lock = _lock_reading(data)
    if lock is None:
        return Snapshot((), (), ())
    try:
        return _load(data, folder, lock)
    except OSError as error:
        lock.close()
        raise StoreError(f"The usage ledger cannot be read: {error.strerror or error}.") from error
    except BaseException:
        lock.close()
        raise


def _load(data: Path, folder: Path, lock: BinaryIO) -> Snapshot:
    parquet = data / PARQUET_FOLDER
    with closing(Database.open(data)) as database:
        while True:
            rows = _load_rows(database)
            segments = [path for path in list_segments(data / LOG_FOLDER) if path.name not in rows.sources]
            if _load_rows(database) == rows and (tail := _write_tail(segments, folder)) is not None:
                break
    sealed, faults = _sound(rows.files, parquet, thorough=False)
    paths = tuple(parquet / file.path for file in sealed)
    return Snapshot(paths, tail.files, (*rows.losses, *faults, *tail.losses), parquet, tuple(sealed), lock)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the database says of the ledger."""

    files: tuple[LedgerFile, ...]
    losses: tuple[LedgerLoss, ...]

    @property
    def sources(self) -> set[str]:
        """Segments that are in sealed files."""
        return {source for file in self.files for source in file.sources}


def _lock_reading(data: Path) -> BinaryIO | None:
    """The shared lock; None where nothing was ever written."""
    path = data / READING_LOCK
    if not path.parent.is_dir():
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The usage ledger cannot be read: {error.strerror or error}.") from error
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return os.fdopen(descriptor, "rb")


def _load_rows(database: Database) -> _Rows:
    return _Rows(tuple(database.read_sync(load_files)), tuple(database.read_sync(load_losses)))


def _sound(files: Sequence[LedgerFile], folder: Path, *, thorough: bool) -> tuple[list[LedgerFile], list[LedgerLoss]]:
    """Those that can be read, and the loss that each of the others is."""
    sound: list[LedgerFile] = []
    losses: list[LedgerLoss] = []
    for file in files:
        if fault := find_fault(folder / file.path, file, thorough=thorough):
            losses.append(LedgerLoss(file.path, fault, file.events, file.size, time.time()))
        else:
            sound.append(file)
    return sound, losses


@dataclass(frozen=True, slots=True)
class _Tail:
    """What is not sealed."""

    files: tuple[Path, ...]
    losses: tuple[LedgerLoss, ...]


def _write_tail(paths: Sequence[Path], folder: Path) -> _Tail | None:
    """The events of segments as a file; None where one of them was sealed and removed before it was read."""
    losses: list[LedgerLoss] = []
    with closing(EventFile(folder / "tail.parquet")) as tail:
        for path in paths:
            try:
                segment = open_segment(path, time.time())
            except FileNotFoundError:
                return None
            with segment:
                for events in segment.batches():
                    tail.add(events, segment.name)
            losses += segment.losses
        if tail.events:
            tail.publish(sync=False)
    return _Tail((tail.path,) if tail.events else (), tuple(losses))
