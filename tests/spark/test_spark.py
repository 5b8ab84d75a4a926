"""The same questions on a real PySpark with two threads, in a session that somebody uses for other things too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from doubles.gateway import free_port
from mainstay.errors import EngineFailed
from mainstay.usage import engines
from mainstay.usage.answers import ask_files
from mainstay.usage.engines import open_engine
from mainstay.usage.event import Event
from mainstay.usage.publisher import publisher_view
from mainstay.usage.question import Question, parse_by
from mainstay.usage.waste import find_waste
from unit.usage.oracle import FIRST_DAY, LAST_DAY, START_US, some_events, summarise, write_events
from unit.usage.test_engines import seal_into
from unit.usage.test_publisher import add_up, some_downloads
from unit.usage.waste_week import SINCE, UNTIL, make_week

ZONES = ("America/New_York", "Asia/Kolkata")
EVENTS = 1200

# PySpark leaves its sockets to the JVM for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files in folders of days, as the ledger has them."""
    found = some_events(7, EVENTS)
    return [write_events(tmp_path / f"day=2026-03-0{7 + at}" / "a.parquet", found[at::3]) for at in range(3)]


@pytest.mark.parametrize(
    ("by", "zone"),
    [
        ((), ZONES[0]),
        (("ecosystem", "project"), ZONES[1]),
        (("day", "consumer", "class", "ci"), ZONES[0]),
        (("day", "tier", "outcome", "status"), ZONES[1]),
    ],
)
def test_spark_answers_as_duckdb_and_the_oracle(local, files, tmp_path, by, zone):
    """Every figure of every row and the total, wherever the machine is."""
    local._jvm.java.util.TimeZone.setDefault(local._jvm.java.util.TimeZone.getTimeZone(zone))
    local.conf.set("spark.sql.session.timeZone", zone)
    question = Question(parse_by(by), FIRST_DAY, LAST_DAY)
    answers = [ask_files(files, question, engine, tmp_path) for engine in ("local[2]", "duckdb")]
    assert answers[0] == answers[1] == summarise(some_events(7, EVENTS), question)


def test_the_largest_few_are_the_same_few(local, files, tmp_path):
    """Ties are broken by name on both."""
    question = Question(("project", "tier"), FIRST_DAY, LAST_DAY, sort="waited", limit=3)
    answers = [ask_files(files, question, engine, tmp_path) for engine in ("local[2]", "duckdb")]
    assert answers[0] == answers[1] == summarise(some_events(7, EVENTS), question)


def test_somebodys_session_is_left_as_it_was(local, files, tmp_path):
    """Its time zone, its views, and that it runs."""
    local.conf.set("spark.sql.session.timeZone", ZONES[1])
    before = dict(local.conf.getAll)
    with open_engine("spark", files, tmp_path, session=local) as engine:
        assert engine.run(engine.table.limit(1))
    assert dict(local.conf.getAll) == before
    assert SparkSession.getActiveSession() is local
    assert not local.catalog.listTables()
    assert local.range(2).count() == 2


def test_folders_with_signs_that_are_patterns_are_read(local, tmp_path):
    """A path is a path."""
    path = write_events(tmp_path / "odd [x]{y,z} *?" / "a b%20.parquet", some_events(8, 10))
    with open_engine("spark", [path], tmp_path, session=local) as engine:
        assert len(engine.run(engine.table)) == 10


def test_a_file_without_the_newest_columns_has_their_defaults(local, tmp_path):
    """What was written by an older version is still counted."""
    import pyarrow.parquet as pq

    paths = [write_events(tmp_path / f"{name}.parquet", [Event(START_US)]) for name in ("old", "new")]
    pq.write_table(pq.read_table(paths[0]).drop_columns(["client_class", "ci", "agent"]), paths[0])
    with open_engine("spark", paths, tmp_path, session=local) as engine:
        rows = engine.run(engine.table)
    assert [(row["client_class"], row["ci"], row["agent"]) for row in rows] == [("unknown", False, "")] * 2


def test_a_damaged_file_is_said_in_one_line(local, tmp_path):
    """What Spark says of it, without its stack."""
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 this is not one PAR1")
    with pytest.raises(EngineFailed) as caught, open_engine("spark", [path], tmp_path, session=local) as engine:
        engine.run(engine.table)
    assert "\n" not in caught.value.diagnostics()
    assert caught.value.exit_code == 3


def test_a_master_that_does_not_answer_is_said_at_once(monkeypatch, tmp_path):
    """Spark itself would try for a minute."""
    monkeypatch.setattr(engines, "_REACH_S", 0.5)
    with pytest.raises(EngineFailed, match="nothing answers there"):
        ask_files([tmp_path / "none"], Question((), FIRST_DAY, LAST_DAY), f"spark://127.0.0.1:{free_port()}", tmp_path)


def test_spark_finds_the_waste_that_duckdb_finds(local, tmp_path):
    """Every figure of every finding, planted in a ledger and in imported logs, with ties."""
    data = make_week(2).save(tmp_path / "data")
    on_spark, on_duckdb = (find_waste(data, SINCE, UNTIL, engine, sizes=()) for engine in ("spark", "duckdb"))
    assert on_spark.engine == "spark"
    assert dataclasses.replace(on_spark, engine="duckdb") == on_duckdb
    assert on_duckdb.findings and on_duckdb.registries


def test_a_publisher_sees_the_same_on_spark(local, tmp_path):
    """Every figure of every row, and what is withheld."""
    found = some_downloads(6, 1500)
    seal_into(tmp_path, found)
    views = [
        publisher_view(tmp_path, FIRST_DAY, LAST_DAY, engine, by=["version", "day"], smallest_group=3)
        for engine in ("local[2]", "duckdb")
    ]
    assert views[0].rows == views[1].rows == add_up(found, ("version", "day"), 3)
    assert len(views[0].rows) > 10
