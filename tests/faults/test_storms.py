"""Upstream is overloaded: it is given the rest that it asks for, and asked once before it is trusted again."""

from __future__ import annotations

import asyncio
import select
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from doubles.client import Received
from doubles.faults import Gate, Reset, Status, too_many_requests
from doubles.gateway import Gateway, Serve, kill
from doubles.stand import STANDS, Stand, in_every_ecosystem
from doubles.upstream import Upstream, wait_until
from doubles.wire import Exchange, Reply
from mainstay.upstream.politeness import load_budget

pytestmark = pytest.mark.faults

SETTINGS = {"fetch": {"attempts": 1}, "cache": {"negative_ttl_s": 600}}
PROJECTS = 24


@dataclass(frozen=True)
class Held:
    """Another reply than the honest one, held at a gate."""

    gate: Gate
    reply: Reply

    async def apply(self, exchange: Exchange) -> None:
        """Wait, then answer."""
        exchange.reply = self.reply
        await self.gate.apply(exchange)


@dataclass
class Crowd:
    """Takes its time over each reply, and notes how many are asked for at once."""

    under_way: int = 0
    most: int = 0

    async def apply(self, exchange: Exchange) -> None:
        """Answer honestly, after a moment."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.02)
        await exchange.answer(exchange.reply)
        self.under_way -= 1


def stock(upstream: Upstream, projects: int = PROJECTS) -> None:
    """Projects demo0, demo1, ... with one release each."""
    for number in range(projects):
        upstream.project(f"demo{number}").release("1.0")


def ask_all(gateway: Gateway, first: int = 1, projects: int = PROJECTS, at_once: int = 8) -> list[Received]:
    """Every project's index but the first ones, each on a connection of its own, so that both workers are asked."""
    paths = [f"/pypi/simple/demo{number}/" for number in range(first, projects)]
    with ThreadPoolExecutor(at_once) as pool:
        return [*pool.map(gateway.fetch, paths)]


def test_no_more_requests_are_under_way_than_the_registrys_budget_allows(upstream: Upstream, serve: Serve) -> None:
    """A crowd of different cold indexes, over both workers together: all are served, a few at a time."""
    allowed = load_budget("pypi", 1).concurrency
    stock(upstream, 6 * allowed)
    crowd = Crowd()
    upstream.on("/simple/*").fault(crowd)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    replies = ask_all(gateway, 0, 6 * allowed, at_once=5 * allowed)
    assert {got.status for got in replies} == {200}
    assert 2 <= crowd.most <= allowed


