from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.ecosystems import ecosystems
from mainstay.errors import UpstreamUnavailable
from mainstay.store.shared import Shared
from mainstay.upstream import politeness
from mainstay.upstream.politeness import Breaker, Budget, load_budget, parse_retry_after
from unit.clock import Clock

HOST = "https://registry.example"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that breakers see."""
    clock = Clock()
    monkeypatch.setattr(politeness, "time", clock)
    return clock


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    """What all workers see."""
    shared = Shared(tmp_path / "shared.bin")
    yield shared
    shared.close()


@pytest.fixture
def make_breaker(shared: Shared, clock: Clock) -> Callable[[], Breaker]:
    """Another worker's breaker for the same upstream, at each call."""
    return lambda: Breaker(HOST, shared)


def admitted(breaker: Breaker) -> bool:
    """Whether a request would be let through."""
    try:
        breaker.admit()
    except UpstreamUnavailable as error:
        return not (HOST in error.message and (error.retry_after_s or 0) >= 1)
    return True


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("999999999999999999999999", 3600.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=1), usegmt=True), 3600.0),
        ("Saturday, 21-Nov-26 12:00:30 GMT", 30.0),
        ("Sat Nov 21 12:00:10 2026", 10.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Sat, 99 Nov 2026 12:00:00 GMT", None),
        ("Sat, 21 Nov 99999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    """Seconds or a date in any of HTTP's three spellings, never below zero and never above an hour."""
    assert parse_retry_after({"retry-after": text}, NOW.timestamp()) == seconds


def test_no_retry_after_is_none() -> None:
    """As is a header of another name."""
    assert parse_retry_after({"x-retry-after": "5"}, NOW.timestamp()) is None


@given(
    st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [+-]\d+", fullmatch=True)
)
def test_no_retry_after_is_a_defect(text: str) -> None:
    """Whatever upstream writes, it is a bounded number of seconds or nothing."""
    seconds = parse_retry_after({"retry-after": text}, NOW.timestamp())
    assert seconds is None or 0 <= seconds <= 3600


def test_workers_share_one_budget() -> None:
    """Two workers together may do no more than the gateway; each may do at least one thing at a time."""
    share = Budget(50, 200, 16).share(2)
    assert share == Budget(25, 100, 8)
    assert Budget(1, 1, 1).share(8) == Budget(0.125, 1.0, 1)


def test_a_registry_without_a_budget_gets_the_cautious_one() -> None:
    """The default table, whole."""
    assert load_budget("no-such-ecosystem", 1) == Budget(20, 60, 8)


def test_single_failures_rest_nobody(make_breaker: Callable[[], Breaker]) -> None:
    """Seven failures and a success, again and again: upstream is asked on."""
    breaker = make_breaker()
    for _ in range(3):
        for _ in range(politeness.FAILURES_BEFORE_REST - 1):
            assert admitted(breaker)
            breaker.failed()
        assert admitted(breaker)
        breaker.succeeded()


def test_failure_after_failure_rests_upstream_for_every_worker(make_breaker: Callable[[], Breaker]) -> None:
    """The eighth in a row closes the way, also for a worker that saw none of them."""
    breaker, other = make_breaker(), make_breaker()
    for _ in range(politeness.FAILURES_BEFORE_REST):
        breaker.failed()
    assert not admitted(breaker) and not admitted(other)


def test_a_rest_that_upstream_asks_for_is_kept_to_the_second(make_breaker: Callable[[], Breaker], clock: Clock) -> None:
    """One 429 with Retry-After is enough, and its time is not shortened or forgotten."""
    breaker = make_breaker()
    breaker.failed(30.0, overloaded=True)
    clock.advance(29.9)
    assert not admitted(breaker)
    clock.advance(0.2)
    assert admitted(breaker)


def test_a_reply_that_was_under_way_does_not_end_a_rest(make_breaker: Callable[[], Breaker], clock: Clock) -> None:
    """Two requests at once: one is told to wait an hour, the other still succeeds, or fails. The hour holds."""
    breaker, other = make_breaker(), make_breaker()
    assert admitted(breaker) and admitted(breaker) and admitted(other)
    breaker.failed(3600.0, overloaded=True)
    for late in (breaker, other):
        late.succeeded()
        assert not admitted(late)
        late.failed()
        clock.advance(200)
        assert not admitted(late)


def test_after_a_rest_one_request_goes_ahead(make_breaker: Callable[[], Breaker], clock: Clock) -> None:
    """One over all workers; its success opens the way for all."""
    breaker, other = make_breaker(), make_breaker()
    breaker.failed(10.0, overloaded=True)
    clock.advance(11)
    assert [admitted(other), admitted(breaker), admitted(other)] == [True, False, False]
    other.succeeded()
    assert admitted(breaker) and admitted(other) and admitted(breaker)


def test_two_workers_in_the_same_moment_send_one_probe(
    make_breaker: Callable[[], Breaker], shared: Shared, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see that the rest is over; who comes second to the shared file rests on."""
    first, second = make_breaker(), make_breaker()
    first.failed(10.0, overloaded=True)
    clock.advance(11)
    replace_rest = shared.replace_rest

    def be_overtaken(*arguments: object) -> bool:
        monkeypatch.undo()
        monkeypatch.setattr(politeness, "time", clock)
        assert admitted(first)
        return replace_rest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shared, "replace_rest", be_overtaken)
    assert not admitted(second)


def test_a_probe_that_never_ends_does_not_close_the_way_for_good(
    make_breaker: Callable[[], Breaker], clock: Clock
) -> None:
    """A worker that dies with its probe, or whose caller is cancelled, costs a few seconds."""
    dead, other = make_breaker(), make_breaker()
    dead.failed(10.0, overloaded=True)
    clock.advance(11)
    assert admitted(dead) and not admitted(other)
    clock.advance(politeness.PROBE_LEASE_S + 0.1)
    assert admitted(other)


def test_a_failed_probe_rests_longer_each_time_within_bounds(make_breaker: Callable[[], Breaker], clock: Clock) -> None:
    """1, 2, 4 ... 60 s, each with at most a quarter of jitter; one success starts over."""
    breaker = make_breaker()
    for _ in range(politeness.FAILURES_BEFORE_REST):
        breaker.failed()
    for nominal_s in (1, 2, 4, 8, 16, 32, 60, 60):
        assert 0.75 * nominal_s <= breaker.rest_s <= 1.25 * nominal_s
        clock.advance(breaker.rest_s + 0.01)
        assert admitted(breaker)
        breaker.failed()
    clock.advance(100)
    assert admitted(breaker)
    breaker.succeeded()
    breaker.failed(overloaded=True)
    assert 0.75 <= breaker.rest_s <= 1.25


@pytest.mark.parametrize("overloaded", [True, False], ids=["429", "failing"])
def test_many_requests_that_fail_at_once_are_one_rest(
    overloaded: bool, make_breaker: Callable[[], Breaker], clock: Clock
) -> None:
    """What was under way when the rest began tells of the same trouble: the rest grows from one to the next only."""
    breaker = make_breaker()
    for _ in range(3 * politeness.FAILURES_BEFORE_REST):
        breaker.failed(overloaded=overloaded)
    assert 0.75 <= breaker.rest_s <= 1.25
    clock.advance(2)
    assert admitted(breaker)
    breaker.failed(overloaded=overloaded)
    assert 1.5 <= breaker.rest_s <= 2.5


def test_looking_takes_no_probe(make_breaker: Callable[[], Breaker], clock: Clock) -> None:
    """Who only queues must not keep others from asking."""
    breaker, other = make_breaker(), make_breaker()
    breaker.failed(10.0, overloaded=True)
    with pytest.raises(UpstreamUnavailable):
        other.check()
    clock.advance(11)
    other.check()
    assert admitted(breaker) and not admitted(other)


def test_a_head_ends_the_rest_and_only_a_whole_reply_counts_as_well(
    make_breaker: Callable[[], Breaker], clock: Clock
) -> None:
    """An upstream whose every body breaks off is rested for longer each time, though it answers."""
    breaker, other = make_breaker(), make_breaker()
    for _ in range(politeness.FAILURES_BEFORE_REST):
        breaker.answered()
        breaker.failed()
    for nominal_s in (1, 2, 4):
        assert 0.75 * nominal_s <= breaker.rest_s <= 1.25 * nominal_s
        clock.advance(breaker.rest_s + 0.01)
        assert admitted(breaker) and not admitted(other)
        breaker.answered()
        assert admitted(other)
        breaker.failed()


def test_every_budget_is_data_with_a_date_and_a_reason() -> None:
    """Rate, burst and concurrency of each registry, for ecosystems that exist, and one for all others."""
    data = tomllib.loads((files("mainstay.upstream") / "registries.toml").read_text("utf-8"))
    assert isinstance(data["as_of"], date)
    assert set(data) == {"as_of", "default", "registries"} and set(data["registries"]) <= set(ecosystems())
    for table in (data["default"], *data["registries"].values()):
        assert len(table.pop("reason")) > 20
        assert {name: value > 0 for name, value in table.items()} == dict.fromkeys(
            ("requests_per_s", "burst", "concurrency"), True
        )
    for name, table in data["registries"].items():
        assert load_budget(name, 1) == Budget(**table)


def test_rests_of_many_gateways_do_not_end_together(tmp_path: Path) -> None:
    """The jitter is really there."""
    shared = Shared(tmp_path / "many.bin")
    breakers = [Breaker(f"https://host{number}.example", shared) for number in range(20)]
    for breaker in breakers:
        breaker.failed(overloaded=True)
    assert len({round(breaker.rest_s, 2) for breaker in breakers}) > 5
    shared.close()
