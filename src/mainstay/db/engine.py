"""One database, with one thread that writes to it and one that reads, so that a look-up waits for no write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, create_engine, event, make_url, select
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from mainstay.db import schema_version
from mainstay.db.schema import metadata
from mainstay.errors import DataFolderError, StoreError, StoreFull

FILENAME = "mainstay.db"
_BUSY_TIMEOUT_S = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """Runs functions that take a connection, one at a time, each in its own transaction.

    For SQLite: WAL, so that readers and the one writer do not wait for one another. A writing transaction begins as
    such (BEGIN IMMEDIATE): one that turns into a writer midway is refused at once when another process wrote in
    between, and no waiting helps it. Made after a fork, never before.
    """

    def __init__(self, url: str | URL) -> None:
        """Connects on first use. `url` is SQLAlchemy's (`sqlite:////folder/mainstay.db`)."""
        self._engine = _make_engine(make_url(url))
        self._write = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._reader: Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mainstay-db")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="mainstay-db-read")

    @classmethod
    def open(cls, folder: Path) -> Database:
        """The database of a data folder, made or brought to this version's schema. Safe in many processes at once.

        Raises:
            DataFolderError: written by a newer version, damaged, not ours, or not writable.
        """
        path = folder / FILENAME
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataFolderError(f"The data folder {folder} cannot be made: {error.strerror or error}.") from error
        database = cls(URL.create("sqlite", database=str(path)))
        try:
            schema_version.upgrade(path, database._write)
            database.read_sync(_read_each_table)
        except BaseException:
            database.close()
            raise
        return database

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function(connection, ...)` in a transaction that may write; it is committed unless it raises.

        Raises:
            StoreFull: no space left.
            StoreError: locked for too long, or the disk fails; whatever `function` raises.
        """
        return await asyncio.wrap_future(self._submit(self._write, function, *args, **kwargs))

    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for a function that only reads: it never waits for another process's write.

        Each statement sees the database as it is then; there is no transaction around them, which would cost more than
        the look-up itself.
        """
        return await asyncio.wrap_future(self._submit_read(function, *args, **kwargs))

    def run_sync(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, blocking: for a thread that is neither the event loop's nor the database's."""
        return self._submit(self._write, function, *args, **kwargs).result()

    def read_sync(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, blocking."""
        return self._submit_read(function, *args, **kwargs).result()

    def close(self) -> None:
        """Wait for what was asked for, then close. Can be called again."""
        with suppress(RuntimeError):  # closed before
            self._read_thread.submit(self._close_reader)
        self._read_thread.shutdown(wait=True)
        self._thread.shutdown(wait=True)
        self._engine.dispose()

    def _submit_read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        def call() -> T:
            try:
                if self._reader is None:
                    self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT", begin="").connect()
                return function(self._reader, *args, **kwargs)
            except DBAPIError as error:
                self._close_reader()
                raise _store_error(error) from error

        return self._read_thread.submit(call)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _submit(
        self, engine: Engine, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        def call() -> T:
            try:
                with engine.begin() as connection:
                    return function(connection, *args, **kwargs)
            except DBAPIError as error:
                raise _store_error(error) from error

        return self._thread.submit(call)


def _read_each_table(connection: Connection) -> None:
    """Find a table that cannot be read now and not with the first request."""
    for table in metadata.sorted_tables:
        connection.execute(select(table).limit(1)).first()


def _make_engine(url: URL) -> Engine:
    engine = create_engine(url, pool_size=2, max_overflow=0, connect_args={"timeout": _BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # Python's driver would begin transactions by its own rules, and never IMMEDIATE ones.
        raw: Any = connection
        raw.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            raw.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if statement := connection.get_execution_options().get("begin", "BEGIN"):
            connection.exec_driver_sql(statement)

    return engine


def _store_error(error: DBAPIError) -> StoreError:
    words = str(error.orig)
    if "disk is full" in words:
        return StoreFull(f"The database cannot grow: {words}.")
    if "malformed" in words or "not a database" in words:
        return DataFolderError(f"The database is damaged: {words}.", hint=schema_version.REBUILD_HINT)
    return StoreError(f"The database failed: {words}.")
