"""A week of events with waste planted in it, and what of it must be found: each planting says itself what it wastes."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mainstay.db.engine import Database
from mainstay.usage.columnar import EventFile
from mainstay.usage.event import Event
from mainstay.usage.imported import IMPORTED_FOLDER
from mainstay.usage.ledger import Ledger

SINCE, UNTIL = date(2026, 3, 5), date(2026, 3, 11)
"""In New York the clocks move on the 8th."""
TTL_S = 300
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
START_US = int(datetime(2026, 3, 5, tzinfo=UTC).timestamp()) * SECOND_US
END_US = START_US + 7 * DAY_US
REGISTRY = "https://registry.example/"

Names = tuple[str, str, str, str, str]
"""Kind, consumer, client, class, ecosystem."""


@dataclass(frozen=True)
class Program:
    """A client of a consumer, in an ecosystem."""

    consumer: str
    client: str
    kind: str
    ecosystem: str

    def event(self, time_us: int, **changes: Any) -> Event:
        """A reply to it."""
        return Event(
            time_us,
            consumer=self.consumer,
            ecosystem=self.ecosystem,
            client_name=self.client,
            client_class=self.kind,
            **({"method": "GET", "status": 200, "kind": "artifact", "upstream": REGISTRY} | changes),
        )


BUILDS = Program("build-farm", "pip", "ci", "pypi")
BUILDS_UV = Program("build-farm", "uv", "ci", "pypi")
BUILDS_NPM = Program("build-farm", "npm", "ci", "npm")
ANNA = Program("anna", "pip", "person", "pypi")
ANNA_NPM = Program("anna", "npm", "person", "npm")
GOPHERS = Program("Ärger", "go-http-client", "unknown", "golang")
SCANNER = Program("address:0123456789ab", "trivy", "scanner", "maven")
NOBODY = Program("address:ba9876543210", "", "unknown", "cargo")
PROGRAMS = (BUILDS, BUILDS_UV, BUILDS_NPM, ANNA, ANNA_NPM, GOPHERS, SCANNER, NOBODY)


@dataclass
class Week:
    """`expected` has requests, bytes, upstream requests and upstream bytes by kind and program, small ones too."""

    chance: random.Random
    events: list[Event] = field(default_factory=list)
    imported: list[Event] = field(default_factory=list)
    expected: dict[Names, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0]))

    def add(self, event: Event, wasted: str = "") -> None:
        """An event, which is waste of that kind, or none."""
        self.events.append(event)
        if wasted:
            self.count(wasted, event, event.upstream_requests, event.bytes_up)

    def count(self, kind: str, event: Event, upstream_requests: int, upstream_bytes: int) -> None:
        """Expect that it is found."""
        names = (kind, event.consumer, event.client_name, event.client_class, event.ecosystem)
        found = (1, event.bytes_down, upstream_requests, upstream_bytes)
        self.expected[names] = [old + new for old, new in zip(self.expected[names], found)]

    def time(self) -> int:
        """Some moment of the week, on an even second."""
        return START_US + self.chance.randrange(7 * 86_400 // 2) * 2 * SECOND_US

    def save(self, data: Path) -> Path:
        """Have it all in a data folder, in no order."""
        Database.open(data).close()
        ledger = Ledger(data)
        for event in self.chance.sample(self.events, len(self.events)):
            ledger.record(event)
        asyncio.run(ledger.close())
        days = defaultdict(list)
        for event in self.imported:
            days[datetime.fromtimestamp(event.time_us // SECOND_US, UTC).date()].append(event)
        for day, events in days.items():
            file = EventFile(data / IMPORTED_FOLDER / "egress" / f"day={day}" / "log.parquet")
            file.add(events, "log")
            file.publish(sync=False)
        return data


def make_week(seed: int = 1) -> Week:
    """Everything planted."""
    week = Week(random.Random(seed))
    plantings: tuple[Callable[[Week], None], ...] = (
        plant_copies,
        plant_edges,
        plant_ties,
        plant_what_is_no_copy,
        plant_files,
        plant_documents,
        plant_what_is_no_document,
        plant_bypass,
    )
    for plant in plantings:
        plant(week)
    return week


def digest_of(name: str) -> str:
    """A digest, one for each name."""
    return f"sha256:{sha256(name.encode()).hexdigest()}"


def plant_copies(week: Week) -> None:
    """Files fetched several times on any days, by one program or two of a consumer, the later times under another name.

    Programs of one consumer share files, of two consumers too: each consumer needs one.
    """
    for number in range(40):
        size = week.chance.randrange(1, 200_000)
        for consumer in sorted({program.consumer for program in PROGRAMS}):
            theirs = [program for program in PROGRAMS if program.consumer == consumer]
            times = sorted({week.time() for _ in range(week.chance.randrange(6))})
            for at, time_us in enumerate(times):
                program = week.chance.choice(theirs)
                cost = {"upstream_requests": at % 2, "bytes_up": at % 2 * size}
                name = f"project-{number}" if at < 2 else f"other-name-{number}"
                event = program.event(
                    time_us, digest=digest_of(f"shared {number}"), project=name, bytes_down=size, **cost
                )
                week.add(event, "redundant" if at else "")


def plant_edges(week: Week) -> None:
    """Midnights are nothing, the ends of the period are."""
    file = {"digest": digest_of("edge"), "bytes_down": 2_000_000, "project": "edge"}
    week.add(BUILDS.event(START_US - 1, **file))
    week.add(BUILDS.event(START_US, **file))
    for day in range(1, 7):
        for step in (-1, 0, 1):
            week.add(BUILDS.event(START_US + day * DAY_US + step, **file), "redundant")
    week.add(BUILDS.event(END_US - 1, **file), "redundant")
    week.add(BUILDS.event(END_US, **file))


def plant_ties(week: Week) -> None:
    """In one microsecond, the first program by name is the one that needed it; among its own the cheapest copy."""
    time_us = START_US + 3 * DAY_US
    file = {"digest": digest_of("tie"), "bytes_down": 3_000_000}
    week.add(BUILDS_UV.event(time_us, upstream_requests=1, bytes_up=3_000_000, **file), "redundant")
    week.add(BUILDS.event(time_us, upstream_requests=1, bytes_up=3_000_000, **file), "redundant")
    week.add(BUILDS.event(time_us, **file))
    week.add(BUILDS_NPM.event(time_us + 1, **file), "redundant")


def plant_what_is_no_copy(week: Week) -> None:
    """Parts, heads, what broke off, what is missing, and cost without a reply, beside one whole copy."""
    file = {"digest": digest_of("whole"), "project": "whole"}
    for at in range(150):
        time_us = week.time()
        week.add(ANNA.event(time_us, status=206, bytes_down=4_000_000 - at, **file))
        week.add(ANNA.event(time_us, method="HEAD", **file))
        week.add(ANNA.event(time_us, bytes_down=3_999_999 - at, **file))
        week.add(ANNA.event(time_us, status=404, bytes_down=100, project="missing"))
        late = {"status": 0, "method": "", "upstream_requests": 1, "bytes_up": 4_000_000}
        week.add(replace(ANNA.event(time_us, **late), client_name="", client_class="unknown"))
    week.add(ANNA.event(week.time(), bytes_down=4_000_000, **file))


def plant_files(week: Week) -> None:
    """Questions whether a file has changed; those about signatures are none of these."""
    for at in range(130):
        file = {"digest": digest_of(f"file {at}"), "status": 304, "project": f"file-{at}"}
        week.add(BUILDS_NPM.event(week.time(), upstream_requests=at % 3, bytes_up=at % 5, **file), "revalidation")
        week.add(BUILDS_NPM.event(week.time(), **(file | {"kind": "sidecar"})))


def plant_documents(week: Week) -> None:
    """Chains of questions for one document: each less than the time of freshness after the one before is to spare."""
    for number in range(120):
        program = PROGRAMS[number % len(PROGRAMS)]
        time_us = START_US + number * 4000 * SECOND_US
        week.add(document(program, number, time_us))
        for step_us in (TTL_S * SECOND_US - 1, 1, 0, 200 * SECOND_US, 200 * SECOND_US):
            time_us += step_us
            status = week.chance.choice((200, 304))
            size = 5_000 if status == 200 else 0
            event = document(program, number, time_us, status=status, bytes_down=size)
            week.add(replace(event, upstream_requests=number % 2, bytes_up=number % 2 * 77), "revalidation")
        time_us += TTL_S * SECOND_US
        week.add(document(program, number, time_us))
    midnight_us = START_US + DAY_US
    week.add(document(ANNA, 999, midnight_us - 1))
    week.add(document(ANNA, 999, midnight_us), "revalidation")


def document(program: Program, number: int, time_us: int, **changes: Any) -> Event:
    """An answer with a project's index."""
    named = {"kind": "index", "project": f"indexed-{number}", "filename": f"indexed-{number}/", "bytes_down": 5_000}
    return program.event(time_us, **(named | changes))


