"""`mainstay usage` as a person or a script calls it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from doubles.gateway import Gateway, clean_environ
from mainstay.db.engine import Database
from mainstay.db.ledger import LedgerLoss, save_sealed
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger

DIGEST = f"sha256:{1:064x}"
Run = Callable[..., subprocess.CompletedProcess[str]]
EVENTS = [
    Event(0, consumer="ci", ecosystem="one", project="@acme/alpha", digest=DIGEST, status=200, bytes_down=1_500_000)
    for _ in range(3)
] + [
    Event(
        0, consumer="anna", ecosystem="one", project="beta\x1b[31m\n=x", status=200, bytes_down=7, cache_status="hit"
    ),
    Event(0, consumer="anna", ecosystem="one", status=429, bytes_down=3, cache_status="refused"),
    Event(0, consumer="mainstay", ecosystem="one", bytes_up=2_000_000, upstream_requests=4),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a gateway that has answered some requests yesterday."""
    data = tmp_path / "data"
    Database.open(data).close()
    ledger = Ledger(data)
    yesterday_us = int((datetime.now(UTC) - timedelta(days=1)).timestamp()) * 1_000_000
    for at, event in enumerate(EVENTS):
        ledger.record(replace(event, time_us=yesterday_us + at))
    asyncio.run(ledger.close())
    return data


@pytest.fixture
def run(folder: Path) -> Run:
    """Call `mainstay usage` on that folder."""

    def call(*words: str, data: Path = folder) -> subprocess.CompletedProcess[str]:
        command = Gateway.command("usage", *words, "--data", str(data))
        return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)

    return call


def lose(folder: Path) -> None:
    """Have the ledger say that it lost something."""
    database = Database.open(folder)
    losses = [LedgerLoss("a.log", "its bytes are damaged", 3, 120, 0), LedgerLoss("b.log", "it was killed", 0, 0, 0)]
    database.run_sync(save_sealed, [], losses)
    database.close()


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON document on standard output."""
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document.pop("schema") == 1
    return document


def test_a_summary_in_json_has_exact_figures(run: Run) -> None:
    """Rows, total, period, engine and losses."""
    found = answer(run("summary", "--by", "consumer", "--json"))
    rows = {row.pop("consumer"): row for row in found["rows"]}
    assert rows["ci"] == {
        "requests": 3,
        "bytes": 4_500_000,
        "artifacts": 1,
        "hits": 0,
        "upstream_requests": 0,
        "upstream_bytes": 0,
        "redundant_bytes": 3_000_000,
        "refused": 0,
        "waited": 0,
        "hit_rate": 0.0,
    }
    assert (rows["anna"]["requests"], rows["anna"]["refused"], rows["anna"]["hit_rate"]) == (2, 1, 0.5)
    assert (rows["mainstay"]["requests"], rows["mainstay"]["upstream_bytes"]) == (0, 2_000_000)
    assert [found["total"][name] for name in ("requests", "bytes", "upstream_requests")] == [5, 4_500_010, 4]
    assert (found["until"], found["engine"], found["losses"]) == (datetime.now(UTC).date().isoformat(), "duckdb", [])


def test_a_summary_for_a_person_is_a_table_with_a_total(run: Run) -> None:
    """Sizes as people say them; what a stranger named cannot speak to the terminal, not even with a line of its own."""
    done = run("summary", "--by", "project")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("usage from ") and lines[0].endswith(" (UTC)")
    assert lines[2].split() == (
        "ecosystem project requests bytes files hit rate asked upstream from upstream redundant refused waited".split()
    )
    assert lines[3].split() == "one @acme/alpha 3 4.5 MB 1 0.0 % 0 0 B 3.0 MB 0 0".split()
    assert lines[-1].split() == "total 5 4.5 MB 1 20.0 % 4 2.0 MB 3.0 MB 1 0".split()
    assert set(lines[-2]) == {"-"}
    assert "\x1b" not in done.stdout and "\n=x" not in done.stdout
    assert "\N{REPLACEMENT CHARACTER}[31m" in done.stdout


def test_without_groups_it_is_one_row(run: Run) -> None:
    """Of the whole period."""
    assert [row["requests"] for row in answer(run("summary", "--json"))["rows"]] == [5]
    assert len(run("summary").stdout.splitlines()) == 4


def test_the_period_is_what_was_asked_for(run: Run) -> None:
    """Nothing happened today."""
    now = datetime.now(UTC)
    today = now.date().isoformat()
    assert answer(run("summary", "--by", "day", "--since", "1 day", "--until", today, "--json"))["rows"] == []
    yesterday = (now.date() - timedelta(days=1)).isoformat()
    found = answer(run("summary", "--by", "day", "--since", yesterday, "--until", yesterday, "--json"))
    assert [(row["day"], row["requests"]) for row in found["rows"]] == [(yesterday, 5)]
    assert (found["since"], found["until"]) == (yesterday, yesterday)


def test_top_shows_the_largest_by_the_figure_asked_for(run: Run) -> None:
    """Projects unless told otherwise; the total is that of all."""
    found = answer(run("top", "--limit", "1", "--json"))
    assert [row["project"] for row in found["rows"]] == ["@acme/alpha"]
    assert found["total"]["requests"] == 5
    found = answer(run("top", "--by", "consumer", "--limit", "1", "--sort", "upstream_bytes", "--json"))
    assert [row["consumer"] for row in found["rows"]] == ["mainstay"]


def test_an_empty_ledger_says_what_to_do_next(run: Run, tmp_path: Path) -> None:
    """And is no error."""
    done = run("summary", "--by", "consumer", data=tmp_path / "none")
    assert done.returncode == 0
    assert "holds nothing" in done.stdout and "mainstay serve" in done.stdout and "--since" in done.stdout
    found = answer(run("summary", "--by", "consumer", "--json", data=tmp_path / "none"))
    assert (found["rows"], found["total"]["requests"]) == ([], 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--by", "projects"), "--by projects is not something to group by. Did you mean project? Allowed: consumer,"),
        (("--since", "tomorrow"), "--since tomorrow is not a day."),
        (("--engine", "hive"), "--engine hive is not an engine. Allowed: duckdb, spark, spark://HOST:PORT."),
        (("--sort", "size"), "--sort size is not a figure of a row. Allowed: requests,"),
    ],
)
def test_a_wrong_word_is_refused_with_those_that_there_are(run: Run, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, one line, no traceback."""
    done = run("summary", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"mainstay: {said}") and done.stderr.count("\n") == 1


