"""The usage ledger under kill -9, a full disk, a clock that jumps and damage.

Nothing is wrong, nothing is counted twice, and what is lost is counted and shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from doubles.gateway import kill
from doubles.upstream import wait_until
from mainstay.db.engine import Database
from mainstay.db.ledger import LedgerLoss, load_files, load_losses
from mainstay.usage import ledger as ledger_module
from mainstay.usage.columnar import Snapshot, open_ledger
from mainstay.usage.event import Event
from mainstay.usage.ledger import LOG_FOLDER, PARQUET_FOLDER, Ledger
from mainstay.usage.loss import KILLED, list_segments
from mainstay.usage.seal import seal
from unit.children import child

pytestmark = pytest.mark.faults

DAY_S = 86_400
NOON_S = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp())
ROUNDS, WRITERS = 5, 10

# Each event is told outside of the ledger before it is recorded: eight bytes with its time.
WRITE = """
import asyncio, os, sys, time
from pathlib import Path
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger

async def main():
    ledger = Ledger(Path(sys.argv[1]))
    told = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ledger.start(asyncio.get_running_loop())
    print("ready", flush=True)
    number = 0
    while True:
        for _ in range(4):
            now_us = time.time_ns() // 1000
            os.write(told, now_us.to_bytes(8, "little"))
            ledger.record(Event(now_us, sys.argv[2], project=str(number) * 300, bytes_down=number))
            number += 1
        await asyncio.sleep(0.002)

asyncio.run(main())
"""


def found_by_consumer(snapshot: Snapshot) -> dict[str, list[int]]:
    """What the events of each writer were recorded with, sorted."""
    found: dict[str, list[int]] = {}
    for path in snapshot.files + snapshot.tail_files:
        for row in pq.ParquetFile(path).read(["consumer", "project", "bytes_down"]).to_pylist():
            found.setdefault(row["consumer"], []).append(row["bytes_down"])
            assert row["project"] in ("", str(row["bytes_down"]) * 300), "an event is not as it was recorded"
    return {consumer: sorted(numbers) for consumer, numbers in found.items()}


def found_numbers(snapshot: Snapshot) -> list[int]:
    """What all events were recorded with, sorted."""
    return sorted(number for numbers in found_by_consumer(snapshot).values() for number in numbers)


def told_times(told: Path) -> list[int]:
    """When each event of a writer was recorded, in microseconds."""
    content = told.read_bytes() if told.exists() else b""
    return [int.from_bytes(content[at : at + 8], "little") for at in range(0, len(content) - 7, 8)]


def has_run(told: Path, seconds: float) -> bool:
    """Whether a writer has recorded for so long."""
    size = told.stat().st_size if told.exists() else 0
    with told.open("rb") if size >= 16 else open(os.devnull, "rb") as file:
        first = int.from_bytes(file.read(8), "little")
        file.seek(max(0, size // 8 * 8 - 8))
        return int.from_bytes(file.read(8), "little") - first > seconds * 1e6


def test_a_killed_writer_loses_at_most_its_last_second_and_spoils_nothing(tmp_path: Path) -> None:
    """50 times kill -9 in the middle of writes, ten writers in one folder at a time: of each every event up to its last
    second is there, once and as it was, and each is told to be cut short, before sealing and after."""
    chance = random.Random(4)
    data = tmp_path / "data"
    killed: dict[Path, float] = {}
    for number in range(ROUNDS):
        with ExitStack() as stack:
            tolds = [tmp_path / f"told-{number}-{writer}" for writer in range(WRITERS)]
            writers = [stack.enter_context(child(WRITE, data, told)) for told in tolds]
            for told, writer in zip(tolds, writers):
                wait_until(lambda told=told: has_run(told, chance.uniform(1.1, 1.4)), "a writer at work")  # type: ignore[misc]
                killed[told] = time.time()
                kill(writer.pid)
    with open_ledger(data, tmp_path / "before") as snapshot:
        before, told_losses = found_by_consumer(snapshot), {(loss.source, loss.events) for loss in snapshot.losses}
        assert [loss.reason for loss in snapshot.losses] == [KILLED] * len(killed)
    lost_ms = [assert_prefix(before[str(told)], told_times(told), killed_s) for told, killed_s in killed.items()]
    events = sum(map(len, before.values()))
    with closing(Database.open(data)) as database:
        done = seal(data, database)
    assert (done.segments, done.events) == (ROUNDS * WRITERS, events)
    with open_ledger(data, tmp_path / "after") as snapshot:
        assert found_by_consumer(snapshot) == before
        assert {(loss.source, loss.events) for loss in snapshot.losses} == told_losses
    print(f"{len(lost_ms)} kills: {events} events found, at most the last {max(lost_ms):.0f} ms lost")


def assert_prefix(found: list[int], times: list[int], killed_s: float) -> float:
    """That what is found of a writer is all but its last second; how many milliseconds are missing."""
    assert found == list(range(len(found)))
    assert 0 < len(found) <= len(times)
    lost_ms = killed_s * 1e3 - times[len(found)] / 1e3 if len(found) < len(times) else 0.0
    assert lost_ms <= 1000
    return lost_ms


FILL = """
import asyncio, json, os, sys
from pathlib import Path
from contextlib import closing
import pyarrow.parquet as pq
from mainstay.db.engine import Database
from mainstay.errors import StoreFull
from mainstay.usage import ledger as module
from mainstay.usage.columnar import open_ledger
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger
from mainstay.usage.seal import seal

