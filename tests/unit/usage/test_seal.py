from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from mainstay.db.engine import FILENAME, Database
from mainstay.db.ledger import LedgerFile, load_files, load_losses
from mainstay.errors import StoreError, StoreFull
from mainstay.store.lock import acquire
from mainstay.usage import columnar
from mainstay.usage import seal as module
from mainstay.usage.columnar import SCHEMA, EventFile, open_ledger
from mainstay.usage.event import COLUMNS, Event
from mainstay.usage.frames import Kind, name_sum, render_frame
from mainstay.usage.ledger import LOG_FOLDER, PARQUET_FOLDER, Ledger
from mainstay.usage.loss import DAMAGED, KILLED, UNFIT, UNREADABLE, list_segments, open_segment
from mainstay.usage.seal import SEALING_LOCK, Sealed, main, run_sealer, seal
from unit.children import run

DAY_US = 86_400_000_000
NOON_US = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000
NOW = NOON_US / 1e6 + 60
NEXT_DAY = NOW + 86_400


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder."""
    return tmp_path / "data"


@pytest.fixture
def database(data: Path) -> Iterator[Database]:
    """Its database."""
    database = Database.open(data)
    yield database
    database.close()


def event(number: int, time_us: int = NOON_US) -> Event:
    """One of which every column says something."""
    values = {name: kind(number) for name, kind in COLUMNS.items()}
    return Event(**values | {"time_us": time_us + number, "bytes_down": number})


def write(data: Path, *events: Event, frames: int = 1) -> None:
    """A closed segment."""
    ledger = Ledger(data)
    size = max(1, len(events) // frames)
    for number, one in enumerate(events):
        ledger.record(one)
        if number % size == size - 1:
            ledger.flush()
    asyncio.run(ledger.close())


def segments(data: Path) -> list[Path]:
    """What is not sealed."""
    return list_segments(data / LOG_FOLDER)


def parquet(data: Path) -> list[str]:
    """What lies in the folder of sealed files."""
    folder = data / PARQUET_FOLDER
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def rows(paths: tuple[Path, ...]) -> list[dict[str, object]]:
    """The rows of Parquet files."""
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def numbers(data: Path, tmp: Path) -> list[int]:
    """What the events of the whole ledger were recorded with, in the order of the files."""
    with open_ledger(data, tmp) as snapshot:
        return [int(str(row["bytes_down"])) for row in rows(snapshot.files + snapshot.tail_files)]


def test_a_closed_segment_becomes_a_file_of_its_day(data: Path, database: Database) -> None:
    """Every column as it was, in order, none of them null; the segment is gone and the file says what it is made of."""
    events = [event(number) for number in range(3000)]
    write(data, *events, frames=7)
    (segment,) = segments(data)
    assert seal(data, database, now=NOW) == Sealed(1, 3000)
    assert segments(data) == []
    (file,) = database.read_sync(load_files)
    path = data / PARQUET_FOLDER / file.path
    assert (file.day, file.events, file.size) == ("2026-11-21", 3000, path.stat().st_size)
    assert (file.sources, file.created_at) == ((segment.name,), NOW)
    assert file.path.startswith("day=2026-11-21/") and parquet(data) == [file.path]
    whole = pq.ParquetFile(path)
    assert whole.schema_arrow.remove_metadata() == SCHEMA
    assert [column.name for column in whole.schema_arrow] == list(COLUMNS)
    assert whole.read().to_pylist() == [msgspec.structs.asdict(one) for one in events]
    first = whole.metadata.row_group(0)
    texts = [first.column(at) for at, kind in enumerate(COLUMNS.values()) if kind is str]
    assert {column.compression for column in texts} == {"ZSTD"}
    assert all(column.has_dictionary_page for column in texts)


def test_each_event_goes_to_the_day_that_its_own_time_names(data: Path, database: Database, tmp_path: Path) -> None:
    """In UTC, whatever the clock said before: backwards and forwards by a day, and to either side of midnight."""
    midnight = NOON_US + DAY_US // 2
    times = [NOON_US, NOON_US - DAY_US, NOON_US + 1, NOON_US + DAY_US, NOON_US + 2, midnight - 1, midnight]
    write(data, *(Event(time_us, bytes_down=number) for number, time_us in enumerate(times)))
    seal(data, database, now=NOW)
    files = database.read_sync(load_files)
    assert [(file.day, file.events) for file in files] == [("2026-11-20", 1), ("2026-11-21", 4), ("2026-11-22", 2)]
    assert sorted(numbers(data, tmp_path)) == list(range(7))


def test_the_time_zone_of_the_machine_changes_no_day(
    data: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour before and after midnight UTC, seen from Kolkata."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    midnight = NOON_US + DAY_US // 2
    write(data, Event(midnight - 1), Event(midnight))
    seal(data, database, now=NOW)
    assert [file.day for file in database.read_sync(load_files)] == ["2026-11-21", "2026-11-22"]


def test_a_segment_that_is_written_to_is_left_alone(data: Path, database: Database, tmp_path: Path) -> None:
    """It is read by questions, and sealed when its writer has closed it."""
    ledger = Ledger(data)
    ledger.record(event(1))
    ledger.flush()
    assert seal(data, database, now=NOW) == Sealed()
    assert len(segments(data)) == 1
    assert numbers(data, tmp_path) == [1]
    asyncio.run(ledger.close())
    assert seal(data, database, now=NOW) == Sealed(1, 1)
    assert numbers(data, tmp_path) == [1]


def test_many_segments_are_sealed_in_several_transactions(
    data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a bounded number."""
    monkeypatch.setattr(module, "BATCH_SEGMENTS", 2)
    for number in range(5):
        write(data, event(number))
    assert seal(data, database, now=NOW) == Sealed(5, 5)
    assert sorted(len(file.sources) for file in database.read_sync(load_files)) == [1, 2, 2]
    assert sorted(numbers(data, tmp_path)) == list(range(5))


