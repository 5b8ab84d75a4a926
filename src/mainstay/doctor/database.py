"""The database: its schema and how much is stored, read without leaving a trace.

SQLite would make files beside a database, or merge a log that a killed process left, when asked in the usual way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mainstay.db.engine import FILENAME
from mainstay.db.schema_version import REBUILD_HINT, known_revisions
from mainstay.doctor.finding import Finding, ok, problem


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says: its revision, None where there is none yet, and the bytes of all blobs."""

    revision: str | None = None
    blob_bytes: int = 0


def load_stored(folder: Path) -> Stored:
    """What is in the data folder's database.

    Raises:
        sqlite3.Error: not a database of ours, or damaged. OSError: this user may not read it.
    """
    path = folder / FILENAME
    try:
        with path.open("rb") as file:
            if not file.read(1):
                return Stored()
    except (FileNotFoundError, NotADirectoryError):
        return Stored()
    with _reading(path) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not names:
            return Stored()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        total = connection.execute("SELECT sum(size) FROM blob").fetchone()[0] if "blob" in names else 0
        return Stored(str(row[0]) if row else "", total or 0)


def check_schema(folder: Path) -> tuple[Finding, Stored]:
    """Whether this version can use the database, and what is in it."""
    subject = str(folder / FILENAME)
    try:
        stored = load_stored(folder)
    except OSError as error:
        hint = "Look as the user that runs the gateway."
        return problem("schema", subject, f"the database cannot be read: {error.strerror}", hint), Stored()
    except sqlite3.Error as error:
        return problem("schema", subject, f"the database cannot be read: {error}", REBUILD_HINT), Stored()
    known = known_revisions()
    if stored.revision is None:
        return ok("schema", subject, f"none yet: it will be made with schema {known[-1]}"), stored
    if stored.revision == known[-1]:
        return ok("schema", subject, f"schema {known[-1]}, as this version uses it"), stored
    if stored.revision in known:
        return ok("schema", subject, f"schema {stored.revision}: the next start brings it to {known[-1]}"), stored
    text = f"written by a newer version: schema {stored.revision}, and this one knows up to {known[-1]}"
    return problem("schema", subject, text, "Start that version, or name another folder with --data."), stored


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing and makes nothing (https://www.sqlite.org/uri.html, https://www.sqlite.org/wal.html).

    With a log and its index there, both are read as they are. Without, no process has the database open and the file is
    all there is.
    """
    logged = all(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm"))
    mode = "mode=ro&readonly_shm=1" if logged else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)) as connection:
        yield connection
