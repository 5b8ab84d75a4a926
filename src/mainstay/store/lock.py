"""Exclusive file locks over all processes (flock), on lock files that may be removed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainstay.errors import StoreFull


def acquire(path: Path, *, wait: bool) -> int | None:
    """Lock `path` (made where absent) and return its descriptor; None when another holds it and `wait` is False.

    Closing the descriptor releases the lock, as does the end of the process however it ends. A lock file may be
    unlinked by the one who holds it: a lock on a file that is no longer at `path` is dropped here and tried anew,
    because it excludes nobody.

    Raises:
        StoreFull: the file cannot be made.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFull(f"the data folder cannot take more: {error.strerror or error}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path`, waiting for it."""
    descriptor = acquire(path, wait=True)
    assert descriptor is not None, "a lock that is waited for is always got"
    try:
        yield
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
