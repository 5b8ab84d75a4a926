"""Downloads by project and class, and what of them nobody can tell."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from doubles.gateway import Gateway, clean_environ
from mainstay.db.ledger import LedgerLoss
from mainstay.errors import ConfigError
from mainstay.usage.event import Event
from mainstay.usage.imported import IMPORTED_FOLDER
from mainstay.usage.publisher import (
    APART,
    COUNTED,
    Figure,
    PublisherView,
    check_format,
    parse_finer,
    publisher_view,
    render,
    withhold,
)
from unit.usage.oracle import EDGES_US, FIRST_DAY, LAST_DAY, START_US, write_events
from unit.usage.test_engines import seal_into

DAY_US = 86_400_000_000
KINDS = (*COUNTED, *APART)
SENT = Event(
    START_US,
    consumer="a",
    ecosystem="npm",
    kind="artifact",
    project="alpha",
    version="1.0",
    digest="sha256:a",
    method="GET",
    status=200,
    bytes_down=100,
    client_class="person",
)


def some_downloads(seed: int, count: int) -> list[Event]:
    """Events of few projects, consumers and moments; about half of them are downloads."""
    chance = random.Random(seed)
    return [
        Event(
            time_us=chance.choice((*EDGES_US, START_US + chance.randrange(3 * DAY_US))),
            consumer=chance.choice(("", "team", "Ärger", "local", *(f"address:{at:012x}" for at in range(6)))),
            ecosystem=chance.choice(("npm", "npm", "pypi")),
            kind=chance.choice(("artifact", "artifact", "artifact", "sidecar")),
            project=chance.choice(("alpha", "beta", "Beta", "")),
            version=chance.choice(("1", "2")),
            digest=chance.choice(("sha256:a", "sha256:b", "sha256:b", "")),
            method=chance.choice(("GET", "GET", "GET", "HEAD")),
            status=chance.choice((200, 200, 200, 206, 304, 404, 0)),
            bytes_down=chance.choice((100, 100, 100, 60)),
            client_class=chance.choice((*KINDS, "person", "ci", "of tomorrow")),
        )
        for _ in range(count)
    ]


def add_up(events: Sequence[Event], finer: Sequence[str], smallest_group: int) -> list[dict[str, Any]]:
    """The rows in plain Python, one event after the other."""
    inside = [event for event in events if START_US <= event.time_us < START_US + 3 * DAY_US]
    longest: dict[str, int] = defaultdict(int)
    for event in inside:
        if event.status == 200:
            longest[event.digest] = max(longest[event.digest], event.bytes_down)
    groups: dict[tuple[str, ...], list[Event]] = defaultdict(list)
    for event in inside:
        is_whole = event.digest and event.bytes_down == longest[event.digest]
        if is_whole and (event.status, event.method, event.kind) == (200, "GET", "artifact"):
            names = {"version": event.version, "day": day_of(event)}
            groups[(event.ecosystem, event.project, *(names[name] for name in finer))].append(event)
    rows = []
    for group, found in groups.items():
        by_class = {kind: [event for event in found if class_of(event) == kind] for kind in KINDS}
        figures = {kind: Figure(len(some), callers(some)) for kind, some in by_class.items()}
        everybody = callers([event for event in found if class_of(event) in COUNTED])
        rows.append(dict(zip(("ecosystem", "project", *finer), group)) | withhold(figures, everybody, smallest_group))
    rows.sort(key=lambda row: [row["ecosystem"], row["project"], row.get("version", "")])
    rows.sort(key=lambda row: (row["downloads"] is None, -(row["downloads"] or 0)))
    return sorted(rows, key=lambda row: row.get("day", ""))


def class_of(event: Event) -> str:
    """One that is not known yet is unknown."""
    return event.client_class if event.client_class in KINDS else "unknown"


def callers(events: Sequence[Event]) -> int:
    """Names, and the addresses of the busiest day."""
    names = {event.consumer for event in events}
    days: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.consumer.startswith("address:"):
            days[day_of(event)].add(event.consumer)
    named = {name for name in names if not name.startswith("address:")}
    return len(named) + max(map(len, days.values()), default=0)


def day_of(event: Event) -> str:
    """In UTC."""
    return datetime.fromtimestamp(event.time_us // 1_000_000, UTC).date().isoformat()


def view(data: Path, **changes: Any) -> PublisherView:
    """Of the three days, on DuckDB."""
    return publisher_view(data, FIRST_DAY, LAST_DAY, "duckdb", **changes)


def test_every_figure_is_what_one_event_after_the_other_adds_up_to(tmp_path):
    """By project alone and split, with small groups and smaller ones."""
    found = some_downloads(5, 4000)
    seal_into(tmp_path, found)
    for by, smallest_group in (((), 5), (("version",), 2), (("day", "version"), 4), (("day",), 9)):
        finer = tuple(name for name in ("version", "day") if name in by)
        rows = view(tmp_path, by=by, smallest_group=smallest_group).rows
        assert rows == add_up(found, finer, smallest_group)
        assert {value is None for row in rows for value in row.values()} == {True, False}


def of_consumers(of_class: str, *names: str, **changes: Any) -> list[Event]:
    """A download by each."""
    return [replace(SENT, consumer=name, client_class=of_class, **changes) for name in names]


def test_mirrors_scanners_and_updaters_are_in_no_total(tmp_path):
    """They stand beside it."""
    found = [event for kind in KINDS for event in of_consumers(kind, *"abcde")]
    seal_into(tmp_path, found)
    (row,) = view(tmp_path).rows
    assert row == {"ecosystem": "npm", "project": "alpha", "downloads": 20, "consumers": 5} | dict.fromkeys(KINDS, 5)


def test_what_is_no_whole_file_is_no_download(tmp_path):
    """A part, one that broke off, one found unchanged, one asked about, a file that belongs to another."""
    others = [
        {"status": 206},
        {"bytes_down": 99},
        {"status": 304, "bytes_down": 0},
        {"method": "HEAD", "bytes_down": 0},
        {"kind": "sidecar"},
        {"kind": "index"},
        {"digest": ""},
        {"status": 0},
    ]
    found = [event for changes in others for event in of_consumers("person", *"abcdefg", **changes)]
    seal_into(tmp_path, [*found, *of_consumers("person", *"abcde")])
    assert [row["downloads"] for row in view(tmp_path).rows] == [5]


def test_a_file_is_whole_by_its_longest_reply_whoever_had_it(tmp_path):
    """Also where that one was of another project, which is not asked about."""
    seal_into(
        tmp_path, [*of_consumers("person", *"abcde", bytes_down=60), replace(SENT, project="beta", client_class="ci")]
    )
    assert view(tmp_path, project="alpha").rows == []


def test_one_address_on_five_days_is_one_consumer(tmp_path):
    """Its pseudonym is another one each day: counted as five, a person would be shown."""
    days = [replace(SENT, time_us=START_US + at * DAY_US, consumer=f"address:{at:012x}") for at in range(3)]
    seal_into(tmp_path, days)
    (row,) = view(tmp_path, smallest_group=2).rows
    assert (row["downloads"], row["person"], row["consumers"]) == (None, None, None)
    seal_into(tmp_path, [replace(days[0], consumer="address:f"), replace(days[1], consumer="team")])
    (row,) = view(tmp_path, smallest_group=3).rows
    assert (row["downloads"], row["person"], row["consumers"]) == (5, 5, 3)


def test_an_ecosystem_or_a_project_alone_can_be_asked_for(tmp_path):
    """By the names in the tables."""
    found = of_consumers("person", *"abcde") + of_consumers("person", *"abcdef", ecosystem="pypi")
    seal_into(tmp_path, found + of_consumers("ci", *"abcdefg", project="beta"))
    wanted = [{}, {"ecosystem": "npm"}, {"project": "alpha"}, {"ecosystem": "npm", "project": "alpha"}]
    assert [[row["downloads"] for row in view(tmp_path, **words).rows] for words in wanted] == [
        [7, 6, 5],
        [7, 5],
        [6, 5],
        [5],
    ]


def test_imported_logs_are_asked_instead_where_that_is_wished(tmp_path):
    """They know no digest and count headers: each 200 counts there."""
    folder = tmp_path / IMPORTED_FOLDER / "fastly" / "day=2026-03-07"
    found = of_consumers("ci", *"abcde", digest="")
    write_events(folder / "a.parquet", [*found, replace(found[0], bytes_down=120), replace(found[0], status=206)])
    seal_into(tmp_path, of_consumers("person", *"abcdefg"))
    assert [(row["person"], row["ci"]) for row in view(tmp_path, imported=True).rows] == [(0, 6)]
    assert [(row["person"], row["ci"]) for row in view(tmp_path).rows] == [(7, 0)]


def test_a_class_of_few_is_withheld_with_the_next_smallest(tmp_path):
    """From the total and the rest the first alone could be told."""
    found = of_consumers("person", *"abcdefg") + of_consumers("ci", *"abcde") * 9 + of_consumers("agent", "a", "b")
    seal_into(tmp_path, found + of_consumers("mirror", "m") + of_consumers("scanner", *"abcde"))
    (row,) = view(tmp_path).rows
    assert [row[name] for name in COUNTED] == [7, None, None, 0]
    assert [row[name] for name in ("downloads", "consumers", *APART)] == [54, None, None, 5, 0]


def test_a_project_of_few_shows_nothing_but_its_name(tmp_path):
    """And a mirror's downloads where mirrors are enough."""
    seal_into(tmp_path, of_consumers("person", *"ab") + of_consumers("ci", *"cd") + of_consumers("mirror", *"abcde"))
    (row,) = view(tmp_path).rows
    assert row == {"ecosystem": "npm", "project": "alpha"} | dict.fromkeys(("downloads", "consumers")) | {
        "person": None,
        "ci": None,
        "agent": 0,
        "unknown": 0,
        "mirror": 5,
        "scanner": 0,
        "updater": 0,
    }


