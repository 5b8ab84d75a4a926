from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mainstay.db.ledger import LedgerLoss
from mainstay.usage import ledger as module
from mainstay.usage.event import Event
from mainstay.usage.ledger import LOG_FOLDER, Ledger
from mainstay.usage.loss import KILLED, list_segments, open_segment
from unit.clock import Clock


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in an empty data folder."""
    ledger = Ledger(tmp_path)
    yield ledger
    asyncio.run(ledger.close())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The ledger's clock."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def segments(data: Path) -> list[Path]:
    """What was written, the oldest first."""
    return list_segments(data / LOG_FOLDER)


def read(path: Path) -> tuple[list[int], list[LedgerLoss]]:
    """The times of a segment's events, and its losses."""
    with open_segment(path, 0.0) as segment:
        found = [event.time_us for batch in segment.batches() for event in batch]
        return found, segment.losses


def found(data: Path) -> list[int]:
    """The times of all events."""
    return [time_us for path in segments(data) for time_us in read(path)[0]]


def losses(data: Path) -> list[tuple[str, int]]:
    """Reason and number of every loss."""
    return [(loss.reason, loss.events) for path in segments(data) for loss in read(path)[1]]


def record(ledger: Ledger, *times: int) -> None:
    """Record and flush."""
    for number in times:
        ledger.record(Event(number, project=f"project-{number}"))
    ledger.flush()


def test_events_are_written_at_a_flush_in_their_order(ledger: Ledger, tmp_path: Path) -> None:
    """Nothing before it, everything after it, once, and no flush without events makes a segment."""
    ledger.flush()
    assert segments(tmp_path) == []
    for number in range(100):
        ledger.record(Event(number))
    assert segments(tmp_path) == []
    ledger.flush()
    ledger.flush()
    record(ledger, 100)
    assert found(tmp_path) == list(range(101))
    assert losses(tmp_path) == []


def test_a_name_that_is_no_text_is_written_escaped(ledger: Ledger, tmp_path: Path) -> None:
    """Bytes that were no UTF-8 neither fail the reply nor leave half an event."""
    ledger.record(Event(1))
    ledger.record(Event(2, project="caf\udce9"))
    record(ledger, 3)
    with open_segment(segments(tmp_path)[0], 0.0) as segment:
        events = [event for batch in segment.batches() for event in batch]
    assert [(event.time_us, event.project) for event in events] == [(1, ""), (2, "caf\\udce9"), (3, "project-3")]


async def test_the_task_writes_without_being_asked_and_close_writes_the_rest(tmp_path: Path) -> None:
    """An event is there soon after; a normal end loses none, and says so in the segment."""
    ledger = Ledger(tmp_path)
    ledger.start(asyncio.get_running_loop())
    ledger.record(Event(1))
    deadline = time.monotonic() + 10
    while not found(tmp_path):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    ledger.record(Event(2))
    await ledger.close()
    assert found(tmp_path) == [1, 2]
    assert losses(tmp_path) == []


async def test_close_is_the_end_of_what_a_cancelled_flush_was_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the task had taken from the buffer is written before what came after it."""
    monkeypatch.setattr(module, "FLUSH_EVERY_S", 0.0)
    ledger = Ledger(tmp_path)
    ledger.start(asyncio.get_running_loop())
    for number in range(500):
        ledger.record(Event(number))
        if number % 50 == 0:
            await asyncio.sleep(0)
    await ledger.close()
    assert found(tmp_path) == list(range(500))


def test_events_are_on_the_disk_within_a_second(
    ledger: Ledger, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synced once so much time has gone by since the first that is not, with more events coming or without."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    record(ledger, 1)
    clock.advance(0.5)
    record(ledger, 2)
    assert synced == []
    clock.advance(0.31)
    ledger.flush()
    (path,) = segments(tmp_path)
    assert synced == [path.stat().st_size]
    clock.advance(5)
    ledger.flush()
    assert len(synced) == 1


def test_a_segment_is_closed_when_it_is_full_and_another_is_begun(tmp_path: Path) -> None:
    """Each is whole by itself."""
    ledger = Ledger(tmp_path, segment_bytes=1000)
    for number in range(100):
        record(ledger, number)
    asyncio.run(ledger.close())
    assert len(segments(tmp_path)) > 3
    assert sorted(found(tmp_path)) == list(range(100))
    assert losses(tmp_path) == []
    assert all(path.stat().st_size < 1500 for path in segments(tmp_path))


def test_a_segment_is_closed_after_ten_minutes_though_nothing_comes(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    """What was asked for is sealed soon, on a quiet gateway too."""
    record(ledger, 1)
    clock.advance(599)
    ledger.flush()
    (path,) = segments(tmp_path)
    with open_segment(path, 0.0) as segment:
        assert segment.is_live
    clock.advance(2)
    ledger.flush()
    with open_segment(path, 0.0) as segment:
        assert not segment.is_live
    assert read(path) == ([1], [])
    record(ledger, 2)
    assert len(segments(tmp_path)) == 2


async def test_the_task_closes_a_segment_that_nothing_comes_to(tmp_path: Path, clock: Clock) -> None:
    """There is nothing to write or to sync, and still it is time."""
    ledger = Ledger(tmp_path)
    record(ledger, 1)
    clock.advance(1)
    ledger.flush()
    ledger.start(asyncio.get_running_loop())
    clock.advance(600)
    deadline = time.monotonic() + 10
    while ledger._segment is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert losses(tmp_path) == []
    await ledger.close()


class FullDisk:
    """`os.pwrite` on a disk with so many bytes left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self._real = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def pwrite(self, descriptor: int, data: memoryview, at: int) -> int:
        """As far as there is room; no room at all is an error."""
        if not self.free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._real(descriptor, data[: self.free_bytes], at)
        self.free_bytes -= written
        return written