module.BUFFER_BYTES = 200_000
data, out = Path(sys.argv[1]), Path(sys.argv[2])
database = Database.open(data)
ballast = data / "ballast"
ballast.write_bytes(bytes(5_000_000))
number = 0

def record(count):
    global number
    for _ in range(count):
        ledger.record(Event(1_795_262_400_000_000 + number, project=os.urandom(200).hex(), bytes_down=number))
        number += 1
    ledger.flush()

def found():
    with open_ledger(data, out) as snapshot:
        paths = snapshot.files + snapshot.tail_files
        rows = [row for path in paths for row in pq.ParquetFile(path).read(["bytes_down"])["bytes_down"].to_pylist()]
        return sorted(rows), [[loss.reason, loss.events] for loss in snapshot.losses]

ledger = Ledger(data)
record(100)
asyncio.run(ledger.close())
ledger = Ledger(data)
while not ledger.lost:
    record(50)
record(50)
said = {"while_full": found(), "lost_while_full": ledger.lost}
try:
    seal(data, database)
    said["sealed"] = "yes"
except StoreFull:
    said["sealed"] = "full"
ballast.unlink()
record(50)
record(50)
asyncio.run(ledger.close())
said |= {"recorded": number, "lost": ledger.lost, "then": found()}
said["events_sealed"] = seal(data, database).events
said["sealed_then"] = found()
database.close()
print(json.dumps(said))
"""


def test_a_full_disk_stops_metering_loudly_and_every_event_is_found_or_counted(tmp_path: Path) -> None:
    """On a file system of its own that really is full: recording goes on without an error, one line says so, what was
    written is read meanwhile, and once there is room the number that is missing is in the ledger to the event."""
    data = tmp_path / "data"
    mount = f'mkdir -p "{data}" && mount -t tmpfs -o size=8m none "{data}" && exec "$@"'
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    command = ["unshare", "--mount", *rights, "sh", "-c", mount, "sh", sys.executable, "-c", FILL]
    done = subprocess.run(
        [*command, str(data), str(tmp_path / "out")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    found_while_full, losses_while_full = said["while_full"]
    assert found_while_full == list(range(len(found_while_full))) and len(found_while_full) > 500
    assert losses_while_full == []
    assert said["sealed"] == "full", "the disk was not full"
    found, losses = said["then"]
    assert losses == [["the disk did not take them", said["lost"]]]
    assert said["lost"] >= said["lost_while_full"] > 0
    assert len(set(found)) == len(found) == said["recorded"] - said["lost"]
    assert said["sealed_then"] == said["then"]
    assert said["events_sealed"] == len(found), "what was closed before the disk was full is sealed with the rest"
    lines = done.stdout.splitlines()[:-1] + done.stderr.splitlines()
    assert len([line for line in lines if "cannot be written" in line]) == 1, lines
    assert len([line for line in lines if "is written again" in line]) == 1, lines


class JumpingClock:
    """The machine's clock, set to another time again and again; its steady clock goes on."""

    def __init__(self) -> None:
        self.now_s = float(NOON_S)

    def time(self) -> float:
        """Seconds since 1970, as the machine believes."""
        return self.now_s

    def monotonic(self) -> float:
        """Seconds of the steady clock."""
        return time.monotonic()


