"""Tiers, as the configuration gives them."""

from __future__ import annotations

import pytest

from mainstay.access.headers import render_policies
from mainstay.access.tiers import CONTENT_BYTES, REQUESTS, Lane, Limit, Tier, Tiers
from mainstay.config import Config, TierSetting


def tiers(**settings: TierSetting) -> Tiers:
    """Those of a configuration."""
    return Tiers(Config(tiers=settings))


def test_free_is_always_there_and_limits_nobody() -> None:
    """Also where others are configured."""
    for found in (tiers(), tiers(gold=TierSetting(requests="1/day"))):
        free = found["free"]
        assert free == Tier("free")
        assert (free.limits, free.concurrency, free.weight, free.is_enforced, free.is_counted) == (
            (),
            None,
            1,
            False,
            True,
        )
    assert sorted(tiers(gold=TierSetting())) == ["free", "gold"]


def test_free_can_be_redefined() -> None:
    """The configured one counts."""
    free = tiers(free=TierSetting(requests="600/minute", mode="enforce"))["free"]
    assert free.limits == (Limit("free-requests-per-minute", REQUESTS, 600, 60),)
    assert free.is_enforced


def test_a_tier_that_is_gone_is_free() -> None:
    """A consumer keeps its tier's name while the configuration changes."""
    found = tiers(gold=TierSetting(weight=5))
    assert found.of("gold").weight == 5
    assert found.of("silver") is found["free"]


def test_limits_are_read_in_all_units() -> None:
    """One or several, of requests and of bytes, the shortest time first."""
    gold = tiers(gold=TierSetting(requests=("9/day", " 5 / second", "7/hour"), bytes="1.5 GB/minute"))["gold"]
    assert gold.requests == (
        Limit("gold-requests-per-second", REQUESTS, 5, 1),
        Limit("gold-requests-per-hour", REQUESTS, 7, 3600),
        Limit("gold-requests-per-day", REQUESTS, 9, 86400),
    )
    assert gold.bytes == (Limit("gold-content-bytes-per-minute", CONTENT_BYTES, 1_500_000_000, 60),)
    assert gold.limits == gold.requests + gold.bytes


def test_a_limit_can_be_said_in_words() -> None:
    """For the one who is over it."""
    assert Limit("a", REQUESTS, 600, 60).words == "600 requests per minute"
    assert Limit("a", CONTENT_BYTES, 10, 86400).words == "10 bytes per day"


def test_the_modes_decide_what_is_counted_and_what_holds() -> None:
    """Off counts nothing, evaluate only counts."""
    modes = {mode: tiers(a=TierSetting(mode=mode, requests="1/day"))["a"] for mode in ("off", "evaluate", "enforce")}
    assert [(len(tier.limits), tier.is_enforced) for tier in modes.values()] == [(0, False), (1, False), (1, True)]


@pytest.mark.parametrize(("charge", "charges_hits"), [("upstream", False), ("all", True)])
def test_what_is_charged_is_a_setting(charge: str, charges_hits: bool) -> None:
    """A cache hit counts only where it is said."""
    assert tiers(a=TierSetting(charge=charge))["a"].charges_hits is charges_hits
    assert tiers()["free"].charges_hits is False


@pytest.mark.parametrize(
    ("client_class", "lane"),
    [
        ("person", Lane.INTERACTIVE),
        ("agent", Lane.INTERACTIVE),
        ("unknown", Lane.INTERACTIVE),
        ("", Lane.INTERACTIVE),
        ("ci", Lane.CI),
        ("scanner", Lane.BULK),
        ("mirror", Lane.BULK),
        ("updater", Lane.BULK),
    ],
)
def test_the_lane_is_that_of_the_client_unless_the_tier_has_one(client_class: str, lane: Lane) -> None:
    """An unknown program is given the benefit of the doubt."""
    assert tiers()["free"].lane_of(client_class) is lane
    for name in Lane:
        own = tiers(a=TierSetting(priority=name.name.lower()))["a"]
        assert own.lane_of(client_class) is name


@pytest.mark.parametrize(("whole", "workers", "share"), [(0, 4, None), (8, 4, 2), (9, 4, 2), (1, 4, 1), (3, 1, 3)])
def test_concurrency_is_shared_out_among_workers(whole: int, workers: int, share: int | None) -> None:
    """At least one each; 0 is no limit."""
    assert tiers(a=TierSetting(concurrency=whole, mode="enforce"))["a"].concurrency_share(workers) == share
    assert tiers(a=TierSetting(concurrency=whole))["a"].concurrency_share(workers) is None, "only evaluated"


def test_every_tier_that_is_accepted_can_be_told_to_clients() -> None:
    """The names of limits are made of a tier's name, and have to fit a header."""
    name = "a" * 40
    assert render_policies(tiers(**{name: TierSetting(requests="1/day", bytes="1 B/day")})[name].limits)
