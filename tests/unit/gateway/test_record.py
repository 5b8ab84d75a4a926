from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mainstay.gateway.record import Entry, Recorder
from mainstay.gateway.reply import Note
from mainstay.telemetry.metrics import Metrics

SCOPE = {"method": "GET", "path": "/pypi/simple/démo/", "query_string": b"token=hunter2", "client": ("192.0.2.1", 5)}
NOTE = Note("pypi", "index", "hit", "demo", "1.0", "demo-1.0.tar.gz", "https://registry.example/simple/")


class Lines:
    """An access log that keeps its lines as they would be written."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def record(self, entry: Entry) -> None:
        """Take one."""
        self.lines.append(msgspec.json.encode(entry))


@pytest.fixture
def log() -> Lines:
    """Where lines go."""
    return Lines()


@pytest.fixture
def recorder(log: Any) -> Recorder:
    """A recorder with counters of its own."""
    return Recorder(Metrics(), log)


def test_a_line_says_what_happened_without_the_query(recorder: Recorder, log: Lines) -> None:
    """Path, status, bytes, outcome and whose; what stands behind the question mark may be a secret."""
    recorder.record(NOTE, "hit", 200, 1234, SCOPE, 0.0)
    (line,) = log.lines
    entry = msgspec.json.decode(line)
    assert {name: entry[name] for name in ("method", "path", "status", "bytes", "outcome", "client", "project")} == {
        "method": "GET",
        "path": "/pypi/simple/démo/",
        "status": 200,
        "bytes": 1234,
        "outcome": "hit",
        "client": "192.0.2.1",
        "project": "demo",
    }
    assert b"hunter2" not in line and b"\n" not in line


@pytest.mark.parametrize(
    ("outcome", "status", "saved"),
    [("hit", 200, 1), ("hit", 304, 1), ("stale", 200, 1), ("collapsed", 200, 1), ("miss", 200, 0),
     ("revalidated", 200, 0),
     ("missing", 404, 0), ("error", 502, 0)],
)  # fmt: skip
def test_what_upstream_was_spared_is_counted(recorder: Recorder, outcome: str, status: int, saved: int) -> None:
    """Replies that needed no request of their own, and no failures."""
    recorder.record(NOTE, outcome, status, 10, SCOPE, 0.0)
    totals = recorder._metrics.totals()
    assert totals.replies["pypi", "index", outcome].number == 1
    assert sum(count.number for count in totals.saved.values()) == saved


def test_a_kept_reply_counts_as_any_other_hit(recorder: Recorder, log: Lines) -> None:
    """The short way and the long way write the same line and the same numbers."""
    recorder.record(NOTE, "hit", 200, 10, SCOPE, 0.0)
    long_way = recorder._metrics.totals()
    recorder.record_hit(NOTE, recorder.cells(NOTE), 200, 10, "/pypi/simple/démo/", "192.0.2.1", 0.0)
    short_way = recorder._metrics.totals()
    assert short_way.replies["pypi", "index", "hit"].number == 2 * long_way.replies["pypi", "index", "hit"].number
    assert short_way.saved["pypi", "index", ""].size_bytes == 20
    first, second = (msgspec.json.decode(line) for line in log.lines)
    assert {**first, "time": 0, "ms": 0} == {**second, "time": 0, "ms": 0}


def test_a_refusal_is_counted_under_its_error(recorder: Recorder) -> None:
    """Once, by class; a page of the gateway's own is of no ecosystem and is not counted."""
    recorder.record(Note("pypi", "index", "error", error="IntegrityError"), "error", 502, 0, SCOPE, 0.0)
    recorder.record(Note(error="NotFound"), "missing", 404, 0, {**SCOPE, "client": None}, 0.0)
    totals = recorder._metrics.totals()
    assert {key: count.number for key, count in totals.refused.items()} == {("pypi", "index", "IntegrityError"): 1}