def test_nothing_is_done_where_there_is_nothing(data: Path, database: Database) -> None:
    """A gateway that was never asked for anything, and one that has everything sealed."""
    assert seal(data, database, keep_days=3, now=NOW) == Sealed()
    write(data, event(1))
    seal(data, database, now=NOW)
    before = database.read_sync(load_files)
    assert seal(data, database, keep_days=3, now=NOW) == Sealed()
    assert database.read_sync(load_files) == before


def test_only_one_seals_at_a_time(data: Path, database: Database) -> None:
    """Whoever comes second leaves it to the other."""
    write(data, event(1))
    lock = acquire(data / SEALING_LOCK, wait=True)
    assert lock is not None
    assert seal(data, database, now=NOW) == Sealed(is_busy=True)
    assert len(segments(data)) == 1
    os.close(lock)
    assert seal(data, database, now=NOW) == Sealed(1, 1)


def test_rows_are_written_in_groups_sorted_by_time(
    data: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of them than that are held in memory."""
    monkeypatch.setattr(columnar, "GROUP_ROWS", 100)
    monkeypatch.setattr(columnar, "BATCH_EVENTS", 10)
    write(data, *(event(999 - number) for number in range(1000)), frames=100)
    seal(data, database, now=NOW)
    (path,) = parquet(data)
    file = pq.ParquetFile(data / PARQUET_FOLDER / path)
    assert file.num_row_groups == 10
    for number in range(10):
        times = file.read_row_group(number).column("time_us").to_pylist()
        assert len(times) == 100 and times == sorted(times)


def hold(path: Path, *parts: bytes) -> None:
    """A segment that was not closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))


def test_what_a_killed_writer_left_is_sealed_and_its_loss_told(data: Path, database: Database, tmp_path: Path) -> None:
    """The whole frames of a torn segment, and how many bytes and events are missing, to be seen before it is sealed and
    after."""
    write(data, *(event(number) for number in range(10)), frames=2)
    (segment,) = segments(data)
    end = len(render_frame(Kind.END, 10, b"", name_sum(segment.name)))
    whole = segment.read_bytes()[:-end]
    segment.write_bytes(whole[:-7])
    torn = len(whole) // 2 - 7
    with open_ledger(data, tmp_path) as snapshot:
        assert [(loss.source, loss.reason, loss.events, loss.size) for loss in snapshot.losses] == [
            (segment.name, KILLED, 5, torn)
        ]
    done = seal(data, database, now=NOW)
    assert [(loss.source, loss.reason, loss.events, loss.size) for loss in done.losses] == [
        (segment.name, KILLED, 5, torn)
    ]
    assert tuple(database.read_sync(load_losses)) == done.losses
    with open_ledger(data, tmp_path) as snapshot:
        assert snapshot.losses == done.losses
    assert numbers(data, tmp_path) == [0, 1, 2, 3, 4]


