"""What the doctor makes of the time that upstreams tell."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from mainstay.doctor import upstreams
from mainstay.doctor.finding import Result, ok
from mainstay.doctor.upstreams import Asked, check_clock

NOW = 1_800_000_000.0
FINE = ok("upstream", "demo", "answers")


@pytest.mark.parametrize(
    ("headers", "ahead_s"),
    [
        ({"date": formatdate(NOW, usegmt=True)}, 0),
        ({"date": formatdate(NOW - 3600, usegmt=True)}, 3600),
        ({"date": formatdate(NOW - 3600, usegmt=True), "age": "3600"}, 0),
        ({"date": formatdate(NOW - 60, usegmt=True), "age": "soon"}, 60),
        ({"date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_a_reply_tells_the_time_by_its_date_and_age(headers: dict[str, str], ahead_s: float | None) -> None:
    """A cache on the way keeps the date and says how old it is."""
    assert upstreams._ahead(NOW, headers) == ahead_s


@pytest.mark.parametrize(
    ("told", "result"),
    [
        ([0.4, -0.9], Result.OK),
        ([29], Result.OK),
        ([31], Result.WARNING),
        ([-31], Result.WARNING),
        ([301], Result.PROBLEM),
        ([-86_400, -86_401], Result.PROBLEM),
        ([86_400, 1], Result.OK),
        ([None, 40], Result.WARNING),
    ],
)
def test_the_clock_is_judged_by_the_upstream_that_agrees_best(told: list[float | None], result: Result) -> None:
    """One that is itself wrong does not alarm."""
    [finding] = check_clock([Asked(FINE, ahead_s) for ahead_s in told])
    assert finding.result is result


def test_where_no_upstream_tells_the_time_nothing_is_said() -> None:
    """There is nothing to compare with."""
    assert check_clock([Asked(FINE), Asked(FINE)]) == []
