"""Mainstay against nginx, devpi, proxpi, simple-repository-server and Verdaccio on this machine, in one run.

make bench                                   everything, about 15 minutes; writes docs/performance.md
.venv/bin/python bench/run.py --quick        under 4 minutes; writes only .tools/bench/quick.json
"""

from __future__ import annotations

import argparse
import signal
from datetime import UTC, datetime
from pathlib import Path

from cold import run_cold
from figures import Row
from goals import judge
from install import TOOLS, install_all
from machine import commit, describe_machine, describe_versions, load_average
from memory import run_memory
from report import save_json, save_page
from servers import STARTERS
from warm import run_warm

ROOT = Path(__file__).resolve().parent.parent
COLD_PEERS = ("mainstay", "nginx", "devpi", "proxpi", "simple-repository-server")
MEMORY_PEERS = ("mainstay", "nginx")
PARTS = ("warm", "cold", "memory")


def parse_arguments() -> argparse.Namespace:
    """What to run; anything less than everything is written to a scratch file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, fewer connection counts")
    parser.add_argument("--rounds", type=int, default=3, help="warm rounds of which the median counts (default: 3)")
    parser.add_argument("--only", choices=PARTS, action="append", help="run only this part (may be repeated)")
    parser.add_argument("--servers", default=",".join(STARTERS), help="which servers, by comma (default: all)")
    return parser.parse_args()


def main() -> None:
    """Install, measure, judge, write."""
    given = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are ended too
    names, parts = given.servers.split(","), given.only or list(PARTS)
    unknown = set(names) - set(STARTERS)
    if unknown:
        raise SystemExit(f"--servers: {', '.join(sorted(unknown))} unknown; one of {', '.join(STARTERS)}")
    install_all()
    now = datetime.now(UTC)
    result: Row = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": given.quick,
        "rounds": 1 if given.quick else given.rounds,
        "machine": describe_machine(),
        "versions": describe_versions(),
        "load_before": load_average(),
        "warm": [],
        "cold": [],
        "memory": {},
    }
    if "memory" in parts:
        result["memory"] = run_memory([name for name in names if name in MEMORY_PEERS[: 1 if given.quick else 2]])
    if "cold" in parts:
        sizes, runs = ([100_000, 20_000_000], 3) if given.quick else ([100_000, 20_000_000, 100_000_000], 5)
        result["cold"] = run_cold([name for name in names if name in COLD_PEERS], sizes, runs)
    if "warm" in parts:
        connections, rounds, seconds = (
            ([1, 32], 1, 1.0) if given.quick else ([1, 32, 256], given.rounds, 2.0 if given.rounds > 1 else 1.0)
        )
        for workers in (1, 2):
            result["warm"] += run_warm(names, workers, connections, rounds, seconds)
    result["goals"] = judge(result)
    for goal in result["goals"]:
        print(f"{'met   ' if goal['met'] else 'MISSED'} {goal['goal']}: {goal['worst']:g} {goal['unit']}")
    write(result, whole=not given.quick and set(parts) == set(PARTS) and set(names) == set(STARTERS), date=now)


def write(result: Row, *, whole: bool, date: datetime) -> None:
    """A whole run goes into the repository, any other into the tools folder."""
    path = ROOT / "bench" / "results" / f"{date:%Y-%m-%d}.json" if whole else TOOLS / "quick.json"
    save_json(result, path)
    if whole:
        save_page(result, ROOT / "docs" / "performance.md", str(path.relative_to(ROOT)))
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
