"""Processes for tests to run beside themselves and to kill."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def child(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python `code` until it has printed "ready"; killed with SIGKILL at the end if it is still there."""
    command = [sys.executable, "-c", code, *map(str, args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", f"the child ended with {process.wait()}"
            yield process
        finally:
            process.kill()


def run(code: str, *args: object) -> str:
    """Standard output of Python `code`, which must end well."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def waits_for_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], done: Callable[[], bool]
) -> None:
    """Assert that `act` asks for a lock and has not `done` its work while `path` is locked elsewhere, and then does."""
    asked = threading.Event()
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if threading.current_thread() is thread:
            asked.set()
        real(descriptor, operation)

    holder = os.open(path, os.O_RDWR | os.O_CREAT)
    real(holder, fcntl.LOCK_EX)
    thread = threading.Thread(target=act)
    monkeypatch.setattr(fcntl, "flock", flock)
    thread.start()
    try:
        assert asked.wait(10), "no lock was asked for"
        thread.join(0.05)
        assert thread.is_alive()
        assert not done()
    finally:
        os.close(holder)
        thread.join(10)
    assert done()
