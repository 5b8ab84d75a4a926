from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from mainstay.db.engine import Database
from mainstay.errors import ConfigError, EngineFailed, EngineMissing
from mainstay.store.lock import acquire
from mainstay.usage import answers, engines
from mainstay.usage.answers import ask, ask_files
from mainstay.usage.columnar import open_ledger
from mainstay.usage.engines import check_engine, open_engine
from mainstay.usage.event import COLUMNS, Event
from mainstay.usage.ledger import PARQUET_FOLDER, Ledger
from mainstay.usage.question import Question, parse_by
from mainstay.usage.rollup import ROLLING_LOCK, ROLLUP_FOLDER, roll_up, write_rollup
from mainstay.usage.seal import seal
from unit.usage.oracle import FIRST_DAY, LAST_DAY, START_US, some_events, summarise, write_events

SENT = Event(START_US, consumer="ci", status=200, bytes_down=100)
ALL = Question((), FIRST_DAY, LAST_DAY)


def test_every_column_comes_in_its_order_and_type(tmp_path):
    """As the event has them."""
    path = write_events(tmp_path / "events.parquet", [SENT])
    with open_engine("duckdb", [path], tmp_path) as engine:
        (row,) = engine.run(engine.table)
    assert list(row) == list(COLUMNS)
    assert Event(**row) == SENT


def test_a_file_without_the_newest_columns_has_their_defaults(tmp_path):
    """What was written by an older version is still counted, alone and beside newer ones."""
    paths = [write_events(tmp_path / f"{name}.parquet", [SENT]) for name in ("old", "new")]
    pq.write_table(pq.read_table(paths[0]).drop_columns(["client_class", "ci", "agent"]), paths[0])
    for files in (paths[:1], paths, paths[::-1]):
        with open_engine("duckdb", files, tmp_path) as engine:
            assert [Event(**row) for row in engine.run(engine.table)] == [SENT] * len(files)


def test_folders_with_signs_that_are_patterns_are_read(tmp_path):
    """A path is a path; the day in a folder's name is no column."""
    path = write_events(tmp_path / "odd [x]{y,z} *?'" / "day=2026-03-07" / "a.parquet", [SENT])
    write_events(tmp_path / "odd x{y,z} other'" / "day=2026-03-07" / "a.parquet", [SENT])
    with open_engine("duckdb", [path], tmp_path) as engine:
        assert [Event(**row) for row in engine.run(engine.table)] == [SENT]


def test_nothing_is_had_from_the_network(tmp_path):
    """DuckDB would install what it lacks."""
    path = write_events(tmp_path / "events.parquet", [SENT])
    with open_engine("duckdb", [path], tmp_path) as engine:
        (row,) = engine.execute(
            "SELECT current_setting('autoinstall_known_extensions') AS installs, current_setting('TimeZone') AS zone,"
            " current_setting('temp_directory') AS place"
        )
    assert row == {"installs": False, "zone": "UTC", "place": str(tmp_path)}


def test_a_damaged_file_is_said_in_one_line(tmp_path):
    """What DuckDB says of it, exit code 3."""
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 this is not one PAR1")
    with pytest.raises(EngineFailed, match=r"--engine duckdb failed: .*bad\.parquet") as caught:
        ask_files([path], ALL, "duckdb", tmp_path)
    assert "\n" not in caught.value.diagnostics()
    assert caught.value.exit_code == 3


def test_a_file_that_is_damaged_inside_is_left_out_and_named(tmp_path):
    """Its footer is whole, so that only reading it tells; the others are answered from."""
    seal_into(tmp_path, [SENT], [Event(START_US + 86_400_000_000, consumer="x" * 1000, status=200)])
    (bad,) = (tmp_path / PARQUET_FOLDER / "day=2026-03-08").glob("*.parquet")
    content = bytearray(bad.read_bytes())
    content[4:400] = bytes(396)
    bad.write_bytes(content)
    found = ask(tmp_path, Question(("consumer",), FIRST_DAY, LAST_DAY), "duckdb")
    assert [(row["consumer"], row["requests"]) for row in found.rows] == [("ci", 1)]
    assert [(loss.events, loss.source.partition("/")[0]) for loss in found.losses] == [(1, "day=2026-03-08")]


def test_what_is_not_sealed_yet_is_answered_from_too(tmp_path):
    """Sealed and not, each event once."""
    seal_into(tmp_path, [SENT])
    ledger = Ledger(tmp_path)
    ledger.record(SENT)
    ledger.flush()
    assert ask(tmp_path, ALL, "duckdb").total["requests"] == 2
    asyncio.run(ledger.close())


