from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from mainstay.db.blobs import load_total, save_blob
from mainstay.db.engine import Database
from mainstay.errors import DataFolderError, StoreError, StoreFull
from unit.children import child, run

BUMP = """
import sys
from pathlib import Path
from mainstay.db.engine import Database
from mainstay.db.blobs import load_total, save_blob
def bump(connection):
    save_blob(connection, "counter", load_total(connection) + 1, 1.0)
    return load_total(connection)
database = Database.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    database.run_sync(bump)
database.close()
print("done", flush=True)
"""
BUMP_FOREVER = """
import sys
from pathlib import Path
from mainstay.db.engine import Database
from mainstay.db.blobs import load_total, save_blob
def bump(connection):
    save_blob(connection, "counter", load_total(connection) + 1, 1.0)
    return load_total(connection)
database = Database.open(Path(sys.argv[1]))
database.run_sync(bump)
print("ready", flush=True)
while True:
    print(database.run_sync(bump), flush=True)
"""
IMPORTED = """
import sys
from pathlib import Path
from mainstay.db.engine import Database
Database.open(Path(sys.argv[1])).close()
print("alembic" in sys.modules)
"""


def bump(connection: Connection) -> int:
    """Count up in one transaction, by reading and then writing; returns the new count, which `load_total` reads."""
    save_blob(connection, "counter", load_total(connection) + 1, 1.0)
    return load_total(connection)


async def test_a_function_runs_in_a_transaction_that_is_kept(database: Database) -> None:
    """The result comes back and the next transaction sees what was written."""
    assert await database.run(bump) == 1
    assert await database.read(load_total) == 1


async def test_a_function_that_raises_changes_nothing(database: Database) -> None:
    """Its exception comes out as it is, and its writes are undone."""

    def fail(connection: Connection) -> None:
        bump(connection)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await database.run(fail)
    assert await database.read(load_total) == 0


async def test_the_event_loop_is_free_while_a_function_runs(database: Database) -> None:
    """The database's own thread waits, not the loop; calls run one after the other in the order they were made."""
    gate = threading.Event()
    order: list[int] = []

    def wait(_connection: Connection, number: int) -> None:
        assert gate.wait(10)
        order.append(number)

    calls = [asyncio.ensure_future(database.run(wait, number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    gate.set()
    await asyncio.gather(*calls)
    assert order == [0, 1, 2]


def test_two_processes_write_at_once_and_lose_nothing(database: Database, tmp_path: Path) -> None:
    """Writers wait for one another instead of failing, also those that read first."""
    with child(BUMP, tmp_path) as one, child(BUMP, tmp_path) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
    assert database.read_sync(load_total) == 200


def test_a_reader_does_not_wait_for_a_writer(database: Database, tmp_path: Path) -> None:
    """While another connection holds a write transaction open, reading goes on."""
    other = sqlite3.connect(tmp_path / "mainstay.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert database.read_sync(load_total) == 0
    other.execute("ROLLBACK")
    other.close()


def test_a_process_killed_while_writing_leaves_a_sound_database(tmp_path: Path) -> None:
    """After kill -9 it opens again, whole, with everything that was reported as written."""
    with child(BUMP_FOREVER, tmp_path) as process:
        assert process.stdout is not None
        for _ in range(50):
            told = int(process.stdout.readline())
        process.kill()
        process.wait()
    database = Database.open(tmp_path)
    assert database.read_sync(load_total) >= told
    assert database.read_sync(lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
    database.close()


def test_a_full_disk_is_said_and_undone(database: Database) -> None:
    """SQLite's own "full" becomes StoreFull, and the database works on."""

    def fill(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        for number in range(10_000):
            save_blob(connection, f"sha256:{number:064x}", 1, 1.0)

    with pytest.raises(StoreFull) as caught:
        database.run_sync(fill)
    assert caught.value.status == 507
    assert database.read_sync(load_total) == 0


def test_a_database_damaged_while_in_use_is_said_with_words(database: Database, tmp_path: Path) -> None:
    """The error names the cure."""
    database.close()
    path = tmp_path / "mainstay.db"
    pages = bytearray(path.read_bytes())
    pages[4096:] = b"\xff" * (len(pages) - 4096)
    path.write_bytes(pages)
    damaged = Database(f"sqlite:///{path}")
    with pytest.raises(DataFolderError, match="damaged") as caught:
        damaged.read_sync(load_total)
    assert "Move mainstay.db" in caught.value.hint
    damaged.close()


def test_a_wrong_statement_is_a_store_error(database: Database) -> None:
    """No SQLAlchemy error gets out."""
    with pytest.raises(StoreError, match="no such table"):
        database.run_sync(lambda connection: connection.exec_driver_sql("SELECT * FROM absent"))


def test_closing_waits_for_what_was_asked_and_can_be_repeated(tmp_path: Path) -> None:
    """Nothing submitted before is lost."""
    database = Database.open(tmp_path)
    futures = [database._submit(database._write, bump) for _ in range(20)]
    database.close()
    database.close()
    assert [future.result() for future in futures] == list(range(1, 21))


def test_opening_a_folder_of_this_version_does_not_load_the_migrations(database: Database, tmp_path: Path) -> None:
    """A worker's start does not pay for Alembic."""
    assert run(IMPORTED, tmp_path) == "False\n"
