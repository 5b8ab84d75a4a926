"""Requests that are known byte for byte are answered without parsing, and nobody can tell by the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from contract.servers import Answer, Wire, connected, request
from doubles.registry import content
from doubles.stand import Stand
from doubles.upstream import wait_until

FILE = content(150_000, seed=3)
SETTINGS = {"cache": {"document_ttl_s": 600}}


@pytest.fixture
def paths(stand: Stand) -> list[str]:
    """Of an index, a file and a packument of the test's own."""
    stand.release("1.0", FILE)
    stand.beside("npm").release("1.0")
    return [stand.index, stand.file, stand.beside("npm").index]


@pytest.fixture
def wire(stand: Stand) -> Iterator[Wire]:
    """A connection to the gateway."""
    with connected(stand.gateway.port) as wire:
        yield wire


def learn(stand: Stand, path: str, *headers: str) -> bytes:
    """The bytes of a request, asked often enough to be known."""
    with connected(stand.gateway.port) as wire:
        wait_until(lambda: wire.get(path, *headers).headers["cache-status"] == "mainstay; hit", "a hit")
        for _ in range(2):
            wire.get(path, *headers)
    return request(path, *headers)


def without_date(answer: Answer) -> tuple[object, ...]:
    """All of a reply that is the same each time."""
    return answer.status, answer.body, [pair for pair in answer.pairs if pair[0] != "date"]


def test_the_short_way_gives_what_the_long_way_gives(stand: Stand, paths: list[str], wire: Wire) -> None:
    """Status, headers and body for an index, a file and a packument, and for a client that has them."""
    for path in paths:
        etag = wire.get(path).headers["etag"]
        for headers in ((), (f"If-None-Match: {etag}",)):
            learn(stand, path, *headers)
            short = wire.get(path, *headers)
            # A header that nothing looks at makes other bytes of the same request.
            long = wire.get(path, *headers, f"X-Other: {os.urandom(8).hex()}")
            assert without_date(short) == without_date(long)
            assert short.status == (304 if headers else 200)


def test_the_short_way_writes_the_same_line_and_counts(stand: Stand, paths: list[str], wire: Wire) -> None:
    """In the access log and at /metrics every reply is seen, with its path, client and bytes."""
    known = learn(stand, stand.file)
    wait_until(lambda: stand.gateway.metric("mainstay_requests_total", outcome="hit") >= 1, "the first counts")
    counted = stand.gateway.metric("mainstay_requests_total", kind="artifact", outcome="hit")
    for _ in range(50):
        assert wire.send(known).read() is not None
    wait_until(
        lambda: stand.gateway.metric("mainstay_requests_total", kind="artifact", outcome="hit") >= counted + 50,
        "all of them",
    )

    def lines() -> list[dict[str, object]]:
        return [
            line for line in stand.gateway.access_lines() if line["path"] == stand.file and line["outcome"] == "hit"
        ]

    wait_until(lambda: len(lines()) >= 50, "the access log")
    kinds = {tuple((key, line[key]) for key in line if key not in ("time", "ms")) for line in lines()}
    assert len(kinds) == 1, "one differs from another"
    assert {("consumer", "local"), ("bytes", len(FILE)), ("method", "GET"), ("status", 200)} <= set(kinds.pop())


def test_each_reply_has_the_date_of_its_moment(stand: Stand, paths: list[str], wire: Wire) -> None:
    """RFC 9110, 6.6.1: not that of the time when it was kept."""
    known, seen = learn(stand, stand.index), set()

    def moved() -> bool:
        answer = wire.send(known).read()
        assert answer is not None
        assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 5
        seen.add(answer.headers["date"])
        return len(seen) >= 2

    wait_until(moved, "the next second")


def test_known_requests_in_one_piece_are_answered_in_order(stand: Stand, paths: list[str], wire: Wire) -> None:
    """Pipelined with others, each gets its own reply."""
    index, file = learn(stand, stand.index), learn(stand, stand.file)
    wire.send(index + file + request("/healthz") + file + index)
    bodies = [answer.body for _ in range(5) if (answer := wire.read()) is not None]
    assert bodies[1] == bodies[3] == FILE and bodies[0] == bodies[4] and stand.name.encode() in bodies[0]
    assert b'"status"' in bodies[2]


def test_a_known_request_of_another_name_gets_links_of_its_own(stand: Stand, paths: list[str], wire: Wire) -> None:
    """The Host header is part of the bytes: nobody is sent to the address that another client asked."""
    learn(stand, stand.beside("npm").index)
    there = wire.send(request(stand.beside("npm").index, host="other.example")).read()
    assert there is not None and b"gateway.example" not in there.body and b"http://other.example" in there.body