def test_a_clock_that_jumps_loses_nothing_and_each_event_is_in_the_day_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backwards and forwards by a day and more, within a segment and between segments, with a sealer that believes the
    clock each time."""
    clock, data = JumpingClock(), tmp_path / "data"
    monkeypatch.setattr(ledger_module, "time", clock)
    expected: dict[str, int] = {}
    number = 0
    with closing(Database.open(data)) as database:
        for jumps in ((1, -2, 0), (-1, 3), (0, 1, -1, -1), (-30, 30), (1, 1, 1)):
            ledger = Ledger(data)
            for days in jumps:
                clock.now_s += days * DAY_S
                day = f"{datetime.fromtimestamp(clock.now_s, UTC):%Y-%m-%d}"
                for _ in range(10):
                    ledger.record(Event(int(clock.now_s * 1e6) + number, bytes_down=number))
                    number += 1
                expected[day] = expected.get(day, 0) + 10
                ledger.flush()
            asyncio.run(ledger.close())
            seal(data, database, now=clock.now_s)
        days: dict[str, int] = {}
        for file in database.read_sync(load_files):
            days[file.day] = days.get(file.day, 0) + file.events
    assert days == expected
    with open_ledger(data, tmp_path / "out") as snapshot:
        assert found_numbers(snapshot) == list(range(number))
        assert snapshot.losses == ()


def write_segment(data: Path, numbers: range, at_s: float) -> None:
    """A closed segment with events of that time."""
    ledger = Ledger(data)
    for number in numbers:
        ledger.record(Event(int(at_s * 1e6) + number, project=str(number) * 300, bytes_down=number))
        if number % 10 == 9:
            ledger.flush()
    asyncio.run(ledger.close())


def test_a_corrupt_file_gives_no_wrong_row_and_its_events_are_told_as_lost(tmp_path: Path) -> None:
    """One of three is hurt in 60 places in turn: it is found, by its footer or when it is read, and the others are
    answered."""
    data = tmp_path / "data"
    with closing(Database.open(data)) as database:
        for part in range(3):
            write_segment(data, range(part * 100, part * 100 + 100), NOON_S)
            seal(data, database, now=NOON_S)
        hurt = database.read_sync(load_files)[1]
    path = data / PARQUET_FOLDER / hurt.path
    content = path.read_bytes()
    rest = [number for number in range(300) if number not in pq.read_table(path)["bytes_down"].to_pylist()]
    for at in range(4, len(content), len(content) // 60):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x5A]) + content[at + 1 :])
        with open_ledger(data, tmp_path / "out") as snapshot:
            sound = snapshot.examined()
            found = found_numbers(sound)
            if found == list(range(300)):
                assert sound.losses == (), "a byte that carries nothing"
            else:
                assert found == rest
                assert [(loss.source, loss.events) for loss in sound.losses] == [(hurt.path, 100)]
    path.write_bytes(b"")
    with open_ledger(data, tmp_path / "out") as snapshot:
        assert found_numbers(snapshot) == rest and len(snapshot.losses) == 1


# A copy of the folder for each step at which a sealer is killed: before the first thing that it does to the disk or the
# database, before the second, and so on until one is not killed any more.
KILL = """
import os, shutil, signal, sys
from pathlib import Path
from mainstay.db.engine import Database
from mainstay.usage import columnar
from mainstay.usage.seal import seal

def watch(owner, name, left):
    real = getattr(owner, name)
    def call(*args, **kwargs):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*args, **kwargs)
    setattr(owner, name, call)

def run(data, step):
    left = [step]
    database = Database.open(data)
    for owner, name in (
        (os, "replace"), (os, "fsync"), (os, "unlink"), (os, "rmdir"), (os, "open"), (Database, "run_sync")
    ):
        watch(owner, name, left)
    seal(data, database, keep_days=3, now=float(sys.argv[3]))
    database.close()

print("ready", flush=True)
for step in range(1000):
    data = Path(sys.argv[2], str(step))
    shutil.copytree(sys.argv[1], data)
    pid = os.fork()
    if not pid:
        run(data, step)
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        print(step, flush=True)
        break
