from __future__ import annotations

import os
from dataclasses import replace

import pytest
from sqlalchemy import Connection

from mainstay.db.engine import FILENAME, Database
from mainstay.db.ledger import (
    LedgerFile,
    LedgerLoss,
    delete_files,
    delete_old,
    load_files,
    load_losses,
    replace_files,
    save_sealed,
    sync_commits,
)

FILE = LedgerFile("day=2026-11-21/a.parquet", "2026-11-21", 10, 1000, ("1.log", "2.log"), 5.0)
LOSS = LedgerLoss("1.log", "damaged", 3, 100, 5.0)


def test_files_are_found_by_day_with_what_they_are_made_of(database: Database) -> None:
    """The older first, and one of no segments too."""

    def work(connection: Connection) -> None:
        newer = replace(FILE, path="day=2026-11-21/b.parquet", created_at=7.0, sources=())
        earlier_day = replace(FILE, path="day=2026-11-20/c.parquet", day="2026-11-20", created_at=9.0)
        save_sealed(connection, [newer, FILE, earlier_day], [])
        assert load_files(connection) == [earlier_day, FILE, newer]

    database.run_sync(work)


def test_a_loss_that_is_seen_again_is_one_loss(database: Database) -> None:
    """By source and reason; a sealer that was killed tells it a second time."""

    def work(connection: Connection) -> None:
        save_sealed(connection, [], [LOSS])
        other = replace(LOSS, reason="killed", seen_at=4.0)
        save_sealed(connection, [], [replace(LOSS, seen_at=6.0), other])
        assert load_losses(connection) == [other, replace(LOSS, seen_at=6.0)]

    database.run_sync(work)


def test_files_are_replaced_and_deleted_by_their_paths(database: Database) -> None:
    """Also more of them than one statement takes."""

    def work(connection: Connection) -> None:
        files = [replace(FILE, path=f"day=2026-11-21/{number}") for number in range(1200)]
        save_sealed(connection, files, [])
        merged = replace(FILE, path="merged", sources=())
        replace_files(connection, [file.path for file in files[:1100]], merged)
        assert len(load_files(connection)) == 101
        delete_files(connection, [file.path for file in files])
        assert load_files(connection) == [merged]

    database.run_sync(work)


def test_old_days_and_losses_are_forgotten(database: Database) -> None:
    """Those before a day and a time, and no other."""

    def work(connection: Connection) -> None:
        old = replace(FILE, path="day=2026-11-20/b.parquet", day="2026-11-20")
        save_sealed(connection, [FILE, old], [LOSS, replace(LOSS, source="2.log", seen_at=6.0)])
        assert delete_old(connection, "2026-11-21", 6.0) == 1
        assert load_files(connection) == [FILE]
        assert [loss.source for loss in load_losses(connection)] == ["2.log"]

    database.run_sync(work)


def test_what_was_committed_is_brought_to_the_disk(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log and its folder are synced; the database itself is not opened, which would drop its locks."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    database.run_sync(save_sealed, [FILE], [])
    database.run_sync(sync_commits)
    log, folder = synced
    assert os.path.basename(log) == f"{FILENAME}-wal"
    assert os.path.dirname(log) == folder
