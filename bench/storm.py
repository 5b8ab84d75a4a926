"""404 storm: thousands of distinct missing Maven paths, asked twice of two workers, and what upstream sees of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

import packages
from figures import Row
from lineup import STARTERS, running
from servers import MAVEN, Server, start_unthrottled_mainstay
from subjects import Unequal, count_requests

WORKERS = 2
CLIENTS = 32
LONGEST_S = 600.0


def run_storm(names: Sequence[str], paths: int) -> list[Row]:
    """One row per server and pass: requests/s, percentiles in ms, how often upstream was asked."""
    starters = {**STARTERS, "mainstay": start_unthrottled_mainstay}
    with running(names, WORKERS, starters=starters) as (upstream, servers):
        return [row for server in servers for row in _measure(server, upstream, paths)]


def _measure(server: Server, upstream: Server, paths: int) -> list[Row]:
    rows: list[Row] = []
    for number in (1, 2):
        before = count_requests(upstream)
        passed = uvloop.run(_ask_all(server, [packages.missing_maven_path(n) for n in range(paths)]))
        if passed.statuses != {404: paths}:
            raise Unequal(f"{server.name} answers {dict(passed.statuses)} for {paths} missing paths")
        rows.append(_row(server, number, passed, count_requests(upstream) - before))
        print(_line(rows[-1]), flush=True)
    return rows


@dataclass
class Passed:
    """What came of asking for every path once. Times in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    total_s: float = 0.0


async def _ask_all(server: Server, paths: Sequence[str]) -> Passed:
    """Ask for each path once, over connections that are kept and each wait for their reply."""
    prefix, left, passed = server.url(MAVEN), iter(paths), Passed()
    parts = urlsplit(prefix)

    async def ask_on_one_connection() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for path in left:
            started = time.perf_counter()
            writer.write(f"GET {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            passed.statuses[await _read_status(reader)] += 1
            passed.waits_s.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    async with asyncio.timeout(LONGEST_S):
        await asyncio.gather(*(ask_on_one_connection() for _ in range(CLIENTS)))
    passed.total_s = time.perf_counter() - started
    return passed


async def _read_status(reader: asyncio.StreamReader) -> int:
    """The status of one reply, which is read to its end. Raises Unequal where it does not say how long it is."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    _, found, rest = head.partition("\r\ncontent-length:")
    if not found:
        raise Unequal(f"a reply without a length: {head[:200]!r}")
    await reader.readexactly(int(rest.partition("\r\n")[0]))
    return int(head.split(" ", 2)[1])


def _row(server: Server, number: int, passed: Passed, asked: int) -> Row:
    waits = sorted(passed.waits_s)
    return {
        "server": server.name,
        "pass": number,
        "paths": len(waits),
        "workers": WORKERS,
        "processes": server.processes,
        "clients": CLIENTS,
        "seconds": round(passed.total_s, 2),
        "rate": round(len(waits) / passed.total_s, 1),
        "p50_ms": round(1000 * waits[len(waits) // 2], 3),
        "p99_ms": round(1000 * waits[len(waits) * 99 // 100], 3),
        "max_ms": round(1000 * waits[-1], 3),
        "upstream_requests": asked,
    }


def _line(row: Row) -> str:
    return (
        f"storm {row['server']:25} pass {row['pass']}: {row['paths']} paths, {row['rate']:10.1f}/s, "
        f"p99 {row['p99_ms']:8.2f} ms, {row['upstream_requests']} upstream requests"
    )
