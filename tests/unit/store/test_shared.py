from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.errors import DataFolderError
from mainstay.store.shared import Shared
from unit.children import child, run, waits_for_lock

BUMP = """
import sys
from pathlib import Path
from mainstay.store.shared import Shared
shared = Shared(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2000):
    shared.bump()
print("done", flush=True)
"""
REST = """
import sys
from pathlib import Path
from mainstay.store.shared import Shared
shared = Shared(Path(sys.argv[1]))
shared.set_rest("https://registry.example/", 1234.5)
"""


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    """A fresh file."""
    shared = Shared(tmp_path / "shared.bin")
    yield shared
    shared.close()


def test_bumps_of_two_processes_are_all_counted_and_seen_here(shared: Shared, tmp_path: Path) -> None:
    """No bump is lost between processes that bump at once, and this mapping sees them."""
    with child(BUMP, tmp_path / "shared.bin") as one, child(BUMP, tmp_path / "shared.bin") as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
    assert shared.generation == 4000


def test_a_bump_waits_for_another_that_is_under_way(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading and writing the counter is one step for all processes."""
    waits_for_lock(tmp_path / "shared.bin", monkeypatch, shared.bump, lambda: shared.generation == 1)


def test_a_rest_set_by_another_process_is_seen(shared: Shared, tmp_path: Path) -> None:
    """A worker that is told to wait tells all workers."""
    assert shared.rest_until("https://registry.example/") == 0.0
    run(REST, tmp_path / "shared.bin")
    assert shared.rest_until("https://registry.example/") == 1234.5
    assert shared.rest_until("https://files.example/") == 0.0


def test_a_rest_can_be_moved_and_ended(shared: Shared) -> None:
    """The last word counts."""
    for until in (100.0, 50.0, 0.0):
        shared.set_rest("a", until)
        assert shared.rest_until("a") == until
    shared.set_rest("a", -5.0)
    assert shared.rest_until("a") == 0.0


def test_what_one_worker_stored_is_noticed_by_another(shared: Shared, tmp_path: Path) -> None:
    """A count that moves, apart from the generation: stored files change no rule."""
    other = Shared(tmp_path / "shared.bin")
    before = other.stored_count
    shared.note_stored()
    assert (other.stored_count - before, other.generation) == (1, shared.generation)
    other.close()


def test_a_rest_is_replaced_only_if_it_is_the_one_that_was_seen(shared: Shared) -> None:
    """Of two that saw the same, one moves it."""
    shared.set_rest("a", 7.0)
    assert shared.replace_rest("a", 7.0, 9.0)
    assert not shared.replace_rest("a", 7.0, 11.0)
    assert shared.rest_until("a") == 9.0


def test_a_full_table_forgets_the_rest_that_ends_first(shared: Shared) -> None:
    """With more names than slots the newest is found, and so are most others."""
    for number in range(6000):
        shared.set_rest(f"upstream {number}", 1000.0 + number)
        assert shared.rest_until(f"upstream {number}") == 1000.0 + number
    found = sum(shared.rest_until(f"upstream {number}") == 1000.0 + number for number in range(6000))
    assert 3500 < found <= 4096


def test_the_file_survives_a_restart(tmp_path: Path) -> None:
    """A registry that asked for an hour did not ask one process only."""
    first = Shared(tmp_path / "shared.bin")
    first.set_rest("a", 7.0)
    first.bump()
    first.close()
    second = Shared(tmp_path / "shared.bin")
    assert (second.rest_until("a"), second.generation) == (7.0, 1)
    second.close()


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 65_568, b"\xff" * 200_000])
def test_a_file_of_another_form_is_started_anew(tmp_path: Path, content: bytes) -> None:
    """What is in it can always be learned again."""
    path = tmp_path / "shared.bin"
    path.write_bytes(content)
    shared = Shared(path)
    assert (shared.generation, shared.rest_until("a")) == (0, 0.0)
    shared.close()


def test_a_path_that_cannot_be_made_is_refused_with_words(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(DataFolderError, match=r"shared\.bin"):
        Shared(tmp_path / "absent" / "shared.bin")


def test_reading_the_generation_is_cheap(shared: Shared) -> None:
    """It is read for every request: far below a microsecond on a quiet machine, so never 20 on a busy one."""
    start = time.perf_counter()
    for _ in range(10_000):
        _ = shared.generation
    assert time.perf_counter() - start < 0.2