def test_losses_are_shown_in_every_form(run: Run, folder: Path) -> None:
    """Under the table, in JSON, and beside an export."""
    lose(folder)
    lost = "LOST: 3 events in a.log because its bytes are damaged (120 B)"
    unknown = "LOST: an unknown number of events in b.log because it was killed (0 B)"
    assert run("summary").stdout.splitlines()[-4:] == ["", lost, unknown, "The figures are too low by these."]
    assert lost in run("summary", "--since", "2001-01-01", "--until", "2001-01-01").stdout
    losses = answer(run("summary", "--json"))["losses"]
    assert [(loss["source"], loss["events"], loss["size"]) for loss in losses] == [("a.log", 3, 120), ("b.log", 0, 0)]
    done = run("export")
    assert lost in done.stderr and "LOST" not in done.stdout


def test_an_export_as_csv_has_the_same_rows(run: Run) -> None:
    """With a heading, exact, without a total; nothing on standard error where nothing was lost."""
    done = run("export", "--by", "project,day")
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    expected = answer(run("summary", "--by", "project,day", "--json"))["rows"]
    assert rows == [{name: "" if value is None else str(value) for name, value in row.items()} for row in expected]
    assert done.stderr == ""


def test_an_export_as_json_is_the_summary(run: Run) -> None:
    """The same document."""
    assert answer(run("export", "--format", "json", "--by", "tier")) == answer(run("summary", "--by", "tier", "--json"))


def test_an_export_as_parquet_is_a_file_with_types(run: Run, tmp_path: Path) -> None:
    """Written where asked; days are dates and figures whole numbers."""
    path = tmp_path / "usage.parquet"
    done = run("export", "--format", "parquet", "--by", "consumer,day,ci", "--output", str(path))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    table = pq.read_table(path)
    kinds = {field.name: str(field.type) for field in table.schema}
    assert [kinds[name] for name in ("consumer", "day", "ci", "bytes", "hit_rate")] == [
        "string",
        "date32[day]",
        "bool",
        "int64",
        "double",
    ]
    assert dict(zip(table["consumer"].to_pylist(), table["bytes"].to_pylist()))["ci"] == 4_500_000


def test_an_export_of_nothing_is_still_a_table(run: Run, tmp_path: Path) -> None:
    """Its columns are there."""
    path = tmp_path / "usage.parquet"
    words = ("export", "--by", "day", "--since", "2001-01-01", "--until", "2001-01-01", "--output", str(path))
    assert run(*words, "--format", "parquet").returncode == 0
    assert pq.read_table(path).num_rows == 0
    assert run(*words).returncode == 0
    assert path.read_text().startswith("day,requests,")


def test_an_unknown_format_is_refused(run: Run) -> None:
    """With those that there are."""
    done = run("export", "--format", "xml")
    assert done.returncode == 2
    assert done.stderr == "mainstay: --format xml is not a format. Allowed: csv, json, parquet.\n"
