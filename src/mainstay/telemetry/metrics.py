"""Counters for Prometheus, summed over all workers, that cost the request path one dictionary look-up.

`prepare` must run before anything imports prometheus_client, which decides on import whether its values live in files
that other processes can read (its multiprocess mode). That is why it is imported inside functions here.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay import errors

if TYPE_CHECKING:
    from prometheus_client import Counter

KINDS = frozenset({"index", "artifact", "sidecar", "passthrough", "generated"})
OUTCOMES = frozenset({"hit", "miss", "stale", "revalidated", "collapsed", "error", "refused", "missing"})
UNFINISHED_LOOKS, UNFINISHED_PAUSE_S = 20, 0.02
_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Count:
    """How many, and how many bytes."""

    number: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What this process has counted since it started. Keys are (ecosystem, kind, outcome or reason or "")."""

    replies: dict[Key, Count] = field(default_factory=dict)
    upstream: dict[Key, Count] = field(default_factory=dict)
    saved: dict[Key, Count] = field(default_factory=dict)
    refused: dict[Key, Count] = field(default_factory=dict)


class _Tally:
    """Counts in plain lists, and how much of each was handed on already."""

    def __init__(self, outcomes: frozenset[str] | None) -> None:
        self.cells: dict[Key, list[int]] = {}
        self._outcomes = outcomes
        self._done: dict[Key, tuple[int, int]] = {}

    def touch(self, ecosystem: str, kind: str, outcome: str) -> None:
        if (ecosystem, kind, outcome) not in self.cells:
            _check_labels(ecosystem, kind, outcome, self._outcomes)
            self.cells[ecosystem, kind, outcome] = [0, 0]

    def add(self, ecosystem: str, kind: str, outcome: str, size_bytes: int) -> None:
        self.touch(ecosystem, kind, outcome)
        cell = self.cells[ecosystem, kind, outcome]
        cell[0] += 1
        cell[1] += size_bytes

    def deltas(self) -> list[tuple[Key, int, int]]:
        """(key, number, bytes) added since the last call."""
        found = []
        for key, (number, size_bytes) in self.cells.items():
            old_number, old_bytes = self._done.get(key, (0, 0))
            if number != old_number:
                found.append((key, number - old_number, size_bytes - old_bytes))
                self._done[key] = (number, size_bytes)
        return found

    def totals(self) -> dict[Key, Count]:
        return {key: Count(number, size_bytes) for key, (number, size_bytes) in self.cells.items()}


def prepare(folder: Path, *, wipe: bool) -> None:
    """Have every process of this server count into files in `folder`. The main process wipes it, workers do not.

    Raises:
        RuntimeError: prometheus_client was imported already.
        DataFolderError: the folder cannot be made or wiped.
    """
    if "prometheus_client" in sys.modules and os.environ.get(_FOLDER_VARIABLE) != str(folder):
        raise RuntimeError("prometheus_client was imported before telemetry.metrics.prepare")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if wipe:
            for old in folder.glob("*.db"):
                old.unlink(missing_ok=True)
    except OSError as error:
        raise errors.DataFolderError(f"The folder {folder} cannot be written: {error.strerror or error}.") from error
    os.environ[_FOLDER_VARIABLE] = str(folder)


