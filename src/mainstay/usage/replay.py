"""What a cache of another size, or with another policy, would have saved: the files asked for, replayed in order.

A request for a file is a look-up of its digest. `replay` knows nothing of the ledger; `replay_ledger` reads it, with
DuckDB alone: a cache has one state, which one look-up after the other changes, so there is nothing to share out to the
machines of a Spark.

`mainstay serve` and `run` do not import this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mainstay.config import parse_size
from mainstay.db.ledger import LedgerLoss
from mainstay.errors import ConfigError, EngineFailed
from mainstay.telemetry.log import get_logger
from mainstay.usage.answers import of_period
from mainstay.usage.columnar import Snapshot, open_ledger
from mainstay.usage.engines import DEFAULT_ENGINE, open_engine
from mainstay.usage.queries import within
from mainstay.usage.replay_caches import POLICIES, UNLIMITED, Cache, CacheRun, make_caches
from mainstay.usage.tables import aligned, printable, render_losses, size

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

__all__ = ("POLICIES", "UNLIMITED", "CacheRun", "Replay", "replay", "replay_ledger", "replay_many", "replay_period")

CHUNK = 65_536
"""Look-ups that are in memory at once."""
_FILE_STATUSES = (200, 206)
_HEAD = ("cache", "policy", "requests", "hit rate", "bytes", "byte hit rate", "saved", "from upstream")
_log = get_logger("mainstay.usage")


@dataclass(frozen=True, slots=True)
class Replay:
    """The runs over the ledger of a data folder, days in UTC, both within. `losses` is what the ledger says it lost."""

    data: Path
    since: date
    until: date
    runs: tuple[CacheRun, ...]
    losses: tuple[LedgerLoss, ...]


def replay(requests: Iterable[tuple[str, int]], policy: str, size_bytes: int) -> CacheRun:
    """Look up each (digest, size of the whole file in bytes), in order, in a cache that is empty at first.

    Raises:
        ConfigError: no such policy.
    """
    (run,) = replay_many(requests, policy, [size_bytes])
    return run


def replay_many(requests: Iterable[tuple[str, int]], policy: str, sizes: Sequence[int]) -> list[CacheRun]:
    """The same for caches of several sizes, in their order; `requests` are read once.

    Raises:
        ConfigError: no such policy.
    """
    return _run(_numbered(requests), make_caches([policy], sizes))


def replay_ledger(
    data: Path,
    since: date,
    until: date,
    sizes: Sequence[int],
    engine: str = DEFAULT_ENGINE,
    policies: Sequence[str] = POLICIES,
) -> list[CacheRun]:
    """The runs of `replay_period`."""
    return list(replay_period(data, since, until, sizes, engine, policies).runs)


def replay_period(
    data: Path,
    since: date,
    until: date,
    sizes: Sequence[int],
    engine: str = DEFAULT_ENGINE,
    policies: Sequence[str] = POLICIES,
) -> Replay:
    """Replay what all consumers asked for in a period, by policy and size in the order given; `unlimited` among the
    policies is one run whatever the sizes.

    A look-up is a GET that was answered with a file or a part of one (status 200, 206), at the time its reply ended.
    The size of a file is that of its longest reply: of one that was only sent in parts, the longest part.

    Raises:
        ConfigError: no such policy, or another engine than DuckDB.
        EngineFailed: it does not start, or fails for another reason than a damaged file.
        StoreError: the ledger cannot be opened.
    """
    if engine != DEFAULT_ENGINE:
        raise ConfigError(f"--engine {engine} cannot replay.", hint=f"Leave it out: a replay runs on {DEFAULT_ENGINE}.")
    caches = make_caches(policies, sizes)
    with TemporaryDirectory(prefix="mainstay-usage-") as folder:
        path = Path(folder) / "lookups.parquet"
        losses = _save_lookups(data, since, until, path)
        return Replay(data, since, until, tuple(_run(_load_lookups(path), caches)), losses)


def parse_sizes(text: str) -> list[int]:
    """Bytes of each size in "1 GB, 5 GB", smallest first and none twice. Raises ConfigError."""
    try:
        found = {parse_size(part.strip()) for part in text.split(",") if part.strip()}
    except ValueError as error:
        raise ConfigError(f"--sizes {text}: {error}.") from None
    if not found:
        raise ConfigError("--sizes names no size.", hint='Write some, such as "1 GB,5 GB".')
    return sorted(found)


def parse_policies(text: str) -> tuple[str, ...]:
    """One of POLICIES, or both. Raises ConfigError."""
    if text != "both" and text not in POLICIES:
        raise ConfigError(f"--policy {text} is not a policy.", hint=f"Allowed: {', '.join(POLICIES)}, both.")
    return POLICIES if text == "both" else (text,)


def render_json(replayed: Replay, own_bytes: int) -> str:
    """`{"schema": 1, "since", "until", "caches": [{"policy", "size_bytes", "configured", "requests", "hits",
    "hit_rate", "bytes", "hit_bytes", "byte_hit_rate"}], "losses": []}`; rates as parts of 1 or null. `configured` is
    whether a cache is as large as the gateway's own, which has `own_bytes`."""
    caches = [
        asdict(run)
        | {"hit_rate": run.hit_rate, "byte_hit_rate": run.byte_hit_rate, "configured": _is_own(run, own_bytes)}
        for run in replayed.runs
    ]
    document = {
        "schema": 1,
        "since": replayed.since.isoformat(),
        "until": replayed.until.isoformat(),
        "caches": caches,
        "losses": [asdict(loss) for loss in replayed.losses],
    }
    return json.dumps(document)


