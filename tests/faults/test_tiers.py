"""Limits and the queue as clients meet them: a person is not starved, and who is over a limit is told so in words."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from doubles.client import Received, fetch
from doubles.faults import Delay
from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.stand import STANDS, PypiStand
from doubles.upstream import Upstream
from mainstay.access.consumers import add_consumer
from mainstay.settings import load_config

PERSON = {"user-agent": 'pip/26.3 {"ci":null,"installer":{"name":"pip","version":"26.3"}}'}
SCANNER = {"user-agent": "trivy/0.60.0"}


def add(gateway: Gateway, name: str, tier: str = "free") -> dict[str, str]:
    """The header by which a new consumer is known."""
    config = load_config(gateway.config, {}, {"data": str(gateway.data)}, tuple(STANDS))
    return {"mainstay-token": add_consumer(config, name, tier, ())[1]}


def ledger(gateway: Gateway) -> list[dict[str, Any]]:
    """What the ledger says by consumer, once the gateway has ended."""
    assert gateway.stop() == 0
    done = gateway.run("usage", "summary", "--by", "consumer,throttled", "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


@pytest.mark.parametrize("name", STANDS)
def test_who_is_over_its_limit_is_refused_in_words_that_its_client_shows(
    serve: Serve, upstream: Upstream, name: str
) -> None:
    """429 with Retry-After and the RateLimit fields; what is stored is served all the same, to others everything is."""
    tiers = {"small": {"requests": "4/hour", "mode": "enforce", "max_wait_s": 0}}
    gateway = serve(**upstream.urls, workers=2, tiers=tiers, cache={"document_ttl_s": 600})
    stand = STANDS[name](upstream, gateway)
    for number in range(9):
        stand.release(f"1.{number}")
    small, other = add(gateway, "scanner", "small"), add(gateway, "other")
    answers = [gateway.fetch(stand.file_of(f"1.{number}"), headers=small) for number in range(9)]
    statuses = [answer.status for answer in answers]
    assert statuses[0] == 200, answers[0].text
    assert statuses[-1] == 429
    assert len(stand.seen()) <= 4
    refused = answers[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 7200, "the first window, then a quarter of an hour for each"
    assert "4 requests per hour" in refused.text and "scanner" in refused.text
    assert refused.headers["ratelimit-policy"].startswith('"small-requests-per-hour";q=4;w=3600')
    assert ";r=0;t=" in refused.headers["ratelimit"]
    assert gateway.fetch(stand.file_of("1.0"), headers=small).status == 200, "a hit is never refused"
    assert gateway.fetch(stand.file_of("1.8"), headers=other).status == 200


def test_a_limit_on_bytes_lets_one_file_through_and_has_the_next_wait(serve: Serve, upstream: Upstream) -> None:
    """What a reply is large is known when it is over: its consumer owes until that is made up for."""
    tiers = {"small": {"bytes": "50 kB/hour", "mode": "enforce", "max_wait_s": 0}}
    gateway = serve(**upstream.urls, tiers=tiers)
    stand = PypiStand(upstream, gateway).release("1.0", content(200_000, seed=1)).release("2.0")
    small = add(gateway, "builds", "small")
    assert gateway.fetch(stand.file, headers=small).status == 200
    assert gateway.fetch(stand.file_of("2.0"), headers=small).status == 429


def test_who_is_just_over_a_limit_waits_and_sees_no_error(serve: Serve, upstream: Upstream) -> None:
    """Waiting is better than refusing, and the ledger says that it happened."""
    tiers = {"small": {"requests": "2/second", "mode": "enforce", "max_wait_s": 10}}
    gateway = serve(**upstream.urls, tiers=tiers)
    stand = PypiStand(upstream, gateway)
    for number in range(6):
        stand.release(f"1.{number}")
    small = add(gateway, "builds", "small")
    began = time.monotonic()
    assert [gateway.fetch(stand.file_of(f"1.{number}"), headers=small).status for number in range(6)] == [200] * 6
    assert time.monotonic() - began > 2, "seven requests at two a second"
    rows = ledger(gateway)
    assert sum(row["requests"] for row in rows if row["throttled"] == "waited") >= 3
    assert not [row for row in rows if row["throttled"] == "refused"]


def test_evaluation_shows_who_would_have_been_limited_and_limits_nobody(serve: Serve, upstream: Upstream) -> None:
    """The way to find a limit that is right."""
    tiers = {"small": {"requests": "3/hour", "max_wait_s": 0}}
    gateway = serve(**upstream.urls, tiers=tiers)
    stand = PypiStand(upstream, gateway)
    for number in range(8):
        stand.release(f"1.{number}")
    small = add(gateway, "builds", "small")
    began = time.monotonic()
    assert [gateway.fetch(stand.file_of(f"1.{number}"), headers=small).status for number in range(8)] == [200] * 8
    assert time.monotonic() - began < 5
    rows = {row["throttled"]: row["requests"] for row in ledger(gateway) if row["consumer"] == "builds"}
    assert rows["would-refuse"] >= 5


def test_a_registry_may_charge_for_what_its_store_answers_too(serve: Serve, upstream: Upstream) -> None:
    """`charge = "all"`: every reply counts, by whatever way it is given, and over all workers."""
    tiers = {"public": {"requests": "20/hour", "charge": "all", "mode": "enforce", "max_wait_s": 0}}
    gateway = serve(**upstream.urls, workers=2, tiers=tiers, cache={"document_ttl_s": 600})
    stand = PypiStand(upstream, gateway).release("1.0")
    public = add(gateway, "public", "public")
    statuses = [gateway.fetch(stand.file, headers=public).status for _ in range(30)]
    assert statuses == [200] * 20 + [429] * 10


class Slow:
    """A gateway before an upstream that takes its time, with files for everybody."""

    def __init__(self, serve: Serve, upstream: Upstream) -> None:
        self.gateway = serve(**upstream.urls, workers=1)
        self.stand = PypiStand(upstream, self.gateway)
        for number in range(700):
            self.stand.release(f"1.{number}", b"x" * 100)
        assert self.gateway.fetch(self.stand.index).status == 200
        self.stand.on("*.tar.gz").fault(Delay(0.2))
        self._next = iter(range(700))

    def get(self, headers: dict[str, str]) -> Received:
        """A file that nobody has asked for."""
        return fetch(self.gateway.url + self.stand.file_of(f"1.{next(self._next)}"), headers=headers, timeout_s=60)

    def install(self) -> float:
        """How long a person waits for ten files, one after another."""
        began = time.monotonic()
        for _ in range(10):
            assert self.get(PERSON).status == 200
        return time.monotonic() - began


@pytest.fixture
def slow(serve: Serve, upstream: Upstream) -> Slow:
    """Such a gateway."""
    return Slow(serve, upstream)


def test_200_scanner_connections_do_not_keep_a_person_waiting(slow: Slow) -> None:
    """Its cold install takes at most half as long again as alone."""
    alone_s = slow.install()
    stop = threading.Event()

    def scan() -> None:
        while not stop.is_set():
            slow.get(SCANNER)

    with ThreadPoolExecutor(200) as pool:
        for _ in range(200):
            pool.submit(scan)
        try:
            beside_s = slow.install()
        finally:
            stop.set()
    assert beside_s <= 1.5 * alone_s, f"{beside_s:.2f} s beside scanners, {alone_s:.2f} s alone"
