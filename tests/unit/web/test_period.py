from __future__ import annotations

from datetime import date

import pytest

from mainstay.errors import RequestError
from mainstay.web.period import CHOICES, HOUR_US, Period, parse_period, render_query

TODAY = date(2026, 3, 9)


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ({}, date(2026, 3, 9), TODAY),
        ({"period": "today"}, TODAY, TODAY),
        ({"period": "7"}, date(2026, 3, 3), TODAY),
        ({"period": "30"}, date(2026, 2, 8), TODAY),
        ({"since": "2026-02-01", "until": "2026-02-28"}, date(2026, 2, 1), date(2026, 2, 28)),
        ({"since": "2026-02-01"}, date(2026, 2, 1), TODAY),
        ({"until": "2026-02-28"}, date(2026, 2, 28), date(2026, 2, 28)),
        ({"period": "7", "since": "2026-02-01"}, date(2026, 3, 3), TODAY),
        ({"period": "custom", "since": " 2026-02-01 ", "until": ""}, date(2026, 2, 1), TODAY),
    ],
    ids=str,
)
def test_a_period_is_what_the_address_says(query, since, until):
    """Both days are within it."""
    found = parse_period(query, TODAY)
    assert (found.since, found.until) == (since, until)


@pytest.mark.parametrize("default", CHOICES)
def test_a_page_has_a_period_of_its_own_where_the_address_names_none(default):
    """And links from there name none either."""
    found = parse_period({}, TODAY, default)
    assert (found.choice, found.days, found.query) == (default, CHOICES[default], {})


@pytest.mark.parametrize("query", [{"period": "7"}, {"since": "2026-02-01", "until": "2026-02-28"}], ids=str)
def test_an_address_made_of_a_period_has_that_period(query):
    """So a link can be shared; that of a named one moves with the day."""
    found = parse_period(query, TODAY)
    assert parse_period(found.query, TODAY) == found


@pytest.mark.parametrize(
    "query",
    [
        {"period": "8"},
        {"since": "x"},
        {"until": "2026-13-01"},
        {"since": "2026-03-10"},
        {"period": "custom", "since": "1"},
    ],
    ids=str,
)
def test_what_is_no_period_is_refused(query):
    """With words that say what is."""
    with pytest.raises(RequestError) as raised:
        parse_period(query, TODAY)
    assert raised.value.status == 400 and raised.value.hint


@pytest.mark.parametrize(
    ("days", "hours", "words"), [(1, 1, "hour"), (2, 1, "hour"), (3, 24, "day"), (92, 24, "day"), (93, 168, "week")]
)
def test_a_bar_stands_for_an_hour_a_day_or_a_week(days, hours, words):
    """By how long the period is."""
    found = Period(date.fromordinal(TODAY.toordinal() - days + 1), TODAY, "custom", given=True)
    assert (found.days, found.step_us, found.step_words) == (days, hours * HOUR_US, words)


def test_a_query_leaves_out_what_is_empty():
    """Later parts are in force."""
    assert render_query({"a": "1", "b": ""}, {"a": "x&y", "c": "ü"}) == "?a=x%26y&c=%C3%BC"
    assert render_query({}, {"a": ""}) == ""