def render_text(replayed: Replay, own_bytes: int) -> str:
    """A table for a person, a line for each cache, and what is lost."""
    period = f"{replayed.since} to {replayed.until} (UTC)"
    if any(run.requests for run in replayed.runs):
        lines = [f"the files asked for from {period}, replayed", "", *_render_table(replayed.runs, own_bytes)]
    else:
        lines = [
            f"The usage ledger in {printable(str(replayed.data))} has no file from {period}.",
            "Ask about other days with --since and --until, or another data folder with --data.",
        ]
    return "\n".join([*lines, *render_losses(replayed.losses)])


def _render_table(runs: Sequence[CacheRun], own_bytes: int) -> list[str]:
    body = [_cells(run, own_bytes) for run in runs]
    widths = [max(len(line[at]) for line in (_HEAD, *body)) for at in range(len(_HEAD))]
    lines = [aligned(line, widths, 2) for line in (_HEAD, *body)]
    if any(_is_own(run, own_bytes) for run in runs):
        lines += ["", "* [cache] size in the gateway's settings; it evicts by lru."]
    if any(run.policy == UNLIMITED for run in runs):
        lines += ["unlimited: a cache that keeps everything, as large as it is in the end. None of these does better."]
    return lines


def _cells(run: CacheRun, own_bytes: int) -> list[str]:
    rates = ("-" if rate is None else f"{rate * 100:.1f} %" for rate in (run.hit_rate, run.byte_hit_rate))
    hit_rate, byte_hit_rate = rates
    return [
        size(run.size_bytes) + " *" * _is_own(run, own_bytes),
        run.policy,
        f"{run.requests:,}",
        hit_rate,
        size(run.bytes),
        byte_hit_rate,
        size(run.hit_bytes),
        size(run.bytes - run.hit_bytes),
    ]


def _is_own(run: CacheRun, own_bytes: int) -> bool:
    return run.policy != UNLIMITED and run.size_bytes == own_bytes


def _run(chunks: Iterable[tuple[list[int], list[int]]], caches: Sequence[Cache]) -> list[CacheRun]:
    for numbers, sizes in chunks:
        for cache in caches:
            cache.look_up(numbers, sizes)
    return [cache.finish() for cache in caches]


def _numbered(requests: Iterable[tuple[str, int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Look-ups in chunks, each digest as a number of its own: numbers are compared in no time."""
    numbers: dict[str, int] = {}
    rest = iter(requests)
    while chunk := list(islice(rest, CHUNK)):
        yield [numbers.setdefault(digest, len(numbers)) for digest, _ in chunk], [size_bytes for _, size_bytes in chunk]


def _save_lookups(data: Path, since: date, until: date, path: Path) -> tuple[LedgerLoss, ...]:
    """Write the look-ups of a period into a new Parquet file, in order, unless there are none; returns the losses."""
    with open_ledger(data, path.parent) as snapshot:
        try:
            _save_from(snapshot, since, until, path)
            return snapshot.losses
        except EngineFailed as error:
            _log.warning("a replay failed and is made again of sound files only", reason=error.message)
        sound = snapshot.examined()
        _save_from(sound, since, until, path)
        return sound.losses


def _save_from(snapshot: Snapshot, since: date, until: date, path: Path) -> None:
    files = [*of_period(snapshot.files, since, until), *snapshot.tail_files]
    if files:
        with open_engine(DEFAULT_ENGINE, files, path.parent) as engine:
            engine.save(_lookups(within(engine.table, since, until)), path)


def _lookups(events: ir.Table) -> ir.Table:
    """`number` of a file and its `size_bytes`, in order. In one microsecond, by digest: any order would do."""
    import ibis

    is_file = (events["method"] == "GET") & events["status"].isin(_FILE_STATUSES) & (events["digest"] != "")
    asked = events.filter(is_file).select("time_us", "digest", "bytes_down")
    files = asked.group_by("digest").aggregate(size_bytes=asked["bytes_down"].max())
    files = files.mutate(number=ibis.row_number().over(ibis.window(order_by=files["digest"])))
    return asked.inner_join(files, "digest").select("time_us", "number", "size_bytes").order_by(["time_us", "number"])


def _load_lookups(path: Path) -> Iterator[tuple[list[int], list[int]]]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # the library has no types here

    if path.exists():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK, columns=["number", "size_bytes"]):
                yield batch.column(0).to_pylist(), batch.column(1).to_pylist()
