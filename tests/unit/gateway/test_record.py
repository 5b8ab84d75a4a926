from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mainstay.access.identity import Caller
from mainstay.ecosystems import ecosystems
from mainstay.gateway.hot import Hot, Ready
from mainstay.gateway.record import Entry, Recorder, Visit
from mainstay.gateway.reply import Note
from mainstay.gateway.turns import Payer
from mainstay.gateway.visitors import Visitor
from mainstay.telemetry.metrics import Metrics
from mainstay.upstream.cost import Cost
from mainstay.upstream.registry import Upstream
from mainstay.usage.event import Client, Event
from mainstay.usage.frames import encode_again

PATH = "/pypi/simple/démo/"
TEAM = Caller("team", "gold", "token")
OTHER = Caller("other", "gold", "token")
PIP = Client("pip", "26.3", "ci", "cpython", "3.11.7", "linux", "x86_64", True, "gitlab", "")
UPSTREAM = "https://registry.example/simple/"


def note(outcome: str = "hit", **more: str) -> Note:
    """A reply with an index."""
    return Note("pypi", "index", outcome, "demo", "1.0", "demo-1.0.tar.gz", "sha256:ab", UPSTREAM, **more)


def visit(cost: Cost | None = None) -> Visit:
    """A request of pip's."""
    return Visit("GET", PATH, TEAM, PIP, cost or Cost(), 0.0)


class Lines:
    """An access log that keeps its lines as they would be written."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def record(self, entry: Entry) -> None:
        """Take one."""
        self.lines.append(msgspec.json.encode(entry))


class Events:
    """A ledger that keeps its events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        """Take one."""
        self.events.append(event)

    def record_again(self, time_us: int, rest: bytes) -> None:
        """Take one, read as it would be from a file."""
        batch = bytearray()
        encode_again(time_us, rest, batch)
        self.events.append(msgspec.msgpack.decode(batch, type=Event))


@pytest.fixture
def ledger() -> Events:
    """Where events go."""
    return Events()


@pytest.fixture
def log() -> Lines:
    """Where lines go."""
    return Lines()


@pytest.fixture
def recorder(log: Any, ledger: Events) -> Recorder:
    """A recorder with counters of its own."""
    return Recorder(Metrics(), log, ledger)


def test_a_line_says_what_happened_and_who_called_it(recorder: Recorder, log: Lines) -> None:
    """Path, status, bytes, outcome and whose; the address is nowhere."""
    recorder.record(note(), 200, 1234, visit())
    (line,) = log.lines
    entry = msgspec.json.decode(line)
    assert {**entry, "time": 0, "ms": 0} == {
        "time": 0,
        "method": "GET",
        "path": PATH,
        "status": 200,
        "bytes": 1234,
        "ms": 0,
        "outcome": "hit",
        "consumer": "team",
        "client": "pip",
        "ecosystem": "pypi",
        "kind": "index",
        "project": "demo",
        "version": "1.0",
        "upstream": UPSTREAM,
    }
    assert b"\n" not in line


def test_an_event_says_who_got_what_and_what_it_cost(recorder: Recorder, ledger: Events) -> None:
    """Every field of the ledger has its source."""
    recorder.record(note("miss"), 200, 1234, visit(Cost(None, 2, 999, 0.25, "waited")))
    (event,) = ledger.events
    found = msgspec.structs.asdict(event)
    assert found.pop("time_us") > 1_700_000_000_000_000
    assert found == {
        "consumer": "team",
        "identified_by": "token",
        "tier": "gold",
        "ecosystem": "pypi",
        "kind": "index",
        "project": "demo",
        "version": "1.0",
        "filename": "demo-1.0.tar.gz",
        "digest": "sha256:ab",
        "method": "GET",
        "status": 200,
        "bytes_down": 1234,
        "cache_status": "miss",
        "upstream": UPSTREAM,
        "bytes_up": 999,
        "upstream_requests": 2,
        "queue_ms": 250,
        "throttled": "waited",
        "client_name": "pip",
        "client_version": "26.3",
        "client_class": "ci",
        "runtime": "cpython",
        "runtime_version": "3.11.7",
        "system": "linux",
        "arch": "x86_64",
        "ci": True,
        "ci_vendor": "gitlab",
        "agent": "",
    }


