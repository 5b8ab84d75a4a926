"""Connections that break, stall, drip or lead nowhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Delay, Gate, Rate, Reset, SilentClose, Truncated
from doubles.gateway import Serve
from doubles.registry import content
from doubles.stand import Stand
from doubles.upstream import Upstream, wait_until
from doubles.wire import Exchange

pytestmark = pytest.mark.faults

SETTINGS = {"fetch": {"attempts": 3, "read_timeout_s": 1, "document_timeout_s": 2}}
RIGHT = content(3_000_000)


@pytest.mark.parametrize("after", [None, 0, 1000, 2_000_000])
def test_one_reset_is_not_seen_by_the_client(after: int | None, stand: Stand) -> None:
    """A second attempt mends it, wherever the first one broke."""
    stand.release("1.0", RIGHT)
    stand.on_file().fault(Reset(after), times=1)
    assert_right(stand.fetch(stand.file), RIGHT)
    assert len(stand.seen_file()) == 2


def test_a_cut_body_is_continued_where_it_broke(stand: Stand) -> None:
    """The second attempt asks only for the rest, on condition that the file is still the same."""
    stand.release("1.0", RIGHT)
    stand.on_file().fault(Truncated(2_000_000), times=1)
    assert_right(stand.fetch(stand.file), RIGHT)
    first, second = stand.seen_file()
    assert (first.status, second.status) == (200, 206)
    assert "if-range" in second.headers
    assert int(second.headers["range"].removeprefix("bytes=").removesuffix("-")) > 1_000_000


@dataclass(frozen=True)
class Shorter:
    """Announces fewer bytes than there are, and breaks off."""

    size: int

    async def apply(self, exchange: Exchange) -> None:
        """Send a head."""
        await exchange.start(replace(exchange.full, body=exchange.full.body[: self.size]))
        exchange.reset()


def test_a_length_that_was_announced_wrongly_never_cuts_the_file(stand: Stand) -> None:
    """The second attempt brings more than the first one promised to the client: no part may pass for the whole."""
    stand.publish("1.0.0", RIGHT)
    stand.on_tarball().fault(Shorter(1_000_000), times=1)
    got = stand.fetch(stand.tarball)
    if got.body != RIGHT:
        assert_refused(got, RIGHT)
    assert_right(stand.fetch(stand.tarball), RIGHT)


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_resets_without_end_fail_after_the_allowed_attempts(after: int | None, stand: Stand) -> None:
    """The client is told, upstream was asked three times, and nothing is remembered."""
    stand.release("1.0", RIGHT)
    before = stand.failures("artifact")
    script = stand.on_file().fault(Reset(after))
    assert_refused(stand.fetch(stand.file), RIGHT)
    assert len(stand.seen_file()) == 3
    wait_until(lambda: stand.failures("artifact") > before, "the failure to be counted at /metrics", 3)
    script.heal()
    assert_right(stand.fetch(stand.file), RIGHT)


def test_an_index_behind_resets_is_fetched_again(stand: Stand) -> None:
    """Documents are tried again like files."""
    stand.release()
    stand.on_index().fault(Reset(), times=1).fault(Reset(50), times=1)
    assert stand.fetch(stand.index).status == 200
    assert len(stand.seen_index()) == 3


def test_kept_connections_that_upstream_closes_do_no_harm(upstream: Upstream, serve: Serve) -> None:
    """An upstream may promise keep-alive and close at once: no client notices."""
    upstream.on("*").fault(SilentClose())
    gateway = serve(pypi=upstream.simple_url)
    for number in range(10):
        upstream.project(f"demo{number}").release("1.0")
        assert gateway.fetch(f"/pypi/simple/demo{number}/").status == 200


def test_a_slow_drip_is_waited_for(stand: Stand) -> None:
    """Bytes that keep coming are no silence, though the whole takes longer than the read time-out.

    A machine that stands still for a second between two pieces is silence to the gateway: a version without such a
    moment is what counts, and one of three has none.
    """
    for version in ("1.0", "1.1", "1.2"):
        stand.release(version, content(150_000))
        stand.on_file(version).fault(Rate(100_000, piece=5000))
        assert_right(stand.fetch(stand.file_of(version)), content(150_000))
        if len(stand.seen_file(version)) == 1:
            return
    pytest.fail("a download that never paused was given up and begun again, three times of three")


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_silence_ends_in_an_error_and_not_in_a_hang(after: int | None, stand: Stand) -> None:
    """An upstream that stops sending costs the read time-outs, not the client's patience."""
    stand.release("1.0", RIGHT)
    before = stand.failures("artifact")
    gate = Gate(after)
    stand.on_file().fault(gate)
    begun_s = time.monotonic()
    got = stand.fetch(stand.file)
    assert time.monotonic() - begun_s < 8
    assert_refused(got, RIGHT)
    assert got.status in (0, 200, 504)
    wait_until(lambda: stand.failures("artifact") > before, "the failure to be counted at /metrics", 3)
    gate.open()
    assert_right(stand.fetch(stand.file), RIGHT)


def test_an_index_that_takes_too_long_is_given_up(stand: Stand) -> None:
    """A drip of a document has an end even where the read time-out never strikes."""
    stand.release()
    stand.on_index().fault(Rate(20, piece=4))
    begun_s = time.monotonic()
    assert stand.fetch(stand.index).status == 504
    assert time.monotonic() - begun_s < 10


def test_a_late_answer_within_the_time_allowed_is_taken(stand: Stand) -> None:
    """Slow is not broken."""
    stand.release()
    stand.on_index().fault(Delay(0.5))
    assert stand.fetch(stand.index).status == 200


def test_a_name_that_does_not_resolve_is_said_in_words(serve: Serve) -> None:
    """DNS failure: 503 or 502 that names the host, twice, and the server lives on."""
    gateway = serve(pypi="http://registry.invalid/simple/", fetch={"attempts": 1})
    for _ in range(2):
        got = gateway.fetch("/pypi/simple/demo/")
        assert got.status in (502, 503) and "registry.invalid" in got.text
    assert gateway.fetch("/healthz").status == 200


def test_a_port_where_nobody_listens_is_said_in_words(upstream: Upstream, serve: Serve) -> None:
    """Connection refused is reported, and over as soon as upstream is there."""
    upstream.project("demo").release("1.0")
    upstream.down()
    gateway = serve(pypi=upstream.simple_url, fetch={"attempts": 1})
    got = gateway.fetch("/pypi/simple/demo/")
    assert got.status in (502, 503) and "127.0.0.1" in got.text
    upstream.up()
    assert gateway.fetch("/pypi/simple/demo/").status == 200
