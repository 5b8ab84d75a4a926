"""Caches of other sizes: by hand, by their properties, beside an independent simulator, and over a ledger."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import libcachesim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from doubles.gateway import Gateway, clean_environ
from mainstay.db.ledger import LedgerLoss
from mainstay.errors import ConfigError
from mainstay.usage import replay as replay_module
from mainstay.usage.engines import open_engine
from mainstay.usage.event import Event
from mainstay.usage.ledger import PARQUET_FOLDER
from mainstay.usage.replay import (
    CacheRun,
    Replay,
    parse_policies,
    parse_sizes,
    render_json,
    render_text,
    replay_ledger,
    replay_many,
    replay_period,
)
from mainstay.usage.replay import replay as replay_one
from mainstay.usage.replay_caches import POLICIES, UNLIMITED, make_caches
from unit.usage.oracle import FIRST_DAY, LAST_DAY, START_US
from unit.usage.test_engines import seal_into, write_tail

LOOK_UPS = 20_000
DAY_US = 86_400_000_000
Trace = list[tuple[str, int]]
ASKED = Event(START_US, consumer="ci", kind="artifact", digest="sha256:a", method="GET", status=200, bytes_down=100)


def trace(names: str, size_bytes: int = 1) -> Trace:
    """A look-up for each letter, all of one size."""
    return [(name, size_bytes) for name in names]


def package_bytes(chance: random.Random) -> int:
    """The size of a file as packages have them: most of some ten kilobytes, few of many megabytes."""
    return int(chance.lognormvariate(11, 1.6)) + 200


def popular(seed: int) -> Trace:
    """Few files are asked for again and again, most hardly ever (Zipf)."""
    chance = random.Random(seed)
    files = [(f"{seed}-{at}", package_bytes(chance)) for at in range(3000)]
    chosen = chance.choices(files, cum_weights=list(accumulate(1 / (at + 1) ** 0.9 for at in range(3000))), k=LOOK_UPS)
    return list(chosen)


def scanned(seed: int) -> Trace:
    """The same, and every now and then somebody who asks for everything once."""
    asked = popular(seed)
    chance = random.Random(seed + 1)
    scan = [(f"scan-{at}", package_bytes(chance)) for at in range(1500)]
    return asked[: LOOK_UPS // 3] + scan + asked[LOOK_UPS // 3 : LOOK_UPS * 2 // 3] + scan + asked[LOOK_UPS * 2 // 3 :]


def looped(seed: int) -> Trace:
    """A nightly build: the same files in the same order, beside some that are popular."""
    chance = random.Random(seed)
    files = [(f"loop-{at}", package_bytes(chance)) for at in range(1200)]
    beside = iter(popular(seed))
    return [found for night in range(8) for file in files for found in (file, next(beside))]


def shifting(seed: int) -> Trace:
    """What is popular changes: new releases take the place of old ones."""
    chance = random.Random(seed)
    files = [(f"{seed}-{at}", package_bytes(chance)) for at in range(6000)]
    weights = list(accumulate(1 / (at + 1) for at in range(1000)))
    return [
        files[start + at]
        for start in range(0, 5000, 250)
        for at in chance.choices(range(1000), cum_weights=weights, k=LOOK_UPS // 20)
    ]


TRACES: dict[str, Callable[[int], Trace]] = {
    "popular": popular,
    "scanned": scanned,
    "looped": looped,
    "shifting": shifting,
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", TRACES)
def test_both_rates_are_those_of_an_independent_simulator(policy, name):
    """Within half a point, at sizes from a hundredth of all files to half of them."""
    asked = TRACES[name](7)
    footprint_bytes = sum(dict(asked).values())
    sizes = [int(footprint_bytes * part) for part in (0.01, 0.03, 0.1, 0.25, 0.5)]
    for run in replay_many(asked, policy, sizes):
        expected = simulate(asked, policy, run.size_bytes)
        assert (run.requests, run.bytes) == (len(asked), sum(size for _, size in asked))
        assert 100 * run.hit_rate == pytest.approx(100 * expected[0], abs=0.5), f"{name} {policy} {run.size_bytes}"
        assert 100 * run.byte_hit_rate == pytest.approx(100 * expected[1], abs=0.5), f"{name} {policy} {run.size_bytes}"


@pytest.mark.parametrize("policy", POLICIES)
def test_small_caches_have_the_very_hits_of_the_simulator(policy):
    """Where each file that goes or stays counts."""
    for seed in range(40):
        chance = random.Random(seed)
        count = chance.choice((10, 30, 100))
        files = [(f"{at}", chance.choice((1, 1, 2, 3, 4))) for at in range(count)]
        asked = chance.choices(files, weights=[1 / (at + 1) for at in range(count)], k=400)
        run = replay_one(asked, policy, 50)
        assert (run.hit_rate, run.byte_hit_rate) == simulate(asked, policy, 50), seed


def simulate(asked: Trace, policy: str, size_bytes: int) -> tuple[float, float]:
    """The hit rates by requests and by bytes of libcachesim, with what it takes for its defaults."""
    kind = {"lru": libcachesim.LRU, "s3fifo": libcachesim.S3FIFO}[policy]
    cache = kind(size_bytes, hashpower=14)
    numbers: dict[str, int] = {}
    request = libcachesim.Request()
    hits = hit_bytes = 0
    for digest, size in asked:
        request.obj_id, request.obj_size = numbers.setdefault(digest, len(numbers) + 1), size
        if cache.get(request):
            hits += 1
            hit_bytes += size
    return hits / len(asked), hit_bytes / sum(size for _, size in asked)


@pytest.mark.parametrize(
    ("asked", "size_bytes", "hits"),
    [
        ("abab", 2, 2),
        ("abcabc", 2, 0),
        ("abacab", 2, 2),
        ("abcabc", 3, 3),
        ("aaaa", 0, 0),
        ("", 3, 0),
    ],
)
def test_the_least_recently_used_goes_first(asked, size_bytes, hits):
    """By hand: `abacab` in two places is a miss, b miss, a hit, c for b, a hit, b miss."""
    assert replay_one(trace(asked), "lru", size_bytes) == CacheRun(
        "lru", size_bytes, len(asked), hits, len(asked), hits
    )


def test_as_many_go_as_a_large_file_needs():
    """Bytes are counted, not files; one that is as large as the cache is kept alone."""
    asked = [("a", 2), ("b", 3), ("c", 5), ("c", 5), ("a", 2), ("c", 5), ("d", 10), ("d", 10), ("a", 2)]
    assert replay_one(asked, "lru", 10) == CacheRun("lru", 10, 9, 4, 44, 22)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_file_larger_than_the_cache_is_not_kept_and_drives_nothing_out(policy):
    """What is there stays there."""
    asked = [("a", 1), ("large", 101), ("large", 101), ("a", 1)]
    assert replay_one(asked, policy, 100) == CacheRun(policy, 100, 4, 1, 204, 1)


def test_s3fifo_keeps_no_file_as_large_as_its_small_queue():
    """As the simulator of its authors."""
    asked = [("small", 9), ("large", 10), ("large", 10), ("small", 9)]
    assert replay_one(asked, "s3fifo", 100) == CacheRun("s3fifo", 100, 4, 1, 38, 9)


def test_everything_is_the_most_that_a_cache_can_have():
    """Its size is what it holds in the end, whatever sizes are asked about."""
    (cache,) = make_caches([UNLIMITED], [5, 10])
    cache.look_up([1, 2, 1, 3], [5, 7, 5, 9])
    assert cache.finish() == CacheRun(UNLIMITED, 21, 4, 1, 26, 5)


FULL = "abcdefghijklmnopqrst"
"""Twenty files of one byte in twenty bytes: a and b in the small queue, the others in the main one."""


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        # u drives out a, a drives out b, b the oldest of the main queue, which is c: its name is not kept.
        ("uabcabu", "abu"),
        ("aaua", "aaa"),
        ("auaa", "aa"),
        ("cuabcd", "cc"),
    ],
    ids=["names are remembered", "used twice it stays", "used once it goes", "used in the main queue it stays"],
)
def test_what_is_new_goes_through_the_small_queue(asked, found):
    """By hand: which of the look-ups after `FULL` are hits."""
    (cache,) = make_caches(["s3fifo"], [20])
    hits = ""
    for name in FULL + asked:
        before = cache.hits
        cache.look_up([ord(name)], [1])
        hits += name * (cache.hits - before)
    assert hits == found


requests = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.just(0)), max_size=200).map(
    lambda asked: [(name, 1 + ord(name) % 5) for name, _ in asked]
)


@settings(max_examples=150, deadline=None)
@given(asked=requests, size_bytes=st.integers(0, 40), policy=st.sampled_from(POLICIES))
def test_no_cache_holds_more_than_its_size_or_hits_what_it_never_had(asked, size_bytes, policy):
    """After each look-up; hits and misses are all requests, and everything kept is the most."""
    (cache,) = make_caches([policy], [size_bytes])
    numbers = {name: at for at, name in enumerate("abcdefghijkl")}
    for name, file_bytes in asked:
        cache.look_up([numbers[name]], [file_bytes])
        assert 0 <= cache.held_bytes <= size_bytes
    run = cache.finish()
    assert run == replay_one(asked, policy, size_bytes)
    most = replay_one(asked, UNLIMITED, 0)
    assert 0 <= run.hits <= most.hits <= run.requests == len(asked)
    assert run.hit_bytes <= most.hit_bytes <= run.bytes
    if size_bytes >= most.size_bytes and policy == "lru":
        assert run.hits == most.hits


@settings(max_examples=100, deadline=None)
@given(asked=st.text("abcdefgh", max_size=200), size_bytes=st.integers(0, 8), more_bytes=st.integers(0, 8))
def test_a_larger_lru_is_never_worse_where_files_are_of_one_size(asked, size_bytes, more_bytes):
    """What the smaller one holds, the larger one holds too."""
    smaller, larger = replay_many(trace(asked), "lru", [size_bytes, size_bytes + more_bytes])
    assert smaller.hits <= larger.hits


def test_requests_are_read_once_for_all_sizes():
    """From anything that can be gone through, more than fit into memory at once."""

    def stream() -> Iterator[tuple[str, int]]:
        for at in range(150_000):
            yield f"{at % 1000}", 2

    runs = replay_many(stream(), "lru", [1000, 2000, 4000])
    assert [(run.requests, run.hits, run.hit_bytes) for run in runs] == [
        (150_000, 0, 0),
        (150_000, 149_000, 298_000),
        (150_000, 149_000, 298_000),
    ]


def test_rates_of_nothing_are_none():
    """Nothing asked for is no rate of 0."""
    run = replay_one([], "lru", 10)
    assert (run.hit_rate, run.byte_hit_rate) == (None, None)
    assert replay_one([("a", 0)], "lru", 10).byte_hit_rate is None


def runs_of(data: Path, *sizes: int, policies: Sequence[str] = ("lru",)) -> list[CacheRun]:
    """Over the three days."""
    return replay_ledger(data, FIRST_DAY, LAST_DAY, sizes, policies=policies)


def test_a_look_up_is_a_file_that_was_asked_for(tmp_path):
    """In whole or in part; not what was only asked about, nor what was not there, nor a document."""
    others = [
        {"method": "HEAD", "bytes_down": 0},
        {"status": 304, "bytes_down": 0},
        {"status": 404},
        {"status": 0},
        {"digest": ""},
        {"time_us": START_US - 1},
        {"time_us": START_US + 3 * DAY_US},
    ]
    part = replace(ASKED, status=206, bytes_down=40, consumer="other")
    seal_into(tmp_path, [ASKED, part, *(replace(ASKED, **changes) for changes in others)])
    assert runs_of(tmp_path, 100) == [CacheRun("lru", 100, 2, 1, 200, 100)]


def test_a_file_is_as_large_as_its_longest_whole_reply(tmp_path):
    """One that broke off costs the whole as well; of what was only sent in parts, the longest is what is known."""
    found = [
        replace(ASKED, bytes_down=60),
        ASKED,
        replace(ASKED, digest="sha256:b", status=206, bytes_down=30),
        replace(ASKED, digest="sha256:b", status=206, bytes_down=50),
    ]
    seal_into(tmp_path, found)
    assert runs_of(tmp_path, 1000) == [CacheRun("lru", 1000, 4, 2, 300, 150)]


def test_files_are_looked_up_in_order_of_time_over_all_days_and_what_is_not_sealed(tmp_path):
    """a b a c a b in two places: two hits, however the events lie on the disk."""
    asked = [replace(ASKED, digest=f"sha256:{name}", bytes_down=1) for name in "abacab"]
    moments_us = [START_US, START_US + 5, START_US + DAY_US, START_US + DAY_US + 1, START_US + 2 * DAY_US]
    timed = [replace(event, time_us=time_us) for event, time_us in zip(asked, [*moments_us, START_US + 3 * DAY_US - 1])]
    seal_into(tmp_path, [timed[3], timed[0], timed[4]], [timed[2], timed[1]])
    write_tail(tmp_path, timed[5])
    assert runs_of(tmp_path, 2) == [CacheRun("lru", 2, 6, 2, 6, 2)]
    assert [run.hits for run in runs_of(tmp_path, 1, 30, policies=("lru", "s3fifo", UNLIMITED))] == [0, 3, 0, 3, 3]


def test_a_ledger_of_some_days_is_replayed_as_its_requests_are(tmp_path):
    """More than one batch, against the trace itself."""
    asked = popular(3)
    seal_into(
        tmp_path,
        [
            replace(ASKED, time_us=START_US + at * 10_000_000, digest=f"sha256:{name}", bytes_down=size)
            for at, (name, size) in enumerate(asked)
        ],
    )
    for policy in POLICIES:
        assert runs_of(tmp_path, 10**8, policies=[policy]) == [replay_one(asked, policy, 10**8)]


def test_other_days_are_not_replayed_and_their_files_not_opened(tmp_path, monkeypatch):
    """Sealed or not."""
    opened: list[Path] = []

    def open_and_note(name: str, files: list[Path], scratch: Path) -> Any:
        opened.extend(files)
        return open_engine(name, files, scratch)

    monkeypatch.setattr(replay_module, "open_engine", open_and_note)
    seal_into(tmp_path, [ASKED, replace(ASKED, time_us=START_US - 1), replace(ASKED, time_us=START_US + 3 * DAY_US)])
    write_tail(tmp_path, replace(ASKED, time_us=START_US + 5 * DAY_US))
    assert runs_of(tmp_path, 100) == [CacheRun("lru", 100, 1, 0, 100, 0)]
    assert [path.parent.name for path in opened[:-1]] == ["day=2026-03-07"]


def test_a_file_that_is_damaged_inside_is_left_out_and_named(tmp_path):
    """The others are replayed."""
    seal_into(tmp_path, [ASKED], [replace(ASKED, time_us=START_US + DAY_US, digest="x" * 1000)])
    (bad,) = (tmp_path / PARQUET_FOLDER / "day=2026-03-08").glob("*.parquet")
    content = bytearray(bad.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    bad.write_bytes(content)
    found = replay_period(tmp_path, FIRST_DAY, LAST_DAY, [100])
    assert [run.requests for run in found.runs] == [1, 1]
    assert [(loss.events, loss.source.partition("/")[0]) for loss in found.losses] == [(1, "day=2026-03-08")]


@pytest.mark.parametrize("events", [[], [replace(ASKED, digest="")]])
def test_without_files_there_are_runs_of_nothing(tmp_path, events):
    """Also where there is no ledger; nothing is made there."""
    if events:
        seal_into(tmp_path, events)
    assert runs_of(tmp_path, 5) == [CacheRun("lru", 5, 0, 0, 0, 0)]
    assert events or not list(tmp_path.iterdir())


def test_another_engine_or_policy_is_refused_with_words(tmp_path):
    """Exit code 2, before anything is read."""
    with pytest.raises(ConfigError, match="--engine spark cannot replay") as caught:
        replay_ledger(tmp_path, FIRST_DAY, LAST_DAY, [1], "spark")
    assert caught.value.hint == "Leave it out: a replay runs on duckdb."
    with pytest.raises(ConfigError, match="belady is not a policy of a cache"):
        replay_one([], "belady", 1)


def test_sizes_and_policies_are_read_from_words():
    """Smallest first, none twice."""
    assert parse_sizes("5 GB, 1 GB,1000 MB,") == [10**9, 5 * 10**9]
    assert (parse_policies("both"), parse_policies("lru")) == (POLICIES, ("lru",))
    for text in ("", ",", "1 GB,large", "-1 GB"):
        with pytest.raises(ConfigError, match="--sizes"):
            parse_sizes(text)
    with pytest.raises(ConfigError, match="--policy fifo is not a policy"):
        parse_policies("fifo")


LOSS = LedgerLoss("a.log", "its bytes are damaged", 3, 120, 0)
FOUND = Replay(
    Path("data"),
    FIRST_DAY,
    LAST_DAY,
    (CacheRun("lru", 10**9, 4000, 3000, 8 * 10**9, 2 * 10**9), CacheRun(UNLIMITED, 10**9, 4000, 3999, 8 * 10**9, 10)),
    (LOSS,),
)


def test_a_person_reads_a_line_for_each_cache():
    """With the gateway's own marked, and what the ledger lost."""
    lines = render_text(FOUND, 10**9).splitlines()
    assert lines[0] == "the files asked for from 2026-03-07 to 2026-03-09 (UTC), replayed"
    assert lines[3].split() == "1.0 GB * lru 4,000 75.0 % 8.0 GB 25.0 % 2.0 GB 6.0 GB".split()
    assert lines[4].split()[:3] == ["1.0", "GB", "unlimited"]
    assert lines[6].startswith("* [cache] size") and lines[7].startswith("unlimited: ")
    assert lines[9].startswith("LOST: 3 events in a.log")
    assert "*" not in render_text(FOUND, 5)