def test_withheld_rows_stand_last_by_name(tmp_path):
    """Their place in the order of downloads would tell what they hide."""
    found = [event for name in "xyz" for event in of_consumers("person", *"ab", project=name) * (ord(name) % 3 + 7)]
    seal_into(tmp_path, found + of_consumers("person", *"abcde") + of_consumers("mirror", "m", project="zero"))
    assert [row["project"] for row in view(tmp_path).rows] == ["alpha", "zero", "x", "y", "z"]


figure = st.tuples(st.integers(0, 12), st.integers(1, 9)).map(lambda pair: Figure(pair[0], min(pair)))


@st.composite
def rows(draw: Any) -> tuple[dict[str, Figure], int]:
    """The figures of a row, and the consumers of all counted: between the most of one class and the sum of all."""
    figures = {kind: draw(figure) for kind in KINDS}
    each = [figures[kind].consumers for kind in COUNTED]
    return figures, draw(st.integers(max(each), sum(each)))


@settings(max_examples=500, deadline=None)
@given(row=rows(), smallest_group=st.integers(2, 7))
def test_nothing_withheld_can_be_had_by_subtraction(row, smallest_group):
    """From the total and what is shown, each figure that is withheld may have had another value."""
    figures, consumers = row
    shown = withhold(figures, consumers, smallest_group)
    hidden = [kind for kind in COUNTED if shown[kind] is None]
    for kind in KINDS:
        is_small = 0 < figures[kind].consumers < smallest_group
        assert shown[kind] is None or (shown[kind] == figures[kind].downloads and not is_small)
    assert shown["downloads"] is None or not 0 < consumers < smallest_group
    assert (shown["consumers"] is None) == (shown["downloads"] is None or hidden != [])
    if shown["downloads"] is not None and hidden:
        rest = shown["downloads"] - sum(shown[kind] or 0 for kind in COUNTED)
        assert len(hidden) >= 2 and rest > len(hidden)
    if not any(0 < figures[kind].consumers < smallest_group for kind in KINDS) and not 0 < consumers < smallest_group:
        assert None not in shown.values()


