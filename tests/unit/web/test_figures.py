from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mainstay.db.engine import Database
from mainstay.errors import EngineFailed
from mainstay.usage.answers import ask
from mainstay.usage.queries import day_of
from mainstay.usage.question import Question
from mainstay.usage.rollup import roll_up
from mainstay.usage.seal import seal
from mainstay.web.figures import SUMS, Reading, Shelf, read, timeline
from mainstay.web.period import HOUR_US
from pages.traffic import now, some_traffic, write_ledger

NOW = now()
UNTIL = NOW.date()
SINCE = UNTIL - timedelta(days=3)
PATIENCE_S = 20


@pytest.fixture(scope="module", params=["tail", "rolled"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose ledger is not sealed yet, or is and has rollups of all days but today."""
    folder = tmp_path_factory.mktemp("ledger")
    write_ledger(folder, some_traffic(NOW, days=4, count=800))
    if request.param == "rolled":
        database = Database.open(folder)
        seal(folder, database)
        database.close()
        assert roll_up(folder, UNTIL) >= 3
    return folder


def reading(data: Path, work: Any) -> Any:
    """What is made of one look at it."""
    return read(data, SINCE, UNTIL, work)


def test_rows_are_those_of_the_summary(data):
    """All of them, in its order."""
    sorts = {("consumer",): "bytes", ("consumer", "ecosystem", "project"): "redundant_bytes"}
    found = reading(data, lambda look: [look.rows(by, sort=sort) for by, sort in sorts.items()])
    for (by, sort), rows in zip(sorts.items(), found):
        asked = ask(data, Question(by, SINCE, UNTIL, sort), "duckdb").rows
        assert [{**row, "hit_rate": round(row["hit_rate"], 4)} for row in rows] == asked


def test_rows_that_are_chosen_keep_the_figures_they_have_among_all(data):
    """By a value, by a part of the project's name, and some of them at a time."""
    by = ("consumer", "ecosystem", "project")
    only = {"consumer": "build-farm"}

    def work(found: Reading) -> list[Any]:
        projects = by[1:]
        some = found.rows(by, only, limit=3, skip=2)
        return [
            found.rows(by),
            found.rows(by, only),
            some,
            *(found.rows(projects, holding=text) for text in ("%", "REA")),
        ]

    everything, chosen, some, none, held = reading(data, work)
    assert chosen == [row for row in everything if row["consumer"] == "build-farm"]
    assert (some, none) == (chosen[2:5], [])
    assert [row["project"] for row in held] == ["react"]


def test_sums_are_those_of_the_summary(data):
    """Of what has a value that they are not by, as well."""
    only = {"ecosystem": "npm"}
    sums = reading(data, lambda found: found.sums(("consumer", "day"), only))
    asked = ask(data, Question(("consumer", "ecosystem", "day"), SINCE, UNTIL), "duckdb").rows
    expected = {(row["consumer"], row["day"]): row for row in asked if row["ecosystem"] == "npm"}
    assert sums and len(sums) == len(expected)
    for row in sums:
        like = expected[row["consumer"], row["day"]]
        assert {name: row[name] for name in SUMS} == {name: like[name] for name in SUMS}


def test_a_timeline_adds_up_to_the_summary(data):
    """Hour by hour, each within the period; the same days as the summary's."""
    rows = reading(data, lambda found: timeline(found, HOUR_US))
    asked = ask(data, Question(("day",), SINCE, UNTIL), "duckdb")
    days = Counter[str]()
    for row in rows:
        assert row["start_us"] % HOUR_US == 0
        days[day_of(row["start_us"]).isoformat()] += row["requests"]
    assert days == {row["day"]: row["requests"] for row in asked.rows}
    for name in ("requests", "bytes", "upstream_requests", "upstream_bytes"):
        assert sum(row[name] for row in rows) == asked.total[name]
    only = {"consumer": "web-team", "ecosystem": "npm", "project": "react"}
    part = reading(data, lambda found: timeline(found, HOUR_US, only))
    assert 0 < sum(row["requests"] for row in part) < asked.total["requests"]


def test_an_empty_ledger_has_no_rows(tmp_path):
    """And no engine is started for it."""

    def work(found: Reading) -> object:
        assert found.is_empty
        return found.rows(("consumer",)), found.sums(("day",)), timeline(found, HOUR_US), found.losses

    assert read(tmp_path, SINCE, UNTIL, work) == ([], [], [], ())


def test_what_fails_for_another_reason_than_a_damaged_file_says_so(data):
    """The second time, too."""
    with pytest.raises(EngineFailed):
        reading(data, lambda found: found.events(lambda events: events.select(events["time_us"].cast("date"))))


class Work:
    """Something that takes until it is let go on, and counts how often it was done."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)
        self.times = 0

    def __call__(self) -> int:
        """How often."""
        self.times += 1
        self.begun.release()
        assert self.go_on.wait(PATIENCE_S)
        return self.times


def test_who_asks_the_same_waits_for_the_same_answer():
    """It is worked out once, and given again until it is too old."""
    time_s = 0.0
    shelf, work = Shelf(lambda: time_s), Work()
    futures: list[Future[int]] = [shelf.ask("key", 5, work) for _ in range(3)]
    work.go_on.set()
    assert [future.result(PATIENCE_S) for future in futures] == [1, 1, 1]
    time_s = 4.9
    assert shelf.ask("key", 5, work).result(PATIENCE_S) == 1
    time_s = 5.1
    assert shelf.ask("key", 5, work).result(PATIENCE_S) == 2
    assert shelf.ask("another", 5, work).result(PATIENCE_S) == 3


def test_two_answers_are_worked_out_at_a_time_and_few_more_wait():
    """Who comes when too many wait is told so at once."""
    shelf, work = Shelf(), Work()
    waiting = [shelf.ask(number, 5, work) for number in range(32)]
    assert work.begun.acquire(timeout=PATIENCE_S) and work.begun.acquire(timeout=PATIENCE_S)
    assert work.times == 2
    with pytest.raises(TimeoutError):
        shelf.ask("one too many", 5, work)
    work.go_on.set()
    assert len({future.result(PATIENCE_S) for future in waiting}) > 1


def test_an_error_is_not_kept():
    """The next one who asks has it tried again."""
    shelf = Shelf()

    def fail() -> int:
        raise EngineFailed("no")

    with pytest.raises(EngineFailed):
        shelf.ask("key", 60, fail).result(PATIENCE_S)
    assert shelf.ask("key", 60, lambda: 1).result(PATIENCE_S) == 1
