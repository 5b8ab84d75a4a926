"""Writes a run's figures: all of them as JSON, and the tables of docs/performance.md between its two markers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from figures import Row
from goals import DELAY_GOAL_MS

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HEAD = "# Performance\n\nEvery table here is written by `make bench` (see `bench/README.md`).\n\n"


def save_json(result: Row, path: Path) -> None:
    """Write the whole run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def save_page(result: Row, path: Path, source: str) -> None:
    """Put the tables between the markers; what a person wrote around them stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text() if path.is_file() else f"{HEAD}{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{render_tables(result, source)}\n{END}{rest.partition(END)[2]}")


def render_tables(result: Row, source: str) -> str:
    """Goals, then the figures of each part, as Markdown."""
    machine, versions = result["machine"], result["versions"]
    parts = [
        (
            f"Taken {result['date']} at revision {result['commit']}: {machine['cores']} cores of {machine['cpu']}, "
            f"{machine['memory_mib']} MiB, kernel {machine['kernel']}, {machine['system']}; load before the run "
            f"{result['load_before']}. All figures: `{source}`."
        ),
        ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
        *(f"**Missing in this run: {name}**, {reason}." for name, reason in result["missing"].items()),
        "## Goals\n\nw: workers, c: connections.\n\n"
        + _table(
            ("goal", "worst figure", "met", "each figure"),
            (
                (
                    goal["goal"],
                    f"{goal['worst']:g} {goal['unit']}".strip(),
                    "yes" if goal["met"] else "**no**",
                    ", ".join(f"{cell} {value:g}" for cell, value in goal["cells"].items()),
                )
                for goal in result["goals"]
            ),
        ),
        "## Warm\n\nMedian of the rounds, servers in turn. Where a server has fewer processes than workers were asked "
        "for, it has no worker mode.\n\n" + _warm_tables(result["warm"]),
        "## Cold\n\nMedians; one worker; upstream answers after 20 ms and sends 100 MiB/s.\n\n"
        + _table(
            ("file", "server", "first byte", "of direct", "total", "of direct"),
            (
                (
                    f"{row['size_bytes'] / 1e6:g} MB",
                    row["server"],
                    f"{row['first_byte_ms']:.1f} ms",
                    f"{row['first_byte_ratio']:.2f}",
                    f"{row['total_ms']:.0f} ms",
                    f"{row['total_ratio']:.2f}",
                )
                for row in result["cold"]
            ),
        ),
    ]
    if result["memory"]:
        parts.append("## Memory\n\n" + _memory_table(result["memory"]))
    if result["storm"]:
        parts.append("## Missing files\n\n" + _storm_table(result["storm"]))
    if result["metering"]:
        parts.append("## Metering\n\nOne worker, with the ledger and without.\n\n" + _warm_tables(result["metering"]))
    if result["usage"]:
        parts.append("## Usage\n\n" + _usage_table(result["usage"]))
    if result["ledger"]:
        parts.append("## Ledger\n\n" + _ledger_table(result["ledger"]))
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _warm_tables(rows: list[Row]) -> str:
    tables = []
    for subject in dict.fromkeys(row["subject"] for row in rows):
        chosen = [row for row in rows if row["subject"] == subject]
        tables.append(
            f"### {subject}\n\n"
            + _table(
                (
                    "workers",
                    "clients",
                    "server",
                    "processes",
                    "body",
                    "requests/s",
                    "MB/s",
                    "p50 ms",
                    "p99 ms",
                    "failed",
                ),
                (
                    (
                        str(row["workers"]),
                        str(row["connections"]),
                        row["server"],
                        str(row["processes"]),
                        f"{row['body_bytes'] / 1000:,.1f} KB",
                        f"{row['rate']:,.1f}",
                        f"{row['mb_per_s']:,.1f}",
                        f"{row['p50_ms']:.2f}",
                        f"{row['p99_ms']:.2f}",
                        _failures(row),
                    )
                    for row in chosen
                ),
            )
        )
    return "\n\n".join(tables)


def _failures(row: Row) -> str:
    counts = row["errors"] | ({"while warming": row["failed_while_warming"]} if row["failed_while_warming"] else {})
    return ", ".join(f"{kind} {number}" for kind, number in counts.items()) or "none"


def _memory_table(memory: Row) -> str:
    rows = [(name, figure, value) for name, runs in memory.items() for figure, value in _memory_rows(runs)]
    return "Two workers; RSS is of all processes of the server.\n\n" + _table(("server", "figure", "value"), rows)


def _memory_rows(runs: Row) -> tuple[tuple[str, str], ...]:
    large, documents = runs["large_file"], runs["packuments"]
    other = documents["other_requests"]
    return (
        (
            "500 MB file, 50 clients: RSS before, peak, growth",
            f"{large['rss_before_mb']}, {large['rss_peak_mb']}, {large['rss_growth_mb']} MB",
        ),
        ("500 MB file, 50 clients: seconds, upstream requests", f"{large['seconds']}, {large['upstream_requests']}"),
        (
            "50 packuments: RSS before, peak; largest worker with its children",
            f"{documents['rss_before_mb']}, {documents['rss_peak_mb']}; {documents['worker_peak_mb']} MB",
        ),
        ("50 packuments: seconds for all, slowest", f"{documents['seconds']}, {documents['slowest_s']}"),
        (
            f"other requests meanwhile (goal {DELAY_GOAL_MS} ms): median, p99, longest",
            f"{other['p50_ms']}, {other['p99_ms']}, {other['max_ms']} ms of {other['requests']} requests",
        ),
        ("how late the probe itself woke at worst", f"{other['probe_late_max_ms']} ms"),
    )


def _usage_table(row: Row) -> str:
    rows = [
        (key.removesuffix("_s").replace("_", " "), f"{value:g} s") for key, value in row.items() if key.endswith("_s")
    ]
    rows += [
        (f"{key.removesuffix('_s').replace('_', ' ')} on Spark", f"{value:g} s")
        for key, value in row["spark"].items()
        if key.endswith("_s")
    ]
    sizes = f"{row['event_bytes'] / 1e9:.1f} GB of events, {row['rollup_bytes'] / 1e9:.1f} GB of rollups"
    return f"{row['events']:,} events of 30 days, on DuckDB unless said; {sizes}.\n\n" + _table(("what", "takes"), rows)


def _ledger_table(row: Row) -> str:
    rows = (
        ("recorded and written", f"{row['write_rate']:,}", f"{row['log_bytes']:g}"),
        ("sealed", f"{row['seal_rate']:,}", f"{row['parquet_bytes']:g}"),
        ("both", f"{row['write_and_seal_rate']:,}", ""),
        ("MessagePack alone", f"{row['encode_rate']:,}", ""),
        ("plain writes of the same bytes", f"{row['plain_write_rate']:,}", f"{row['log_bytes']:g}"),
    )
    return f"{row['events']:,} events on one core.\n\n" + _table(("what", "events/s", "bytes per event"), rows)


def _storm_table(rows: list[Row]) -> str:
    return "Distinct missing Maven paths, each asked for once in each pass.\n\n" + _table(
        ("server", "workers", "clients", "pass", "paths", "requests/s", "p50 ms", "p99 ms", "upstream requests"),
        (
            (
                row["server"],
                str(row["workers"]),
                str(row["clients"]),
                str(row["pass"]),
                f"{row['paths']:,}",
                f"{row['rate']:,.1f}",
                f"{row['p50_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                f"{row['upstream_requests']:,}",
            )
            for row in rows
        ),
    )
