"""Quotas in a time: what passes, what waits, what is owed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from mainstay.access import limits as limits_module
from mainstay.access.balances import Balances
from mainstay.access.limits import UNLIMITED, Limits, duration_in_words
from mainstay.access.tiers import CONTENT_BYTES, REQUESTS, Limit, Tier

PER_MINUTE = Limit("free-requests-per-minute", REQUESTS, 600, 60)
PER_HOUR = Limit("free-requests-per-hour", REQUESTS, 6000, 3600)
PER_DAY = Limit("free-bytes-per-day", CONTENT_BYTES, 10_000_000_000, 86400)
WORKER = """
import json, os, select, sys
from pathlib import Path
from mainstay.access.balances import Balances
from mainstay.access.limits import Limits
from mainstay.access.tiers import Limit, Tier
limits = Limits(Balances(Path(sys.argv[1])), Tier("free", (Limit(*json.loads(sys.argv[2])),)))
print("ready", flush=True)
while True:
    # Whenever it is killed, it is likely to be at work on the file that all share.
    limits.check("somebody else", 1, 0.0)
    if select.select([0], [], [], 0)[0]:
        now, tries = json.loads(os.read(0, 100))
        print(sum(limits.check("acme", 1, now).allowed for _ in range(tries)), flush=True)
"""


@pytest.fixture
def balances(tmp_path: Path) -> Iterator[Balances]:
    """A fresh file."""
    balances = Balances(tmp_path / "limits.bin")
    yield balances
    balances.close()


def limited(balances: Balances, *limits: Limit) -> Limits:
    """A tier with these limits."""
    requests = tuple(limit for limit in limits if limit.unit == REQUESTS)
    return Limits(balances, Tier("free", requests, tuple(limit for limit in limits if limit.unit != REQUESTS)))


class Worker:
    """A second worker process with the same file."""

    def __init__(self, path: Path, limit: Limit) -> None:
        described = json.dumps([limit.name, limit.unit, limit.quota, limit.window_s])
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), described],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready\n"

    def begin(self, now: float, tries: int) -> None:
        """Have it try."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([now, tries]) + "\n")
        self.process.stdin.flush()

    def allowed(self) -> int:
        """How many of its tries passed."""
        return int(self._line())

    def kill(self) -> None:
        """At once, whatever it does."""
        self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.mark.parametrize("limit", [PER_MINUTE, PER_HOUR], ids=lambda limit: limit.words)
def test_limits_hold_over_an_hour_across_two_workers_one_of_which_is_killed(tmp_path: Path, limit: Limit) -> None:
    """Both ask all the time; half-way one is killed and another takes its place. Within 2 percent, both ways."""
    path = tmp_path / "limits.bin"
    limits = limited(Balances(path), limit)
    worker = Worker(path, limit)
    passed, per_minute = 0, []
    for second in range(3600):
        if second % 60 == 0:
            per_minute.append(0)
        if second in (1200, 1800, 2400):
            worker.kill()
            worker = Worker(path, limit)
        now = 5000.0 + second
        worker.begin(now, 15)
        mine = sum(limits.check("acme", 1, now + number / 40).allowed for number in range(15))
        per_minute[-1] += mine + worker.allowed()
    worker.kill()
    passed = sum(per_minute)
    assert passed == pytest.approx(limit.quota * 3600 / limit.window_s, rel=0.02)
    if limit is PER_MINUTE:
        assert all(minute == pytest.approx(600, rel=0.02) for minute in per_minute)


def test_two_processes_at_the_same_moment_never_charge_less_than_passes(tmp_path: Path) -> None:
    """As fast as they can, with one clock that stands still: the quota passes, and not one more."""
    path = tmp_path / "limits.bin"
    limit = Limit("burst", REQUESTS, 20_000, 86400)
    limits, worker = limited(Balances(path), limit), Worker(path, limit)
    worker.begin(10.0, 15_000)
    passed = sum(limits.check("acme", 1, 10.0).allowed for _ in range(15_000)) + worker.allowed()
    worker.kill()
    assert passed == 20_000


def test_the_whole_quota_may_be_used_at_once_and_comes_back_after_the_window(balances: Balances) -> None:
    """Evenly, from then on."""
    limits = limited(balances, PER_MINUTE)
    assert sum(limits.check("acme", 1, 10.0).allowed for _ in range(700)) == 600
    assert not limits.check("acme", 1, 69.9).allowed
    assert sum(limits.check("acme", 1, 70.5).allowed for _ in range(100)) == 5
    assert sum(limits.check("acme", 1, 71.0).allowed for _ in range(100)) == 5


def test_after_a_rest_the_whole_quota_is_there_again(balances: Balances) -> None:
    """What was used, plus one window."""
    limits = limited(balances, PER_MINUTE)
    assert sum(limits.check("acme", 1, 10.0).allowed for _ in range(700)) == 600
    assert limits.check("acme", 1, 129.0).remaining == 589
    assert limits.check("acme", 1, 400.0).remaining == 599


