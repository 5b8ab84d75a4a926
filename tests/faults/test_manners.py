"""What upstream is told and spared, and what the operator is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from doubles.client import Received
from doubles.faults import Status
from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.stand import STANDS, Stand, in_every_ecosystem
from doubles.upstream import Upstream, wait_until
from mainstay import __version__

pytestmark = pytest.mark.faults

SETTINGS = {"workers": 2}
SEARCHES = ("/npm/-/v1/search?text=left", "/cargo/api/v1/crates?q=left")
RIGHT = content(300_000)


@pytest.mark.parametrize("contact", ["", "mailto:ops@registry.example"])
def test_every_request_says_who_asks_and_whom_to_write_to(contact: str, upstream: Upstream, serve: Serve) -> None:
    """Index, file, sidecar and search of every ecosystem: our name, version and a contact, never the client's name."""
    gateway = serve(**upstream.urls, fetch={"contact": contact})
    paths = [*SEARCHES, "/go/sumdb/sum.example/latest"]
    for kind in STANDS.values():
        stand = kind(upstream, gateway).release("1.0")
        paths += [stand.index, stand.file, f"{stand.file}.asc"]
    for path in paths:
        gateway.fetch(path, headers={"user-agent": "pip/99 (secret-host)"})
    assert {seen.host for seen in upstream.requests} == {"index", "files", "npm", "go", "cargo", "crates", "maven"}
    (agent,) = {seen.headers["user-agent"] for seen in upstream.requests}
    assert agent.startswith(f"mainstay/{__version__} (+{contact or 'https://'}")


def settle(gateway: Gateway) -> None:
    """Wait until what was fetched is kept, so that whoever asks next has a hit."""
    fills = gateway.data / "fills"
    wait_until(lambda: {path.name for path in fills.glob("*.lock")} <= {"evict.lock"}, "every fill to end")


def ask_again_and_again(gateway: Gateway, path: str, times: int, **headers: str) -> list[Received]:
    """The same thing for many clients, on connections of their own, so that each worker is asked."""
    with ThreadPoolExecutor(8) as pool:
        return [*pool.map(lambda _: gateway.fetch(path, headers=headers), range(times))]


COUNTERS = (
    "requests",
    "bytes",
    "upstream_saved_requests",
    "upstream_saved_bytes",
    "upstream_requests",
    "upstream_bytes",
)


@in_every_ecosystem
def test_what_upstream_was_spared_is_counted_to_the_request_and_the_byte(stand: Stand) -> None:
    """Over both workers: requests sent and bytes received as upstream counts them, and every other reply as saved. This
    is the only test that asks the shared gateway for anything of its ecosystem."""
    stand.release("1.0", RIGHT)
    asked = {"index": stand.index, "artifact": stand.file}
    first = {}
    for kind, path in asked.items():
        first[kind] = stand.fetch(path)
        settle(stand.gateway)
        replies = ask_again_and_again(stand.gateway, path, 40)
        assert {(got.status, got.body) for got in replies} == {(200, first[kind].body)}
    # cargo's description of the registry, which comes before the first index, is an index too.
    described = stand.upstream.seen("/cargo/config.json") if stand.ecosystem == "cargo" else []
    sent = {"index": described + stand.seen_index(), "artifact": stand.seen_file()}
    assert [len(stand.seen_index()), len(stand.seen_file()), len(described)] == [1, 1, stand.ecosystem == "cargo"]
    for kind in asked:
        size, received = len(first[kind].body), sum(seen.sent_bytes for seen in sent[kind])
        expected = dict(zip(COUNTERS, (41, 41 * size, 40, 40 * size, len(sent[kind]), received), strict=True))
        wait_until(partial(is_counted, stand, kind, expected), f"every {kind} to be counted", 5)
        assert counted(stand, kind) == expected


def counted(stand: Stand, kind: str) -> dict[str, float]:
    """What `/metrics` says of the ecosystem's requests of this kind."""
    labels = {"ecosystem": stand.ecosystem, "kind": kind}
    return {name: stand.gateway.metric(f"mainstay_{name}_total", **labels) for name in COUNTERS}


def is_counted(stand: Stand, kind: str, expected: Mapping[str, float]) -> bool:
    """Whether as many requests are counted, each worker writing its own figures when it comes to it."""
    return counted(stand, kind)["requests"] >= expected["requests"]


INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"
PACKUMENT = "/npm/left"
ABSENT = "/pypi/simple/absent/"
BROKEN = "/npm/broken/-/broken-1.0.0.tgz"


def test_the_access_log_says_of_each_reply_what_it_was(upstream: Upstream, serve: Serve) -> None:
    """A line of JSON for each, of both workers, with what it was about and how it was come by; no query, no secret."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    upstream.package("left").release("1.0.0", RIGHT)
    gateway = serve(**upstream.urls, workers=2)
    upstream.on(BROKEN).fault(Status(500))
    upstream.package("broken").release("1.0.0")
    secret = "Basic aHVudGVyMg=="
    for path in (f"{INDEX}?token=hunter2", FILE, FILE, ABSENT, BROKEN):
        gateway.fetch(path, headers={"authorization": secret})
        settle(gateway)
    gateway.fetch(INDEX, method="HEAD")
    ask_again_and_again(gateway, PACKUMENT, 30)
    wait_until(lambda: len(gateway.access_lines()) >= 36, "every line", 5)
    about = [line for line in gateway.access_lines() if line.get("ecosystem")]
    keys = ("method", "path", "status", "outcome", "kind", "project", "error")
    told = Counter(tuple(line.get(key, "") for key in keys) for line in about if line["path"] != PACKUMENT)
    assert told == Counter(
        [
            ("GET", INDEX, 200, "miss", "index", "demo", ""),
            ("GET", FILE, 200, "miss", "artifact", "demo", ""),
            ("GET", FILE, 200, "hit", "artifact", "demo", ""),
            ("GET", ABSENT, 404, "missing", "index", "absent", "NotFound"),
            ("GET", BROKEN, 502, "error", "artifact", "broken", "UpstreamRefused"),
            ("HEAD", INDEX, 200, "hit", "index", "demo", ""),
        ]
    )
    assert Counter(line["outcome"] for line in about if line["path"] == PACKUMENT)["miss"] == 1
    assert [line["bytes"] for line in about if line["path"] == FILE] == [len(RIGHT)] * 2
    for line in about:
        assert line["consumer"] == "local" and line["ms"] >= 0 and line["time"] > 1_700_000_000
    raw = (gateway.data / "access.jsonl").read_text()
    assert "hunter2" not in raw and "aHVudGVyMg" not in raw