def test_a_folder_without_a_ledger_is_one_without_events(tmp_path):
    """And nothing is made there."""
    found = ask(tmp_path / "none", Question(("consumer",), FIRST_DAY, LAST_DAY), "duckdb")
    assert (found.rows, found.total["requests"], found.losses) == ([], 0, ())
    assert not (tmp_path / "none").exists()


def test_files_of_other_days_are_not_opened(tmp_path):
    """One of them may be damaged: a question about another day is not concerned."""
    seal_into(tmp_path, [SENT], [Event(START_US + 5 * 86_400_000_000, status=200)])
    with open_ledger(tmp_path, tmp_path) as snapshot:
        assert len(snapshot.files) == 2
    (other,) = (tmp_path / PARQUET_FOLDER / "day=2026-03-12").glob("*.parquet")
    other.write_bytes(b"PAR1" + bytes(other.stat().st_size - 4))
    assert ask(tmp_path, ALL, "duckdb").total["requests"] == 1


@pytest.mark.parametrize("by", [(), ("consumer", "day"), ("project",), ("client", "class", "tier", "kind", "upstream")])
def test_a_rollup_gives_the_same_rows(tmp_path, by):
    """Of one file, or of several together."""
    found = some_events(11, 5000)
    question = Question(parse_by(by), FIRST_DAY, LAST_DAY)
    files = [write_events(tmp_path / f"{at}.parquet", found[at::3]) for at in range(3)]
    rollups = [tmp_path / "two.parquet", tmp_path / "one.parquet"]
    write_rollup(files[:2], rollups[0], tmp_path)
    write_rollup(files[2:], rollups[1], tmp_path)
    assert ask_files(rollups, question, "duckdb", tmp_path, rolled=True) == summarise(found, question)


def test_days_that_are_over_are_rolled_up_once(tmp_path):
    """Today is not; and a rollup goes with its file."""
    seal_into(tmp_path, [SENT], [replace(SENT, time_us=START_US + 86_400_000_000)])
    assert roll_up(tmp_path, FIRST_DAY + timedelta(days=1)) == 1
    assert roll_up(tmp_path, FIRST_DAY + timedelta(days=1)) == 0
    (rolled,) = (tmp_path / ROLLUP_FOLDER).glob("*/*")
    assert rolled.parent.name == "day=2026-03-07"
    assert roll_up(tmp_path, FIRST_DAY + timedelta(days=2)) == 1
    (sealed,) = (tmp_path / PARQUET_FOLDER / "day=2026-03-07").glob("*.parquet")
    sealed.unlink()
    roll_up(tmp_path, FIRST_DAY + timedelta(days=2))
    assert [path.parent.name for path in (tmp_path / ROLLUP_FOLDER).glob("*/*")] == ["day=2026-03-08"]


def test_only_one_process_rolls_up_and_half_a_rollup_goes(tmp_path):
    """Two would write the same file; one that was killed has left a part."""
    seal_into(tmp_path, [SENT])
    half = tmp_path / ROLLUP_FOLDER / "day=2026-03-07" / "x.parquet.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"PAR1")
    lock = acquire(tmp_path / ROLLING_LOCK, wait=False)
    assert lock is not None
    assert roll_up(tmp_path, LAST_DAY) == 0
    os.close(lock)
    assert roll_up(tmp_path, LAST_DAY) == 1
    assert not half.exists()


def test_the_command_of_rollups_makes_them(tmp_path):
    """As the gateway starts it; where there is no ledger it does nothing."""
    for data in (tmp_path / "none", tmp_path):
        command = [sys.executable, "-m", "mainstay.usage.rollup", data]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        seal_into(tmp_path, [SENT])
    assert len(list((tmp_path / ROLLUP_FOLDER).glob("*/*"))) == 1


def test_a_question_is_answered_from_rollups_where_it_can_be(tmp_path):
    """One that tells more apart reads the events."""
    seal_into(tmp_path, [SENT, SENT])
    roll_up(tmp_path, LAST_DAY)
    (rolled,) = (tmp_path / ROLLUP_FOLDER).glob("*/*")
    write_rollup([write_events(tmp_path / "other.parquet", [SENT] * 7)], rolled, tmp_path)
    found = {by: ask(tmp_path, Question((by,), FIRST_DAY, LAST_DAY), "duckdb") for by in ("consumer", "status")}
    assert {by: answer.total["requests"] for by, answer in found.items()} == {"consumer": 7, "status": 2}


