"""The publisher's view on a real PySpark: the same rows as on DuckDB."""

from __future__ import annotations

import pytest

from mainstay.usage.publisher import publisher_view
from unit.usage.oracle import FIRST_DAY, LAST_DAY
from unit.usage.test_engines import seal_into
from unit.usage.test_publisher import add_up, some_downloads

# PySpark leaves its sockets to the JVM for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


@pytest.mark.usefixtures("local")
def test_a_publisher_sees_the_same_on_spark(tmp_path):
    """Every figure of every row, and what is withheld."""
    found = some_downloads(6, 1500)
    seal_into(tmp_path, found)
    views = [
        publisher_view(tmp_path, FIRST_DAY, LAST_DAY, engine, by=["version", "day"], smallest_group=3)
        for engine in ("local[2]", "duckdb")
    ]
    assert views[0].rows == views[1].rows == add_up(found, ("version", "day"), 3)
    assert len(views[0].rows) > 10
