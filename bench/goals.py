"""The goals, and what the figures say about each: every cell must meet its goal, so the worst one is shown."""

from __future__ import annotations

from collections.abc import Iterable

from figures import Row

# subject, peer, least share of the peer's figure, which figure
RATE_GOALS = (
    ("index", "nginx", 0.6, "rate"),
    ("index", "devpi", 30.0, "rate"),
    ("file 100 KB", "nginx", 0.7, "rate"),
    ("file 20 MB", "nginx", 1.2, "mb_per_s"),
    ("abbreviated packument", "verdaccio", 30.0, "rate"),
)
P99_GOAL = 2.0
FIRST_BYTE_GOAL, TOTAL_GOAL = 1.15, 1.1
LEDGER_GOAL_RATE = 100_000
METERED_GOAL = 0.9
USAGE_GOALS_S = {"consumer": 2.0, "project": 5.0}
GROWTH_GOAL_MB, WORKER_GOAL_MB, DELAY_GOAL_MS = 64, 500, 100


def judge(result: Row) -> list[Row]:
    """One entry per goal: what, the worst figure, whether it is met, and every cell that it rests on."""
    found = [_rate_goal(result["warm"], *goal) for goal in RATE_GOALS]
    found += [_p99_goal(result["warm"], subject) for subject in dict.fromkeys(row["subject"] for row in result["warm"])]
    found += _cold_goals(result["cold"]) + _memory_goals(result["memory"]) + _storm_goals(result["storm"])
    found += _metering_goals(result["metering"]) + _ledger_goals(result["ledger"]) + _usage_goals(result["usage"])
    return [goal for goal in found if goal["cells"]]


def _pairs(rows: list[Row], subject: str, peer: str, figure: str) -> Iterable[tuple[str, float]]:
    cells = {(row["server"], row["workers"], row["connections"]): row for row in rows if row["subject"] == subject}
    for (server, workers, connections), row in cells.items():
        other = cells.get((peer, workers, connections))
        if server == "mainstay" and other is not None and other[figure]:
            yield f"{workers}w {connections}c", round(row[figure] / other[figure], 2)


def _rate_goal(rows: list[Row], subject: str, peer: str, least: float, figure: str) -> Row:
    cells = dict(_pairs(rows, subject, peer, figure))
    worst = min(cells.values(), default=0.0)
    unit = "rate" if figure == "rate" else "bytes per second"
    return {
        "goal": f"{subject}: at least {least:g} times {peer}'s {unit}",
        "worst": worst,
        "unit": "x",
        "met": worst >= least,
        "cells": cells,
    }


def _p99_goal(rows: list[Row], subject: str) -> Row:
    cells = dict(_pairs(rows, subject, "nginx", "p99_ms"))
    worst = max(cells.values(), default=0.0)
    return {
        "goal": f"{subject}: p99 at most {P99_GOAL:g} times nginx's",
        "worst": worst,
        "unit": "x",
        "met": worst <= P99_GOAL,
        "cells": cells,
    }


def _cold_goals(rows: list[Row]) -> list[Row]:
    ours = [row for row in rows if row["server"] == "mainstay"]
    goals = []
    limits = ("time to first byte", "first_byte_ratio", FIRST_BYTE_GOAL), ("total", "total_ratio", TOTAL_GOAL)
    for text, key, most in limits:
        cells = {f"{row['size_bytes'] / 1e6:g} MB": row[key] for row in ours}
        worst = max(cells.values(), default=0.0)
        goals.append(
            {
                "goal": f"cold {text}: at most {most:g} times direct",
                "worst": worst,
                "unit": "x",
                "met": worst <= most,
                "cells": cells,
            }
        )
    return goals


def _memory_goals(memory: Row) -> list[Row]:
    if "mainstay" not in memory:
        return []
    large, documents = memory["mainstay"]["large_file"], memory["mainstay"]["packuments"]
    figures = (
        (
            f"{large['clients']} clients on a cold 500 MB file: RSS of all processes grows under {GROWTH_GOAL_MB} MB",
            large["rss_growth_mb"],
            "MB",
            GROWTH_GOAL_MB,
        ),
        (f"{large['clients']} clients on a cold 500 MB file: one upstream request", large["upstream_requests"], "", 2),
        (
            f"{documents['packuments']} packuments of 40 MB at once: under {WORKER_GOAL_MB} MB a worker",
            documents["worker_peak_mb"],
            "MB",
            WORKER_GOAL_MB,
        ),
        (
            f"meanwhile no other request delayed by more than {DELAY_GOAL_MS} ms",
            documents["other_requests"]["max_ms"],
            "ms",
            DELAY_GOAL_MS,
        ),
    )
    return [
        {"goal": text, "worst": value, "unit": unit, "met": value < limit, "cells": {"measured": value}}
        for text, value, unit, limit in figures
    ]


def _ledger_goals(row: Row) -> list[Row]:
    if not row:
        return []
    rate = row["write_rate"]
    return [
        {
            "goal": f"ledger: at least {LEDGER_GOAL_RATE:,} events/s recorded and written on one core",
            "worst": rate,
            "unit": "events/s",
            "met": rate >= LEDGER_GOAL_RATE,
            "cells": {"written": rate, "written and sealed": row["write_and_seal_rate"]},
        }
    ]


def _metering_goals(rows: list[Row]) -> list[Row]:
    goals = []
    for subject in dict.fromkeys(row["subject"] for row in rows):
        cells = dict(_pairs(rows, subject, "without the ledger", "rate"))
        worst = min(cells.values(), default=0.0)
        text = f"{subject} with the ledger: at least {METERED_GOAL:g} times the rate without"
        goals.append({"goal": text, "worst": worst, "unit": "x", "met": worst >= METERED_GOAL, "cells": cells})
    return goals


def _usage_goals(row: Row) -> list[Row]:
    goals = []
    for name, most_s in USAGE_GOALS_S.items() if row else ():
        took_s = row[f"by_{name}_s"]
        text = f"{row['events']:,} events by {name}: under {most_s:g} s"
        goals.append(
            {"goal": text, "worst": took_s, "unit": "s", "met": took_s < most_s, "cells": {"measured": took_s}}
        )
        if spark := row["spark"]:
            rows, is_equal = spark[f"by_{name}_rows"], spark[f"by_{name}_equal"]
            text = f"{row['events']:,} events by {name}: Spark's rows are DuckDB's"
            goals.append({"goal": text, "worst": rows, "unit": "rows", "met": is_equal, "cells": {"compared": rows}})
    return goals


def _storm_goals(rows: list[Row]) -> list[Row]:
    """Exact: one request less in the first pass would mean that something was not asked for."""
    goals = []
    for row in (row for row in rows if row["server"] == "mainstay"):
        asked, wanted = row["upstream_requests"], row["paths"] if row["pass"] == 1 else 0
        goals.append(
            {
                "goal": f"{row['paths']:,} missing paths, pass {row['pass']}: {wanted:,} upstream requests",
                "worst": asked,
                "unit": "",
                "met": asked == wanted,
                "cells": {"measured": asked},
            }
        )
    return goals