def test_what_has_no_rollup_yet_is_in_the_answer_all_the_same(tmp_path, monkeypatch):
    """Today and what is not sealed: summed up for the moment, or everything is read where that is much."""
    seal_into(tmp_path, [SENT])
    roll_up(tmp_path, LAST_DAY)
    seal_into(tmp_path, [replace(SENT, time_us=START_US + 2 * 86_400_000_000)])
    write_tail(tmp_path, replace(SENT, time_us=START_US + 2 * 86_400_000_000 + 1))
    for at_once_bytes in (answers.ROLLED_AT_ONCE_BYTES, 0):
        monkeypatch.setattr(answers, "ROLLED_AT_ONCE_BYTES", at_once_bytes)
        found = ask(tmp_path, Question(("consumer", "day"), FIRST_DAY, LAST_DAY), "duckdb")
        assert [(row["day"], row["requests"]) for row in found.rows] == [("2026-03-07", 1), ("2026-03-09", 2)]


def test_a_damaged_rollup_costs_nothing_but_time(tmp_path):
    """The events are still there."""
    seal_into(tmp_path, [SENT])
    roll_up(tmp_path, LAST_DAY)
    (rolled,) = (tmp_path / ROLLUP_FOLDER).glob("*/*")
    rolled.write_bytes(b"PAR1 not one PAR1")
    found = ask(tmp_path, Question(("consumer",), FIRST_DAY, LAST_DAY), "duckdb")
    assert (found.total["requests"], found.losses) == (1, ())


@pytest.mark.parametrize("name", ["duckdb", "spark", "local", "local[2]", "local[*]", "spark://h:7077"])
def test_engines_have_these_names(name):
    """Nothing is started by asking."""
    check_engine(name)


@pytest.mark.parametrize("name", ["", "sparks", "DuckDB", "clickhouse", "local[", "yarn"])
def test_another_name_is_refused_with_those_that_there_are(tmp_path, name):
    """Also where the ledger is empty."""
    with pytest.raises(ConfigError) as caught:
        ask(tmp_path, ALL, name)
    assert caught.value.diagnostics().endswith("is not an engine. Allowed: duckdb, spark, spark://HOST:PORT.")
    assert caught.value.exit_code == 2


def test_without_spark_it_is_said_what_to_install(monkeypatch, tmp_path):
    """The package, and the Java that it needs."""
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(EngineMissing) as caught:
        ask_files([tmp_path], ALL, "spark", tmp_path)
    assert re.search(r"Spark is not installed here\. Install it .*pyspark.*Java 17", caught.value.diagnostics())


@pytest.mark.parametrize("home", ["", "nowhere"])
def test_without_java_it_is_said_what_to_install(monkeypatch, tmp_path, home):
    """PySpark itself would only say that its gateway has ended."""
    monkeypatch.setenv("JAVA_HOME", home)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing) as caught:
        ask_files([tmp_path], ALL, "spark", tmp_path)
    said = caught.value.diagnostics()
    assert f"there is no java {'in JAVA_HOME (nowhere)' if home else 'on PATH'}. " in said
    assert "openjdk-17-jre-headless" in said


def test_a_master_without_a_port_is_refused(tmp_path):
    """Spark would look for a host of that whole name."""
    with pytest.raises(ConfigError) as caught:
        ask_files([tmp_path], ALL, "spark://host:x", tmp_path)
    assert caught.value.diagnostics().endswith("has no port. Write spark://HOST:7077.")


def test_neither_engine_is_imported_by_the_gateway(tmp_path):
    """They take a second, and memory in each worker."""
    script = "import sys; import mainstay.cli, mainstay.app, mainstay.serving; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"ibis", "duckdb", "pyarrow", "pyspark", "pandas", "numpy"} & set(done.stdout.split())


def write_tail(data: Path, event: Event) -> None:
    """What is not sealed yet."""
    ledger = Ledger(data)
    ledger.record(event)
    asyncio.run(ledger.close())


def seal_into(data: Path, *days: list[Event]) -> None:
    """A ledger with a sealed file for each day's events."""
    for events in days:
        ledger = Ledger(data)
        for event in events:
            ledger.record(event)
        asyncio.run(ledger.close())
    database = Database.open(data)
    try:
        seal(data, database, now=START_US / 1e6)
    finally:
        database.close()
