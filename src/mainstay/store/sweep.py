"""Clearing `fills/` of what killed processes left.

A fill `NAME` has NAME.lock, held by flock while it runs, beside NAME.part (and NAME.head, written as NAME.new). A
temporary file belongs to the process that holds the lock on the `.live` file of the same token. Locks end with their
process however it ends, in any container that shares the folder, so a lock that can be got means that its owner is
gone; a process id would not.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from mainstay.store.lock import acquire

_FILL = (".lock", ".part", ".head", ".new")


def sweep(fills: Path) -> int:
    """Remove files whose owner is gone; returns the bytes freed. What another process holds is left alone."""
    fill_names: set[str] = set()
    temporaries: dict[str, list[Path]] = defaultdict(list)
    for path in fills.iterdir():
        if path.suffix in _FILL:
            fill_names.add(path.stem)
        elif path.suffix == ".tmp":
            temporaries[path.stem.rpartition("-")[0]].append(path)
        elif path.suffix == ".live":
            temporaries[path.stem].extend(())
    freed = 0
    for name in fill_names:
        freed += _remove(fills / f"{name}.lock", [fills / f"{name}{suffix}" for suffix in _FILL[1:]])
    for token, paths in temporaries.items():
        freed += _remove(fills / f"{token}.live", paths)
    return freed


def _remove(lock: Path, paths: list[Path]) -> int:
    """Remove `paths` and then `lock` while holding `lock`; nothing where another process holds it."""
    descriptor = acquire(lock, wait=False)
    if descriptor is None:
        return 0
    freed = 0
    try:
        for path in paths:
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                path.unlink()
                freed += size
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return freed
