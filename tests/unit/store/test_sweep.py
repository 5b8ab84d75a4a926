from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from mainstay.store.local import LocalStore
from mainstay.store.lock import acquire, locked
from mainstay.store.sweep import sweep
from unit.children import child, names

FILL = """
import sys, time
from pathlib import Path
from mainstay.store.local import LocalStore
from mainstay.store.lock import acquire
store = LocalStore(Path(sys.argv[1]))
assert acquire(store.fills / "busy.lock", wait=False) is not None
(store.fills / "busy.part").write_bytes(b"x" * 1000)
(store.fills / "busy.head").write_bytes(b"x" * 10)
store.temporary().write_bytes(b"y" * 500)
print("ready", flush=True)
time.sleep(600)
"""


def test_what_another_process_fills_is_left_until_that_process_is_killed(tmp_path: Path) -> None:
    """The part, the head, the lock and the temporary file stay while their owner lives, and all go afterwards."""
    store = LocalStore(tmp_path)
    with child(FILL, tmp_path) as process:
        before = names(store.fills)
        assert store.sweep() == 0
        assert names(store.fills) == before
        process.kill()
        process.wait()
    assert store.sweep() == 1510
    store.close()
    assert names(store.fills) == []


def test_a_part_without_a_lock_file_is_removed(tmp_path: Path) -> None:
    """A crash may leave a part alone; a name with dots is told from its ending."""
    (tmp_path / "a-1.0.whl.part").write_bytes(b"123")
    (tmp_path / "old-7.tmp").write_bytes(b"12")
    assert sweep(tmp_path) == 5
    assert names(tmp_path) == []


def test_other_files_in_fills_are_left_alone(tmp_path: Path) -> None:
    """Sweeping removes what it knows."""
    (tmp_path / "README").write_bytes(b"123")
    assert sweep(tmp_path) == 0
    assert names(tmp_path) == ["README"]


def test_a_lock_file_removed_by_its_holder_does_not_let_two_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited for a lock file that was then removed gets the lock on the new one, not on the old."""
    path = tmp_path / "name.lock"
    first = acquire(path, wait=True)
    assert first is not None
    got: list[int | None] = []
    asked = threading.Event()
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        asked.set()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    waiter = threading.Thread(target=lambda: got.append(acquire(path, wait=True)))
    waiter.start()
    assert asked.wait(10)
    path.unlink()
    os.close(first)
    waiter.join(10)
    assert got[0] is not None
    assert acquire(path, wait=False) is None
    os.close(got[0])


def test_a_lock_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    """The lock ends with its block."""
    path = tmp_path / "name.lock"

    def fail_inside() -> None:
        with locked(path):
            assert acquire(path, wait=False) is None
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    descriptor = acquire(path, wait=False)
    assert descriptor is not None
    os.close(descriptor)


def test_a_lock_that_fails_leaks_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is an error, and the file is closed."""
    closed: list[int] = []
    close = os.close

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError("no locks here")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        patch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), close(descriptor)))
        with pytest.raises(OSError, match="no locks here"):
            acquire(tmp_path / "name.lock", wait=True)
    assert len(closed) == 1
