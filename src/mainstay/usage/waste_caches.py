"""What caches of several sizes would have served of the files asked for, and which size is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mainstay.usage.replay import replay_ledger
from mainstay.usage.replay_caches import CacheRun

SIZES = tuple(number * 10**9 for number in (1, 5, 20, 100))
"""Sizes of caches that are tried, in bytes."""
POLICY = "lru"
"""How the gateway's own cache makes room, so the one whose sizes are compared."""
ENOUGH_PERCENT = 99
"""Of the bytes that the largest serves."""
_UNITS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@dataclass(frozen=True, slots=True)
class CacheAdvice:
    """The smallest of the sizes tried that serves nearly as many bytes as the largest."""

    size_bytes: int
    words: str
    change: str
    where: str


def try_caches(data: Path, since: date, until: date, sizes: Sequence[int]) -> tuple[CacheRun, ...]:
    """A run for each size in bytes, the smallest first. One pass over the files in order of time, by DuckDB whatever
    answers the rest.

    Raises:
        as `replay.replay_ledger`.
    """
    return tuple(replay_ledger(data, since, until, sorted(set(sizes)), policies=(POLICY,))) if sizes else ()


def advise(caches: Sequence[CacheRun]) -> CacheAdvice | None:
    """The smallest cache that is enough; None where none would have served anything."""
    runs = sorted(caches, key=lambda run: run.size_bytes)
    if not runs or not runs[-1].hit_bytes:
        return None
    most = runs[-1]
    # In whole numbers: all of them were asked for the same bytes.
    best = next(run for run in runs if run.hit_bytes * 100 >= most.hit_bytes * ENOUGH_PERCENT)
    size = _setting(best.size_bytes)
    words = f"A cache of {size} would have served {_part(best)} of the bytes of files"
    if best.hit_bytes != most.hit_bytes:
        words += f"; one of {_setting(most.size_bytes)} would have served {_part(most)}"
    return CacheAdvice(best.size_bytes, f"{words}.", f'size = "{size}"', "mainstay.toml, [cache]")


def _part(run: CacheRun) -> str:
    return f"{100 * run.hit_bytes / run.bytes:.0f} %"


def _setting(size_bytes: int) -> str:
    """A size as mainstay.toml has it, exactly: `20000000000` as `20 GB`."""
    for unit, number in _UNITS:
        if size_bytes % number == 0:
            return f"{size_bytes // number} {unit}"
    return f"{size_bytes} B"
