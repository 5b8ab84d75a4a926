"""The questions answered in plain Python, one event after the other, to hold the engines to."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mainstay.usage.columnar import SCHEMA, make_batch
from mainstay.usage.event import Event
from mainstay.usage.question import DIMENSIONS, MEASURES, Question

DAY_US = 86_400_000_000
FIRST_DAY = date(2026, 3, 7)
"""In New York the clocks move on the next one."""
LAST_DAY = date(2026, 3, 9)
START_US = int(datetime(2026, 3, 7, tzinfo=UTC).timestamp()) * 1_000_000
EDGES_US = [START_US - 1, *(START_US + day * DAY_US + step for day in range(4) for step in (-1, 0, 1))]
"""The last and first microseconds of days, with those just outside the period."""
GROUPINGS: tuple[tuple[str, ...], ...] = (
    (),
    ("consumer",),
    ("ecosystem", "project"),
    ("day",),
    ("consumer", "class", "ci"),
    ("day", "tier", "outcome", "status"),
)


def write_events(path: Path, events: Sequence[Event]) -> Path:
    """Events as a Parquet file like the ledger's."""
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches([make_batch(events)], SCHEMA), path, compression="zstd")
    return path


def some_events(seed: int, count: int) -> list[Event]:
    """Events of few consumers, projects and moments, so that they meet."""
    chance = random.Random(seed)
    return [make_event(chance.choice, chance.randrange) for _ in range(count)]


def make_event(choice: Any, number: Any) -> Event:
    """One event, as `choice` of a sequence and `number` below a bound decide."""
    digest = number(4)
    size = (0, 10, 2**40, 77)[digest]
    status = choice((200, 200, 200, 206, 304, 404, 0))
    return Event(
        time_us=choice((*EDGES_US, START_US + number(3 * DAY_US))),
        consumer=choice(("ci", "Ärger", "address:0123456789ab")),
        tier=choice(("free", "gold")),
        ecosystem=choice(("one", "two")),
        kind=choice(("index", "artifact")),
        project=choice(("", "alpha", "beta", "Beta")),
        digest=choice(("", f"sha256:{sha256(bytes([digest])).hexdigest()}")),
        method=choice(("GET", "HEAD")) if status else "",
        status=status,
        bytes_down=choice((size, size, size // 2)) if status else 0,
        cache_status=choice(("hit", "miss", "refused", "stale")),
        bytes_up=number(3) * 2**50,
        upstream_requests=number(3),
        throttled=choice(("", "waited", "refused", "would-wait")),
        client_class=choice(("person", "ci")),
        ci=choice((False, True)),
    )


def summarise(events: Iterable[Event], question: Question) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows in order and the total, as an answer has them."""
    start = _midnight_us(question.since)
    inside = [event for event in events if start <= event.time_us < _midnight_us(question.until) + DAY_US]
    inside.sort(key=lambda event: (event.time_us, _group(event, question.by)))
    rows: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0) | {"digests": set()})
    total = dict.fromkeys(MEASURES, 0) | {"digests": set()}
    wasted = _redundant(inside)
    for event in inside:
        for row in (rows[_group(event, question.by)], total):
            _count(row, event, wasted.get(id(event), 0))
    if not question.by and not rows:
        rows[()] = dict.fromkeys(MEASURES, 0) | {"digests": set()}
    named = [dict(zip(question.by, group)) | _finished(row) for group, row in rows.items()]
    named.sort(key=lambda row: tuple(row[name] for name in question.by))
    named.sort(key=lambda row: row[question.sort], reverse=True)
    if question.limit:
        named = named[: question.limit]
    if "day" in question.by:
        named.sort(key=lambda row: row["day"])
    return named, _finished(total)


def _redundant(ordered: Sequence[Event]) -> dict[int, int]:
    """By event, the bytes of a whole copy that its consumer had already."""
    longest: dict[str, int] = defaultdict(int)
    for event in ordered:
        if event.status == 200:
            longest[event.digest] = max(longest[event.digest], event.bytes_down)
    had: set[tuple[str, str]] = set()
    wasted = {}
    for event in ordered:
        if event.status == 200 and event.digest and event.bytes_down == longest[event.digest]:
            if (event.consumer, event.digest) in had:
                wasted[id(event)] = event.bytes_down
            had.add((event.consumer, event.digest))
    return wasted


def _count(row: dict[str, Any], event: Event, wasted_bytes: int) -> None:
    row["bytes"] += event.bytes_down
    row["upstream_requests"] += event.upstream_requests
    row["upstream_bytes"] += event.bytes_up
    row["redundant_bytes"] += wasted_bytes
    if event.status in (200, 206, 304) and event.digest:
        row["digests"].add(event.digest)
    if event.status:
        row["requests"] += 1
        row["hits"] += event.cache_status == "hit"
        row["refused"] += event.cache_status == "refused" or event.throttled == "refused"
        row["waited"] += event.throttled == "waited"


def _finished(row: dict[str, Any]) -> dict[str, Any]:
    digests = row.pop("digests")
    rate = round(row["hits"] / row["requests"], 4) if row["requests"] else None
    return row | {"artifacts": len(digests), "hit_rate": rate}


def _group(event: Event, by: Sequence[str]) -> tuple[Any, ...]:
    values = {name: getattr(event, DIMENSIONS[name]) for name in by}
    if "day" in values:
        values["day"] = datetime.fromtimestamp(event.time_us // 1_000_000, UTC).date().isoformat()
    return tuple(values.values())


def _midnight_us(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