def test_half_a_frame_of_a_writer_at_work_is_no_loss(data: Path, tmp_path: Path) -> None:
    """It is being written; damage before it is a loss at once."""
    ledger = Ledger(data)
    for number in range(3):
        ledger.record(event(number))
        ledger.flush()
    (segment,) = segments(data)
    content = bytearray(segment.read_bytes())
    with segment.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(content[:50])
        file.flush()
        with open_ledger(data, tmp_path) as snapshot:
            assert (len(rows(snapshot.tail_files)), snapshot.losses) == (3, ())
        file.seek(len(content) // 3 + 30)
        file.write(b"xxx")
    with open_ledger(data, tmp_path) as snapshot:
        assert [(loss.reason, loss.events) for loss in snapshot.losses] == [(DAMAGED, 1)]
        assert [row["bytes_down"] for row in rows(snapshot.tail_files)] == [0, 2]
    asyncio.run(ledger.close())


def test_damage_in_a_closed_segment_is_counted_to_the_event(data: Path, database: Database, tmp_path: Path) -> None:
    """Its last frame says how many there were: though no header of what is damaged can be read."""
    write(data, *(event(number) for number in range(9)), frames=3)
    (segment,) = segments(data)
    content = bytearray(segment.read_bytes())
    content[0] ^= 1
    segment.write_bytes(content)
    (loss,) = seal(data, database, now=NOW).losses
    assert (loss.reason, loss.events) == (DAMAGED, 3)
    assert numbers(data, tmp_path) == list(range(3, 9))


def test_an_event_that_fits_no_row_is_a_loss_and_stops_nothing(data: Path, database: Database, tmp_path: Path) -> None:
    """The others are sealed."""
    path = data / LOG_FOLDER / "20261121T120000Z-1-00000000.log"
    begin = name_sum(path.name)
    payload = msgspec.msgpack.encode([[NOON_US, "a"], [NOON_US, "b", *[""] * 9, 2**63]])
    hold(path, render_frame(Kind.EVENTS, 2, payload, begin), render_frame(Kind.END, 2, b"", begin))
    done = seal(data, database, now=NOW)
    assert [(loss.reason, loss.events) for loss in done.losses] == [(UNFIT, 1)]
    assert (done.events, len(segments(data))) == (1, 0)


class Unreadable(io.FileIO):
    """A file whose disk fails."""

    def read(self, size: int | None = -1) -> bytes:
        """The error of the disk."""
        raise OSError(5, os.strerror(5))


def test_a_segment_that_the_disk_does_not_give_back_is_told_and_kept(
    data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are sealed; when it can be read again it is sealed too, and is no loss any more."""
    for number in range(3):
        write(data, event(number))
    hurt = segments(data)[1]
    number = segment_number(hurt)
    real = os.fdopen

    def fdopen(descriptor: int, mode: str) -> object:
        is_hurt = os.readlink(f"/proc/self/fd/{descriptor}").endswith(hurt.name)
        return Unreadable(descriptor, mode) if is_hurt else real(descriptor, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fdopen)
        done = seal(data, database, now=NOW)
    assert (done.segments, done.events) == (2, 2)
    assert [(loss.source, loss.reason, loss.size) for loss in done.losses] == [
        (hurt.name, UNREADABLE, hurt.stat().st_size)
    ]
    assert segments(data) == [hurt]
    assert sorted(numbers(data, tmp_path)) == [0, 1, 2]
    assert seal(data, database, now=NOW) == Sealed(1, 1)
    assert database.read_sync(load_losses) == []
    assert number in numbers(data, tmp_path)


def segment_number(path: Path) -> int:
    """What the one event of a segment was recorded with."""
    with open_segment(path, 0.0) as segment:
        return next(segment.batches())[0].bytes_down


def test_a_segment_without_a_byte_is_no_loss(data: Path, database: Database) -> None:
    """Its writer was killed, or is about to lock it and then makes it anew."""
    hold(data / LOG_FOLDER / "20261121T120000Z-1-00000000.log")
    assert seal(data, database, now=NOW) == Sealed(1)
    assert segments(data) == []


def test_a_segment_that_was_sealed_is_not_read_again(data: Path, database: Database, tmp_path: Path) -> None:
    """A sealer that was killed after its transaction leaves it: it counts once before it is removed, and after."""
    write(data, event(1))
    (segment,) = segments(data)
    content = segment.read_bytes()
    seal(data, database, now=NOW)
    segment.write_bytes(content)
    assert numbers(data, tmp_path) == [1]
    assert seal(data, database, now=NOW) == Sealed()
    assert segments(data) == []
    assert numbers(data, tmp_path) == [1]


def test_a_file_that_no_row_names_is_not_read_and_is_removed(data: Path, database: Database, tmp_path: Path) -> None:
    """Half of a round that was killed; and so is one that was being written, with its folder."""
    write(data, event(1))
    seal(data, database, now=NOW)
    (named,) = parquet(data)
    stray = data / PARQUET_FOLDER / "day=2026-11-22" / "x.parquet"
    stray.parent.mkdir()
    stray.write_bytes((data / PARQUET_FOLDER / named).read_bytes())
    stray.with_name("y.parquet.part").touch()
    assert numbers(data, tmp_path) == [1]
    seal(data, database, now=NOW)
    assert parquet(data) == [named]
    assert not stray.parent.exists()


def test_files_that_are_read_stay_until_the_reader_is_done(data: Path, database: Database, tmp_path: Path) -> None:
    """What is merged meanwhile takes no file from under a question."""
    for number in range(2):
        write(data, event(number))
        seal(data, database, now=NOW)
    with open_ledger(data, tmp_path) as snapshot:
        assert seal(data, database, now=NEXT_DAY).merged_days == 1
        assert len(rows(snapshot.files)) == 2
    assert len(parquet(data)) == 3
    assert numbers(data, tmp_path) == [0, 1]
    seal(data, database, now=NEXT_DAY)
    assert len(parquet(data)) == 1


def test_the_files_of_a_day_that_is_over_are_merged_in_the_order_of_time(
    data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few row groups at a time, once no file has come for an hour; a day that is not over is left as it is."""
    monkeypatch.setattr(columnar, "GROUP_ROWS", 50)
    monkeypatch.setattr(columnar, "MERGED_GROUP_ROWS", 120)
    monkeypatch.setattr(columnar, "BATCH_EVENTS", 10)
    for part in range(3):
        write(data, *(event(number) for number in range(part, 600, 3)), frames=20)
        seal(data, database, now=NOW)
    just_after_midnight = NOW - NOW % 86_400 + 86_400 + 60
    database.run_sync(module.save_sealed, [_newer(file, just_after_midnight) for file in _files(database)], [])
    for moment, merged in ((NOW + 7200, 0), (just_after_midnight + 3500, 0), (just_after_midnight + 3600, 1)):
        assert seal(data, database, now=moment).merged_days == merged
    (file,) = _files(database)
    assert (file.day, file.events, file.sources) == ("2026-11-21", 600, ())
    assert parquet(data) == [file.path]
    assert numbers(data, tmp_path) == list(range(600))
    assert pq.read_metadata(data / PARQUET_FOLDER / file.path).num_row_groups == 5
    assert seal(data, database, now=NEXT_DAY).merged_days == 0


def _files(database: Database) -> list[LedgerFile]:
    return database.read_sync(load_files)


def _newer(file: LedgerFile, created_at: float) -> LedgerFile:
    return LedgerFile(file.path, file.day, file.events, file.size, file.sources, created_at)


def test_merging_holds_few_rows_though_all_row_groups_overlap(
    data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the order is given up and not the memory."""
    for name, value in (("GROUP_ROWS", 20), ("MERGED_GROUP_ROWS", 20), ("MERGED_ROWS", 40), ("BATCH_EVENTS", 10)):
        monkeypatch.setattr(columnar, name, value)
    most = 0
    real = pa.concat_tables

    def watched(tables: list[pa.Table]) -> pa.Table:
        nonlocal most
        whole = real(tables)
        most = max(most, len(whole))
        return whole

    for part in range(2):
        write(data, *(event(n // 2 if n % 2 else 999 - n // 2) for n in range(part, 400, 1)), frames=20)
        seal(data, database, now=NOW)
    before = sorted(numbers(data, tmp_path))
    monkeypatch.setattr(pa, "concat_tables", watched)
    assert seal(data, database, now=NEXT_DAY).merged_days == 1
    assert 0 < most <= 40 + 20 + 40
    assert sorted(numbers(data, tmp_path)) == before


def test_rows_of_an_older_version_are_merged_with_defaults_for_what_came_since(
    data: Path, database: Database, tmp_path: Path
) -> None:
    """A column that the file does not have."""
    write(data, event(1))
    seal(data, database, now=NOW)
    (file,) = _files(database)
    path = data / PARQUET_FOLDER / file.path
    pq.write_table(pq.read_table(path).drop_columns(["agent", "ci", "queue_ms"]), path)
    older = LedgerFile(file.path, file.day, 1, path.stat().st_size, file.sources, NOW)
    database.run_sync(module.save_sealed, [older], [])
    write(data, event(2))
    seal(data, database, now=NOW)
    assert seal(data, database, now=NEXT_DAY).merged_days == 1
    with open_ledger(data, tmp_path) as snapshot:
        first, second = rows(snapshot.files)
    assert (first["agent"], first["ci"], first["queue_ms"], first["consumer"]) == ("", False, 0, "1")
    assert (second["agent"], second["ci"], second["queue_ms"]) == ("2", True, 2)


def test_days_over_the_retention_are_removed(data: Path, database: Database, tmp_path: Path) -> None:
    """So many full days before today are kept; losses go with their time; without a limit nothing goes."""
    for days in range(5):
        write(data, Event(NOON_US - days * DAY_US, bytes_down=days))
    hold(data / LOG_FOLDER / "old.log", b"noise")
    seal(data, database, now=NOW - 4 * 86_400)
    assert seal(data, database, now=NOW).expired_files == 0
    assert seal(data, database, keep_days=2, now=NOW).expired_files == 2
    assert numbers(data, tmp_path) == [2, 1, 0]
    assert len(parquet(data)) == 3
    assert database.read_sync(load_losses) == []


@pytest.mark.parametrize("harm", ["missing", "shorter", "footer", "another file", "other rows"])
def test_a_damaged_file_is_a_loss_and_the_rest_is_answered(
    harm: str, data: Path, database: Database, tmp_path: Path
) -> None:
    """With the number of its events; the sealer leaves it where it is and merges nothing into it."""
    for number in range(3):
        write(data, event(number))
        seal(data, database, now=NOW)
    file = next(file for file in _files(database) if rows((data / PARQUET_FOLDER / file.path,))[0]["bytes_down"] == 1)
    path = data / PARQUET_FOLDER / file.path
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "shorter":
        path.write_bytes(content[:-1])
    elif harm == "footer":
        path.write_bytes(content[:-200] + bytes(200))
    elif harm == "another file":
        pq.write_table(pq.read_table(path), path)
    else:
        with_other = LedgerFile(file.path, file.day, 2, file.size, file.sources, file.created_at)
        database.run_sync(module.save_sealed, [with_other], [])
    with open_ledger(data, tmp_path) as snapshot:
        assert {row["bytes_down"] for row in rows(snapshot.files)} == {0, 2}
        (loss,) = snapshot.losses
    events = 2 if harm == "other rows" else 1
    assert (loss.source, loss.events, loss.size) == (file.path, events, file.size)
    assert loss.reason == (columnar.MISSING if harm == "missing" else columnar.DAMAGED)
    assert seal(data, database, now=NEXT_DAY).merged_days == 1
    assert sorted(numbers(data, tmp_path)) == [0, 2]
    with open_ledger(data, tmp_path) as snapshot:
        assert [one.source for one in snapshot.losses] == [file.path]


def test_damage_inside_a_file_is_found_when_it_is_looked_for(data: Path, database: Database, tmp_path: Path) -> None:
    """A footer does not show it, a question fails by it: the snapshot without such files answers the rest."""
    for part in range(2):
        write(data, *(event(part * 1000 + number) for number in range(1000)))
        seal(data, database, now=NOW)
    hurt = _files(database)[0]
    path = data / PARQUET_FOLDER / hurt.path
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with open_ledger(data, tmp_path) as snapshot:
        assert (len(snapshot.files), snapshot.losses) == (2, ())
        sound = snapshot.examined()
        assert len(rows(sound.files)) == 1000 and path not in sound.files
        assert [(loss.source, loss.reason, loss.events) for loss in sound.losses] == [
            (hurt.path, columnar.DAMAGED, 1000)
        ]
    assert seal(data, database, now=NEXT_DAY).merged_days == 0
    assert len(parquet(data)) == 2


def test_the_ledger_is_read_in_anew_when_its_database_was_moved_away(data: Path, tmp_path: Path) -> None:
    """A damaged database is replaced by an empty one: what was sealed is found again, once, and a file that cannot be
    read is told."""
    with_database = Database.open(data)
    for number in range(2):
        write(data, event(number))
        seal(data, with_database, now=NOW)
    held = tmp_path / "held"
    with open_ledger(data, held):
        assert seal(data, with_database, now=NEXT_DAY).merged_days == 1
        write(data, event(2))
        seal(data, with_database, now=NEXT_DAY)
    assert len(parquet(data)) == 4, "what was merged is still there"
    with_database.close()
    for path in data.glob(f"{FILENAME}*"):
        path.unlink()
    write(data, event(3))
    broken = data / PARQUET_FOLDER / "day=2026-11-19" / "z.parquet"
    broken.parent.mkdir()
    broken.write_bytes(b"no Parquet")
    again = Database.open(data)
    with capture_logs() as said:
        assert seal(data, again, now=NEXT_DAY).events == 1
    assert [entry["event"] for entry in said] == ["the usage ledger is read in anew"]
    assert sorted(numbers(data, tmp_path)) == [0, 1, 2, 3]
    assert [loss.source for loss in again.read_sync(load_losses)] == ["day=2026-11-19/z.parquet"]
    again.close()


def test_a_segment_is_removed_when_a_power_cut_can_undo_nothing_any_more(
    data: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is on the disk, then its name, then the row, and only then the segment goes."""
    write(data, event(1))
    done: list[str] = []
    fsync, unlink, run_sync = os.fsync, os.unlink, database.run_sync

    def watched_fsync(descriptor: int) -> None:
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.rpartition(".")[2])
        fsync(descriptor)

    def watched_unlink(path: Path, **options: int) -> None:
        done.append(f"remove {path.suffix}")
        unlink(path, **options)

    def watched_run(function: Callable[..., object], *arguments: object) -> object:
        done.append(function.__name__)
        return run_sync(function, *arguments)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "unlink", watched_unlink)
    monkeypatch.setattr(database, "run_sync", watched_run)
    seal(data, database, now=NOW)
    assert done == [
        "sync part",
        "sync day=2026-11-21",
        "sync parquet",
        "save_sealed",
        "sync_commits",
        f"sync {FILENAME.rpartition('.')[2]}-wal",
        f"sync {data.name}",
        "remove .log",
    ]


def test_files_that_were_merged_are_removed_when_their_row_is_on_the_disk(
    data: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut that undid it would leave rows of files that are gone."""
    for number in range(2):
        write(data, event(number))
        seal(data, database, now=NOW)
    done: list[str] = []
    unlink, run_sync = os.unlink, database.run_sync

    def watched_unlink(path: Path, **options: int) -> None:
        done.append("remove")
        unlink(path, **options)

    def watched_run(function: Callable[..., object], *arguments: object) -> object:
        done.append(function.__name__)
        return run_sync(function, *arguments)

    monkeypatch.setattr(os, "unlink", watched_unlink)
    monkeypatch.setattr(database, "run_sync", watched_run)
    seal(data, database, now=NEXT_DAY)
    assert done == ["replace_files", "sync_commits", "remove", "remove"]


def test_a_snapshot_can_be_closed_twice(data: Path, tmp_path: Path) -> None:
    """It and what was examined of it hold one lock together."""
    write(data, event(1))
    with open_ledger(data, tmp_path) as snapshot:
        snapshot.examined().close()
        taken = os.open(data, os.O_RDONLY)
    os.fstat(taken)
    os.close(taken)


def test_the_writer_and_the_starter_of_the_sealer_bring_no_arrow_with_them() -> None:
    """Tens of megabytes for each worker of a gateway, which has no use for it."""
    run("import sys, mainstay.usage.ledger, mainstay.usage.seal; assert 'pyarrow' not in sys.modules")


def test_an_empty_folder_has_an_empty_ledger(tmp_path: Path) -> None:
    """Nothing is made in a folder that is none of ours."""
    folder = tmp_path / "nothing"
    folder.mkdir()
    with open_ledger(folder, tmp_path / "out") as snapshot:
        assert (snapshot.files, snapshot.tail_files, snapshot.losses) == ((), (), ())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("moment", ["rows", "names", "segments"])
def test_a_sealer_at_work_makes_a_question_see_nothing_twice_and_miss_nothing(
    moment: str, data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the rows were read, after the names of the segments, and before the segments themselves."""
    write(data, event(0))
    seal(data, database, now=NOW)
    for number in range(1, 4):
        write(data, event(number))
    owner_name = {"rows": "_load_rows", "names": "list_segments", "segments": "_write_tail"}[moment]
    real = getattr(columnar, owner_name)
    asked = 0

    def interrupted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        if moment == "segments" and asked == 1:
            seal(data, database, now=NOW)
        found = real(*arguments)
        if moment != "segments" and asked == 1:
            seal(data, database, now=NOW)
        return found

    monkeypatch.setattr(columnar, owner_name, interrupted)
    assert sorted(numbers(data, tmp_path)) == [0, 1, 2, 3]
    assert asked > 1 and segments(data) == []


def test_a_disk_that_is_full_leaves_the_segments_and_no_half_file(
    data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not sealed is read from its segment."""
    write(data, event(1))

    def full(_file: EventFile, *, sync: bool = True) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(EventFile, "publish", full)
        with pytest.raises(StoreFull, match="No space left"):
            seal(data, database, now=NOW)
    assert parquet(data) == []
    assert numbers(data, tmp_path) == [1]
    assert seal(data, database, now=NOW) == Sealed(1, 1)


def test_a_first_round_that_is_broken_off_between_two_days_loses_neither(
    data: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no row yet, as if the database was gone: the file of one day must not stand for the whole segment."""
    write(data, event(1), event(2, NOON_US + DAY_US))
    real, published = EventFile.publish, 0

    def broken(file: EventFile, *, sync: bool = True) -> int:
        nonlocal published
        published += 1
        if published == 2:
            raise OSError(5, os.strerror(5))
        return real(file, sync=sync)

    with monkeypatch.context() as patch:
        patch.setattr(EventFile, "publish", broken)
        with pytest.raises(StoreError, match="could not be sealed"):
            seal(data, database, now=NOW)
    assert len(parquet(data)) == 1
    assert seal(data, database, now=NOW) == Sealed(1, 2)
    assert numbers(data, tmp_path) == [1, 2]


async def test_the_child_seals_and_says_what_is_lost(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By a process of its own, at low priority; with an error for what was lost."""
    await asyncio.to_thread(write, data, event(1))
    hold(data / LOG_FOLDER / "torn.log", b"noise")
    assert await run_sealer(data, 0)
    assert await asyncio.to_thread(numbers, data, tmp_path) == [1]
    said = capfd.readouterr().err
    assert "torn.log" in said and "the usage ledger was sealed" in said


def test_the_program_gives_way_to_the_gateway(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lowers its own priority before it does anything."""
    done: list[object] = []
    monkeypatch.setattr(os, "nice", done.append)
    monkeypatch.setattr(module, "configure_logging", lambda level: None)
    monkeypatch.setattr(module, "seal", lambda *_, keep_days: done.append(keep_days) or Sealed())
    assert main([str(data), "--keep-days", "7"]) == 0
    assert done == [15, 7]


def test_a_child_that_fails_is_an_error_in_the_log(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With its exit code; the reason is the child's own line."""
    data.mkdir()
    (data / FILENAME).write_bytes(b"x" * 5000)
    with capture_logs() as said:
        assert not asyncio.run(run_sealer(data, 0))
    assert [(entry["log_level"], entry["exit_code"]) for entry in said] == [("error", 3)]
    assert "the usage ledger was not sealed" in capfd.readouterr().err


async def test_a_child_ends_with_the_gateway(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that stops leaves no process behind."""
    started: list[asyncio.subprocess.Process] = []
    real = asyncio.create_subprocess_exec

    async def start(*command: str, **options: object) -> asyncio.subprocess.Process:
        started.append(await real("sleep", "60"))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    task = asyncio.create_task(run_sealer(data, 0))
    while not started:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert started[0].returncode == -9


async def test_a_child_that_cannot_be_started_is_an_error_in_the_log(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory for a process is no end of the gateway."""

    async def fail(*command: str, **options: object) -> None:
        raise OSError(12, os.strerror(12))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
    with capture_logs() as said:
        assert not await run_sealer(data, 0)
    assert [entry["log_level"] for entry in said] == ["error"]
