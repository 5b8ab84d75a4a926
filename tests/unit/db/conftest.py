"""A database for the queries' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.db.engine import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A fresh data folder's database."""
    database = Database.open(tmp_path)
    yield database
    database.close()
