"""Memory runs: 50 clients on one cold 500 MB file; 50 different 40 MB packuments asked for at once."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import bodies
from cold import DELAY_MS, RATE_MIB
from figures import Row
from install import command_path
from lineup import running
from processes import MemoryWatch
from servers import NPM, Server
from subjects import FILE_100K, INDEX, PACKUMENT, Unequal, count_requests, fetch, find_url, listed_file

HERE = Path(__file__).resolve().parent
CLIENTS = 50
LARGE_FILE_BYTES = 500_000_000
PACKUMENTS = 50
WORKERS = 2
LOAD_NICE = 5


def run_memory(names: Sequence[str]) -> Row:
    """Both runs on each server, every time a fresh one with two workers. nginx is the control for the probe."""
    return {
        name: {"large_file": _measure(name, _large_file), "packuments": _measure(name, _packuments)} for name in names
    }


def _measure(name: str, measure: Callable[[Server, Server], Row]) -> Row:
    held = running([name], WORKERS, delay_ms=DELAY_MS, rate_mib=RATE_MIB, upstream_nice=LOAD_NICE)
    with held as (upstream, (server,)):
        for subject in (INDEX, FILE_100K, PACKUMENT):
            for _ in range(8):
                fetch(find_url(server, subject), subject.accept)
        figures = measure(server, upstream)
    print(f"memory {name} {json.dumps(figures)}", flush=True)
    return figures


def _curl(urls: Sequence[str], headers: Sequence[str]) -> list[tuple[int, int, float]]:
    """Ask for all at once. (status, bytes, seconds) of each."""
    command = [
        "nice",
        f"-n{LOAD_NICE}",
        command_path("curl") or "curl",
        "-sS",
        "-Z",
        "--parallel-immediate",
        "--parallel-max",
        str(len(urls)),
        "-w",
        r"%{http_code} %{size_download} %{time_total}\n",
    ]
    for header in headers:
        command += ["-H", header]
    for url in urls:
        command += ["-o", "/dev/null", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [(int(a), int(b), float(c)) for a, b, c in (line.split() for line in said.splitlines())]


def _large_file(server: Server, upstream: Server) -> Row:
    url = find_url(server, listed_file("large file", bodies.sized_project(LARGE_FILE_BYTES, 0)))
    before, started = count_requests(upstream), time.perf_counter()
    with MemoryWatch(server.process.pid) as watch:
        replies = _curl([url] * CLIENTS, ())
    if [(status, size) for status, size, _ in replies] != [(200, LARGE_FILE_BYTES)] * CLIENTS:
        raise Unequal(f"not every client got the whole file: {sorted({reply[:2] for reply in replies})}")
    return {
        "clients": CLIENTS,
        "file_bytes": LARGE_FILE_BYTES,
        "seconds": round(time.perf_counter() - started, 2),
        "upstream_requests": count_requests(upstream) - before,
        **_memory(watch),
    }


def _memory(watch: MemoryWatch) -> Row:
    return {
        "rss_before_mb": round(watch.start_total / 1e6, 1),
        "rss_peak_mb": round(watch.peak_total / 1e6, 1),
        "rss_growth_mb": round((watch.peak_total - watch.start_total) / 1e6, 1),
        "worker_peak_mb": round(watch.peak_worker / 1e6, 1),
    }


def _packuments(server: Server, upstream: Server) -> Row:
    urls = [f"{server.url(NPM)}big-{number}" for number in range(PACKUMENTS)]
    targets = [f"{find_url(server, subject)}@{subject.accept}" for subject in (INDEX, PACKUMENT)]
    before, started = count_requests(upstream), time.perf_counter()
    probe = subprocess.Popen(
        [sys.executable, HERE / "probe.py", *targets], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with MemoryWatch(server.process.pid) as watch:
        replies = _curl(urls, ("Accept: application/json", "Accept-Encoding: gzip"))
    seconds = round(time.perf_counter() - started, 2)
    probed = json.loads(probe.communicate(timeout=30)[0])
    if [reply[0] for reply in replies] != [200] * PACKUMENTS:
        raise Unequal(f"not every packument came: {sorted({reply[0] for reply in replies})}")
    for url in urls[:: PACKUMENTS // 3]:
        _check_big(url)
    return {
        "packuments": PACKUMENTS,
        "seconds": seconds,
        "upstream_requests": count_requests(upstream) - before,
        "slowest_s": round(max(reply[2] for reply in replies), 2),
        **_memory(watch),
        "other_requests": probed,
    }


def _check_big(url: str) -> None:
    reply = fetch(url, "application/json", **{"Accept-Encoding": "gzip"})
    body = gzip.decompress(reply.body) if reply.headers.get("content-encoding") == "gzip" else reply.body
    if len(json.loads(body)["versions"]) != bodies.BIG_VERSIONS:
        raise Unequal(f"{url} lost versions")
