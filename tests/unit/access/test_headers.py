"""What clients are told of their limits. Values are those of the examples in the RateLimit draft (-10)."""

from __future__ import annotations

import base64
import json
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mainstay.access.headers import (
    ABNORMAL_USAGE,
    QUOTA_EXCEEDED,
    REDUCED_CAPACITY,
    concurrency_of,
    render_policies,
    render_problem,
    render_retry_after,
    render_standings,
)
from mainstay.access.limits import Standing
from mainstay.access.tiers import CONTENT_BYTES, REQUESTS, Limit, Tier

KEY = base64.b64decode("QXBwLTk5OQ==").decode()


def limit(name: str, quota: int = 1, window_s: int = 60, unit: str = REQUESTS) -> Limit:
    """As in an example."""
    return Limit(name, unit, quota, window_s)


def standing(name: str, remaining: int, reset_s: float, wait_s: float = 0.0) -> Standing:
    """As in an example."""
    return Standing(limit(name), wait_s, remaining, reset_s)


@pytest.mark.parametrize(
    ("limits", "value"),
    [
        ([limit("burst", 100, 60), limit("daily", 1000, 86400)], '"burst";q=100;w=60, "daily";q=1000;w=86400'),
        ([limit("default", 100, 10)], '"default";q=100;w=10'),
        ([limit("permin", 50, 60), limit("perhr", 1000, 3600)], '"permin";q=50;w=60, "perhr";q=1000;w=3600'),
        ([limit("hour", 1000, 3600), limit("day", 5000, 86400)], '"hour";q=1000;w=3600, "day";q=5000;w=86400'),
        ([limit("peruser", 65535, 10, CONTENT_BYTES)], '"peruser";q=65535;qu="content-bytes";w=10'),
        ([limit("somepolicy", 10000, 1000)], '"somepolicy";q=10000;w=1000'),
        ([], ""),
    ],
)
def test_policies_are_written_as_in_the_draft(limits: list[Limit], value: str) -> None:
    """Quota, unit where it is not requests, window."""
    assert render_policies(limits) == value


@pytest.mark.parametrize(
    ("standings", "value"),
    [
        ([standing("default", 50, 30)], '"default";r=50;t=30'),
        ([standing("default", 0, 50)], '"default";r=0;t=50'),
        ([standing("day", 100, 36000)], '"day";r=100;t=36000'),
        ([standing("fixedwindow", 99, 50)], '"fixedwindow";r=99;t=50'),
        ([standing("basic", 60, 57.2), standing("day", 1, 0)], '"basic";r=60;t=58, "day";r=1;t=0'),
        ([], ""),
    ],
)
def test_standings_are_written_as_in_the_draft(standings: list[Standing], value: str) -> None:
    """What remains, and whole seconds until there is more, rounded up."""
    assert render_standings(standings) == value


def test_a_partition_key_is_a_byte_sequence() -> None:
    """Real base64, in all three kinds of item."""
    assert render_standings([standing("default", 300_000_000, 60)], KEY) == (
        '"default";r=300000000;t=60;pk=:QXBwLTk5OQ==:'
    )
    assert render_policies([limit("peruser", 100, 60)], ("at-once", 4), KEY) == (
        '"peruser";q=100;w=60;pk=:QXBwLTk5OQ==:, "at-once";q=4;qu="concurrent-requests";pk=:QXBwLTk5OQ==:'
    )
    assert ";pk=:" + base64.b64encode("käse".encode()).decode() + ":" in render_standings([standing("a", 1, 1)], "käse")


def test_a_limit_on_requests_under_way_has_no_window() -> None:
    """It is the tier's, where it has one."""
    tier = Tier("gold", concurrency=8)
    assert render_policies([], concurrency_of(tier)) == '"gold-concurrent-requests";q=8;qu="concurrent-requests"'
    assert concurrency_of(Tier("free")) is None


def test_quotes_and_backslashes_in_a_name_are_escaped_and_other_characters_refused() -> None:
    """RFC 9651 section 3.3.3: a string is printable ASCII."""
    assert render_policies([limit('a"b\\c', 1, 1)]) == r'"a\"b\\c";q=1;w=1'
    for name in ("tür", "a\nb", "\x7f"):
        with pytest.raises(ValueError, match="structured field"):
            render_policies([limit(name)])


def test_numbers_stay_within_what_a_structured_field_can_hold() -> None:
    """15 digits, never below 0."""
    assert render_policies([limit("a", 10**18, 60)]) == '"a";q=999999999999999;w=60'
    assert render_standings([Standing(limit("a"), 0.0, -5, -1.0)]) == '"a";r=0;t=0'


@given(
    st.lists(
        st.builds(
            standing,
            st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True),
            st.integers(0, 10**12),
            st.floats(0, 10**7),
            st.floats(0, 10**7),
        ),
        max_size=4,
    ),
    st.floats(0, 10**7),
)
def test_retry_after_is_never_earlier_than_any_reset(standings: list[Standing], wait_s: float) -> None:
    """Nor than the wait, and never 0: a client that comes back too early is refused again."""
    resets = [int(text) for text in re.findall(r";t=(\d+)", render_standings(standings))]
    after = int(render_retry_after(standings, wait_s))
    assert len(resets) == len(standings)
    assert after >= max([1, wait_s - 1e-3, *resets, *(item.wait_s - 1e-3 for item in standings)])


def test_retry_after_is_not_later_than_needed() -> None:
    """To the second."""
    assert render_retry_after([standing("default", 0, 4.2, 4.2)]) == "5"
    assert render_retry_after([], 0.1) == "1"
    assert render_retry_after([standing("a", 0, 5.0000000001, 5.0000000001)]) == "5"


@pytest.mark.parametrize(("kind", "status"), [(QUOTA_EXCEEDED, 429), (REDUCED_CAPACITY, 503), (ABNORMAL_USAGE, 429)])
def test_a_refusal_is_a_problem_document_with_the_policies_it_is_over(kind: str, status: int) -> None:
    """RFC 9457, with the draft's types and their one extension member."""
    document = json.loads(render_problem(kind, status, "Try again in 5 s.", ["daily", "bandwidth"]))
    assert document.pop("title")
    assert document == {
        "type": kind,
        "status": status,
        "detail": "Try again in 5 s.",
        "violated-policies": ["daily", "bandwidth"],
    }
    assert re.fullmatch(r"https://iana\.org/assignments/http-problem-types#[a-z-]+", kind)
