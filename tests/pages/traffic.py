"""A ledger with some days of traffic as an organisation might have it: made up, and the same in every run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from mainstay.db.engine import Database
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger

UPSTREAM = "https://registry.example/"
# Consumer, how it is known, tier, its programs with their class and ecosystem, and its part of the traffic.
CALLERS = (
    ("build-farm", "token", "ci", (("pip", "ci", "pypi"), ("npm", "ci", "npm"), ("cargo", "ci", "cargo")), 46),
    ("web-team", "network", "free", (("npm", "person", "npm"), ("pnpm", "person", "npm")), 18),
    ("data-science", "token", "free", (("uv", "person", "pypi"), ("pip", "person", "pypi")), 14),
    ("backend", "network", "free", (("maven", "ci", "maven"), ("go", "person", "golang")), 12),
    ("nightly-scan", "token", "bulk", (("trivy", "scanner", "pypi"), ("trivy", "scanner", "npm")), 6),
    ("address:5f1c09e2ab37", "address", "free", (("pip", "unknown", "pypi"),), 4),
)
PROJECTS = {
    "pypi": ("numpy", "pandas", "requests", "flask", "cryptography", "pillow", "django"),
    "npm": ("react", "@types/node", "typescript", "esbuild", "lodash", "webpack"),
    "cargo": ("serde", "tokio", "clap", "regex"),
    "maven": ("org.slf4j/slf4j-api", "com.fasterxml.jackson.core/jackson-databind"),
    "golang": ("golang.example/x/net", "example.org/a/very/long/module/path/that/goes/on/and/on/v2"),
}
VERSIONS = ("1.9.4", "2.0.1", "2.1.0")
ODD = (
    '<script>alert("x")</script>',
    "a&b<c>'\"d",
    "\u202egnp.exe\x1b[31m",
    "x" * 180,
    "../../etc/passwd",
    "100%25?q=1#f",
    "Ärger/日本",
)
"""Names as a stranger might make them up."""


def some_traffic(now: datetime, days: int = 8, count: int = 4000, seed: int = 7) -> Iterator[Event]:
    """Events of the last days up to `now`, most of them in working hours."""
    chance = random.Random(seed)
    for _ in range(count):
        day = now - timedelta(days=chance.randrange(days))
        hour = min(23, max(0, round(chance.gauss(13, 4))))
        moment = day.replace(hour=hour, minute=chance.randrange(60), second=chance.randrange(60), microsecond=0)
        if moment > now:
            # What would be later today is spread over the part of it that has been, however short that is.
            midnight = now.replace(hour=0, minute=0, second=0)
            moment = midnight + chance.random() * (now - midnight)
        yield _some_event(chance, moment)


def odd_traffic(now: datetime) -> Iterator[Event]:
    """One reply for each odd name, as a project, a version and a consumer."""
    for name in ODD:
        time_us = int(now.timestamp()) * 1_000_000 - 1
        yield Event(
            time_us,
            name,
            "token",
            "free",
            "pypi",
            "artifact",
            name,
            name,
            name,
            f"sha256:{1:064x}",
            "GET",
            200,
            10,
            "hit",
        )


def write_ledger(data: Path, events: Iterator[Event]) -> None:
    """Have the data folder hold these events."""
    Database.open(data).close()
    ledger = Ledger(data)
    for event in sorted(events, key=lambda event: event.time_us):
        ledger.record(event)
    asyncio.run(ledger.close())


def now() -> datetime:
    """The moment that it is, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def _some_event(chance: random.Random, moment: datetime) -> Event:
    (caller,) = chance.choices(CALLERS, [entry[4] for entry in CALLERS])
    consumer, identified_by, tier, programs, _ = caller
    client, client_class, ecosystem = chance.choice(programs)
    project = PROJECTS[ecosystem][min(int(chance.expovariate(0.6)), len(PROJECTS[ecosystem]) - 1)]
    is_file = chance.random() < 0.55
    version = chance.choice(VERSIONS) if is_file else ""
    size = 20_000 + int(sha256(f"{project}{version}".encode()).hexdigest()[:6], 16) // (2 if is_file else 40)
    (outcome,) = chance.choices(
        ("hit", "miss", "revalidated", "collapsed", "refused", "missing", "error"), (820, 70, 60, 20, 14, 14, 2)
    )
    is_sent = outcome in ("hit", "miss", "revalidated", "collapsed")
    limited = chance.random() < 0.02 and tier == "bulk"
    status = 200 if is_sent else {"refused": 429 if tier == "bulk" else 403, "missing": 404}.get(outcome, 502)
    return Event(
        time_us=int(moment.timestamp()) * 1_000_000,
        consumer=consumer,
        identified_by=identified_by,
        tier=tier,
        ecosystem=ecosystem,
        kind="artifact" if is_file else "index",
        project=project,
        version=version,
        filename=f"{project.rpartition('/')[2]}-{version}.tar.gz" if is_file else "",
        digest=f"sha256:{sha256(f'{project}{version}'.encode()).hexdigest()}" if is_file and is_sent else "",
        method="GET",
        status=status,
        bytes_down=size if is_sent else 120,
        cache_status=outcome,
        upstream=f"{UPSTREAM}{ecosystem}/",
        bytes_up=size if outcome == "miss" else 0,
        upstream_requests=int(outcome in ("miss", "revalidated", "missing", "error")),
        throttled="refused" if status == 429 else "would-wait" if limited else "",
        client_name=client,
        client_version="1.2.3",
        client_class=client_class,
        system="linux",
        ci=client_class == "ci",
    )
