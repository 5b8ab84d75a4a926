from __future__ import annotations

import asyncio
import os
import time

import pytest

from doubles.faults import Body, Gate, LoginPage, Status, too_many_requests
from doubles.registry import Project
from doubles.upstream import Upstream
from mainstay.app import Gateway
from mainstay.errors import NotFound, StoreFull, UnsupportedDocument, UpstreamError, UpstreamUnavailable
from mainstay.model import Artifact
from mainstay.upstream import documents as documents_module
from mainstay.upstream.documents import RETRY_STALE_S, Asked, Obtained
from unit.clock import Clock

TTL_S, NEGATIVE_TTL_S = 300, 30


@pytest.fixture
def project(upstream: Upstream) -> Project:
    """The project that is asked for."""
    return upstream.project("demo").release("1.0").release("2.0")


async def how(gateway: Gateway, asked: Asked) -> str:
    """How the index was come by."""
    return (await gateway.documents.obtain(asked)).how


def under_way(gateway: Gateway) -> list[asyncio.Task[Obtained]]:
    """What is being fetched."""
    return [task for task, _ in gateway.documents._flights._under_way.values()]


def statuses(upstream: Upstream) -> list[int]:
    """What upstream answered so far."""
    return [seen.status for seen in upstream.seen("/simple/demo/")]


