"""Warm runs: wrk with keep-alive against everything hot, servers in turn, medians of the rounds."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import Row
from install import command_path
from lineup import running
from processes import descendants, rss_bytes
from servers import Server
from subjects import FILE_20M, Subject, Unequal, check_and_warm, content, fetch, find_url

HERE = Path(__file__).resolve().parent
LARGE_FILE_FACTOR, LARGE_FILE_HERD_FACTOR, HERD = 1.5, 5, 256
GOAL_SERVERS = ("mainstay", "nginx")
MIN_BODY_SHARE = 0.98


@dataclass(frozen=True)
class Target:
    """A subject on one server, warm and checked. `failures` is how many requests failed while it was warming."""

    server: Server
    url: str
    body_bytes: int
    failures: int


@dataclass(frozen=True)
class Plan:
    """How long is measured, with how many clients, how often."""

    connections: tuple[int, ...]
    rounds: int
    seconds: float


def run_warm(names: list[str], subjects: Sequence[Subject], workers: int, plan: Plan) -> list[Row]:
    """One row per subject, connection count and server: requests/s, MB/s, percentiles in ms, errors."""
    with running(names, workers) as (upstream, servers):
        return measure(upstream, servers, subjects, workers, plan)


def measure(
    upstream: Server, servers: list[Server], subjects: Sequence[Subject], workers: int, plan: Plan
) -> list[Row]:
    """As `run_warm`, for servers that run."""
    rows = []
    for subject in subjects:
        targets = _warm_up(upstream, servers, subject)
        for count in plan.connections:
            runs: dict[str, list[Row]] = {target.server.name: [] for target in targets}
            for number in range(plan.rounds):
                for target in targets if number % 2 == 0 else reversed(targets):
                    if number == 0 or not subject.is_file or target.server.name in GOAL_SERVERS:
                        length_s = plan.seconds * _length_factor(subject, count)
                        run = run_wrk(
                            target.url,
                            subject.accept,
                            count,
                            length_s,
                            target.body_bytes,
                            strict=target.server.name in GOAL_SERVERS,
                        )
                        runs[target.server.name].append(run)
            for target in targets:
                server = target.server
                row = {
                    "subject": subject.name,
                    "workers": workers,
                    "connections": count,
                    "server": server.name,
                    "processes": server.processes,
                    "body_bytes": target.body_bytes,
                    "failed_while_warming": target.failures,
                    **_median(runs[server.name]),
                    "rss_mb": round(sum(map(rss_bytes, descendants(server.process.pid))) / 1e6, 1),
                }
                rows.append(row)
                print(_line(row), flush=True)
    return rows


def _length_factor(subject: Subject, connections: int) -> float:
    """256 connections of 20 MB are 5 GB before each has one file: that needs a longer run."""
    if subject is not FILE_20M:
        return 1
    return LARGE_FILE_HERD_FACTOR if connections >= HERD else LARGE_FILE_FACTOR


def _warm_up(upstream: Server, servers: list[Server], subject: Subject) -> list[Target]:
    expected = content(subject, fetch(find_url(upstream, subject), subject.accept).body)
    targets: list[Target] = []
    for server in servers:
        if subject.protocol in server.paths:
            url = find_url(server, subject)
            if not url.startswith(f"{server.root}/"):
                raise Unequal(f"{server.name} sends clients elsewhere for {subject.name}: {url}")
            targets.append(Target(server, url, *check_and_warm(server, subject, url, expected)))
    return targets


def run_wrk(url: str, accept: str, connections: int, seconds: float, body_bytes: int, *, strict: bool) -> Row:
    """One run of wrk with one thread. Raises Unequal where replies carried less than the body."""
    length = f"-d{max(1, round(seconds))}s"
    command = [
        command_path("wrk") or "wrk",
        "-t1",
        f"-c{connections}",
        length,
        "--timeout",
        "30s",
        "--latency",
        "-s",
        str(HERE / "latency.lua"),
        "-H",
        f"Accept: {accept}",
        url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"^@(.+)$", said, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"wrk printed no result for {url}:\n{said}")
    figures: Row = json.loads(match[1])
    if figures["bytes"] < figures["requests"] * body_bytes * MIN_BODY_SHARE:
        if not strict:  # a peer that breaks transfers off under load: count the whole replies that its bytes amount to
            figures["requests"] = int(figures["bytes"] / body_bytes)
            return run_figures(figures)
        raise Unequal(f"{url}: {figures['bytes']} bytes in {figures['requests']} replies, not {body_bytes} each")
    return run_figures(figures)


def run_figures(figures: Row) -> Row:
    """Rates of one run."""
    if not figures["requests"]:  # no reply ended within the run, so each takes at least that long
        figures |= {f"{at}_us": figures["duration_us"] for at in ("p50", "p99", "max")}
    duration_s = figures["duration_us"] / 1e6
    return figures | {"rate": figures["requests"] / duration_s, "mb_per_s": figures["bytes"] / duration_s / 1e6}


def _median(runs: list[Row]) -> Row:
    values = {key: round(statistics.median(run[key] for run in runs), 1) for key in ("rate", "mb_per_s")}
    times = {
        f"{at}_ms": round(statistics.median(run[f"{at}_us"] for run in runs) / 1000, 3) for at in ("p50", "p99", "max")
    }
    errors: dict[str, int] = {kind: sum(run["errors"][kind] for run in runs) for kind in runs[0]["errors"]}
    return (
        values
        | times
        | {
            "rates": [round(run["rate"], 1) for run in runs],
            "p99s_ms": [round(run["p99_us"] / 1000, 3) for run in runs],
            "errors": {kind: number for kind, number in errors.items() if number},
        }
    )


def _line(row: Row) -> str:
    return (
        f"{row['subject']:22} {row['workers']}w {row['connections']:4}c {row['server']:25} {row['rate']:10.1f}/s "
        f"{row['mb_per_s']:8.1f} MB/s  p99 {row['p99_ms']:9.2f} ms  {row['errors'] or ''}"
    )