def test_consumers_and_tiers_do_not_share(balances: Balances) -> None:
    """A name in another tier, and another name, have their own."""
    limits = limited(balances, PER_MINUTE)
    gold = limited(balances, Limit("gold-requests-per-minute", REQUESTS, 600, 60))
    assert limits.check("acme", 600, 10.0).allowed
    assert not limits.check("acme", 1, 10.0).allowed
    assert limits.check("other", 600, 10.0).allowed and gold.check("acme", 600, 10.0).allowed


def test_a_decision_says_how_long_and_how_much(balances: Balances) -> None:
    """Wait, remaining, reset, before and after the first window, and with nothing left."""
    limits = limited(balances, PER_MINUTE)
    decision = limits.check("acme", 1, 10.0)
    assert (decision.allowed, decision.wait_s, decision.remaining, decision.reset_s) == (True, 0.0, 599, 60.0)
    decision = limits.check("acme", 299, 40.0)
    assert (decision.remaining, decision.reset_s) == (300, 30.0)
    decision = limits.check("acme", 1, 71.0)
    assert (decision.remaining, decision.reset_s) == (309, pytest.approx(29.1))
    decision = limits.check("acme", 310, 71.0)
    assert (decision.allowed, decision.wait_s) == (False, pytest.approx(0.1))
    decision = limits.check("acme", 309, 71.0)
    assert (decision.allowed, decision.remaining, decision.reset_s) == (True, 0, pytest.approx(0.1))
    assert decision.exceeded == ()


def test_who_may_wait_takes_its_place_in_the_line(balances: Balances) -> None:
    """One after the other, a tenth of a second apart, until the wait is too long; who is refused takes no place."""
    limits = limited(balances, PER_MINUTE)
    limits.check("acme", 600, 10.0)
    limits.check("acme", 1, 70.1)
    waits = [limits.check("acme", 1, 70.1, max_wait_s=0.35) for _ in range(5)]
    assert [decision.allowed for decision in waits] == [True, True, True, False, False]
    assert [decision.wait_s for decision in waits] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_bytes_are_charged_afterwards_and_the_next_request_waits(balances: Balances) -> None:
    """A reply larger than the quota is a debt that is paid with time."""
    limits = limited(balances, PER_DAY)
    assert limits.check("acme", 1, 0.0).allowed
    limits.charge("acme", 15_000_000_000, 10.0)
    decision = limits.check("acme", 1, 20.0)
    assert (decision.allowed, decision.remaining) == (False, 0)
    assert decision.wait_s == pytest.approx(1.5 * 86400 - 20)
    assert limits.check("acme", 1, 20.0 + decision.wait_s).allowed


def test_a_cost_above_the_quota_goes_when_all_of_it_is_there(balances: Balances) -> None:
    """Else it never could; it leaves a debt."""
    limits = limited(balances, PER_MINUTE)
    assert limits.check("acme", 1200, 10.0).allowed
    assert limits.check("acme", 1, 10.0).wait_s == pytest.approx(120.1)


def test_of_several_limits_all_are_charged_or_none(balances: Balances) -> None:
    """And the longest wait is told, with every limit that it comes from."""
    short, long = Limit("short", REQUESTS, 2, 1), Limit("long", REQUESTS, 5, 60)
    limits = limited(balances, short, long, PER_DAY)
    assert [limits.check("acme", 1, 10.0).allowed for _ in range(3)] == [True, True, False]
    assert [limits.check("acme", 1, 11.0 + number / 2).allowed for number in range(1, 5)] == [True, True, True, False]
    decision = limits.check("acme", 1, 20.0)
    assert [standing.limit.name for standing in decision.exceeded] == ["long"]
    assert decision.standings[0].wait_s == 0 and decision.remaining == 0
    assert decision.wait_s == pytest.approx(62.0)
    for _ in range(5):
        limits.check("acme", 1, 20.0)
    decision = limits.check("acme", 1, 10.0 + 72.0)
    assert decision.allowed and decision.standings[0].remaining == 1, "refusals were charged to the first limit"


def test_a_request_that_is_refused_gives_no_credit_for_bytes(balances: Balances) -> None:
    """What it was not charged it cannot get back."""
    limits = limited(balances, Limit("one", REQUESTS, 1, 86400), Limit("bytes", CONTENT_BYTES, 100, 86400))
    assert limits.check("acme", 1, 10.0).allowed
    limits.charge("acme", 40, 10.0)
    for _ in range(10):
        assert not limits.check("acme", 1, 10.0).allowed
    assert limits.check("acme", 1, 10.0).standings[1].remaining == 60


def test_what_was_not_used_can_be_given_back(balances: Balances) -> None:
    """To the limits on requests, and never more than was charged."""
    limits = limited(balances, PER_MINUTE, PER_DAY)
    assert limits.check("acme", 600, 10.0).standings[0].remaining == 0
    limits.refund("acme", 100, 10.0)
    assert limits.check("acme", 1, 10.0).standings[0].remaining == 99
    limits.refund("acme", 650, 10.0)
    assert [standing.remaining for standing in limits.check("acme", 1, 10.0).standings] == [599, PER_DAY.quota]


