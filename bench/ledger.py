"""The usage ledger on one core: events recorded and written, then sealed, beside encoding alone and plain writing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from figures import Row
from install import TOOLS
from mainstay.db.engine import Database
from mainstay.db.ledger import load_files
from mainstay.usage import columnar
from mainstay.usage.event import Event
from mainstay.usage.frames import encode_event
from mainstay.usage.ledger import LOG_FOLDER, Ledger
from mainstay.usage.loss import list_segments
from mainstay.usage.seal import seal

FLUSH_EVENTS = 10_000
"""Events between two flushes: what comes in 100 ms at 100,000 a second."""
CONSUMERS, PROJECTS, VERSIONS = 200, 5_000, 40
START_US = 1_795_219_200_000_000
CLIENTS = (
    ("pip", "26.0.1", "ci", "cpython", "3.13.1", "linux", "x86_64", True, "github-actions", ""),
    ("npm", "11.4.2", "person", "node", "24.1.0", "darwin", "arm64", False, "", "claude-code"),
    ("cargo", "1.90.0", "unknown", "", "", "", "", False, "", ""),
)
ECOSYSTEMS = ("pypi", "npm", "cargo")


def run_ledger(events: int, rounds: int) -> Row:
    """Medians of the rounds. Rates are events/s on one core; the two after `write` are what bounds it, in the same run.

    The events exist before the clock runs. Writing syncs as the gateway does, and includes the closing of the segment.
    """
    made = make_events(events)
    with one_core():
        measured = [_measure(made) for _ in range(rounds)]
    figures = {name: median(row[name] for row in measured) for name in measured[0]}
    written = 1 / figures["write_rate"]
    whole_rate = 1 / (written + 1 / figures["seal_rate"])
    row: Row = {
        "events": events,
        **{name: round(value, 1 if "bytes" in name else None) for name, value in figures.items()},
        "write_and_seal_rate": round(whole_rate),
        "of_encoding": round(figures["write_rate"] / figures["encode_rate"], 2),
        "of_plain_write": round(figures["write_rate"] / figures["plain_write_rate"], 2),
    }
    print(f"ledger {row}", flush=True)
    return row


def make_events(count: int) -> list[Event]:
    """Replies as a busy gateway gives them: few consumers and clients, many projects of which a few are asked for most,
    nine hits in ten. The same in every run."""
    chance = random.Random(1)
    return [_make_event(chance, START_US + number * 10) for number in range(count)]


def _make_event(chance: random.Random, time_us: int) -> Event:
    kind = chance.randrange(3)
    name, version, client_class, *rest = CLIENTS[kind]
    project = f"project-{int(PROJECTS * chance.random() ** 3)}"
    release = f"{chance.randrange(VERSIONS)}.{chance.randrange(10)}.0"
    filename = f"{project}-{release}-py3-none-any.whl"
    is_hit = chance.random() < 0.9
    size = chance.randrange(2_000, 2_000_000)
    return Event(
        time_us,
        f"team-{chance.randrange(CONSUMERS)}",
        "token",
        "standard",
        ECOSYSTEMS[kind],
        "artifact",
        project,
        release,
        filename,
        f"sha256:{hashlib.sha256(filename.encode()).hexdigest()}",
        "GET",
        200,
        size,
        "hit" if is_hit else "miss",
        "https://registry.example/",
        0 if is_hit else size,
        0 if is_hit else 1,
        0,
        "",
        name,
        version,
        client_class,
        *rest,
    )


@contextmanager
def one_core() -> Iterator[None]:
    """Let this process have one core, all its threads together."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _measure(events: Sequence[Event]) -> dict[str, float]:
    count = len(events)
    TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        data = Path(folder)
        encode_s = _seconds(lambda: _encode(events))
        write_s = _seconds(lambda: _write(data, events))
        segments = list_segments(data / LOG_FOLDER)
        log_bytes = sum(path.stat().st_size for path in segments)
        plain_s = _seconds(lambda: _write_plain(data / "plain", log_bytes, count // FLUSH_EVENTS))
        with closing(Database.open(data)) as database:
            seal_s = _seconds(lambda: seal(data, database))
            files = database.read_sync(load_files)
        if sum(file.events for file in files) != count:
            raise SystemExit(f"the ledger holds {sum(file.events for file in files)} of {count} events")
        with closing(columnar.open_ledger(data, data / "tail")) as snapshot:
            if snapshot.losses:
                raise SystemExit(f"the ledger has losses: {snapshot.losses}")
    return {
        "write_rate": count / write_s,
        "encode_rate": count / encode_s,
        "plain_write_rate": count / plain_s,
        "seal_rate": count / seal_s,
        "log_bytes": log_bytes / count,
        "parquet_bytes": sum(file.size for file in files) / count,
    }


def _encode(events: Sequence[Event]) -> None:
    """MessagePack and nothing else, in buffers of the same size."""
    for start in range(0, len(events), FLUSH_EVENTS):
        buffer = bytearray()
        for event in events[start : start + FLUSH_EVENTS]:
            encode_event(event, buffer, -1)


def _write(data: Path, events: Sequence[Event]) -> None:
    ledger = Ledger(data)
    for start in range(0, len(events), FLUSH_EVENTS):
        for event in events[start : start + FLUSH_EVENTS]:
            ledger.record(event)
        ledger.flush()
    asyncio.run(ledger.close())
    if ledger.lost:
        raise SystemExit(f"the ledger has lost {ledger.lost} events")


def _write_plain(path: Path, size_bytes: int, writes: int) -> None:
    """As many bytes in as many writes, synced once at the end."""
    piece = os.urandom(size_bytes // max(1, writes))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(max(1, writes)):
            os.write(descriptor, piece)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    run_ledger(1_000_000, 3)
