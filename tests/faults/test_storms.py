"""Upstream is overloaded: it is given the rest that it asks for, and asked once before it is trusted again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import pytest

from doubles.client import Received
from doubles.faults import Gate, Status, too_many_requests
from doubles.gateway import Gateway, Serve
from doubles.stand import Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS = {"fetch": {"attempts": 1}, "cache": {"negative_ttl_s": 600}}
PROJECTS = 24


def stock(upstream: Upstream) -> None:
    """Projects demo0, demo1, ... with one release each."""
    for number in range(PROJECTS):
        upstream.project(f"demo{number}").release("1.0")


def ask_all(gateway: Gateway, first: int = 1) -> list[Received]:
    """Every project's index but the first ones, each on a connection of its own, so that both workers are asked."""
    paths = [f"/pypi/simple/demo{number}/" for number in range(first, PROJECTS)]
    with ThreadPoolExecutor(8) as pool:
        return [*pool.map(gateway.fetch, paths)]


def test_a_few_failures_are_not_seen_by_the_client(upstream: Upstream, serve: Serve) -> None:
    """Two 503s and then the index: three requests, one good reply."""
    stock(upstream)
    upstream.on("/simple/demo0/").fault(Status(503), times=2)
    gateway = serve(pypi=upstream.simple_url)
    assert gateway.fetch("/pypi/simple/demo0/").status == 200
    assert [seen.status for seen in upstream.requests] == [503, 503, 200]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_is_never_remembered(status: int, stand: Stand) -> None:
    """What fails once is asked for again by the next request, index and file alike."""
    stand.release()
    stand.on_index().fault(Status(status), times=1)
    assert stand.fetch(stand.index).status in (502, 503)
    assert stand.fetch(stand.index).status == 200
    stand.on_file().fault(Status(status), times=1)
    assert stand.fetch(stand.file).status in (502, 503)
    assert stand.fetch(stand.file).status == 200


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


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_no_request_reaches_upstream_while_it_rests(form: str, upstream: Upstream, serve: Serve) -> None:
    """After a 429 neither worker asks for anything; the clients are told when to come back."""
    stock(upstream)
    faults = {
        "seconds": too_many_requests(30),
        "date": too_many_requests(datetime.now(UTC) + timedelta(seconds=30)),
        "none": too_many_requests(),
    }
    upstream.on("/simple/demo0/").fault(faults[form], times=1)
    gateway = serve(pypi=upstream.simple_url, workers=2)
    assert gateway.fetch("/pypi/simple/demo0/").status in (429, 502, 503)
    asked = len(upstream.requests)

    refused = ask_all(gateway)
    assert {got.status for got in refused} == {503}
    assert all(1 <= int(got.headers["retry-after"]) <= 31 for got in refused)
    assert len(upstream.requests) == asked == 1


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


def test_a_probe_whose_client_hangs_up_does_not_wedge_the_breaker(upstream: Upstream, serve: Serve) -> None:
    """The probe fails or is left: a later one is allowed, and upstream is used again."""
    stock(upstream)
    upstream.on("/simple/*").fault(too_many_requests(1), times=2).fault(Status(503), times=1)
    gateway = serve(pypi=upstream.simple_url, fetch={"attempts": 1})
    gateway.fetch("/pypi/simple/demo0/")
    wait_until(lambda: gateway.fetch("/pypi/simple/demo0/").status == 200, "recovery", 18)
    assert [seen.status for seen in upstream.requests] == [429, 429, 503, 200]


def test_what_is_held_is_served_while_upstream_rests(upstream: Upstream, serve: Serve) -> None:
    """A 429 costs nobody an index that the gateway has, even one that is stale."""
    stock(upstream)
    gateway = serve(pypi=upstream.simple_url, cache={"document_ttl_s": 0})
    assert gateway.fetch("/pypi/simple/demo0/").status == 200
    upstream.on("/simple/*").fault(too_many_requests(30))
    for _ in range(3):
        got = gateway.fetch("/pypi/simple/demo0/")
        assert got.status == 200 and "stale" in got.cache
    assert len([seen for seen in upstream.requests if seen.status == 429]) == 1