@pytest.mark.parametrize(
    ("outcome", "status", "saved"),
    [("hit", 200, 1), ("hit", 304, 1), ("stale", 200, 1), ("collapsed", 200, 1), ("miss", 200, 0),
     ("revalidated", 200, 0),
     ("missing", 404, 0), ("error", 502, 0)],
)  # fmt: skip
def test_what_upstream_was_spared_is_counted(recorder: Recorder, outcome: str, status: int, saved: int) -> None:
    """Replies that needed no request of their own, and no failures."""
    recorder.record(note(outcome), status, 10, visit())
    totals = recorder._metrics.totals()
    assert totals.replies["pypi", "index", outcome].number == 1
    assert sum(count.number for count in totals.saved.values()) == saved


def test_a_kept_reply_counts_as_any_other_hit(recorder: Recorder, log: Lines, ledger: Events) -> None:
    """The short way and the long way write the same line, the same event and the same numbers."""
    recorder.record(note(), 200, 10, visit())
    long_way = recorder._metrics.totals()
    cells = recorder.cells(note())
    ready = Ready(Hot(1, 10.0, b"", [], [], b"", note(), cells), 200, b"", bytes(10), PATH, Visitor(TEAM, PIP))
    recorder.record_hit(note(), cells, ready, TEAM, PIP, 0.0)
    short_way = recorder._metrics.totals()
    assert short_way.replies["pypi", "index", "hit"].number == 2 * long_way.replies["pypi", "index", "hit"].number
    assert short_way.saved["pypi", "index", ""].size_bytes == 20
    first, second = (msgspec.json.decode(line) for line in log.lines)
    assert {**first, "time": 0, "ms": 0} == {**second, "time": 0, "ms": 0}
    recorder.record_hit(note(), cells, ready, OTHER, PIP, 0.0)
    assert all(event.time_us > 1_700_000_000_000_000 for event in ledger.events)
    one, other, third = (msgspec.structs.replace(event, time_us=0) for event in ledger.events)
    assert one == other
    assert msgspec.structs.replace(third, consumer="team") == one and third.consumer == "other"


def test_a_refusal_is_counted_under_its_error(recorder: Recorder, ledger: Events) -> None:
    """Once, by class; a page of the gateway's own is of no ecosystem: it is neither counted nor in the ledger."""
    recorder.record(Note("pypi", "index", "error", error="IntegrityError"), 502, 0, visit())
    recorder.record(Note(outcome="missing", error="NotFound"), 404, 0, visit())
    totals = recorder._metrics.totals()
    assert {key: count.number for key, count in totals.refused.items()} == {("pypi", "index", "IntegrityError"): 1}
    assert [event.status for event in ledger.events] == [502]


def test_what_goes_on_after_the_reply_is_charged_to_who_caused_it(recorder: Recorder, ledger: Events) -> None:
    """By an event without a status; what no request has asked for is the gateway's own."""
    upstream = Upstream(ecosystems()["pypi"], UPSTREAM, {})
    cost = Cost()
    cost.payer = Payer(TEAM, "ci")
    recorder.record(note("miss"), 200, 0, visit(cost))
    assert cost.is_closed
    recorder.record_late(upstream, "artifact", 77, cost)
    recorder.record_late(upstream, "index", 5, None)
    found = [(event.consumer, event.identified_by, event.status, event.bytes_up) for event in ledger.events[1:]]
    assert found == [("team", "token", 0, 77), ("mainstay", "gateway", 0, 5)]