class Metrics:
    """One per process, used by one thread. Counts go to Prometheus's own values when they are flushed."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

        # Absent where several processes count, so absent everywhere.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self._registry = CollectorRegistry()

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"mainstay_{name}", words, ("ecosystem", "kind", *labels), registry=self._registry)

        self._replies = _Tally(OUTCOMES)
        self._upstream = _Tally(None)
        self._saved = _Tally(frozenset({""}))
        self._refused = _Tally(_reasons())
        self._requests_total = counter("requests_total", "Requests answered.", "outcome")
        self._bytes_total = counter("bytes_total", "Body bytes sent to clients.", "outcome")
        self._upstream_requests = counter("upstream_requests_total", "Requests sent to upstream.", "outcome")
        self._upstream_bytes = counter("upstream_bytes_total", "Body bytes received from upstream.")
        self._saved_requests = counter("upstream_saved_requests_total", "Requests that upstream was spared.")
        self._saved_bytes = counter("upstream_saved_bytes_total", "Body bytes that upstream was spared.")
        self._refused_total = counter("refused_total", "Things refused, by the error that says why.", "reason")
        Counter("mainstay_worker_starts_total", "Worker processes started.", registry=self._registry).inc()
        self._store_bytes = Gauge(
            "mainstay_store_bytes", "Bytes in the store.", registry=self._registry, multiprocess_mode="mostrecent"
        )
        self._resting = Gauge(
            "mainstay_upstream_resting",
            "Upstreams that are left alone for now.",
            ("ecosystem",),
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )

        self._store_bytes.set(0)
        _allocate(os.environ.get(_FOLDER_VARIABLE))

    def count_reply(self, ecosystem: str, kind: str, outcome: str, size_bytes: int) -> None:
        """A client was answered with a body of that size.

        Raises:
            ValueError: a label that is not one of the few allowed; a package's name would make endless series.
        """
        self._replies.add(ecosystem, kind, outcome, size_bytes)

    def hit_cells(self, ecosystem: str, kind: str) -> tuple[list[int], list[int]]:
        """The [number, bytes] of hits and of what upstream was spared, for a caller that adds to them by itself: on the
        warm path two calls saved are a tenth of the time."""
        self._replies.touch(ecosystem, kind, "hit")
        self._saved.touch(ecosystem, kind, "")
        return self._replies.cells[ecosystem, kind, "hit"], self._saved.cells[ecosystem, kind, ""]

    def count_upstream(self, ecosystem: str, kind: str, outcome: str, size_bytes: int) -> None:
        """Upstream was asked and sent that much; `outcome` is a short lower-case word."""
        self._upstream.add(ecosystem, kind, outcome, size_bytes)

    def count_saved(self, ecosystem: str, kind: str, size_bytes: int) -> None:
        """A request of that size did not have to go upstream."""
        self._saved.add(ecosystem, kind, "", size_bytes)

    def count_refused(self, ecosystem: str, kind: str, reason: str) -> None:
        """Something was refused; `reason` is the name of the class in `errors`."""
        self._refused.add(ecosystem, kind, reason, 0)

    def set_store_bytes(self, size_bytes: int) -> None:
        """How much the store holds."""
        self._store_bytes.set(size_bytes)

    def set_resting(self, ecosystem: str, number: int) -> None:
        """How many upstreams of the ecosystem rest."""
        _check_word("ecosystem", ecosystem)
        self._resting.labels(ecosystem).set(number)

    def totals(self) -> Totals:
        """What this process has counted, for the receipt."""
        return Totals(self._replies.totals(), self._upstream.totals(), self._saved.totals(), self._refused.totals())

    def flush(self) -> None:
        """Hand on what was counted since the last time."""
        for key, number, size_bytes in self._replies.deltas():
            self._requests_total.labels(*key).inc(number)
            self._bytes_total.labels(*key).inc(size_bytes)
        for key, number, size_bytes in self._upstream.deltas():
            self._upstream_requests.labels(*key).inc(number)
            self._upstream_bytes.labels(*key[:2]).inc(size_bytes)
        for key, number, size_bytes in self._saved.deltas():
            self._saved_requests.labels(*key[:2]).inc(number)
            self._saved_bytes.labels(*key[:2]).inc(size_bytes)
        for key, number, _ in self._refused.deltas():
            self._refused_total.labels(*key).inc(number)

    def render(self) -> bytes:
        """Flush, and the sum over all processes in Prometheus's text format (`text/plain; version=0.0.4`)."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self.flush()
        folder = os.environ.get(_FOLDER_VARIABLE)
        if not folder:
            return generate_latest(self._registry)
        whole = CollectorRegistry()
        MultiProcessCollector(whole, path=folder)  # type: ignore[no-untyped-call]  # the library has no types here
        for _ in range(UNFINISHED_LOOKS):
            # Another worker that is just starting makes its file in this moment: it is empty, then it has its size.
            with suppress(struct.error):
                return generate_latest(whole)
            time.sleep(UNFINISHED_PAUSE_S)
        return generate_latest(whole)


def _allocate(folder: str | None) -> None:
    """Give this process's files their whole size on disk: a hole in a mapped file is a SIGBUS on a full disk."""
    for path in Path(folder).glob(f"*_{os.getpid()}.db") if folder else ():
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _reasons() -> frozenset[str]:
    return frozenset(
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MainstayError)
    )


def _check_labels(ecosystem: str, kind: str, outcome: str, outcomes: frozenset[str] | None) -> None:
    _check_word("ecosystem", ecosystem)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(sorted(KINDS))}")
    if outcomes is None:
        _check_word("outcome", outcome)
    elif outcome not in outcomes:
        raise ValueError(f"{outcome!r} is none of {', '.join(sorted(outcomes))}")


def _check_word(label: str, value: str) -> None:
    if not _WORD.fullmatch(value):
        raise ValueError(f"{label} {value!r} is not a short lower-case word")