@pytest.mark.parametrize("smallest_group", [2, 3])
def test_who_knows_the_rule_too_cannot_tell_what_is_withheld(smallest_group):
    """Over all small rows that there are: those that look alike have each withheld figure in two sizes at least."""
    most = 4
    values: dict[tuple[Any, ...], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for figures, consumers in small_rows(most):
        shown = withhold(figures, consumers, smallest_group)
        rest = (shown["downloads"] or 0) - sum(shown[kind] or 0 for kind in COUNTED)
        hidden = [kind for kind in COUNTED if shown[kind] is None]
        # Where more is left than rows of this size can have, those that look alike are not all among them.
        if shown["downloads"] is None or rest - len(hidden) + 1 <= most:
            for kind in hidden:
                values[tuple(shown.values())][kind].add(figures[kind].downloads)
    assert len(values) > 50
    assert not [(alike, found) for alike, found in values.items() if min(map(len, found.values())) < 2]


def small_rows(most: int) -> Iterator[tuple[dict[str, Figure], int]]:
    """Every row of up to so many downloads by class."""
    each = [Figure(), *(Figure(downloads, by) for downloads in range(1, most + 1) for by in range(1, downloads + 1))]
    for found in product(each, repeat=len(COUNTED)):
        figures = dict.fromkeys(APART, Figure()) | dict(zip(COUNTED, found))
        numbers = [figure.consumers for figure in found]
        for consumers in range(max(numbers), sum(numbers) + 1):
            yield figures, consumers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"by": ["consumer"]}, "--by consumer does not split a project. Allowed: version, day."),
        ({"ecosystem": "npn"}, "--ecosystem npn is not served. Allowed: cargo, "),
        ({"smallest_group": 1}, "--smallest-group 1 would show single consumers. Give 2 or more; 5 is the default."),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(tmp_path, words, said):
    """Exit code 2."""
    with pytest.raises(ConfigError) as caught:
        view(tmp_path, **words)
    assert caught.value.diagnostics().startswith(said)
    assert caught.value.exit_code == 2


