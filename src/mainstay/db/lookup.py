"""One row by its key, as cheaply as the driver allows: SQLAlchemy's own way costs ten times the look-up itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, bindparam, select

_statements: dict[str, str] = {}


def load_row(connection: Connection, table: Table, key: str) -> Any:
    """The row of `table` whose `key` it is, a tuple in the columns' order, or None."""
    if table.name not in _statements:
        compiled = select(table).where(table.c.key == bindparam("key")).compile(dialect=connection.dialect)
        _statements[table.name] = str(compiled)
    return connection.exec_driver_sql(_statements[table.name], (key,)).one_or_none()
