from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from mainstay.telemetry import access
from mainstay.telemetry.access import AccessLog
from unit.children import child, names, waits_for_lock


class Entry(msgspec.Struct):
    """A line as the gateway might write it."""

    number: int
    path: str = "/simple/flask/"


APPEND = """
import sys
from pathlib import Path
import msgspec
from mainstay.telemetry.access import AccessLog
class Entry(msgspec.Struct):
    number: int
    path: str = "/simple/flask/" * 5
log = AccessLog(Path(sys.argv[1]), rotate_bytes=150_000)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 1200):
    log.record(Entry(number))
    if number % 3 == 0:
        log.flush()
log.flush()
print("done", flush=True)
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AccessLog]:
    """An access log in an empty folder."""
    log = AccessLog(tmp_path / "access.jsonl")
    yield log
    asyncio.run(log.close())


def lines(path: Path) -> list[dict[str, Any]]:
    """The file's entries."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_lines_are_written_at_a_flush_in_their_order(log: AccessLog) -> None:
    """Nothing before it, everything after it, once."""
    for number in range(100):
        log.record(Entry(number))
    assert not log.path.exists()
    log.flush()
    log.flush()
    assert [entry["number"] for entry in lines(log.path)] == list(range(100))


def test_control_characters_break_no_line(log: AccessLog) -> None:
    """A path from outside cannot forge an entry."""
    path = 'a\r\n{"number": 7}\x00\x1b[31m\u2028"'
    log.record(Entry(1, path))
    log.flush()
    assert log.path.read_bytes().count(b"\n") == 1
    assert lines(log.path) == [{"number": 1, "path": path}]


def test_a_path_that_is_no_text_is_written_escaped(log: AccessLog) -> None:
    """Bytes that were no UTF-8 neither fail the reply nor leave half a line."""
    log.record(Entry(1))
    log.record(Entry(2, "caf\udce9"))
    log.record(Entry(3))
    log.flush()
    assert [(entry["number"], entry["path"]) for entry in lines(log.path)][1] == (2, "caf\\udce9")
    assert len(lines(log.path)) == 3


async def test_the_task_writes_without_being_asked_and_close_writes_the_rest(tmp_path: Path) -> None:
    """A line is there soon after, and what came last is there after the end."""
    log = AccessLog(tmp_path / "access.jsonl")
    log.start(asyncio.get_running_loop())
    log.record(Entry(1))
    deadline = time.monotonic() + 10
    while not log.path.exists() or not lines(log.path):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    log.record(Entry(2))
    await log.close()
    assert [entry["number"] for entry in lines(log.path)] == [1, 2]


def test_a_full_file_is_renamed_and_the_one_before_it_goes(tmp_path: Path) -> None:
    """At most two files are kept."""
    log = AccessLog(tmp_path / "access.jsonl", rotate_bytes=100)
    for number in range(30):
        log.record(Entry(number))
        log.flush()
    assert names(tmp_path) == ["access.jsonl", "access.jsonl.1", "access.jsonl.lock"]
    kept = lines(tmp_path / "access.jsonl.1") + lines(log.path)
    assert [entry["number"] for entry in kept] == list(range(30 - len(kept), 30))
    asyncio.run(log.close())


def test_two_processes_append_and_rotate_without_losing_or_mixing_lines(tmp_path: Path) -> None:
    """Every line of both is whole and there once, over a rotation that either may do."""
    path = tmp_path / "access.jsonl"
    with child(APPEND, path, 0) as one, child(APPEND, path, 10_000) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
    rotated = tmp_path / "access.jsonl.1"
    assert rotated.exists()
    found = sorted(entry["number"] for entry in lines(rotated) + lines(path))
    assert found == [*range(1200), *range(10_000, 11_200)]


def test_nothing_is_written_while_another_process_rotates(log: AccessLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line goes to a file that was already renamed away."""
    log.record(Entry(1))
    waits_for_lock(log.path.with_name("access.jsonl.lock"), monkeypatch, log.flush, log.path.exists)


def test_a_full_disk_is_said_once_and_lines_are_counted(log: AccessLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised; when space is back a torn line is ended, and that is said too."""
    real = os.write

    def half(descriptor: int, data: memoryview) -> int:
        if data.nbytes < 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: data.nbytes - 10])

    with capture_logs() as said:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            for number in range(3):
                log.record(Entry(number))
                log.flush()
        assert log.dropped == 3
        log.record(Entry(9))
        log.flush()
    assert [entry["log_level"] for entry in said] == ["error", "warning"]
    assert "No space left" in said[0]["why"]
    assert said[1]["dropped"] == 3
    assert json.loads(log.path.read_text().splitlines()[-1])["number"] == 9


def test_a_folder_that_is_gone_costs_lines_and_no_error(tmp_path: Path) -> None:
    """Recording and flushing never fail for want of disk."""
    log = AccessLog(tmp_path / "absent" / "access.jsonl")
    log.record(Entry(1))
    with capture_logs() as said:
        log.flush()
    assert (log.dropped, len(said)) == (1, 1)


def test_a_disk_that_stalls_does_not_take_the_memory(log: AccessLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the cap lines are dropped and counted."""
    monkeypatch.setattr(access, "BUFFER_BYTES", 1000)
    with capture_logs() as said:
        for number in range(500):
            log.record(Entry(number))
    log.flush()
    kept = len(lines(log.path))
    assert 10 < kept < 100
    assert log.dropped == 500 - kept
    assert len(said) == 1


def test_a_file_removed_by_somebody_is_made_again(log: AccessLog) -> None:
    """An outside log rotation needs no signal."""
    log.record(Entry(1))
    log.flush()
    log.path.unlink()
    log.record(Entry(2))
    log.flush()
    assert [entry["number"] for entry in lines(log.path)] == [2]
