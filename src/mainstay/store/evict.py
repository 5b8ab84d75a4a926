"""Keeping the store under its budget: the least recently used blobs go first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mainstay.store.local import LocalStore
from mainstay.store.lock import acquire

GRACE_S = 60.0
"""A blob used this recently stays: its reader may be about to open it."""
TARGET = 0.9
"""Part of the budget that eviction comes down to, so that it does not run for each blob that arrives."""
ABSENCE_S = 86_400.0
"""An absence that was noted so long ago says nothing any more, and any name that is asked for makes one."""
_BATCH = 200

T = TypeVar("T")


class Catalog(Protocol):
    """What is known of the blobs. Each call is its own transaction."""

    def load_total(self) -> int:
        """Bytes in all blobs."""

    def load_digests(self) -> set[str]:
        """Every digest that has a row."""

    def load_coldest(self, before: float, limit: int) -> Sequence[tuple[str, int]]:
        """(digest, size) of unpinned blobs last used before that time (seconds), the longest unused first."""

    def delete_blobs(self, digests: Sequence[str]) -> None:
        """Forget blobs and every row that points at one."""

    def delete_absences(self, before: float) -> None:
        """Forget what upstream was found not to have, where that was before this time (seconds)."""

    def adopt_blobs(self, blobs: Sequence[tuple[str, int, float]]) -> None:
        """Add rows (digest, size, used_at) where there are none."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """What one eviction did. `busy`: another process was at it, so nothing was done here."""

    blobs: int = 0
    freed_bytes: int = 0
    adopted: int = 0
    lost: int = 0
    total_bytes: int = 0
    busy: bool = False


def evict(
    store: LocalStore,
    catalog: Catalog,
    budget_bytes: int,
    *,
    scan: bool = True,
    now: Callable[[], float] = time.time,
) -> Evicted:
    """Once over `budget_bytes`, remove blobs until under 90 % of it. Blocks: run it in a thread.

    With `scan`, the folder is compared with the catalog first: a file without a row gets one (used when it was last
    changed), a row without a file goes, and so do old absences. Never removes a pinned blob or one used in the last
    60 s, so the store may stay over its budget. The row goes before the file: a crash in between leaves a file that
    the next scan finds.
    """
    lock = acquire(store.fills / "evict.lock", wait=False)
    if lock is None:
        return Evicted(busy=True)
    try:
        adopted = lost = 0
        if scan:
            adopted, lost = _reconcile(store, catalog)
            catalog.delete_absences(now() - ABSENCE_S)
        total = catalog.load_total()
        blobs = freed = 0
        if total > budget_bytes:
            blobs, freed, total = _shrink(store, catalog, total, int(budget_bytes * TARGET), now() - GRACE_S)
        return Evicted(blobs, freed, adopted, lost, total)
    finally:
        os.close(lock)


def _shrink(store: LocalStore, catalog: Catalog, total: int, target: int, before: float) -> tuple[int, int, int]:
    blobs = freed = 0
    while total > target:
        coldest = catalog.load_coldest(before, _BATCH)
        going = list(_enough(coldest, total - target))
        if not going:
            break
        catalog.delete_blobs([digest for digest, _ in going])
        for digest, size in going:
            total -= size
            if not _is_recent(store, digest, before):
                freed += store.delete(digest)
                blobs += 1
    return blobs, freed, total


def _enough(coldest: Iterable[tuple[str, int]], wanted: int) -> Iterable[tuple[str, int]]:
    for digest, size in coldest:
        if wanted <= 0:
            return
        wanted -= size
        yield digest, size


def _is_recent(store: LocalStore, digest: str, before: float) -> bool:
    """Whether the same bytes were published anew since the catalog was asked: that publisher counts on the file."""
    try:
        return store.path(digest).stat().st_mtime > before
    except FileNotFoundError:
        return False


def _reconcile(store: LocalStore, catalog: Catalog) -> tuple[int, int]:
    unseen = catalog.load_digests()
    orphans: list[tuple[str, int, float]] = []
    for blob in store.scan():
        if blob[0] in unseen:
            unseen.remove(blob[0])
        else:
            orphans.append(blob)
    for batch in _batches(orphans):
        catalog.adopt_blobs(batch)
    lost = [digest for digest in unseen if not store.has(digest)]
    for going in _batches(lost):
        catalog.delete_blobs(going)
    return len(orphans), len(lost)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
