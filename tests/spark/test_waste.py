"""The same waste on a real PySpark, in a time zone that is not UTC."""

from __future__ import annotations

import dataclasses

import pytest

from mainstay.usage.waste import find_waste
from unit.usage.waste_week import SINCE, UNTIL, make_week

# PySpark leaves its sockets to the JVM for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


def test_spark_finds_the_waste_that_duckdb_finds(local, tmp_path):
    """Every figure of every finding, planted in a ledger and in imported logs, with ties."""
    data = make_week(2).save(tmp_path / "data")
    on_spark, on_duckdb = (find_waste(data, SINCE, UNTIL, engine, sizes=()) for engine in ("spark", "duckdb"))
    assert on_spark.engine == "spark"
    assert dataclasses.replace(on_spark, engine="duckdb") == on_duckdb
    assert on_duckdb.findings and on_duckdb.registries
