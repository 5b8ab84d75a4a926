"""Connections that break, stall, drip or lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Delay, Gate, Rate, Reset, SilentClose, Truncated
from doubles.gateway import Gateway, Serve, serving
from doubles.registry import content
from doubles.stand import STANDS, Stand, in_every_ecosystem
from doubles.upstream import Upstream, wait_until
from doubles.wire import Exchange

pytestmark = pytest.mark.faults

SETTINGS: dict[str, object] = {}
HASTY = {"fetch": {"attempts": 3, "read_timeout_s": 1, "document_timeout_s": 2}}
RIGHT = content(3_000_000)


@pytest.fixture(scope="module")
def hasty_gateway(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose patience is at its end soon: for what is about that, and for nothing else."""
    with serving(tmp_path_factory.mktemp("hasty")) as start:
        yield start(**shared_upstream.urls, **HASTY)


@pytest.fixture
def hurried(shared_upstream: Upstream, hasty_gateway: Gateway) -> Iterator[list[Stand]]:
    """A project in each ecosystem behind that gateway, which can be waited for together. In the end each registry has
    answered well once more, so that its failures are not added to those of the next test."""
    own = [kind(shared_upstream, hasty_gateway).release("0.1") for kind in STANDS.values()]
    yield own
    for stand in own:
        stand.heal()
        for path in (stand.index, stand.file_of("0.1")):
            stand.wait_for(path, lambda got: got.status == 200, "to be well again", 20)


@pytest.mark.parametrize("after", [None, 0, 1000, 2_000_000])
@in_every_ecosystem
def test_one_reset_is_not_seen_by_the_client(after: int | None, stand: Stand) -> None:
    """A second attempt mends it, wherever the first one broke."""
    stand.release("1.0", RIGHT)
    stand.on_file().fault(Reset(after), times=1)
    assert_right(stand.fetch(stand.file), RIGHT)
    assert len(stand.seen_file()) == 2


@in_every_ecosystem
def test_a_cut_body_is_continued_where_it_broke(stand: Stand) -> None:
    """The second attempt asks only for the rest, on condition that the file is still the same."""
    stand.release("1.0", RIGHT)
    stand.on_file().fault(Truncated(2_000_000), times=1)
    assert_right(stand.fetch(stand.file), RIGHT)
    first, second = stand.seen_file()
    assert (first.status, second.status) == (200, 206)
    assert "if-range" in second.headers
    assert int(second.headers["range"].removeprefix("bytes=").removesuffix("-")) > 1_000_000


@in_every_ecosystem
def test_a_cut_body_of_a_file_that_has_changed_is_begun_again(stand: Stand) -> None:
    """Upstream answers the Range with 200, for it has other bytes by now: the halves are never put together, whether a
    digest would tell or not. The client may have got old bytes, and then none of the new ones."""
    old, new = RIGHT, content(3_000_000, seed=2)
    stand.release("1.0", old)
    stand.gateway.expect_error("does not match its index")
    stand.on_file().fault(Truncated(2_000_000), times=1)
    stand.on_file().fault(Changed(stand, new), times=1)
    got = stand.fetch(stand.file)
    if got.body not in (old, new):
        assert_refused(got, old)
        assert old.startswith(got.body) or new.startswith(got.body), "two files were mixed"
    assert [seen.status for seen in stand.seen_file()][:2] == [200, 200]


@dataclass(frozen=True)
class Changed:
    """Upstream has another file from now on, under the same name."""

    stand: Stand
    body: bytes

    async def apply(self, exchange: Exchange) -> None:
        """Change it, and answer with it as a server does that no longer has what If-Range names."""
        self.stand.held("1.0").body = self.body
        await exchange.answer(replace(exchange.full, status=200, body=self.body).with_headers(("etag", '"new"')))


@dataclass(frozen=True)
class Shorter:
    """Announces fewer bytes than there are, and breaks off."""

    size: int

    async def apply(self, exchange: Exchange) -> None:
        """Send a head."""
        await exchange.start(replace(exchange.full, body=exchange.full.body[: self.size]))
        exchange.reset()


@pytest.mark.parametrize("stand", [name for name in STANDS if name != "pypi"], indirect=True)
def test_a_length_that_was_announced_wrongly_never_cuts_the_file(stand: Stand) -> None:
    """The second attempt brings more than the first one promised to the client: no part may pass for the whole. (PyPI's
    index tells the length itself.)"""
    stand.release("1.0", RIGHT)
    stand.on_file().fault(Shorter(1_000_000), times=1)
    got = stand.fetch(stand.file)
    if got.body != RIGHT:
        assert_refused(got, RIGHT)
    assert_right(stand.fetch(stand.file), RIGHT)


@pytest.mark.parametrize("after", [None, 0, 1000])
@in_every_ecosystem
def test_resets_without_end_fail_after_the_allowed_attempts(after: int | None, stand: Stand) -> None:
    """The client is told, upstream was asked three times, and nothing is remembered."""
    stand.release("1.0", RIGHT)
    before = stand.failures("artifact")
    script = stand.on_file().fault(Reset(after))
    assert_refused(stand.fetch(stand.file), RIGHT)
    assert len(stand.seen_file()) == 3
    wait_until(lambda: stand.failures("artifact") > before, "the failure to be counted at /metrics", 5)
    script.heal()
    assert_right(stand.fetch(stand.file), RIGHT)