def test_finer_rows_are_by_version_then_day():
    """In whichever order they are named."""
    assert parse_finer(["day, version,", "day", "project"]) == ("version", "day")
    assert parse_finer([""]) == ()
    with pytest.raises(ConfigError, match="--format xml is not a format"):
        check_format("xml")


FULL = {"ecosystem": "npm", "project": "al\x1bpha", "day": "2026-03-07", "downloads": 1234, "person": 1000, "ci": None}
FULL |= {"agent": None, "unknown": 0, "mirror": None, "scanner": 0, "updater": 7, "consumers": 12}
LOSS = LedgerLoss("a.log", "its bytes are damaged", 3, 120, 0)
FOUND = PublisherView(Path("data"), FIRST_DAY, LAST_DAY, "duckdb", ("day",), 5, False, [FULL], (LOSS,))


def test_a_person_reads_a_table_that_says_what_is_withheld():
    """And nothing in a name speaks to the terminal."""
    lines = render("text", FOUND).splitlines()
    assert lines[2].split() == list(FULL)
    assert lines[3].split() == (
        "npm al\N{REPLACEMENT CHARACTER}pha 2026-03-07 1,234 1,000 withheld withheld 0 withheld 0 7 12".split()
    )
    assert lines[5:7] == [
        "mirror, scanner, updater: beside the downloads, in no total.",
        "withheld: fewer than 5 consumers, or a figure that would tell such a one.",
    ]
    assert lines[8].startswith("LOST: 3 events in a.log")


@pytest.mark.parametrize(("imported", "asked"), [(False, "ledger"), (True, "imports")])
def test_no_download_is_said_with_what_to_do(imported, asked):
    """No empty table."""
    nothing = PublisherView(Path("data"), FIRST_DAY, LAST_DAY, "duckdb", (), 5, imported, [], ())
    lines = render("text", nothing).splitlines()
    assert lines[0] == f"No download from 2026-03-07 to 2026-03-09 (UTC) is in the usage {asked} in data."
    assert "--since" in lines[1]


def test_a_program_reads_nulls_and_empty_cells():
    """JSON has all, CSV the rows."""
    document = json.loads(render("json", FOUND))
    assert document["rows"] == [FULL]
    assert (document["schema"], document["smallest_group"], document["imported"]) == (1, 5, False)
    assert (document["by"], document["losses"][0]["events"]) == (["ecosystem", "project", "day"], 3)
    (row,) = csv.DictReader(io.StringIO(render("csv", FOUND)))
    assert (row["downloads"], row["ci"], row["unknown"], row["consumers"]) == ("1234", "", "0", "12")


def test_the_command_prints_what_was_asked_for(tmp_path):
    """From the data folder, by the words that were given."""
    seal_into(tmp_path, of_consumers("person", *"abc") + of_consumers("ci", *"ab"))
    words = ["--since", "2026-03-07", "--until", "2026-03-09", "--by", "version", "--smallest-group", "3"]
    command = Gateway.command("usage", "publisher", *words, "--data", str(tmp_path), "--format", "csv")
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["npm,alpha,1.0,5,,,0,0,0,0,0,"]