async def test_an_index_is_fresh_for_its_lifetime_and_then_confirmed(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """One request fills it, none while it is fresh, one with validators after: a 304 makes it fresh anew."""
    assert await how(gateway, asked) == "miss"
    clock.advance(TTL_S - 1)
    assert await how(gateway, asked) == "hit"
    assert statuses(upstream) == [200]
    clock.advance(2)
    assert await how(gateway, asked) == "revalidated"
    clock.advance(TTL_S - 1)
    assert await how(gateway, asked) == "hit"
    assert statuses(upstream) == [200, 304]
    assert "if-none-match" in upstream.seen("/simple/demo/")[1].headers


async def test_a_changed_index_is_taken_in(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """After its lifetime the new bytes are served, and are a document of their own."""
    first = await gateway.documents.obtain(asked)
    project.release("3.0")
    clock.advance(TTL_S + 1)
    second = await gateway.documents.obtain(asked)
    assert second.how == "miss" and second.document.digest != first.document.digest
    assert statuses(upstream) == [200, 200]


@pytest.mark.parametrize("fault", [Status(500), Status(503), LoginPage(), Body(b"{"), too_many_requests(9)])
async def test_a_stale_index_is_served_while_upstream_fails(
    fault: Status | LoginPage | Body,
    gateway: Gateway,
    asked: Asked,
    upstream: Upstream,
    project: Project,
    clock: Clock,
) -> None:
    """Errors and nonsense replace nothing; upstream is left alone for some seconds, then asked again."""
    before = await gateway.documents.obtain(asked)
    clock.advance(TTL_S + 1)
    script = upstream.on("/simple/demo/").fault(fault)
    for _ in range(5):
        obtained = await gateway.documents.obtain(asked)
        assert (obtained.how, obtained.document.digest) == ("stale", before.document.digest)
    assert len(statuses(upstream)) == 2
    script.heal()
    clock.advance(RETRY_STALE_S + 5)
    assert await how(gateway, asked) == "revalidated"


async def test_a_stale_index_is_served_while_a_newer_one_cannot_be_stored(
    gateway: Gateway, asked: Asked, project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes nothing from what is held."""
    before = await gateway.documents.obtain(asked)

    def fail(body: bytes) -> str:
        raise StoreFull("No space left on device.")

    monkeypatch.setattr(gateway.store, "save", fail)
    project.release("3.0")
    clock.advance(TTL_S + 1)
    obtained = await gateway.documents.obtain(asked)
    assert (obtained.how, obtained.document.digest) == ("stale", before.document.digest)


async def test_what_failed_is_not_remembered_for_names_without_end(
    gateway: Gateway, upstream: Upstream, asked: Asked
) -> None:
    """Only what is held can be served stale: for other names there is nothing to remember."""
    upstream.on("*").fault(Status(500))
    for number in range(20):
        index = asked.upstream.ecosystem.index_of(Artifact(f"name{number}", "", "", "", ""))
        with pytest.raises(UpstreamError):
            await gateway.documents.obtain(Asked(asked.upstream, index))
    assert gateway.documents._retry_at == {}


async def test_a_login_page_for_a_whole_list_of_other_releases_takes_nothing_down(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """What does not parse is no newer index."""
    await gateway.documents.obtain(asked)
    clock.advance(TTL_S + 1)
    upstream.on("/simple/demo/").fault(LoginPage())
    assert await how(gateway, asked) == "stale"
    await gateway._takedowns.current()
    assert gateway._takedowns.of(asked.upstream, "demo").entries == ()


async def test_a_client_with_a_stale_copy_does_not_wait_for_a_slow_upstream(
    gateway: Gateway,
    asked: Asked,
    upstream: Upstream,
    project: Project,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a moment the old one is given, and the new one is there for the next."""
    monkeypatch.setattr(documents_module, "PATIENCE_S", 0.05)
    await gateway.documents.obtain(asked)
    project.release("3.0")
    clock.advance(TTL_S + 1)
    gate = Gate()
    upstream.on("/simple/demo/").fault(gate)
    begun_s = time.monotonic()
    assert await how(gateway, asked) == "stale"
    assert time.monotonic() - begun_s < 1
    gate.open()
    await asyncio.gather(*under_way(gateway))
    assert await how(gateway, asked) == "hit"
    assert statuses(upstream) == [200, 200]


async def test_everybody_who_waits_shares_one_request(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project
) -> None:
    """Cold: one is the miss, the others are collapsed into it; who leaves does not end it."""
    tasks = [asyncio.create_task(how(gateway, asked)) for _ in range(10)]
    leaver = asyncio.create_task(how(gateway, asked))
    await asyncio.sleep(0)
    leaver.cancel()
    assert sorted(await asyncio.gather(*tasks)) == ["collapsed"] * 9 + ["miss"]
    assert statuses(upstream) == [200]


async def test_the_first_who_leaves_does_not_take_the_others_along(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project
) -> None:
    """The fetch belongs to nobody."""
    first = asyncio.create_task(how(gateway, asked))
    await asyncio.sleep(0)
    second = asyncio.create_task(how(gateway, asked))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second in ("collapsed", "miss", "hit")
    assert statuses(upstream) == [200]


async def test_a_missing_project_is_remembered_for_a_short_time(
    gateway: Gateway, asked: Asked, upstream: Upstream, clock: Clock
) -> None:
    """Then asked for again, and found when it has been published since."""
    for _ in range(3):
        with pytest.raises(NotFound):
            await gateway.documents.obtain(asked)
    assert statuses(upstream) == [404]
    upstream.project("demo").release("1.0")
    clock.advance(NEGATIVE_TTL_S + 1)
    assert await how(gateway, asked) == "miss"


@pytest.mark.parametrize("fault", [Status(500), Body(b"nonsense"), too_many_requests(9)])
async def test_a_failure_without_a_copy_is_told_and_not_remembered(
    fault: Status | Body, gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """An error is no absence: as soon as upstream is well the index is there."""
    script = upstream.on("/simple/demo/").fault(fault)
    with pytest.raises(UpstreamError) as caught:
        await gateway.documents.obtain(asked)
    assert isinstance(caught.value, UnsupportedDocument if isinstance(fault, Body) else UpstreamError)
    script.heal()
    clock.advance(10)
    assert await how(gateway, asked) == "miss"


async def test_one_404_is_not_believed(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """A second request past all caches decides: a broken edge node takes nothing down."""
    await gateway.documents.obtain(asked)
    clock.advance(TTL_S + 1)
    upstream.on("/simple/demo/").fault(Status(404), times=1)
    obtained = await gateway.documents.obtain(asked)
    assert not obtained.gone
    second = upstream.seen("/simple/demo/")[-1]
    assert second.headers["cache-control"] == "no-cache" and "if-none-match" not in second.headers


@pytest.mark.parametrize("status", [404, 410])
async def test_a_404_that_is_confirmed_is_a_takedown(
    status: int, gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """The bytes stay, the state says gone, every release is blocked; when it comes back so do the releases."""
    await gateway.documents.obtain(asked)
    project.disappear(status)
    clock.advance(TTL_S + 1)
    obtained = await gateway.documents.obtain(asked)
    assert obtained.gone and obtained.document.digest is not None
    assert gateway.store.has(obtained.document.digest)
    await gateway._takedowns.current()
    assert gateway._takedowns.of(asked.upstream, "demo").whole_project is not None
    project.gone = 0
    clock.advance(TTL_S + 1)
    assert not (await gateway.documents.obtain(asked)).gone
    await gateway._takedowns.current()
    assert gateway._takedowns.of(asked.upstream, "demo").entries == ()


async def test_bytes_that_were_evicted_are_fetched_anew(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """Without validators: a 304 would leave nothing to serve."""
    obtained = await gateway.documents.obtain(asked)
    assert obtained.document.digest is not None
    gateway.store.delete(obtained.document.digest)
    clock.advance(1)
    assert await how(gateway, asked) == "miss"
    assert gateway.store.has(obtained.document.digest)
    assert statuses(upstream) == [200, 200]


async def test_bytes_that_are_damaged_on_disk_are_fetched_anew(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """Forgetting a document brings whole bytes back, not a 304 for the damaged ones."""
    obtained = await gateway.documents.obtain(asked)
    assert obtained.document.digest is not None
    path = gateway.store.path(obtained.document.digest)
    right = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(right[:-1] + b"?")
    gateway._parser._opened._listings.clear()
    with pytest.raises(UnsupportedDocument):
        await gateway._parser.find(gateway.documents.place(asked.index, obtained.document), _artifact())
    await gateway.documents.forget(obtained.document.key)
    clock.advance(1)
    again = await gateway.documents.obtain(asked)
    assert again.document.digest == obtained.document.digest
    assert path.read_bytes() == right
    assert await gateway._parser.find(gateway.documents.place(asked.index, again.document), _artifact()) is not None


def _artifact() -> Artifact:
    return Artifact("demo", "1.0", "demo-1.0.tar.gz", "demo-1.0.tar.gz", "files")


async def test_a_recheck_asks_in_the_background_and_only_when_due(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """For lock files, which skip the index; never while upstream rests."""
    await gateway.documents.recheck(asked, 2 * TTL_S)
    assert statuses(upstream) == []
    await gateway.documents.obtain(asked)
    clock.advance(2 * TTL_S - 1)
    await gateway.documents.recheck(asked, 2 * TTL_S)
    assert under_way(gateway) == []
    clock.advance(2)
    await gateway.documents.recheck(asked, 2 * TTL_S)
    await asyncio.gather(*under_way(gateway))
    assert statuses(upstream) == [200, 304]


async def test_no_lock_and_no_part_stays_behind(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project
) -> None:
    """Neither after a success nor after a failure."""
    upstream.on("/simple/demo/").fault(Status(500), times=1)
    with pytest.raises(UpstreamError):
        await gateway.documents.obtain(asked)
    await gateway.documents.obtain(asked)
    left = [name for name in os.listdir(gateway.store.fills) if not name.endswith(".live")]
    assert left == []


async def test_a_resting_upstream_is_not_asked_at_all(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """Clients are told when to come back."""
    upstream.on("/simple/demo/").fault(too_many_requests(120), times=1)
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable) as caught:
            await gateway.documents.obtain(asked)
        assert caught.value.retry_after_s is not None and caught.value.retry_after_s <= 120
    assert statuses(upstream) == [429]
    assert gateway.asker.resting(asked.upstream)
    clock.advance(121)
    assert await how(gateway, asked) == "miss"
