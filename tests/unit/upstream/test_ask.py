from __future__ import annotations

import asyncio

import pytest

from doubles.faults import Body, Fault, Reset, Status, Truncated, too_many_requests
from doubles.upstream import Upstream
from mainstay.app import Gateway
from mainstay.errors import MainstayError, TooLarge, UpstreamRefused, UpstreamUnavailable
from mainstay.gateway import turns
from mainstay.upstream import ask as ask_module
from mainstay.upstream.politeness import FAILURES_BEFORE_REST, Budget
from mainstay.upstream.registry import Upstream as Origin
from unit.clock import Clock


@pytest.fixture
def origin(gateway: Gateway, upstream: Upstream) -> Origin:
    """The registry, with one project."""
    upstream.project("demo").release("1.0")
    (origin,) = gateway.registry.of("pypi")
    return origin


async def ask(gateway: Gateway, origin: Origin, name: str = "demo", **headers: str) -> int:
    """One whole exchange about an index; its status."""
    async with gateway.asker.ask(origin, f"{origin.url}{name}/", headers, kind="index") as reply:
        async for _ in reply.chunks():
            pass
        return reply.status


def counted(gateway: Gateway) -> dict[str, int]:
    """How many requests to upstream ended how."""
    return {outcome: count.number for (_, _, outcome), count in gateway.metrics.totals().upstream.items()}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(None, "ok"), (Status(404), "missing"), (Status(401), "missing"), (Status(500), "error"), (Status(418), "error"),
     (too_many_requests(1), "error"), (Reset(), "error"), (Reset(20), "error"), (Truncated(20), "error")],
    ids=repr,
)  # fmt: skip
async def test_each_exchange_is_counted_once_by_how_it_ended(
    fault: Fault | None, outcome: str, gateway: Gateway, origin: Origin, upstream: Upstream
) -> None:
    """A body that breaks off is a failure, though its head was in order."""
    if fault is not None:
        upstream.on("/simple/*").fault(fault)
    try:
        await ask(gateway, origin)
    except MainstayError:
        assert outcome != "ok"
    assert counted(gateway) == {outcome: 1}


async def test_a_confirmation_is_counted_as_one(gateway: Gateway, origin: Origin, upstream: Upstream) -> None:
    """A 304 is no miss."""
    async with gateway.asker.ask(origin, f"{origin.url}demo/", {}, kind="index") as reply:
        etag = reply.headers["etag"]
    assert await ask(gateway, origin, **{"if-none-match": etag}) == 304
    assert counted(gateway) == {"ok": 1, "revalidated": 1}


async def test_what_the_asker_refuses_of_a_reply_is_counted_as_an_error(gateway: Gateway, origin: Origin) -> None:
    """A lie, to upstream's account; and it says nothing on whether upstream is well."""
    for _ in range(FAILURES_BEFORE_REST + 1):
        with pytest.raises(TooLarge):
            async with gateway.asker.ask(origin, f"{origin.url}demo/", {}, kind="index"):
                raise TooLarge("over the cap.")
    assert counted(gateway) == {"error": FAILURES_BEFORE_REST + 1}
    assert await ask(gateway, origin) == 200


async def test_an_upstream_whose_bodies_all_break_off_is_given_a_rest(
    gateway: Gateway, origin: Origin, upstream: Upstream, clock: Clock
) -> None:
    """A good head is not enough to be trusted; one whole reply is."""
    script = upstream.on("/simple/*").fault(Reset(20))
    for _ in range(FAILURES_BEFORE_REST + 5):
        with pytest.raises(MainstayError):
            await ask(gateway, origin)
    assert len(upstream.requests) == FAILURES_BEFORE_REST and gateway.asker.resting(origin)
    script.heal()
    clock.advance(2)
    assert await ask(gateway, origin) == 200
    assert not gateway.asker.resting(origin)


async def test_no_slot_and_no_request_is_spent_on_what_waits_in_vain(
    gateway: Gateway, origin: Origin, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three queue for one place; the first is told to come back later: the others are refused, not sent."""
    monkeypatch.setattr(turns, "load_budget", lambda *_: Budget(1e6, 1e6, 1))
    upstream.on("/simple/*").fault(too_many_requests(30), times=1)
    results = await asyncio.gather(*(ask(gateway, origin) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UpstreamUnavailable] * 3
    assert [seen.status for seen in upstream.requests] == [429]
    assert counted(gateway) == {"error": 1}


@pytest.mark.parametrize("url", ["http://registry.example:x/demo", "http://registry.example:99999/", "http://[::1/"])
async def test_an_address_that_is_none_is_upstreams_fault(url: str, gateway: Gateway, origin: Origin) -> None:
    """An index may hold anything where a file's address should be."""
    with pytest.raises(UpstreamRefused, match="address"):
        async with gateway.asker.ask(origin, url, {}, kind="artifact"):
            pass


async def test_an_upstream_whose_name_did_not_resolve_is_looked_up_again(
    gateway: Gateway, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that fails for a moment must not make an internal registry's other hosts unreachable for long."""
    answers = iter([None, True])
    asked = []

    async def resolves(host: str) -> bool | None:
        asked.append(host)
        return next(answers)

    monkeypatch.setattr(ask_module, "resolves_internally", resolves)
    for _ in range(3):
        assert await ask(gateway, origin) == 200
    assert asked == [origin.host] * 2


async def test_a_body_may_be_left_in_the_middle(gateway: Gateway, origin: Origin, upstream: Upstream) -> None:
    """Neither the place in the queue nor the connection is lost, and nothing is held against upstream."""
    upstream.on("/simple/*").fault(Body(bytes(3_000_000)))
    for _ in range(40):
        async with gateway.asker.ask(origin, f"{origin.url}demo/", {}, kind="index") as reply:
            assert reply.status == 200
    assert not gateway.asker.resting(origin)
