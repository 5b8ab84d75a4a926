from __future__ import annotations

import dataclasses
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from doubles.gateway import Gateway, clean_environ
from mainstay.config import Config, EcosystemSetting
from mainstay.db.ledger import LedgerLoss
from mainstay.importing import import_logs
from mainstay.usage.answers import ask, ask_files
from mainstay.usage.engines import open_engine
from mainstay.usage.event import Event
from mainstay.usage.queries import within
from mainstay.usage.question import Question
from mainstay.usage.replay_caches import CacheRun
from mainstay.usage.waste import SMALL_BYTES, SMALL_REQUESTS, Finding, Waste, add_up, find_waste
from mainstay.usage.waste_caches import advise
from mainstay.usage.waste_queries import COPY, DOCUMENT, FIGURES, FILE, KEYS, wasted
from mainstay.usage.waste_report import render_json, render_text
from unit.usage.oracle import FIRST_DAY, LAST_DAY, START_US, make_event, write_events
from unit.usage.waste_week import (
    ANNA,
    ANNA_NPM,
    BUILDS,
    DAY_US,
    REGISTRY,
    SINCE,
    TTL_S,
    UNTIL,
    Names,
    Week,
    document,
    make_week,
)
from unit.usage.waste_week import START_US as WEEK_START_US

NAMES = ("kind", "consumer", "client", "client_class", "ecosystem")
GATEWAY = "https://mainstay.example"


@pytest.fixture(scope="module")
def week() -> Week:
    """What is planted."""
    return make_week()


