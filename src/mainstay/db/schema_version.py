"""Which schema a database file has, and bringing it to the one that this version of Mainstay uses."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from mainstay.errors import DataFolderError

MIGRATIONS = Path(__file__).parent / "migrations"
REBUILD_HINT = "Move mainstay.db* away and start again: what is stored is then fetched anew as it is asked for."


@cache
def known_revisions() -> tuple[str, ...]:
    """Every revision that this version knows, oldest first: the number that each file in `versions` begins with."""
    return tuple(sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")))


def load_revision(path: Path) -> str | None:
    """The revision that is stored in a SQLite file; None where there is no file, or nothing in it.

    Raises:
        DataFolderError: not a database, damaged, or one of another program.
    """
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            row = None
            if "alembic_version" in tables:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise DataFolderError(f"The database {path} cannot be read: {error}.", hint=REBUILD_HINT) from error
    if row is None:
        raise DataFolderError(f"{path} is not a database of Mainstay.", hint="Name another folder with --data.")
    return str(row[0])


def upgrade(path: Path, engine: Engine) -> None:
    """Make the schema of the file at `path`, to which `engine` connects, this version's.

    Raises:
        DataFolderError: it is newer, damaged, not ours, or cannot be written.
    """
    head = known_revisions()[-1]
    if load_revision(path) == head:
        return
    with _alone(path):
        revision = load_revision(path)
        if revision == head:
            return
        if revision is not None and revision not in known_revisions():
            raise DataFolderError(
                f"The data folder {path.parent} was written by a newer version of Mainstay "
                f"(schema {revision}; this version knows up to {head}).",
                hint="Start that version, or name another folder with --data.",
            )
        if revision is None:
            # SQLite would make it readable to everybody. Its companion files get the rights of this one.
            path.touch(mode=0o600)
        try:
            _migrate(engine)
        except DBAPIError as error:
            raise DataFolderError(f"The database {path} cannot be brought to schema {head}: {error.orig}.") from error


def _migrate(engine: Engine) -> None:
    # Imported here: it takes longer than the whole start of a worker whose schema is right.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataFolderError(f"The data folder {path.parent} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