def test_what_queues_is_not_sent_after_upstream_has_asked_for_rest(upstream: Upstream, serve: Serve) -> None:
    """Five times the budget waits when the first replies come: only what was under way has reached upstream."""
    allowed = load_budget("pypi", 1).concurrency
    stock(upstream, 5 * allowed)
    gate = Gate()
    upstream.on("/simple/*").fault(Held(gate, Reply(429, b"", (("retry-after", "30"),))))
    gateway = serve(pypi=upstream.simple_url, workers=2)
    with ThreadPoolExecutor(1) as pool:
        replies = pool.submit(ask_all, gateway, 0, 5 * allowed, 5 * allowed)
        upstream.wait_seen("/simple/*", allowed // 2)
        gate.open()
        assert {got.status for got in replies.result()} == {503}
    assert len(upstream.requests) <= allowed


def test_an_upstream_whose_every_body_breaks_off_is_left_alone(upstream: Upstream, serve: Serve) -> None:
    """A good head is not enough: a storm of broken bodies is a storm of failures."""
    stock(upstream)
    script = upstream.on("/simple/*").fault(Reset(after=50))
    gateway = serve(pypi=upstream.simple_url, workers=2)
    for _ in range(3):
        assert {got.status for got in ask_all(gateway, first=0)} <= {502, 503}
    asked = len(upstream.requests)
    assert asked < PROJECTS * 2, f"72 requests of clients became {asked} to a failing upstream"
    counter = "mainstay_upstream_requests_total"
    wait_until(lambda: gateway.metric(counter, outcome="error") == asked, "each to be counted as a failure", 3)
    script.heal()
    wait_until(lambda: gateway.fetch("/pypi/simple/demo0/").status == 200, "recovery", 15)


def test_a_few_failures_are_not_seen_by_the_client(upstream: Upstream, serve: Serve) -> None:
    """Two 503s and then the index: three requests, one good reply."""
    stock(upstream)
    upstream.on("/simple/demo0/").fault(Status(503), times=2)
    gateway = serve(pypi=upstream.simple_url)
    assert gateway.fetch("/pypi/simple/demo0/").status == 200
    assert [seen.status for seen in upstream.requests] == [503, 503, 200]


@in_every_ecosystem
def test_a_failure_is_never_remembered(stand: Stand) -> None:
    """What fails once is asked for again by the next request, index and file alike."""
    for number, status in enumerate((500, 502, 503, 504)):
        own = type(stand)(stand.upstream, stand.gateway).release()
        own.on_index().fault(Status(status), times=1)
        assert own.fetch(own.index).status in (502, 503), (number, status)
        assert own.fetch(own.index).status == 200
        own.on_file().fault(Status(status), times=1)
        assert own.fetch(own.file).status in (502, 503)
        assert own.fetch(own.file).status == 200


def test_a_storm_of_failures_is_not_answered_with_a_storm_of_requests(upstream: Upstream, serve: Serve) -> None:
    """An upstream that fails again and again is left alone for a while, and found well again by itself."""
    stock(upstream)
    script = upstream.on("/simple/*").fault(Status(503))
    gateway = serve(pypi=upstream.simple_url, workers=2)
    for _ in range(2):
        assert {got.status for got in ask_all(gateway, first=0)} <= {502, 503}
    asked = len(upstream.requests)
    assert asked < PROJECTS * 2, f"48 requests of clients became {asked} to a failing upstream"
    script.heal()
    wait_until(lambda: gateway.fetch("/pypi/simple/demo0/").status == 200, "recovery", 15)


def test_no_request_reaches_upstream_while_it_rests(upstream: Upstream, serve: Serve) -> None:
    """After a 429 neither worker asks that registry for anything; the clients are told when to come back, in an hour at
    most. Each registry asks for its rest in a form of its own."""
    in_half_a_minute = datetime.now(UTC) + timedelta(seconds=30)
    forms = {
        "pypi": too_many_requests(30),
        "npm": too_many_requests(in_half_a_minute),
        "golang": too_many_requests(86_400),
        "cargo": Status(503, (("retry-after", "30"),)),
        "maven": too_many_requests(),
    }
    gateway = serve(**upstream.urls, workers=2)
    for ecosystem, form in forms.items():
        first, *others = [STANDS[ecosystem](upstream, gateway).release("1.0") for _ in range(PROJECTS)]
        first.on_index().fault(form, times=1)
        assert first.fetch(first.index).status in (429, 502, 503)
        paths = [path for stand in others for path in (stand.index, stand.file)]
        with ThreadPoolExecutor(8) as pool:
            refused = [*pool.map(gateway.fetch, paths)]
        assert {got.status for got in refused} == {503}, ecosystem
        longest_s = 3600 if ecosystem == "golang" else 31
        assert all(1 <= int(got.headers["retry-after"]) <= longest_s for got in refused)
        if ecosystem == "golang":
            assert all(int(got.headers["retry-after"]) > 3500 for got in refused)
        assert [seen.target for stand in others for seen in stand.seen()] == []
        assert len(first.seen_index()) == 1


@pytest.mark.parametrize("retry_after", [1, None])
def test_after_the_rest_one_probe_goes_first(retry_after: int | None, upstream: Upstream, serve: Serve) -> None:
    """While the probe is under way nobody else asks upstream; when it succeeds everybody is served again."""
    stock(upstream)
    gate = Gate()
    script = upstream.on("/simple/*").fault(too_many_requests(retry_after), times=1).fault(gate)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    gateway.fetch("/pypi/simple/demo0/")
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(poll_until_asked, gateway, upstream)
        upstream.wait_seen("/simple/*", 2)
        with ThreadPoolExecutor(PROJECTS) as others:
            waiting = [others.submit(gateway.fetch, f"/pypi/simple/demo{n}/") for n in range(1, PROJECTS)]
            wait(waiting, timeout=2)  # they may be refused or wait for the probe's outcome, but ask they must not
            assert len(upstream.requests) == 2, "more than one probe"
            script.heal()
            gate.open()
        assert probe.result().status == 200
    assert {one.result().status for one in waiting} <= {200, 503}
    assert {got.status for got in ask_all(gateway)} == {200}


def poll_until_asked(gateway: Gateway, upstream: Upstream) -> Received:
    """Ask as a client that obeys would, until a request gets through to upstream."""
    got: list[Received] = []

    def asked() -> bool:
        got.append(gateway.fetch("/pypi/simple/demo0/"))
        return len(upstream.requests) >= 2

    wait_until(asked, "the probe", 15)
    return got[-1]


def test_a_failed_probe_is_followed_by_another(upstream: Upstream, serve: Serve) -> None:
    """The probe is refused or fails: a later one is allowed, and upstream is used again."""
    stock(upstream)
    upstream.on("/simple/*").fault(too_many_requests(1), times=2).fault(Status(503), times=1)
    gateway = serve(pypi=upstream.simple_url, fetch={"attempts": 1})
    gateway.fetch("/pypi/simple/demo0/")
    wait_until(lambda: gateway.fetch("/pypi/simple/demo0/").status == 200, "recovery", 18)
    assert [seen.status for seen in upstream.requests] == [429, 429, 503, 200]


def hang_up_on_a_probe(gateway: Gateway, upstream: Upstream, path: str) -> None:
    """Ask, as long as that is refused, until upstream is asked; then leave without an answer."""

    def asked() -> bool:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
            wait_until(lambda: len(upstream.requests) >= 2 or select.select([sock], [], [], 0)[0], "a reply")
        return len(upstream.requests) >= 2

    wait_until(asked, "the probe", 15)
    assert [seen.status for seen in upstream.requests] == [429, 0]


@pytest.mark.parametrize(
    ("ending", "path", "fetch"),
    [
        ("answered", "/pypi/simple/demo0/", {}),
        ("cancelled", "/pypi/simple/demo0/", {"document_timeout_s": 1}),
        ("under way", "/npm/-/v1/search?text=demo", {}),
    ],
)
def test_a_probe_whose_client_has_gone_does_not_wedge_the_breaker(
    ending: str, path: str, fetch: dict[str, float], upstream: Upstream, serve: Serve
) -> None:
    """However the probe goes on, upstream is used again soon: by the probe's outcome, or when its time is over."""
    stock(upstream)
    gate = Gate()
    upstream.on("*").fault(too_many_requests(1), times=1).fault(gate, times=1)
    gateway = serve(pypi=upstream.simple_url, npm=upstream.npm_url, workers=2, fetch={"attempts": 1, **fetch})
    gateway.fetch("/pypi/simple/demo0/")
    hang_up_on_a_probe(gateway, upstream, path)
    if ending == "answered":
        gate.open()
    wait_until(lambda: gateway.fetch("/pypi/simple/demo1/").status == 200, "recovery", 15)
    assert {got.status for got in ask_all(gateway)} == {200}
    gate.open()


def test_a_probe_of_a_worker_that_is_killed_does_not_wedge_the_breaker(upstream: Upstream, serve: Serve) -> None:
    """The worker dies with its probe under way: soon the other one asks, and upstream is used again."""
    stock(upstream)
    gate = Gate()
    upstream.on("/simple/*").fault(too_many_requests(1), times=1).fault(gate, times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    gateway.fetch("/pypi/simple/demo0/")
    hang_up_on_a_probe(gateway, upstream, "/pypi/simple/demo0/")
    (prober,) = gateway.filling_pids()
    kill(prober)
    wait_until(lambda: gateway.fetch("/pypi/simple/demo1/").status == 200, "recovery", 15)
    assert [seen.status for seen in upstream.requests] == [429, 0, 200]
    gate.open()
    assert {got.status for got in ask_all(gateway)} == {200}


def test_what_is_held_is_served_while_upstream_rests(upstream: Upstream, serve: Serve) -> None:
    """A 429 costs nobody an index that the gateway has, even one that is stale, nor a file: in every ecosystem."""
    gateway = serve(**upstream.urls, cache={"document_ttl_s": 0})
    for kind in STANDS.values():
        stand = kind(upstream, gateway).release("1.0")
        assert stand.listed_here()
        right = stand.fetch(stand.file).body
        stand.on(f"*{stand.word}*").fault(too_many_requests(30))
        for _ in range(3):
            got = stand.fetch(stand.index)
            assert stand.lists(got) and "stale" in got.cache
            assert stand.fetch(stand.file).body == right
        assert len([seen for seen in stand.seen() if seen.status == 429]) == 1
