"""Cold runs: files that the gateway has never seen, from an upstream with a delay and a held rate."""

from __future__ import annotations

import statistics

import bodies
from figures import Row
from lineup import running
from servers import Server
from subjects import Unequal, content, fetch, find_url, listed_file

DELAY_MS = 20
RATE_MIB = 100
WARMING_BYTES = 1_000_000


def run_cold(names: list[str], sizes: list[int], runs: int) -> list[Row]:
    """One row per size and server: medians in ms and their ratio to asking upstream directly, file by file in turn.

    The index is asked for before the clock starts, as every client does.
    """
    with running(names, 1, delay_ms=DELAY_MS, rate_mib=RATE_MIB) as (upstream, servers):
        for number, server in enumerate(servers):
            _download(server, WARMING_BYTES, number)
        return [row for size in sizes for row in _measure([upstream, *servers], size, runs)]


def _measure(servers: list[Server], size_bytes: int, runs: int) -> list[Row]:
    times: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
    for number in range(1, runs + 1):
        for server in servers if number % 2 else reversed(servers):
            times[server.name].append(_download(server, size_bytes, number))
    rows: list[Row] = []
    for server in servers:
        first, total = (1000 * statistics.median(values) for values in zip(*times[server.name], strict=True))
        rows.append(
            {
                "size_bytes": size_bytes,
                "server": server.name,
                "runs": runs,
                "first_byte_ms": round(first, 2),
                "total_ms": round(total, 2),
                "first_bytes_ms": [round(1000 * pair[0], 2) for pair in times[server.name]],
                "totals_ms": [round(1000 * pair[1], 2) for pair in times[server.name]],
            }
        )
        rows[-1] |= {
            "first_byte_ratio": round(first / rows[0]["first_byte_ms"], 3),
            "total_ratio": round(total / rows[0]["total_ms"], 3),
        }
        print(
            f"cold {size_bytes / 1e6:5.1f} MB {server.name:25} first byte {first:8.2f} ms, total {total:8.1f} ms, "
            f"{rows[-1]['first_byte_ratio']:.2f} and {rows[-1]['total_ratio']:.2f} of direct",
            flush=True,
        )
    return rows


def _download(server: Server, size_bytes: int, number: int) -> tuple[float, float]:
    project = bodies.sized_project(size_bytes, number)
    subject = listed_file("cold file", project)
    url = find_url(server, subject)
    reply = fetch(url)
    if reply.status != 200 or content(subject, reply.body) != bodies.file_sha256(*bodies.filenames(project)[0]):
        raise Unequal(f"{server.name} answers {reply.status} or wrong bytes for {url}")
    return reply.first_byte_s, reply.total_s
