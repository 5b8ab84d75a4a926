"""What is written down of each reply: a line of the access log and a few counters. Nothing here waits."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

import msgspec

from mainstay.gateway.reply import Note
from mainstay.telemetry.access import AccessLog
from mainstay.telemetry.metrics import Metrics

_SAVED = frozenset({"hit", "collapsed", "stale"})


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
    client: str = ""
    ecosystem: str = ""
    kind: str = ""
    project: str = ""
    version: str = ""
    upstream: str = ""
    error: str = ""


class Recorder:
    """Notes replies for one worker."""

    def __init__(self, metrics: Metrics, access: AccessLog | None) -> None:
        self._metrics = metrics
        self._access = access

    def record(
        self, note: Note, outcome: str, status: int, size_bytes: int, scope: MutableMapping[str, Any], started: float
    ) -> None:
        """A reply has ended."""
        if note.ecosystem:
            self._metrics.count_reply(note.ecosystem, note.kind, outcome, size_bytes)
            if outcome in _SAVED and status < 400:
                self._metrics.count_saved(note.ecosystem, note.kind, size_bytes)
            if note.error and status >= 400:
                self._metrics.count_refused(note.ecosystem, note.kind, note.error)
        if self._access is not None:
            peer = scope.get("client")
            client = peer[0] if peer else ""
            method, path = scope["method"], scope["path"]
            self._access.record(_entry(note, outcome, status, size_bytes, method, path, client, started))

    def cells(self, note: Note) -> tuple[list[int], list[int]]:
        """The counters of a reply that is given again and again."""
        return self._metrics.hit_cells(note.ecosystem, note.kind)

    def record_hit(
        self,
        note: Note,
        cells: tuple[list[int], list[int]],
        status: int,
        size_bytes: int,
        path: str,
        client: str,
        started: float,
    ) -> None:
        """As `record`, for a kept reply to a GET: the same in a third of the time."""
        for cell in cells:
            cell[0] += 1
            cell[1] += size_bytes
        if self._access is not None:
            self._access.record(_entry(note, "hit", status, size_bytes, "GET", path, client, started))

    def refused(self, note: Note, reason: str) -> None:
        """A transfer was broken off after its headers were out."""
        if note.ecosystem:
            self._metrics.count_refused(note.ecosystem, note.kind, reason)


def _entry(
    note: Note, outcome: str, status: int, size_bytes: int, method: str, path: str, client: str, started: float
) -> Entry:
    return Entry(
        time.time(),
        method,
        path,
        status,
        size_bytes,
        (time.perf_counter() - started) * 1000,
        outcome,
        client,
        note.ecosystem,
        note.kind,
        note.project,
        note.version,
        note.upstream,
        note.error,
    )