def plant_what_is_no_document(week: Week) -> None:
    """Just after an answer: another program, another consumer, other documents, other methods, refusals, no names."""
    time_us = START_US + 6 * DAY_US + 5 * 3600 * SECOND_US
    for at in range(120):
        week.add(document(BUILDS, 2000 + at, time_us))
        week.add(document(BUILDS_UV, 2000 + at, time_us + 1))
        week.add(document(ANNA, 2000 + at, time_us + 2))
        week.add(document(BUILDS, 2000 + at, time_us + 3, filename="another"))
        week.add(document(BUILDS, 2000 + at, time_us + 4, method="HEAD", bytes_down=0))
        week.add(document(BUILDS, 2000 + at, time_us + 5, status=404))
        week.add(document(BUILDS, 2000 + at, time_us + 6, kind="passthrough"))
        week.add(document(BUILDS, 2000 + at, time_us + 7, project="", filename=""))
        week.add(replace(document(BUILDS, 2000 + at, time_us + 8), ecosystem="cargo"))


def plant_bypass(week: Week) -> None:
    """Two programs past the gateway on one day, the gateway's own requests on two, and what is outside the period."""
    day_us = START_US + 2 * DAY_US
    laptop = Program("address:00112233aabb", "pip", "person", "pypi")
    wild = Program("address:00112233aabb", "somebody's-own", "unknown", "npm")
    for at in range(500):
        event = laptop.event(day_us + at, bytes_down=10_000, project="numpy", cache_status="miss")
        week.imported.append(event)
        week.count("bypass", event, 1, 10_000)
    for outcome, asked, cost in (("hit", 0, 0), ("revalidated", 1, 0), ("", 1, 7_000_000)):
        event = wild.event(day_us + DAY_US - 1, bytes_down=7_000_000, cache_status=outcome)
        week.imported.append(event)
        week.count("bypass", event, asked, cost)
    own = Program("address:445566778899", "mainstay", "mirror", "pypi")
    for at in range(200):
        week.imported += [own.event(day_us + step * DAY_US + at, bytes_down=50_000) for step in (0, 1)]
    week.imported += [laptop.event(START_US - 1, bytes_down=9_000_000), laptop.event(END_US, bytes_down=9_000_000)]
    week.imported += [laptop.event(day_us, status=0, bytes_down=9_000_000), replace(laptop.event(day_us), ecosystem="")]
