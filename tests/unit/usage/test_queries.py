from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import ibis
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.errors import ConfigError
from mainstay.usage.answers import ask_files
from mainstay.usage.event import COLUMNS, Event
from mainstay.usage.queries import TOTAL, day_of, midnight_us
from mainstay.usage.question import DEFAULT_DAYS, DIMENSIONS, MEASURES, Question, parse_by, parse_question
from unit.usage.oracle import (
    EDGES_US,
    FIRST_DAY,
    GROUPINGS,
    LAST_DAY,
    START_US,
    make_event,
    some_events,
    summarise,
    write_events,
)

TODAY = date(2026, 3, 9)
DIGEST = f"sha256:{1:064x}"
SENT = Event(START_US, consumer="ci", project="alpha", digest=DIGEST, status=200, bytes_down=100)


@st.composite
def events(draw: Any) -> Event:
    """An event that may well share consumer, digest and moment with others."""
    return make_event(lambda choices: draw(st.sampled_from(choices)), lambda end: draw(st.integers(0, end - 1)))


def answer(folder: Path, found: list[Event], *by: str, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and total, from DuckDB."""
    question = Question(by, FIRST_DAY, LAST_DAY, **changes)
    return ask_files([write_events(folder / "events.parquet", found)], question, "duckdb", folder)


@settings(max_examples=25, deadline=None)
@given(found=st.lists(events(), min_size=1, max_size=40), by=st.sampled_from(GROUPINGS))
def test_duckdb_answers_as_one_event_after_the_other_adds_up(tmp_path_factory, found, by):
    """Every figure of every row, and the total."""
    assert answer(tmp_path_factory.mktemp("ledger"), found, *by) == summarise(found, Question(by, FIRST_DAY, LAST_DAY))


@pytest.mark.parametrize("by", [*GROUPINGS, *((name,) for name in DIMENSIONS)], ids=",".join)
def test_duckdb_answers_as_the_oracle_over_several_files(tmp_path, by):
    """Five thousand events in three files, by everything that can be grouped by."""
    found = some_events(5, 5000)
    question = Question(parse_by(by), FIRST_DAY, LAST_DAY)
    files = [write_events(tmp_path / f"{at}.parquet", found[at::3]) for at in range(3)]
    assert ask_files(files, question, "duckdb", tmp_path) == summarise(found, question)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_days_are_utc_wherever_the_machine_is(tmp_path, zone):
    """The first and the last microsecond of a day are of that day."""
    found = [replace_time(SENT, time_us) for time_us in EDGES_US]
    write_events(tmp_path / "events.parquet", found)
    script = (
        "import json, sys; from datetime import date; from pathlib import Path\n"
        "from mainstay.usage.answers import ask_files; from mainstay.usage.question import Question\n"
        "question = Question(('day',), date(2026, 3, 7), date(2026, 3, 9)); folder = Path(sys.argv[1])\n"
        "rows, _ = ask_files([folder / 'events.parquet'], question, 'duckdb', folder)\n"
        "print([(row['day'], row['requests']) for row in rows])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], env=os.environ | {"TZ": zone}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('2026-03-07', 3), ('2026-03-08', 3), ('2026-03-09', 3)]"


def test_the_first_whole_copy_is_not_redundant_and_every_later_one_is(tmp_path):
    """By consumer; a copy that broke off, a part and an answer without a body are none."""
    later = [
        replace_time(SENT, START_US + 1, project="beta"),
        replace_time(SENT, START_US + 2, consumer="other"),
        replace_time(SENT, START_US + 3, bytes_down=60),
        replace_time(SENT, START_US + 4, status=206, bytes_down=40),
        replace_time(SENT, START_US + 5, status=304, bytes_down=0),
        replace_time(SENT, START_US + 6),
    ]
    rows, total = answer(tmp_path, [SENT, *later], "project")
    assert {row["project"]: row["redundant_bytes"] for row in rows} == {"alpha": 100, "beta": 100}
    assert (total["redundant_bytes"], total["bytes"], total["artifacts"]) == (200, 500, 1)


def test_a_copy_that_broke_off_does_not_make_the_next_one_redundant(tmp_path):
    """Only what the consumer has whole can be sent in vain."""
    rows, _ = answer(tmp_path, [replace_time(SENT, START_US, bytes_down=99), replace_time(SENT, START_US + 1)])
    assert rows[0]["redundant_bytes"] == 0


def test_a_copy_from_before_the_period_makes_none_redundant(tmp_path):
    """What is asked is what happened in the period."""
    rows, _ = answer(tmp_path, [replace_time(SENT, START_US - 1), SENT])
    assert (rows[0]["requests"], rows[0]["redundant_bytes"]) == (1, 0)


def test_of_copies_in_one_microsecond_all_but_one_are_redundant(tmp_path):
    """The first group by name is taken for the first."""
    rows, total = answer(tmp_path, [msgspec.structs.replace(SENT, project=name) for name in ("b", "a", "c")], "project")
    assert [(row["project"], row["redundant_bytes"]) for row in rows] == [("a", 0), ("b", 100), ("c", 100)]
    assert total["redundant_bytes"] == 200


def test_traffic_that_no_reply_stands_for_is_cost_upstream_and_no_request(tmp_path):
    """Status 0: the client had left, or there was none."""
    late = Event(START_US, consumer="ci", bytes_up=9, upstream_requests=1, cache_status="hit", throttled="waited")
    rows, total = answer(tmp_path, [late], "consumer")
    assert (rows[0]["upstream_bytes"], rows[0]["upstream_requests"]) == (9, 1)
    assert {rows[0][name] for name in ("requests", "bytes", "hits", "refused", "waited", "artifacts")} == {0}
    assert total["hit_rate"] is None


def test_a_digest_of_several_groups_is_one_artifact_in_all(tmp_path):
    """The total is not the sum of the rows there."""
    rows, total = answer(tmp_path, [SENT, msgspec.structs.replace(SENT, consumer="other")], "consumer")
    assert [row["artifacts"] for row in rows] == [1, 1]
    assert total["artifacts"] == 1


def test_figures_beyond_53_bits_are_exact(tmp_path):
    """No floating point on the way."""
    size = 2**53 + 1
    rows, _ = answer(tmp_path, [replace_time(SENT, START_US + at, bytes_down=size) for at in range(3)])
    assert (rows[0]["bytes"], rows[0]["redundant_bytes"]) == (3 * size, 2 * size)


@pytest.mark.parametrize("by", [("project",), ("day", "consumer")])
def test_the_largest_few_are_those_of_the_whole(tmp_path, by):
    """With a limit: the same first rows, and the total of all."""
    found = some_events(6, 500)
    question = Question(parse_by(by), FIRST_DAY, LAST_DAY, sort="requests", limit=3)
    rows, total = answer(tmp_path, found, *question.by, sort="requests", limit=3)
    assert (rows, total) == summarise(found, question)
    assert len(rows) == 3 and total["requests"] > sum(row["requests"] for row in rows)


def test_nothing_in_the_period_is_no_rows_and_a_total_of_nothing(tmp_path):
    """Without groups there is one row all the same."""
    early = [replace_time(SENT, START_US - 1)]
    assert answer(tmp_path, early, "consumer") == ([], dict.fromkeys(MEASURES, 0) | {"hit_rate": None})
    assert answer(tmp_path, early)[0] == [dict.fromkeys(MEASURES, 0) | {"hit_rate": None}]


def test_no_column_has_the_name_of_a_tables_method():
    """Such a column, asked for as an attribute, is silently the method: a comparison with it is false."""
    taken = set(dir(ibis.expr.types.Table))
    assert not {*COLUMNS, *DIMENSIONS, *MEASURES, TOTAL} & taken


def test_a_day_is_its_midnight_and_back():
    """Before 1970 too."""
    for day in (date(1969, 12, 31), date(1970, 1, 1), date(2026, 3, 8), date(9999, 12, 31)):
        assert day_of(midnight_us(day)) == day


def test_a_question_without_words_is_of_the_last_thirty_days():
    """Today is one of them."""
    question = parse_question([""], "", "", TODAY)
    assert (question.by, question.until) == ((), TODAY)
    assert (question.until - question.since).days == DEFAULT_DAYS - 1


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("7 days", "", date(2026, 3, 3), TODAY),
        ("1 day", "", TODAY, TODAY),
        ("2026-01-05", "2026-01-05", date(2026, 1, 5), date(2026, 1, 5)),
        ("", "2026-01-31", date(2026, 1, 2), date(2026, 1, 31)),
        ("99999 days", "0001-01-02", date(1, 1, 1), date(1, 1, 2)),
    ],
)
def test_the_period_is_both_days_and_what_is_between(since, until, first, last):
    """`7 days` end with the last one."""
    question = parse_question([], since, until, TODAY)
    assert (question.since, question.until) == (first, last)


def test_a_project_is_named_with_its_ecosystem():
    """And a version with both; each once, in the order asked for."""
    assert parse_by(["project"]) == ("ecosystem", "project")
    assert parse_by(["consumer, version", "day,project,"]) == ("consumer", "ecosystem", "project", "version", "day")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"by": ["projects"]}, "--by projects is not something to group by. Did you mean project? Allowed: consumer,"),
        ({"since": "yesterday"}, '--since yesterday is not a day. Write a day as 2026-01-31; --since may also be "7'),
        ({"since": "0 days"}, "--since 0 days is not a day."),
        ({"until": "7 days"}, "--until 7 days is not a day."),
        ({"since": "2026-02-30"}, "--since 2026-02-30 is not a day."),
        ({"since": "2026-03-09", "until": "2026-03-08"}, "--since 2026-03-09 is after --until 2026-03-08."),
        ({"sort": "byte"}, "--sort byte is not a figure of a row. Did you mean bytes? Allowed: requests, bytes,"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(words, said):
    """Exit code 2, as for every wrong use."""
    with pytest.raises(ConfigError) as caught:
        parse_question(**{"by": [], "since": "", "until": "", "today": TODAY} | words)
    assert caught.value.diagnostics().startswith(said)
    assert caught.value.exit_code == 2


def replace_time(event: Event, time_us: int, **changes: Any) -> Event:
    """The same at another time, and with other changes."""
    return msgspec.structs.replace(event, time_us=time_us, **changes)