@in_every_ecosystem
def test_an_index_behind_resets_is_fetched_again(stand: Stand) -> None:
    """Documents are tried again like files."""
    stand.release()
    stand.on_index().fault(Reset(), times=1).fault(Reset(5), times=1)
    assert stand.listed_here()
    assert len(stand.seen_index()) == 3


@in_every_ecosystem
def test_kept_connections_that_upstream_closes_do_no_harm(stand: Stand) -> None:
    """An upstream may promise keep-alive and close at once: no client notices."""
    for _ in range(5):
        own = type(stand)(stand.upstream, stand.gateway).release("1.0")
        own.on(f"*{own.word}*").fault(SilentClose())
        assert own.listed_here()
        assert own.fetch(own.file).status == 200


def test_a_slow_drip_is_waited_for(hurried: list[Stand]) -> None:
    """Bytes that keep coming are no silence, though the whole takes longer than the read time-out.

    A machine that stands still for a second between two pieces is silence to the gateway: a version without such a
    moment is what counts, and one of six has none.
    """

    def came_in_one(stand: Stand) -> bool:
        for number in range(1, 7):
            version = f"{number}.0"
            stand.release(version, content(150_000))
            stand.on_file(version).fault(Rate(100_000, piece=5000))
            got = stand.fetch(stand.file_of(version), timeout_s=30)
            if got.body == content(150_000) and len(stand.seen_file(version)) == 1:
                return True
        return False

    with ThreadPoolExecutor(len(hurried)) as pool:
        assert all(pool.map(came_in_one, hurried)), "a download that never paused was given up, six times of six"


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_silence_ends_in_an_error_and_not_in_a_hang(after: int | None, hurried: list[Stand]) -> None:
    """An upstream that stops sending costs the read time-outs, not the client's patience: in every ecosystem, asked for
    at the same time."""
    gate = Gate(after)
    for stand in hurried:
        stand.release("1.0", RIGHT)
        stand.on_file().fault(gate)
    before = [stand.failures("artifact") for stand in hurried]
    with ThreadPoolExecutor(len(hurried)) as pool:
        replies = [*pool.map(lambda stand: stand.fetch(stand.file, timeout_s=30), hurried)]
    for got in replies:
        assert_refused(got, RIGHT)
        assert got.status in (0, 200, 504)
    for stand, count in zip(hurried, before, strict=True):
        wait_until(partial(is_counted, stand, count), f"{stand.name} at /metrics", 5)
    gate.open()
    for stand in hurried:
        stand.wait_for(stand.file, lambda got: got.body == RIGHT, "to be well again")


def is_counted(stand: Stand, before: float) -> bool:
    """Whether `/metrics` counts a failure more than before."""
    return stand.failures("artifact") > before


def test_an_index_that_takes_too_long_is_given_up(hurried: list[Stand]) -> None:
    """A drip of a document has an end even where the read time-out never strikes. Blank lines, which every format
    allows, make the short ones long."""
    for stand in hurried:
        stand.release()
        stand.on_index().fault(Drip(bytes_per_s=20, piece=4))
    with ThreadPoolExecutor(len(hurried)) as pool:
        replies = [*pool.map(lambda stand: stand.fetch(stand.index, timeout_s=30), hurried)]
    assert {stand.ecosystem: got.status for stand, got in zip(hurried, replies, strict=True)} == dict.fromkeys(
        STANDS, 504
    )


@dataclass(frozen=True)
class Drip:
    """The honest reply with many empty lines behind it, a few bytes at a time."""

    bytes_per_s: float
    piece: int

    async def apply(self, exchange: Exchange) -> None:
        """Send it."""
        exchange.reply = replace(exchange.full, body=exchange.full.body + b"\n" * 10_000)
        await Rate(self.bytes_per_s, self.piece).apply(exchange)


def test_a_late_answer_within_the_time_allowed_is_taken(stands: list[Stand]) -> None:
    """Slow is not broken."""
    for stand in stands:
        stand.release()
        stand.on_index().fault(Delay(0.5))
    with ThreadPoolExecutor(len(stands)) as pool:
        assert all(pool.map(lambda stand: stand.listed_here(), stands))


def test_a_registry_that_cannot_be_reached_is_said_in_words(upstream: Upstream, serve: Serve) -> None:
    """A name that does not resolve, and a port where nobody listens: 502 or 503 that names the host, each time. The
    server lives on, and serves as soon as upstream is there."""
    gateway = serve(pypi=upstream.simple_url, fetch={"attempts": 1})
    for kind in STANDS.values():
        stand = kind(upstream, gateway)
        here = "127.0.0.1" if kind.ecosystem == "pypi" else "registry.invalid"
        upstream.down()
        for path in (stand.index, stand.file):
            got = gateway.fetch(path)
            assert got.status in (502, 503) and here in got.text, (path, got)
        upstream.up()
    assert gateway.fetch("/healthz").status == 200
    served = STANDS["pypi"](upstream, gateway).release("1.0")
    assert served.listed_here()
