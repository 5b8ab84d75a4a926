"""The store is full: what goes, what stays, and what a client sees of it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from doubles.claims import assert_right
from doubles.client import drain, open_reply
from doubles.gateway import Gateway, Serve
from doubles.registry import content, sha256
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

FILE = "/pypi/files/demo/demo-{}.0.tar.gz"
DEADLINE_S = 15
BUDGET = {"size": "3 MB"}
BODIES = [content(500_000, seed=number) for number in range(8)]


def offer(upstream: Upstream, *bodies: bytes) -> None:
    """Releases 0.0, 1.0 and so on of one project, one file each."""
    for number, body in enumerate(bodies):
        upstream.project("demo").release(f"{number}.0", {f"demo-{number}.0.tar.gz": body})


def blob(gateway: Gateway, body: bytes) -> Path:
    """Where the store has these bytes, or would."""
    digest = sha256(body)
    return gateway.data / "blobs" / digest[:2] / digest


def age(gateway: Gateway, body: bytes, age_s: float) -> None:
    """Make a stored file one that was last used so long ago."""
    used_at = time.time() - age_s
    with closing(sqlite3.connect(gateway.data / "mainstay.db", timeout=10)) as connection, connection:
        changed = connection.execute(
            "UPDATE blob SET used_at = ? WHERE digest = ?", (used_at, f"sha256:{sha256(body)}")
        )
        assert changed.rowcount == 1
    os.utime(blob(gateway, body), (used_at, used_at))


def stored_bytes(gateway: Gateway) -> int:
    """What all blobs take on the disk."""
    return sum(path.stat().st_size for path in gateway.data.glob("blobs/*/*"))


def ask(gateway: Gateway, number: int, body: bytes) -> str:
    """Ask for one file, which must come whole; the Cache-Status."""
    got = gateway.fetch(FILE.format(number))
    assert_right(got, body)
    return got.cache


@pytest.mark.parametrize("workers", [1, 2])
def test_the_longest_unused_files_go_when_the_store_is_over_its_budget(
    workers: int, upstream: Upstream, serve: Serve
) -> None:
    """Four files of another day and four of now are a megabyte too much: the oldest go and are fetched again when they
    are asked for, the others are held, and the store is within its budget, on the disk and at /metrics."""
    offer(upstream, *BODIES)
    gateway = serve(pypi=upstream.simple_url, workers=workers, cache=BUDGET)
    for number in range(4):
        ask(gateway, number, BODIES[number])
    assert gateway.stop() == 0
    for number in range(4):
        age(gateway, BODIES[number], 86_400 - number)
    gateway.restart()
    for number in range(4, 8):
        ask(gateway, number, BODIES[number])

    wait_until(lambda: stored_bytes(gateway) <= 3_000_000, "the store to come under its budget", DEADLINE_S)
    held = [blob(gateway, body).exists() for body in BODIES]
    assert held == [False] * held.index(True) + [True] * (8 - held.index(True)), "others went than the oldest"
    assert not held[0] and all(held[4:])
    wait_until(
        lambda: 2_000_000 < gateway.metric("mainstay_store_bytes") <= 3_000_000, "the size at /metrics", DEADLINE_S
    )

    before = len(upstream.seen("*.tar.gz"))
    assert "hit" in ask(gateway, 7, BODIES[7]) and len(upstream.seen("*.tar.gz")) == before
    assert "hit" not in ask(gateway, 0, BODIES[0]) and len(upstream.seen("*.tar.gz")) == before + 1


def test_a_file_that_is_being_read_comes_whole_though_it_was_evicted(upstream: Upstream, serve: Serve) -> None:
    """A reader that takes its time outlasts the file's place in the store; the next one has it fetched anew."""
    large = content(30_000_000)
    offer(upstream, large, *BODIES)
    gateway = serve(pypi=upstream.simple_url, cache={"size": "31 MB"})
    ask(gateway, 0, large)
    wait_until(lambda: "hit" in gateway.fetch(FILE.format(0), method="HEAD").cache, "the file to be in its place")
    with open_reply(gateway.url + FILE.format(0)) as response:
        assert "hit" in response.headers["cache-status"]
        begun = response.read(100_000)
        # An eviction notes what was used before it chooses, so this one spares the file, and the file is aged after it.
        for number in range(1, 4):
            ask(gateway, number, BODIES[number - 1])
        wait_until(lambda: gateway.metric("mainstay_store_bytes") > 31_000_000, "a first look", DEADLINE_S)
        assert blob(gateway, large).exists()
        age(gateway, large, 86_400)
        for number in range(4, 9):
            ask(gateway, number, BODIES[number - 1])
        wait_until(lambda: not blob(gateway, large).exists(), "the file to be evicted", DEADLINE_S)
        rest = drain(response)
    assert rest.whole and begun + rest.body == large
    assert "hit" not in ask(gateway, 0, large)
    assert len(upstream.seen("*-0.0.tar.gz")) == 2
