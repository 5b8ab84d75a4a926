"""A number that changes with everything that renderings depend on: rules, takedowns, upstreams."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from mainstay.db.schema import generation
from mainstay.db.upsert import save_new_rows


def bump_generation(connection: Connection) -> int:
    """Make what was derived out of date; returns the new number."""
    save_new_rows(connection, generation, [{"id": 1, "value": 0}])
    connection.execute(update(generation).values(value=generation.c.value + 1))
    return load_generation(connection)


def load_generation(connection: Connection) -> int:
    """The number in force, 0 before the first change."""
    value = connection.execute(select(generation.c.value)).scalar_one_or_none()
    return 0 if value is None else int(value)
