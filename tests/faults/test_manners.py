"""What upstream is told and spared, and what the operator is told of it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from doubles.client import Received
from doubles.faults import Status
from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.upstream import Upstream, wait_until
from mainstay import __version__

pytestmark = pytest.mark.faults

INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"
PACKUMENT = "/npm/left"
TARBALL = "/npm/left/-/left-1.0.0.tgz"
ABSENT = "/pypi/simple/absent/"
BROKEN = "/npm/broken/-/broken-1.0.0.tgz"
SEARCH = "/npm/-/v1/search?text=left"
RIGHT = content(300_000)


@pytest.fixture
def stocked(upstream: Upstream) -> Upstream:
    """One project of each kind."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    upstream.package("left").release("1.0.0", RIGHT)
    return upstream


@pytest.mark.parametrize("contact", ["", "mailto:ops@registry.example"])
def test_every_request_says_who_asks_and_whom_to_write_to(contact: str, stocked: Upstream, serve: Serve) -> None:
    """Index, file, sidecar, packument, tarball, search: our name, version and a contact, never the client's name."""
    gateway = serve(pypi=stocked.simple_url, npm=stocked.npm_url, fetch={"contact": contact})
    for path in (INDEX, FILE, f"{FILE}.asc", PACKUMENT, TARBALL, SEARCH):
        gateway.fetch(path, headers={"user-agent": "pip/99 (secret-host)"})
    assert len(stocked.requests) == 6
    (agent,) = {seen.headers["user-agent"] for seen in stocked.requests}
    assert agent.startswith(f"mainstay/{__version__} (+{contact or 'https://'}")


def settle(gateway: Gateway) -> None:
    """Wait until what was fetched is kept, so that whoever asks next has a hit."""
    fills = gateway.data / "fills"
    wait_until(lambda: {path.name for path in fills.glob("*.lock")} <= {"evict.lock"}, "every fill to end")


def ask_again_and_again(gateway: Gateway, path: str, times: int, **headers: str) -> list[Received]:
    """The same thing for many clients, on connections of their own, so that each worker is asked."""
    with ThreadPoolExecutor(8) as pool:
        return [*pool.map(lambda _: gateway.fetch(path, headers=headers), range(times))]


@pytest.mark.parametrize("path", [INDEX, FILE, TARBALL])
def test_what_upstream_was_spared_is_counted_to_the_request_and_the_byte(
    path: str, stocked: Upstream, serve: Serve
) -> None:
    """Over both workers: requests sent and bytes received as upstream counts them, and every other reply as saved."""
    gateway = serve(pypi=stocked.simple_url, npm=stocked.npm_url, workers=2)
    first = gateway.fetch(path)
    settle(gateway)
    replies = [first, *ask_again_and_again(gateway, path, 40)]
    assert {(got.status, got.body) for got in replies} == {(200, first.body)}
    kind = "index" if path == INDEX else "artifact"

    def metric(name: str) -> float:
        return gateway.metric(f"mainstay_{name}_total", kind=kind)

    wait_until(lambda: metric("requests") == 41, "every reply to be counted", 3)
    assert metric("bytes") == 41 * len(first.body)
    assert metric("upstream_saved_requests") == 40
    assert metric("upstream_saved_bytes") == 40 * len(first.body)
    sent = [seen for seen in stocked.requests if seen.path.endswith((".gz", ".tgz")) == (kind == "artifact")]
    assert metric("upstream_requests") == len(sent) == 1
    assert metric("upstream_bytes") == sent[0].sent_bytes > 0


def test_the_access_log_says_of_each_reply_what_it_was(stocked: Upstream, serve: Serve) -> None:
    """A line of JSON for each, of both workers, with what it was about and how it was come by; no query, no secret."""
    gateway = serve(pypi=stocked.simple_url, npm=stocked.npm_url, workers=2)
    stocked.on(BROKEN).fault(Status(500))
    stocked.package("broken").release("1.0.0")
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
        assert line["client"] == "127.0.0.1" and line["ms"] >= 0 and line["time"] > 1_700_000_000
    raw = (gateway.data / "access.jsonl").read_text()
    assert "hunter2" not in raw and "aHVudGVyMg" not in raw
