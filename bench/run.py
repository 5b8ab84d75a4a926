"""Mainstay against nginx, devpi, proxpi, simple-repository-server, Verdaccio and Athens on this machine, in one run.

make bench                                   everything, about 30 minutes; writes docs/performance.md
.venv/bin/python bench/run.py --quick        under 4 minutes; writes only .tools/bench/quick.json
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cold import run_cold
from figures import Row
from goals import judge
from install import TOOLS, install_all
from ledger import run_ledger
from lineup import STARTERS
from machine import commit, describe_machine, describe_versions, load_average
from memory import run_memory
from metering import run_metering
from report import save_json, save_page
from servers import CARGO, GO, MAVEN, NPM, SIMPLE
from storm import run_storm
from subjects import SUBJECTS
from usage import run_usage
from warm import Plan, run_warm

ROOT = Path(__file__).resolve().parent.parent
COLD_PEERS = ("mainstay", "nginx", "devpi", "proxpi", "simple-repository-server")
MEMORY_PEERS = ("mainstay", "nginx")
STORM_PEERS = ("mainstay", "nginx")
PROTOCOLS = (SIMPLE, NPM, CARGO, GO, MAVEN)
PARTS = ("warm", "cold", "memory", "storm", "metering", "ledger", "usage")


def parse_arguments() -> argparse.Namespace:
    """What to run; anything less than everything is written to a scratch file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, fewer connection counts")
    parser.add_argument("--rounds", type=int, default=3, help="warm rounds of which the median counts (default: 3)")
    parser.add_argument(
        "--only",
        choices=(*PARTS, *PROTOCOLS),
        action="append",
        help="run only this part, or of the warm part only what this protocol has (may be repeated)",
    )
    parser.add_argument("--servers", default=",".join(STARTERS), help="which servers, by comma (default: all)")
    return parser.parse_args()


def main() -> None:
    """Install, measure, judge, write."""
    given = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are ended too
    asked = given.servers.split(",")
    unknown = set(asked) - set(STARTERS)
    if unknown:
        raise SystemExit(f"--servers: {', '.join(sorted(unknown))} unknown; one of {', '.join(STARTERS)}")
    missing = install_all(asked)
    for name, reason in missing.items():
        print(f"MISSING {name}: {reason}; it is in none of the tables", flush=True)
    names = [name for name in asked if name not in missing]
    now = datetime.now(UTC)
    result: Row = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": given.quick,
        "rounds": 1 if given.quick else given.rounds,
        "machine": describe_machine(),
        "versions": describe_versions(names),
        "missing": missing,
        "load_before": load_average(),
        **measure(names, given.only or PARTS, given.quick, given.rounds),
    }
    result["goals"] = judge(result)
    for goal in result["goals"]:
        print(f"{'met   ' if goal['met'] else 'MISSED'} {goal['goal']}: {goal['worst']:g} {goal['unit']}")
    write(result, whole=not given.quick and not given.only and set(asked) == set(STARTERS), date=now)


def measure(names: list[str], only: Sequence[str], quick: bool, rounds: int) -> Row:
    """The figures of each part asked for."""
    figures: Row = {"warm": [], "cold": [], "memory": {}, "storm": [], "metering": [], "ledger": {}, "usage": {}}
    if "memory" in only:
        figures["memory"] = run_memory([name for name in names if name in MEMORY_PEERS[: 1 if quick else 2]])
    if "cold" in only:
        sizes, runs = ([100_000, 20_000_000], 3) if quick else ([100_000, 20_000_000, 100_000_000], 5)
        figures["cold"] = run_cold([name for name in names if name in COLD_PEERS], sizes, runs)
    if "storm" in only:
        figures["storm"] = run_storm([name for name in names if name in STORM_PEERS], 1_000 if quick else 10_000)
    if "metering" in only:
        figures["metering"] = run_metering(Plan((1, 32), 1, 1.0) if quick else Plan((1, 32, 256), 5, 2.0))
    if "usage" in only:
        figures["usage"] = run_usage(1_000_000 if quick else 100_000_000, 1)
    if "ledger" in only:
        figures["ledger"] = run_ledger(200_000 if quick else 1_000_000, 1 if quick else 3)
    if subjects := [subject for subject in SUBJECTS if "warm" in only or subject.protocol in only]:
        plan = Plan((1, 32), 1, 1.0) if quick else Plan((1, 32, 256), rounds, 2.0 if rounds > 1 else 1.0)
        for workers in (1, 2):
            figures["warm"] += run_warm(names, subjects, workers, plan)
    return figures


def write(result: Row, *, whole: bool, date: datetime) -> None:
    """A whole run goes into the repository, any other into the tools folder."""
    path = ROOT / "bench" / "results" / f"{date:%Y-%m-%d}.json" if whole else TOOLS / "quick.json"
    save_json(result, path)
    if whole:
        save_page(result, ROOT / "docs" / "performance.md", str(path.relative_to(ROOT)))
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
