"""Questions to a ledger of many events: the summary by consumer and by project on DuckDB, from rollups and from the
events, beside the plain reading of two columns and of the sums alone.

.venv/bin/python bench/usage.py                                   10 million events in 30 days, made in a minute
.venv/bin/python bench/usage.py --events 100000000 --rounds 1     as many as the goal names; 3 GB on the disk
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from statistics import median

import duckdb
import pyarrow.parquet as pq

from figures import Row
from install import TOOLS
from mainstay.usage.answers import ask_files
from mainstay.usage.columnar import MERGED_GROUP_ROWS, SCHEMA
from mainstay.usage.question import Question, parse_by
from mainstay.usage.rollup import write_rollup

FIRST_DAY = date(2026, 1, 1)
DAYS = 30
GROUPINGS = ("consumer", "project")
GOALS_S = {"consumer": 2.0, "project": 5.0}
"""For 100 million events."""
CONSUMERS, FILES_EACH, PROJECTS, VERSIONS = 500, 1_500, 50_000, 5

# Consumers are unequal; each asks again and again for the files of its own projects, a few of them most of the time,
# and moves on to newer versions every ten days. Half of all replies are indexes. `u` and `v` are from 0 to 1.
_EVENTS = f"""
WITH chance AS (
    SELECT i, (hash(i, $day, 1) % 1000003) / 1000003 AS u, (hash(i, $day, 2) % 1000003) / 1000003 AS v,
        hash(i, $day, 3) % 1000 AS w
    FROM range($count) AS numbers(i)
), asked AS (
    SELECT i, w, floor({CONSUMERS} * u * u)::BIGINT AS team, floor({FILES_EACH} * v * v * v)::BIGINT AS slot FROM chance
), picked AS (
    SELECT i, w, team, hash(team, slot) AS pick, pick % 2 = 0 AS is_file,
        floor({PROJECTS} * pow((pick // 2 % 1000003) / 1000003, 3))::BIGINT AS number,
        pick % {VERSIONS} + $day // 10 AS release
    FROM asked
), sized AS (
    SELECT *, sha256(number || '-' || release) AS digest, 2000 + hash(number) % 4000000 AS size,
        CASE WHEN w < 5 THEN 0 WHEN w < 10 THEN 206 WHEN w < 150 AND NOT is_file THEN 304 ELSE 200 END AS status
    FROM picked
)
SELECT
    ($start_us + i * 86400000000 // $count)::BIGINT AS time_us, 'team-' || team AS consumer, 'token' AS identified_by,
    ['free', 'standard', 'large'][team % 3 + 1] AS tier, 'ecosystem-' || number % 5 AS ecosystem,
    if(is_file, 'artifact', 'index') AS kind, 'project-' || number AS project,
    if(is_file, '1.' || release, '') AS version,
    if(is_file, 'project-' || number || '-1.' || release || '.whl', '') AS filename,
    if(is_file, 'sha256:' || digest, '') AS digest, if(status = 0, '', 'GET') AS method, status::BIGINT AS status,
    (CASE WHEN status IN (0, 304) THEN 0 WHEN NOT is_file THEN 20000 WHEN status = 206 OR w = 999 THEN size // 2
        ELSE size END)::BIGINT AS bytes_down,
    CASE WHEN w % 10 = 0 THEN 'miss' WHEN w % 50 = 1 THEN 'revalidated' ELSE 'hit' END AS cache_status,
    'https://registry.example/' AS upstream, if(w % 10 = 0, size, 0)::BIGINT AS bytes_up,
    (w % 10 = 0 OR w % 50 = 1)::BIGINT AS upstream_requests, 0::BIGINT AS queue_ms, '' AS throttled,
    ['pip', 'uv', 'npm', 'cargo', 'go', 'maven'][team % 6 + 1] AS client_name, '1.' || team % 20 AS client_version,
    ['person', 'ci', 'ci', 'unknown'][team % 4 + 1] AS client_class, 'cpython' AS runtime, '3.11' AS runtime_version,
    'linux' AS system, 'x86_64' AS arch, team % 4 IN (1, 2) AS ci, '' AS ci_vendor, '' AS agent
FROM sized
"""


def run_usage(events: int, rounds: int, *, with_spark: bool = True) -> Row:
    """Medians of the rounds, in seconds, each with files opened anew; the first reading from the disk is not measured.

    `roll_s` is what making the rollups takes, once. `plain_s` reads and sums two columns of the events, `sums_s` has
    the sums of a summary by consumer alone: what no digest costs. With `with_spark` Spark is asked the same, once.
    """
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        scratch = Path(folder)
        files = make_ledger(scratch, events)
        rollups = [path.with_suffix(".rolled") for path in files]
        started = time.perf_counter()
        for path, rollup in zip(files, rollups):
            write_rollup([path], rollup, scratch)
        roll_s = round(time.perf_counter() - started, 1)
        measures: dict[str, Callable[[], object]] = {
            "plain_s": lambda: _query(files, "sum(bytes_down), count(*)", ""),
            "sums_s": lambda: _query(files, _SUMS, "GROUP BY consumer"),
        }
        for name in GROUPINGS:
            measures[f"by_{name}_s"] = partial(_summarise, rollups, name, scratch, rolled=True)
            measures[f"by_{name}_events_s"] = partial(_summarise, files, name, scratch, rolled=False)
        row: Row = {"events": events, "roll_s": roll_s}
        row |= {"event_bytes": _size(files), "rollup_bytes": _size(rollups)}
        measures["plain_s"]()
        for name, measure in measures.items():
            row[name] = round(median(_seconds(measure) for _ in range(rounds)), 2)
        print(f"usage {row}", flush=True)
        row["spark"] = compare_engines(files, rollups, scratch) if with_spark else {}
    print(f"usage {row}", flush=True)
    return row


def compare_engines(files: list[Path], rollups: list[Path], scratch: Path) -> Row:
    """What Spark on this machine makes of the events, in seconds with its start, and whether its rows and its total are
    those that DuckDB has from the rollups."""
    found: Row = {}
    for name in GROUPINGS:
        question = Question(parse_by([name]), FIRST_DAY, FIRST_DAY + timedelta(days=DAYS))
        expected = ask_files(rollups, question, "duckdb", scratch, rolled=True)
        started = time.perf_counter()
        answered = ask_files(files, question, "spark", scratch)
        found[f"by_{name}_s"] = round(time.perf_counter() - started, 1)
        found[f"by_{name}_rows"] = len(answered[0])
        found[f"by_{name}_equal"] = answered == expected
        print(f"spark {found}", flush=True)
    return found


_SUMS = """
count(*) FILTER (status <> 0), sum(bytes_down), count(*) FILTER (status <> 0 AND cache_status = 'hit'),
sum(upstream_requests), sum(bytes_up), count(*) FILTER (throttled = 'refused'), count(*) FILTER (throttled = 'waited')
"""


def make_ledger(folder: Path, events: int) -> list[Path]:
    """Files of 30 days as sealing and merging leave them: sorted by time, in row groups of that size. The same in every
    run."""
    files = []
    with closing(duckdb.connect()) as connection:
        for day in range(DAYS):
            path = folder / f"day={FIRST_DAY + timedelta(days=day)}" / "events.parquet"
            path.parent.mkdir(parents=True)
            start_us = ((FIRST_DAY - date(1970, 1, 1)).days + day) * 86_400_000_000
            values = {"day": day, "count": events // DAYS, "start_us": start_us}
            made = connection.sql(_EVENTS, params=values).to_arrow_reader(MERGED_GROUP_ROWS)
            texts = [field.name for field in SCHEMA if str(field.type) == "string"]
            with pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=texts) as writer:
                for batch in made:
                    writer.write_batch(batch.cast(SCHEMA), row_group_size=MERGED_GROUP_ROWS)
            files.append(path)
    return files


def _summarise(files: list[Path], name: str, scratch: Path, *, rolled: bool) -> object:
    question = Question(parse_by([name]), FIRST_DAY, FIRST_DAY + timedelta(days=DAYS))
    return ask_files(files, question, "duckdb", scratch, rolled=rolled)


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _query(files: list[Path], columns: str, rest: str) -> object:
    with closing(duckdb.connect()) as connection:
        source = connection.read_parquet([str(path) for path in files], hive_partitioning=False)
        return source.query("events", f"SELECT {columns} FROM events {rest}").fetchall()


def _seconds(measure: Callable[[], object]) -> float:
    started = time.perf_counter()
    measure()
    return time.perf_counter() - started


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000, help="default: 10 million")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--without-spark", action="store_true", help="do not compare with Spark")
    given = parser.parse_args()
    TOOLS.mkdir(parents=True, exist_ok=True)
    run_usage(given.events, given.rounds, with_spark=not given.without_spark)


if __name__ == "__main__":
    main()
