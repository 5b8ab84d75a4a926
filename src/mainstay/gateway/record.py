"""What is written down of each reply: an event of the ledger, a line of the access log, a few counters. Nothing waits.

Neither has a place for the client's address or its user agent: who called is the consumer, or a pseudonym of the day.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from mainstay.access.identity import Caller
from mainstay.access.tiers import FREE
from mainstay.gateway.reply import Note
from mainstay.gateway.turns import Payer
from mainstay.telemetry.access import AccessLog
from mainstay.telemetry.metrics import Metrics
from mainstay.upstream.cost import Cost
from mainstay.upstream.registry import Upstream
from mainstay.usage.event import Client, Event
from mainstay.usage.frames import encode_rest

if TYPE_CHECKING:
    from mainstay.gateway.hot import Ready

_SAVED = frozenset({"hit", "collapsed", "stale"})
ITSELF = Caller("mainstay", "", "gateway")
"""Who causes the traffic with upstream that no request asked for."""

UNKNOWN = Caller("unknown", FREE, "address")
"""Who calls while the database does not say."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `access.jsonl`. `time` is seconds since 1970 UTC, `ms` the time to the end of the reply. The query is
    left out: it may hold what is nobody's business."""

    time: float
    method: str
    path: str
    status: int
    bytes: int
    ms: float
    outcome: str
    consumer: str = ""
    client: str = ""
    ecosystem: str = ""
    kind: str = ""
    project: str = ""
    version: str = ""
    upstream: str = ""
    error: str = ""


@dataclass(slots=True)
class Visit:
    """One request, as far as it is written down. `path` holds no token; `started` is of the performance counter."""

    method: str
    path: str
    caller: Caller
    client: Client
    cost: Cost
    started: float


class EventSink(Protocol):
    """Takes events; never waits and never fails."""

    def record(self, event: Event) -> None:
        """Take one."""

    def record_again(self, time_us: int, rest: bytes) -> None:
        """Take one of which all but the time is encoded."""


class Recorder:
    """Notes replies for one worker."""

    def __init__(self, metrics: Metrics, access: AccessLog | None, ledger: EventSink | None) -> None:
        self._metrics = metrics
        self._access = access
        self._ledger = ledger

    def record(self, note: Note, status: int, size_bytes: int, visit: Visit) -> None:
        """A reply has ended."""
        cost = visit.cost
        cost.is_closed = True
        if note.ecosystem:
            self._metrics.count_reply(note.ecosystem, note.kind, note.outcome, size_bytes)
            if note.outcome in _SAVED and status < 400:
                self._metrics.count_saved(note.ecosystem, note.kind, size_bytes)
            if note.error and status >= 400:
                self._metrics.count_refused(note.ecosystem, note.kind, note.error)
        now = time.time()
        self._write(now, note, status, size_bytes, visit.method, visit.path, visit.caller, visit.client, visit.started)
        if self._ledger is not None and note.ecosystem:
            queue_ms = round(cost.queue_s * 1000)
            self._ledger.record(
                _event(
                    now,
                    note,
                    visit.method,
                    status,
                    size_bytes,
                    visit.caller,
                    visit.client,
                    cost.size_bytes,
                    cost.requests,
                    queue_ms,
                    cost.throttled,
                )
            )

    def cells(self, note: Note) -> tuple[list[int], list[int]]:
        """The counters of a reply that is given again and again."""
        return self._metrics.hit_cells(note.ecosystem, note.kind)

    def record_hit(
        self,
        note: Note,
        cells: tuple[list[int], list[int]],
        ready: Ready,
        caller: Caller,
        client: Client,
        started: float,
    ) -> None:
        """As `record`, for a kept reply to a GET: the same in a third of the time."""
        size_bytes = len(ready.body)
        for cell in cells:
            cell[0] += 1
            cell[1] += size_bytes
        now = time.time()
        self._write(now, note, ready.status, size_bytes, "GET", ready.path, caller, client, started)
        if self._ledger is not None:
            if ready.recorded is None or ready.recorded[0] is not caller:
                event = _event(now, note, "GET", ready.status, size_bytes, caller, client, 0, 0, 0)
                ready.recorded = (caller, encode_rest(event))
            self._ledger.record_again(int(now * 1_000_000), ready.recorded[1])

    def record_late(self, upstream: Upstream, kind: str, size_bytes: int, cost: Cost | None) -> None:
        """An exchange with upstream has ended that no reply tells of: its client had left, or there was none."""
        if self._ledger is None:
            return
        payer = cost.payer if cost is not None else None
        caller = payer.caller if isinstance(payer, Payer) else ITSELF
        note = Note(upstream.ecosystem.id, kind, "", upstream=upstream.id)
        self._ledger.record(_event(time.time(), note, "", 0, 0, caller, Client(), size_bytes, 1, 0))

    def refused(self, note: Note, reason: str) -> None:
        """A transfer was broken off after its headers were out."""
        if note.ecosystem:
            self._metrics.count_refused(note.ecosystem, note.kind, reason)

    def _write(
        self,
        now: float,
        note: Note,
        status: int,
        size_bytes: int,
        method: str,
        path: str,
        caller: Caller,
        client: Client,
        started: float,
    ) -> None:
        if self._access is None:
            return
        entry = Entry(
            now,
            method,
            path,
            status,
            size_bytes,
            (time.perf_counter() - started) * 1000,
            note.outcome,
            caller.consumer,
            client.name,
            note.ecosystem,
            note.kind,
            note.project,
            note.version,
            note.upstream,
            note.error,
        )
        self._access.record(entry)


def _event(
    now: float,
    note: Note,
    method: str,
    status: int,
    bytes_down: int,
    caller: Caller,
    client: Client,
    bytes_up: int,
    upstream_requests: int,
    queue_ms: int,
    throttled: str = "",
) -> Event:
    return Event(
        int(now * 1_000_000),
        caller.consumer,
        caller.identified_by,
        caller.tier,
        note.ecosystem,
        note.kind,
        note.project,
        note.version,
        note.filename,
        note.digest,
        method,
        status,
        bytes_down,
        note.outcome,
        note.upstream,
        bytes_up,
        upstream_requests,
        queue_ms,
        throttled,
        client.name,
        client.version,
        client.kind,
        client.runtime,
        client.runtime_version,
        client.system,
        client.arch,
        client.ci,
        client.ci_vendor,
        client.agent,
    )