def test_without_limits_nothing_is_looked_up(tmp_path: Path) -> None:
    """Also with the mode `off`, and charging does nothing."""
    balances = Balances(tmp_path / "limits.bin")
    off = Limits(balances, Tier("free", (PER_MINUTE,), (PER_DAY,), is_counted=False))
    balances.close()
    assert off.check("acme") is UNLIMITED and UNLIMITED.allowed
    off.charge("acme", 10**12)
    off.refund("acme")


def test_a_limit_that_is_changed_begins_anew(balances: Balances) -> None:
    """What was used of 600 says nothing of 300."""
    assert limited(balances, PER_MINUTE).check("acme", 600, 10.0).allowed
    assert limited(balances, Limit(PER_MINUTE.name, REQUESTS, 300, 60)).check("acme", 300, 10.0).allowed


def test_a_worker_whose_clock_reading_is_a_little_older_changes_nothing(balances: Balances) -> None:
    """It read the clock, and then waited for the lock."""
    limits = limited(balances, PER_MINUTE)
    assert limits.check("acme", 600, 10.0).allowed
    assert not limits.check("acme", 1, 9.99).allowed


def test_a_time_of_another_clock_begins_anew(balances: Balances) -> None:
    """A container that was moved may find times that lie far ahead."""
    limits = limited(balances, PER_MINUTE)
    assert limits.check("acme", 600, 1_000_000.0).allowed
    assert limits.check("acme", 600, 50.0).allowed


@given(
    quota=st.integers(1, 50),
    window_s=st.sampled_from([1, 60, 3600]),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 20)), max_size=60),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_never_more_than_the_quota_or_the_rate_since_the_first_request(
    balances_for_hypothesis: Balances, quota: int, window_s: int, steps: list[tuple[float, int]]
) -> None:
    """Whatever the pattern; and who waits as long as it was told is let through, not sooner."""
    limits = limited(balances_for_hypothesis, Limit(f"limit {next(NUMBERS)}", REQUESTS, quota, window_s))
    now = began = 1000.0
    used = 0
    for windows, wanted in steps:
        now += windows * window_s
        cost = min(wanted, quota)
        decision = limits.check("acme", cost, now)
        if decision.allowed:
            used += cost
            assert decision.wait_s == 0
        else:
            assert decision.wait_s > 0
            assert not limits.check("acme", cost, now + 0.99 * decision.wait_s - 0.003 * window_s / quota).allowed
            now += decision.wait_s
            assert limits.check("acme", cost, now).allowed
            used += cost
        assert used <= max(quota, quota * (now - began) / window_s) + 0.01


NUMBERS = count()


@pytest.fixture(scope="module")
def balances_for_hypothesis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balances]:
    """One file for all examples, each with a limit of its own."""
    balances = Balances(tmp_path_factory.mktemp("limits") / "limits.bin")
    yield balances
    balances.close()


def test_bytes_hold_over_an_hour_with_files_of_all_sizes(balances: Balances) -> None:
    """Debts are paid before more passes, so what is too much stays within one file per connection."""
    limit = Limit("bytes", CONTENT_BYTES, 100_000_000, 60)
    limits, chance = limited(balances, limit), random.Random(3)
    passed_bytes, now = 0, 0.0
    while now < 3600:
        if limits.check("acme", 1, now).allowed:
            size_bytes = round(chance.paretovariate(1.2) * 10_000) % 30_000_000
            limits.charge("acme", size_bytes, now + 0.05)
            passed_bytes += size_bytes
        now += 0.01
    assert passed_bytes == pytest.approx(100_000_000 * 60, rel=0.02)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (119, "119 s"), (121, "3 minutes"), (9000, "3 hours"), (200_000, "3 days")]
)
def test_a_time_is_told_in_the_unit_that_people_use(seconds: float, words: str) -> None:
    """Rounded up: who comes back then is let in."""
    assert duration_in_words(seconds) == words


def test_many_consumers_do_not_fill_the_memory(balances: Balances, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker remembers of where balances are is bounded; the balances themselves are not lost."""
    monkeypatch.setattr(limits_module, "KNOWN_CONSUMERS", 10)
    limits = limited(balances, PER_MINUTE)
    for number in range(100):
        assert limits.check(f"consumer {number}", 600, 10.0).allowed
    assert len(limits._accounts) <= 10
    assert not any(limits.check(f"consumer {number}", 1, 10.0).allowed for number in range(100))


def test_a_check_is_cheap(balances: Balances) -> None:
    """It stands in the way of requests: below 5 microseconds on a quiet machine, so never 100 on a busy one."""
    limits = limited(balances, PER_MINUTE)
    began = time.perf_counter()
    for _ in range(5000):
        limits.check("acme")
    assert time.perf_counter() - began < 0.5
