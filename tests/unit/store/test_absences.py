"""What upstream was asked for in vain, as every worker sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.errors import DataFolderError
from mainstay.store import absences as module
from mainstay.store.absences import Absences
from mainstay.upstream.registry import storage_key

KEY = storage_key("artifact", "one")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time in milliseconds, which a test moves."""
    now = [1_000_000]
    monkeypatch.setattr(module, "_now_ms", lambda: now[0])
    return now


def test_what_was_noted_holds_for_its_time(tmp_path: Path, clock: list[int]) -> None:
    """And no longer."""
    absences = Absences(tmp_path / "absent.bin")
    assert not absences.absent(KEY)
    absences.note(KEY, 30)
    clock[0] += 29_999
    assert absences.absent(KEY)
    assert not absences.absent(storage_key("artifact", "other"))
    clock[0] += 1
    assert not absences.absent(KEY)


def test_noting_again_begins_anew(tmp_path: Path, clock: list[int]) -> None:
    """The second time counts."""
    absences = Absences(tmp_path / "absent.bin")
    absences.note(KEY, 30)
    clock[0] += 29_000
    absences.note(KEY, 30)
    clock[0] += 29_000
    assert absences.absent(KEY)


def test_another_process_sees_it(tmp_path: Path) -> None:
    """Whichever worker is asked next knows."""
    path = tmp_path / "absent.bin"
    absences = Absences(path)
    code = f"from pathlib import Path; from mainstay.store.absences import Absences; Absences(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", f"{code}.note({KEY!r}, 600)"], check=True)
    assert absences.absent(KEY)


def test_many_more_than_there_is_room_for_push_out_those_that_end_first(tmp_path: Path, clock: list[int]) -> None:
    """The table never grows, the newest are in it, and none is found that was not noted."""
    absences = Absences(tmp_path / "absent.bin")
    keys = [storage_key("artifact", str(number)) for number in range(200_000)]
    for key in keys:
        clock[0] += 1
        absences.note(key, 600)
    assert (tmp_path / "absent.bin").stat().st_size == 2 * 1024 * 1024
    assert sum(absences.absent(key) for key in keys[-50_000:]) > 49_900
    assert not any(absences.absent(storage_key("never", str(number))) for number in range(1000))


def test_twenty_thousand_are_all_remembered(tmp_path: Path) -> None:
    """A storm of probes is within what it holds."""
    absences = Absences(tmp_path / "absent.bin")
    keys = [storage_key("artifact", str(number)) for number in range(20_000)]
    for key in keys:
        absences.note(key, 600)
    assert all(absences.absent(key) for key in keys)


def test_a_file_of_another_size_is_started_anew(tmp_path: Path) -> None:
    """What an older version left is no reason to stop."""
    path = tmp_path / "absent.bin"
    path.write_bytes(os.urandom(1000))
    absences = Absences(path)
    assert not absences.absent(KEY)
    absences.note(KEY, 30)
    assert absences.absent(KEY)


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(DataFolderError, match="cannot be used"):
        Absences(tmp_path / "missing" / "absent.bin")
