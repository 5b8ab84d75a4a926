"""The ledger's sealed files, and what the ledger has lost."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from sqlalchemy import Connection, delete, select

from mainstay.db.schema import ledger_file, ledger_loss
from mainstay.db.upsert import save_rows

_BATCH = 500
"""Values in one statement, below SQLite's oldest limit of 999."""


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """A sealed Parquet file. `path` is below the ledger's Parquet folder, `day` ("2026-11-21", UTC) that of all its
    events, `size` bytes, `sources` the names of the segments that it was made of, `created_at` seconds."""

    path: str
    day: str
    events: int
    size: int
    sources: tuple[str, ...]
    created_at: float


@dataclass(frozen=True, slots=True)
class LedgerLoss:
    """What is missing of a segment or a sealed file, and why. `events` is 0 where nothing tells how many; `size` is the
    bytes that cannot be read."""

    source: str
    reason: str
    events: int
    size: int
    seen_at: float


def save_sealed(connection: Connection, files: Iterable[LedgerFile], losses: Iterable[LedgerLoss]) -> None:
    """Name new files, and note losses; one of the same source and reason is the same loss, seen again."""
    save_rows(connection, ledger_file, [_row(file) for file in files])
    save_rows(connection, ledger_loss, [asdict(loss) for loss in losses])


def replace_files(connection: Connection, paths: Sequence[str], merged: LedgerFile) -> None:
    """Name one file in the place of others."""
    delete_files(connection, paths)
    save_rows(connection, ledger_file, [_row(merged)])


def delete_files(connection: Connection, paths: Iterable[str]) -> None:
    """Name them no more."""
    for batch in _batches(paths):
        connection.execute(delete(ledger_file).where(ledger_file.c.path.in_(batch)))


def delete_old(connection: Connection, first_day: str, before: float) -> int:
    """Name the files of days before `first_day` no more, and forget losses that were seen before that time (seconds);
    returns how many files there were."""
    connection.execute(delete(ledger_loss).where(ledger_loss.c.seen_at < before))
    return connection.execute(delete(ledger_file).where(ledger_file.c.day < first_day)).rowcount


def load_files(connection: Connection) -> list[LedgerFile]:
    """Every file, by day and age; by one statement, so all as they were at one moment."""
    query = select(ledger_file).order_by(ledger_file.c.day, ledger_file.c.created_at, ledger_file.c.path)
    return [
        LedgerFile(row.path, row.day, row.events, row.size, tuple(row.sources.split()), row.created_at)
        for row in connection.execute(query)
    ]


def load_losses(connection: Connection) -> list[LedgerLoss]:
    """Every loss, the oldest first."""
    query = select(ledger_loss).order_by(ledger_loss.c.seen_at, *ledger_loss.primary_key.columns)
    return [LedgerLoss(*row) for row in connection.execute(query)]


def sync_commits(connection: Connection) -> None:
    """Bring what was committed to the disk: with `synchronous = NORMAL` a power cut may undo the last transactions.

    The write-ahead log is what SQLite would sync at each commit with FULL (sqlite.org/pragma.html#pragma_synchronous).
    The database itself is not opened here: to close it would drop this process's locks on it
    (sqlite.org/howtocorrupt.html, section 2.2).
    """
    (path,) = (row[2] for row in connection.exec_driver_sql("PRAGMA database_list") if row[1] == "main")
    for name, flags in ((f"{path}-wal", os.O_RDWR), (os.path.dirname(path), os.O_RDONLY)):
        descriptor = os.open(name, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _row(file: LedgerFile) -> dict[str, object]:
    return asdict(file) | {"sources": "\n".join(file.sources)}


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(paths)
    while batch := list(islice(rest, _BATCH)):
        yield batch