"""


def prepare(data: Path) -> list[LedgerLoss]:
    """A ledger with which a round has everything to do: two days to seal, of which a segment is torn, one to merge, one
    to remove with events 0 to 99. Returns the losses that are to be found."""
    with closing(Database.open(data)) as database:
        write_segment(data, range(100), NOON_S - 4 * DAY_S)
        seal(data, database, now=NOON_S - 4 * DAY_S)
        for part in (1, 2):
            write_segment(data, range(part * 100, part * 100 + 100), NOON_S - DAY_S)
            seal(data, database, now=NOON_S - DAY_S)
        write_segment(data, range(300, 400), NOON_S)
        write_segment(data, range(400, 500), NOON_S - 2 * DAY_S)
        torn = max(list_segments(data / LOG_FOLDER))
        torn.write_bytes(torn.read_bytes()[:-40])
    with open_ledger(data, data.parent / "out") as snapshot:
        return list(snapshot.losses)


def test_a_sealer_killed_at_any_step_neither_loses_nor_doubles_an_event(tmp_path: Path) -> None:
    """kill -9 before each thing that it does: what questions see is whole at once, and after the next round it is as if
    nothing had been killed, with no file left over."""
    data, copies = tmp_path / "data", tmp_path / "copies"
    losses = prepare(data)
    (loss,) = losses
    assert (loss.reason, loss.events) == (KILLED, 10)
    with open_ledger(data, tmp_path / "out") as snapshot:
        kept = set(found_numbers(snapshot)) - set(range(100))
    assert len(kept) == 390
    copies.mkdir()
    with child(KILL, data, copies, NOON_S) as zygote:
        assert zygote.stdout is not None
        last = int(zygote.stdout.readline())
    assert last > 30, "the sealer was not killed at each step"
    for step in range(last + 1):
        check_copy(copies / str(step), tmp_path / "out", kept, loss)
    print(f"a sealer was killed at {last} steps")


def check_copy(data: Path, out: Path, kept: set[int], loss: LedgerLoss) -> None:
    """After the kill, and after one more round."""
    with open_ledger(data, out) as snapshot:
        found = found_numbers(snapshot)
        assert len(set(found)) == len(found) and kept <= set(found) <= kept | set(range(100))
        assert [(one.source, one.events, one.size) for one in snapshot.losses] == [
            (loss.source, loss.events, loss.size)
        ]
    with closing(Database.open(data)) as database:
        seal(data, database, keep_days=3, now=NOON_S)
        files, losses = database.read_sync(load_files), database.read_sync(load_losses)
    with open_ledger(data, out) as snapshot:
        assert found_numbers(snapshot) == sorted(kept)
    assert sorted(file.day for file in files) == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert [(one.source, one.events) for one in losses] == [(loss.source, loss.events)]
    assert list_segments(data / LOG_FOLDER) == []
    folder = data / PARQUET_FOLDER
    assert {str(path.relative_to(folder)) for path in folder.glob("*/*")} == {file.path for file in files}


SEAL = """
import sys
from pathlib import Path
from mainstay.db.engine import Database
from mainstay.usage import columnar, seal as module
from mainstay.usage.ledger import LOG_FOLDER
from mainstay.usage.loss import list_segments

module.BATCH_SEGMENTS = 1
module.SETTLED_S = -1.0
data = Path(sys.argv[1])
database = Database.open(data)
print("ready", flush=True)
sys.stdin.readline()
busy = 0
while list_segments(data / LOG_FOLDER):
    busy += module.seal(data, database, now=float(sys.argv[2])).is_busy
database.close()
print(busy, flush=True)
"""


def test_two_sealers_and_a_reader_at_once_see_each_event_once(tmp_path: Path) -> None:
    """40 segments, a transaction for each, and a merge of what is there after each round: at any moment the ledger is
    whole, and one of the two has stood back."""
    data = tmp_path / "data"
    for part in range(40):
        write_segment(data, range(part * 10, part * 10 + 10), NOON_S)
    looks = 0
    with child(SEAL, data, NOON_S + DAY_S) as one, child(SEAL, data, NOON_S + DAY_S) as two:
        for sealer in (one, two):
            assert sealer.stdin is not None
            sealer.stdin.write("\n")
            sealer.stdin.flush()
        while one.poll() is None or two.poll() is None:
            with open_ledger(data, tmp_path / "out") as snapshot:
                assert found_numbers(snapshot) == list(range(400))
                assert snapshot.losses == ()
            looks += 1
        assert one.stdout is not None and two.stdout is not None
        busy = int(one.stdout.readline()) + int(two.stdout.readline())
    with open_ledger(data, tmp_path / "out") as snapshot:
        assert found_numbers(snapshot) == list(range(400)) and snapshot.tail_files == ()
    assert looks > 0 and busy > 0
    print(f"looked {looks} times while two sealers were at it; one was turned away {busy} times")