def test_a_full_disk_is_said_once_and_events_wait_for_room(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised, no half frame stays, and with the room come those that waited, in order."""
    record(ledger, 1)
    whole_bytes = segments(tmp_path)[0].stat().st_size
    with capture_logs() as said:
        disk = FullDisk(monkeypatch, 40)
        record(ledger, 2)
        record(ledger, 3)
        ledger.record(Event(4))
        ledger.flush()
        assert segments(tmp_path)[0].stat().st_size == whole_bytes
        disk.free_bytes = 1_000_000
        ledger.flush()
        ledger.flush()
    assert [entry["log_level"] for entry in said] == ["error", "warning"]
    assert "No space left" in said[0]["why"]
    assert found(tmp_path) == [1, 2, 3, 4]
    assert (losses(tmp_path), ledger.lost) == ([], 0)


def test_what_is_lost_above_the_limit_is_counted_and_written_down(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes nothing does not take the memory; once it does again, the segment says how many are missing."""
    monkeypatch.setattr(module, "BUFFER_BYTES", 1000)
    disk = FullDisk(monkeypatch, 0)
    with capture_logs() as said:
        for number in range(500):
            ledger.record(Event(number))
            if number == 5:
                ledger.flush()
        disk.free_bytes = 1_000_000
        ledger.flush()
        ledger.flush()
    kept = found(tmp_path)
    assert kept == list(range(len(kept))) and 10 < len(kept) < 100
    assert ledger.lost == 500 - len(kept)
    assert losses(tmp_path) == [("the disk did not take them", 500 - len(kept))]
    assert [entry["log_level"] for entry in said] == ["error", "warning"]


async def test_what_has_come_while_the_disk_was_full_is_written_as_soon_as_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nothing more is taken until then, it does not wait for the next turn."""
    monkeypatch.setattr(module, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(module, "FLUSH_EVERY_S", 0.0)
    disk = FullDisk(monkeypatch, 0)
    ledger = Ledger(tmp_path)
    with capture_logs():
        ledger.record(Event(0))
        ledger.flush()
        for number in range(1, 500):
            ledger.record(Event(number))
        ledger.start(asyncio.get_running_loop())
        await asyncio.sleep(0)
        monkeypatch.setattr(module, "FLUSH_EVERY_S", 3600.0)
        disk.free_bytes = 1_000_000
        deadline = time.monotonic() + 10
        while len(found(tmp_path)) < 500 - ledger.lost:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    await ledger.close()


def test_a_loss_is_written_down_once(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the disk takes the word of it and not what comes after."""
    monkeypatch.setattr(module, "BUFFER_BYTES", 100)
    ledger.record(Event(1, project="p" * 100))
    ledger.record(Event(2))
    disk = FullDisk(monkeypatch, 60)
    with capture_logs():
        for _ in range(3):
            ledger.flush()
            disk.free_bytes = 60
        disk.free_bytes = 1_000_000
        ledger.flush()
    assert found(tmp_path) == [1]
    assert losses(tmp_path) == [("the disk did not take them", 1)]


async def test_a_disk_that_is_full_to_the_end_costs_no_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing ends; what could not be written is counted, and the segment tells that its end is missing."""
    ledger = Ledger(tmp_path)
    record(ledger, 1)
    FullDisk(monkeypatch, 0)
    ledger.record(Event(2))
    with capture_logs() as said:
        await ledger.close()
    assert {entry["log_level"] for entry in said} == {"error"}
    assert ledger.lost == 1
    assert found(tmp_path) == [1]
    assert losses(tmp_path) == [(KILLED, 0)]


def test_a_sync_that_fails_is_said(
    ledger: Ledger, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk gives up after the write: nothing is raised, and what comes is written on."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    record(ledger, 1)
    clock.advance(1)
    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(os, "fdatasync", fail)
        record(ledger, 2)
    assert len(said) == 1
    record(ledger, 3)
    assert found(tmp_path) == [1, 2, 3]


def test_a_folder_that_cannot_be_made_costs_no_error(tmp_path: Path) -> None:
    """Recording and flushing never fail for want of disk."""
    (tmp_path / "usage").touch()
    ledger = Ledger(tmp_path)
    with capture_logs() as said:
        record(ledger, 1)
        asyncio.run(ledger.close())
    assert said[0]["log_level"] == "error"
    assert ledger.lost == 1


def test_a_new_segment_does_not_stay_open_when_its_folder_cannot_be_synced(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left behind by each try."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(os, "fsync", fail)
        for number in range(3):
            record(ledger, number)
    assert len(os.listdir("/proc/self/fd")) == before
    ledger.flush()
    ledger.flush()
    assert found(tmp_path) == [0, 1, 2]


def test_recording_costs_microseconds() -> None:
    """A warm reply takes about 80: ten would be too many on any machine."""
    ledger = Ledger(Path())
    event = Event(1, "team", project="project", filename="f" * 40, digest="sha256:" + "a" * 64)
    started = time.process_time()
    for _ in range(20_000):
        ledger.record(event)
    assert (time.process_time() - started) / 20_000 < 10e-6