@pytest.fixture(scope="module")
def data(week: Week, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that it is planted in."""
    return week.save(tmp_path_factory.mktemp("waste") / "data")


@pytest.fixture(scope="module")
def found(data: Path) -> Waste:
    """What is found in it."""
    return find_waste(data, SINCE, UNTIL, "duckdb", gateway_url=GATEWAY, document_ttl_s=TTL_S)


@pytest.fixture
def ledger(tmp_path: Path) -> Callable[..., Waste]:
    """Makes a data folder with these events in its ledger, and finds the waste in it."""

    def find(*events: Event, imported: tuple[Event, ...] = ()) -> Waste:
        week = Week(random.Random(1), list(events), list(imported))
        return find_waste(week.save(tmp_path / "data"), SINCE, UNTIL, "duckdb", gateway_url=GATEWAY, sizes=())

    return find


def figures(found: Waste) -> dict[Names, list[int]]:
    """The figures of the findings that are shown."""
    return {
        tuple(getattr(one, name) for name in NAMES): [getattr(one, name) for name in FIGURES] for one in found.findings
    }


def is_small(planted: list[int]) -> bool:
    """Whether it is less than what is shown."""
    return planted[0] < SMALL_REQUESTS and planted[1] < SMALL_BYTES


def test_the_findings_are_what_was_planted(week, found):
    """To the byte and the request, for every kind, program and consumer; of nobody else anything."""
    assert figures(found) == {names: planted for names, planted in week.expected.items() if not is_small(planted)}
    assert {one.kind for one in found.findings} == {"redundant", "revalidation", "bypass"}


def test_what_is_too_small_to_show_is_in_the_sums(week, found):
    """Findings and small ones come to the total of each kind."""
    small = {names: planted for names, planted in week.expected.items() if is_small(planted)}
    assert small
    for kind in ("redundant", "revalidation", "bypass"):
        planted = [values for names, values in week.expected.items() if names[0] == kind]
        left_out = [values for names, values in small.items() if names[0] == kind]
        for got, values in ((found.total[kind], planted), (found.small[kind], left_out)):
            sums = [sum(one[at] for one in values) for at in range(len(FIGURES))]
            assert [got.findings, *(getattr(got, name) for name in FIGURES)] == [len(values), *sums]
        shown = add_up(one for one in found.findings if one.kind == kind)
        whole = [getattr(shown, name) + getattr(found.small[kind], name) for name in FIGURES]
        assert whole == [getattr(found.total[kind], name) for name in FIGURES]


def test_redundant_findings_agree_with_the_summary(data, found):
    """The same definition: `redundant_bytes` in all, and of every program that is shown."""
    by = ("consumer", "client", "class", "ecosystem")
    answer = ask(data, Question(by, SINCE, UNTIL), "duckdb")
    told = {tuple(row[name] for name in by): row["redundant_bytes"] for row in answer.rows}
    assert found.total["redundant"].bytes == answer.total["redundant_bytes"] == sum(told.values()) > 0
    shown = {names[1:]: values[1] for names, values in figures(found).items() if names[0] == "redundant"}
    assert shown == {names: told[names] for names in shown}


def test_the_largest_finding_comes_first(found):
    """By bytes, then by requests."""
    sizes = [(one.bytes, one.requests) for one in found.findings]
    assert sizes == sorted(sizes, reverse=True)


def test_the_same_is_found_in_new_york_by_the_command(week, data):
    """Days are UTC wherever the machine is; the document of --json has all of it."""
    words = ("usage", "waste", "--since", SINCE.isoformat(), "--until", UNTIL.isoformat(), "--json", "--limit", "0")
    environ = clean_environ() | {"TZ": "America/New_York"}
    command = Gateway.command(*words, "--data", str(data))
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    told = {tuple(one[name] for name in NAMES): [one[name] for name in FIGURES] for one in document["findings"]}
    assert told == {names: planted for names, planted in week.expected.items() if not is_small(planted)}
    assert (document["schema"], document["since"], document["until"]) == (1, "2026-03-05", "2026-03-11")
    assert {run["size_bytes"] for run in document["caches"]} == {10**9, 5 * 10**9, 20 * 10**9, 100 * 10**9}
    assert all(run["policy"] == "lru" for run in document["caches"])
    assert [one["past_share"] for one in document["registries"]]
    assert (document["engine"], document["more"], document["losses"]) == ("duckdb", 0, [])


def test_the_command_goes_by_the_settings(data, tmp_path):
    """How long documents are fresh, and the gateway's own address; without sizes no cache is tried."""
    config = tmp_path / "mainstay.toml"
    config.write_text(f'public_url = "{GATEWAY}"\n[cache]\ndocument_ttl_s = 0\n')
    words = ("usage", "waste", "--since", SINCE.isoformat(), "--until", UNTIL.isoformat(), "--json", "--limit", "3")
    command = Gateway.command(*words, "--data", str(data), "--config", str(config), "--sizes", "")
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["totals"]["revalidation"]["requests"] == 130
    assert (document["caches"], document["advice"]) == ([], None)
    assert len(document["findings"]) == 3 and document["more"] > 0
    assert [one["change"] for one in document["findings"] if one["kind"] == "bypass"] == [
        f"npm install --registry {GATEWAY}/npm PACKAGE"
    ]


@pytest.mark.parametrize(
    ("requests", "size_bytes", "is_small"),
    [(99, 999_999, True), (100, 0, False), (0, 1_000_000, False), (99, 1_000_000, False)],
)
def test_little_is_less_than_a_megabyte_and_less_than_a_hundred_requests(requests, size_bytes, is_small):
    """Either is enough to be shown."""
    one = Finding("redundant", "anna", "pip", "person", "pypi", requests, size_bytes, 0, 0, "", "", "")
    assert one.is_small is is_small


def test_each_finding_says_what_would_end_it(found):
    """One line and its place, with this gateway's address where it points there."""
    for one in found.findings:
        assert one.change and one.where and "\n" not in one.change + one.where
        assert "{url}" not in one.change
        assert one.consumer in one.words and one.words.endswith(".")
    changes = {tuple(getattr(one, name) for name in NAMES): one.change for one in found.findings}
    assert changes["redundant", "build-farm", "pip", "ci", "pypi"] == 'export PIP_CACHE_DIR="$PWD/.cache/pip"'
    bypass = changes["bypass", "address:00112233aabb", "pip", "person", "pypi"]
    assert bypass == f"index-url = {GATEWAY}/pypi/simple/"


def test_the_part_of_a_registrys_traffic_that_went_past_the_gateway(week, found):
    """Against what the gateway itself asked on the days of the log."""
    first_us = WEEK_START_US + 2 * DAY_US
    own = [one for one in week.events if first_us <= one.time_us < first_us + 2 * DAY_US]
    told = {(one.ecosystem, one.upstream): one for one in found.registries}
    assert set(told) == {("pypi", REGISTRY), ("npm", REGISTRY)}
    for ecosystem, past in (("pypi", (500, 5_000_000)), ("npm", (2, 7_000_000))):
        one, theirs = told[ecosystem, REGISTRY], [event for event in own if event.ecosystem == ecosystem]
        through = (sum(event.upstream_requests for event in theirs), sum(event.bytes_up for event in theirs))
        assert (one.past_requests, one.past_bytes) == past
        assert (one.requests, one.bytes) == through
        assert one.past_share == round(past[1] / (past[1] + through[1]), 4)


def test_a_ci_program_that_downloads_most_things_again_is_said_to_have_no_cache(ledger):
    """One finding, which says so; a person's does not."""
    file = {"digest": "sha256:1", "bytes_down": 600_000}
    times = [START_US + at for at in range(4)]
    found = ledger(*(BUILDS.event(at, **file) for at in times), *(ANNA.event(at, **file) for at in times))
    builds, anna = sorted(found.findings, key=lambda one: one.consumer, reverse=True)
    assert builds.words == (
        "pip (ci) of build-farm was sent 3 files again that build-farm already had: 1.8 MB, 75 % of what it was sent"
        " whole; its jobs start without a cache."
    )
    assert anna.words.endswith("75 % of what it was sent whole.")


def test_questions_about_files_and_documents_are_one_finding_that_names_both(ledger):
    """With how many of each."""
    files = [ANNA_NPM.event(START_US + at, status=304, digest=f"sha256:{at}") for at in range(100)]
    documents = [document(ANNA_NPM, 1, START_US + at) for at in range(3)]
    (one,) = ledger(*files, *documents).findings
    assert one.words == (
        "npm (person) of anna asked 100 times whether a file had changed, which files never do, and asked 2 times for a"
        " document that it had been given less than 300 s before: 10.0 kB."
    )
    assert (one.requests, one.bytes) == (102, 10_000)


def test_without_imported_logs_there_is_no_bypass(ledger):
    """And the rest is found all the same."""
    found = ledger(*(ANNA_NPM.event(START_US + at, status=304) for at in range(100)))
    assert (found.registries, found.total["bypass"]) == ((), add_up([]))
    assert len(found.findings) == 1


def test_a_fetch_past_the_gateway_on_a_day_without_the_gateway_is_all_of_it(ledger):
    """No other traffic: one hundred percent, also where the ledger is empty."""
    (one,) = ledger(imported=(ANNA.event(START_US, bytes_down=2_000_000),)).registries
    assert (one.requests, one.bytes, one.past_share) == (0, 0, 1.0)


def test_bypass_in_the_log_of_an_egress_proxy_is_found(tmp_path, monkeypatch):
    """As the proxy wrote it: who, with what, how much, and what the proxy's own cache answered."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    base = "https://js.registry.example/"
    npm = "npm/11.6.0 node/v24.1.0 linux x64 workspaces/false ci/gitlab"
    lines = [
        *[proxy_line(f"{base}widget", 1_000, npm, "TCP_MISS")] * 120,
        *[proxy_line(f"{base}widget/-/widget-1.{at}.0.tgz", 1_000_000, npm, "TCP_MISS") for at in range(3)],
        proxy_line(f"{base}widget/-/widget-1.0.0.tgz", 1_000_000, npm, "TCP_HIT"),
        *[proxy_line(f"{base}widget", 1_000, "mainstay/1.0 (+https://mainstay.example/)", "TCP_MISS")] * 200,
        *[proxy_line("https://news.example/", 9_000_000, "curl/8.5.0", "TCP_MISS")] * 5,
    ]
    log = tmp_path / "access.log"
    log.write_text("".join(lines))
    settings = Config(data=str(tmp_path / "data"), ecosystems={"npm": EcosystemSetting(upstream=base)})
    import_logs(settings, [str(log)], UNTIL)
    found = find_waste(settings.data_path, SINCE, UNTIL, "duckdb", gateway_url=GATEWAY, sizes=())
    (one,) = found.findings
    assert (one.kind, one.client, one.client_class, one.ecosystem) == ("bypass", "npm", "ci", "npm")
    assert [getattr(one, name) for name in FIGURES] == [124, 4_120_000, 123, 3_120_000]
    assert one.consumer.startswith("address:") and "192.0.2.77" not in render_text(found)
    assert one.words == (
        f"npm (ci) of {one.consumer} fetched 124 times from npm past the gateway: 4.1 MB, 3.1 MB of it from the"
        " registry itself."
    )
    assert one.change == f"export npm_config_registry={GATEWAY}/npm/"
    assert [(one.upstream, one.past_bytes, one.past_share) for one in found.registries] == [(base, 3_120_000, 1.0)]


def proxy_line(url: str, size_bytes: int, agent: str, tag: str) -> str:
    """A line of Squid's log in the combined format."""
    time = "07/Mar/2026:12:00:00 +0000"
    return f'192.0.2.77 - - [{time}] "GET {url} HTTP/1.1" 200 {size_bytes} "-" "{agent}" {tag}:HIER_DIRECT\n'


def test_nothing_at_all_is_no_waste_and_says_so(tmp_path):
    """No folder, no ledger, no findings."""
    found = find_waste(tmp_path / "none", SINCE, UNTIL, "duckdb")
    assert (found.findings, found.advice, found.losses) == ((), None, ())
    text = render_text(found)
    assert "No waste is in the usage ledger from 2026-03-05 to 2026-03-11 (UTC)." in text
    assert json.loads(render_json(found))["findings"] == []


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_events_are_judged_as_one_after_the_other_would_be(tmp_path_factory, seed):
    """Copies as the summary has them; documents and files by plain Python, with ties."""
    chance = random.Random(seed)
    events = [make_event(chance.choice, chance.randrange) for _ in range(400)]
    events = [replace(one, client_name=chance.choice(("", "pip", "uv"))) for one in events]
    folder = tmp_path_factory.mktemp("ledger")
    path = write_events(folder / "events.parquet", events)
    ttl_us = 3_600_000_000
    with open_engine("duckdb", [path], folder) as engine:
        rows = engine.run(wasted(within(engine.table, FIRST_DAY, LAST_DAY), ttl_us))
    told = {(row["what"], *(row[name] for name in KEYS)): [row[name] for name in FIGURES] for row in rows}
    by = ("consumer", "client", "class", "ecosystem")
    summary, _ = ask_files([path], Question(by, FIRST_DAY, LAST_DAY), "duckdb", folder)
    redundant = {tuple(row[name] for name in by): row["redundant_bytes"] for row in summary if row["redundant_bytes"]}
    assert {names[1:]: values[1] for names, values in told.items() if names[0] == COPY} == redundant
    assert {names: values for names, values in told.items() if names[0] != COPY} == judge(events, ttl_us)


def judge(events: list[Event], ttl_us: int) -> dict[tuple[str, ...], list[int]]:
    """Waste of files and documents, one event after the other."""
    end_us = START_US + 3 * DAY_US
    ordered = sorted(
        (one for one in events if START_US <= one.time_us < end_us),
        key=lambda one: (
            one.time_us, one.client_class, one.status, one.bytes_down, one.upstream_requests, one.bytes_up
        ),
    )  # fmt: skip
    last: dict[tuple[str, ...], int] = {}
    found: dict[tuple[str, ...], list[int]] = {}
    for one in ordered:
        what = ""
        if one.kind == "artifact" and one.status == 304:
            what = FILE
        is_given = one.kind == "index" and one.method == "GET" and one.status in (200, 304) and not one.digest
        if is_given and (one.project or one.filename):
            name = (one.consumer, one.client_name, one.ecosystem, one.project, one.filename)
            if name in last and one.time_us - last[name] < ttl_us:
                what = DOCUMENT
            last[name] = one.time_us
        if what:
            names = (what, one.consumer, one.client_name, one.client_class, one.ecosystem)
            added = (1, one.bytes_down, one.upstream_requests, one.bytes_up)
            found[names] = [old + new for old, new in zip(found.get(names, [0, 0, 0, 0]), added)]
    return found


def run_of(size_bytes: int, hit_bytes: int) -> CacheRun:
    """A cache that was asked for a thousand thousand bytes."""
    return CacheRun("lru", size_bytes, 1000, 500, 1_000_000, hit_bytes)


def test_the_advised_cache_is_the_smallest_within_a_percent_of_the_largest():
    """Exactly a percent less is enough, a byte less is not."""
    runs = [run_of(20 * 10**9, 800_000), run_of(10**9, 791_999), run_of(5_500_000_000, 792_000)]
    advice = advise(runs)
    assert advice is not None
    assert (advice.change, advice.where) == ('size = "5500 MB"', "mainstay.toml, [cache]")
    assert advice.words == (
        "A cache of 5500 MB would have served 79 % of the bytes of files; one of 20 GB would have served 80 %."
    )


def test_caches_that_would_have_served_nothing_give_no_advice():
    """Nor do none."""
    assert advise([]) is None
    assert advise([run_of(10**9, 0)]) is None


def test_the_caches_are_those_of_the_sizes_asked_for(data):
    """Replayed from the ledger; without sizes there is no replay."""
    found = find_waste(data, SINCE, UNTIL, "duckdb", sizes=(10**9, 10**6))
    assert [run.size_bytes for run in found.caches] == [10**6, 10**9]
    assert found.caches[0].hit_bytes < found.caches[1].hit_bytes
    assert found.advice is not None and found.advice.change == 'size = "1 GB"'
    assert find_waste(data, SINCE, UNTIL, "duckdb", sizes=()).caches == ()


def test_the_text_has_the_largest_findings_with_their_changes(found):
    """The sums, what is more, what is left out, the registries, the caches and the advice."""
    text = render_text(found, 2)
    lines = text.splitlines()
    assert lines[0] == "waste from 2026-03-05 to 2026-03-11 (UTC)"
    assert lines[2].split() == "findings requests bytes asked upstream from upstream".split()
    assert [line for line in lines if line.startswith(("1. ", "2. ", "3. "))] == [
        f"{at}. {one.words}" for at, one in enumerate(found.findings[:2], 1)
    ]
    assert lines.count(f"   change: {found.findings[0].change}") >= 1
    assert f"{len(found.findings) - 2} more: see them with --limit 0." in lines
    assert any(line.startswith("Not shown: ") and "less than 1.0 MB and 100 requests each" in line for line in lines)
    assert any(line.startswith("pypi") and REGISTRY in line and line.endswith("%") for line in lines)
    assert found.advice is not None and found.advice.words in lines


def test_what_strangers_are_called_cannot_speak_to_the_terminal(ledger):
    """Neither in a sentence nor in a table."""
    odd = replace(ANNA.event(START_US, bytes_down=2_000_000), consumer="a\x1b[2Jb\nc", client_name="p\n")
    odd = replace(odd, upstream="x\x1b]0;y")
    text = render_text(ledger(imported=(odd,)))
    assert "\x1b" not in text and "\nc" not in text
    assert "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c" in text


def test_json_is_limited_as_the_text_is(found):
    """And says how many more there are."""
    document = json.loads(render_json(found, 1))
    assert document["findings"] == [dataclasses.asdict(found.findings[0])]
    assert document["more"] == len(found.findings) - 1
    assert set(document["totals"]) == set(document["small"]) == {"redundant", "revalidation", "bypass"}
    assert document["advice"]["change"].startswith("size = ")


def test_losses_are_said(found):
    """In both forms."""
    lossy = dataclasses.replace(found, losses=(LedgerLoss("a.log", "it was killed", 0, 12, 0),))
    assert "LOST: an unknown number of events in a.log because it was killed (12 B)" in render_text(lossy)
    assert json.loads(render_json(lossy))["losses"][0]["source"] == "a.log"