def test_nothing_asked_for_is_said_with_what_to_do():
    """No table of zeros."""
    empty = Replay(Path("da\x1bta"), FIRST_DAY, LAST_DAY, (CacheRun("lru", 1, 0, 0, 0, 0),), ())
    said = render_text(empty, 1)
    assert said.startswith("The usage ledger in da\N{REPLACEMENT CHARACTER}ta has no file from 2026-03-07")
    assert "--since" in said


def test_a_program_reads_one_document():
    """Exact figures, rates as parts of 1."""
    document = json.loads(render_json(FOUND, 10**9))
    assert (document["schema"], document["since"], document["until"]) == (1, "2026-03-07", "2026-03-09")
    assert document["caches"][0] == {
        "policy": "lru",
        "size_bytes": 10**9,
        "configured": True,
        "requests": 4000,
        "hits": 3000,
        "hit_rate": 0.75,
        "bytes": 8 * 10**9,
        "hit_bytes": 2 * 10**9,
        "byte_hit_rate": 0.25,
    }
    assert not document["caches"][1]["configured"]
    assert document["losses"][0]["events"] == 3


def test_the_command_replays_its_own_size_beside_those_asked_for(tmp_path):
    """From the settings."""
    seal_into(tmp_path, [ASKED, ASKED])
    settings_file = tmp_path / "mainstay.toml"
    settings_file.write_text('[cache]\nsize = "3 MB"\n')
    words = ["--sizes", "1 MB,5 MB", "--since", "2026-03-07", "--until", "2026-03-09", "--json"]
    words += ["--config", str(settings_file), "--data", str(tmp_path)]
    command = Gateway.command("usage", "replay", *words)
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    caches = json.loads(done.stdout)["caches"]
    assert [(cache["policy"], cache["size_bytes"] / 1e6) for cache in caches] == [
        *(("lru", size) for size in (1, 3, 5)),
        *(("s3fifo", size) for size in (1, 3, 5)),
        (UNLIMITED, 0.0001),
    ]
    assert [cache["configured"] for cache in caches] == [False, True, False] * 2 + [False]
    assert {cache["hits"] for cache in caches} == {1}
