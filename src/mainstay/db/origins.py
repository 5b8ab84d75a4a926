"""Hosts learned from indexes: where an upstream keeps its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, select

from mainstay.db.schema import origin
from mainstay.db.upsert import save_rows


@dataclass(frozen=True, slots=True)
class Origin:
    """`base` ("https://files.example/") serves the `role` of an upstream."""

    base: str
    ecosystem: str
    upstream: str
    role: str
    learned_at: float


def save_origins(connection: Connection, origins: Iterable[Origin]) -> None:
    """Add origins; the last upstream that was seen to use a base has it."""
    save_rows(connection, origin, [asdict(entry) for entry in origins])


def load_origins(connection: Connection) -> list[Origin]:
    """Every origin, by base."""
    return [Origin(*row) for row in connection.execute(select(origin).order_by(origin.c.base))]
