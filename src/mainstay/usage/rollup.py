"""Rollups: each sealed file of a day that is over, summed up to what the questions that are asked most need.

One is made of one sealed file, which never changes, and lies beside them under the same name. It is a convenience:
without it, or where it is damaged, a question reads the file itself and has the same answer.

    python -m mainstay.usage.rollup DATA        makes those that are missing; for after the sealer
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from mainstay.errors import MainstayError
from mainstay.store.lock import acquire
from mainstay.telemetry.log import configure_logging, get_logger
from mainstay.usage.columnar import open_ledger
from mainstay.usage.engines import DEFAULT_ENGINE, open_engine
from mainstay.usage.ledger import PARQUET_FOLDER, PART, sync_folder
from mainstay.usage.queries import roll

ROLLUP_FOLDER = Path("usage", "rollup")
ROLLING_LOCK = Path("usage", "rolling.lock")
MEMORY = "1GB"
NICENESS = 10

_log = get_logger("mainstay.usage")


def rollup_path(data: Path, sealed: Path) -> Path:
    """Where the rollup of a sealed file is, once it is made."""
    return data / ROLLUP_FOLDER / sealed.relative_to(data / PARQUET_FOLDER)


def roll_up(data: Path, today: date) -> int:
    """Make the rollups that are missing for days before `today` (UTC), remove those whose file is gone; returns how
    many were made: none while another process is at it. Blocks, for about a second for a million events.

    Raises:
        EngineFailed: a file cannot be read, or a rollup not be written.
        StoreError: the ledger cannot be opened.
    """
    if not (data / PARQUET_FOLDER).is_dir():
        return 0
    lock = acquire(data / ROLLING_LOCK, wait=False)
    if lock is None:
        return 0
    try:
        with TemporaryDirectory(prefix="mainstay-rollup-") as folder, open_ledger(data, Path(folder)) as snapshot:
            missing = [path for path in snapshot.files if _is_missing(data, path, today)]
            for sealed in missing:
                write_rollup([sealed], rollup_path(data, sealed), Path(folder))
            _remove_orphans(data)
        return len(missing)
    finally:
        os.close(lock)


def write_rollup(files: Sequence[Path], target: Path, scratch: Path) -> None:
    """The rollup of files, whole under its name or not there. Raises EngineFailed."""
    part = target.with_name(target.name + PART)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_engine(DEFAULT_ENGINE, files, scratch, memory=MEMORY) as engine:
        engine.save(roll(engine.table), part)
    part.chmod(0o600)
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, target)
    sync_folder(target.parent)


def _is_missing(data: Path, sealed: Path, today: date) -> bool:
    return sealed.parent.name < f"day={today}" and not rollup_path(data, sealed).exists()


def _remove_orphans(data: Path) -> None:
    """Rollups whose file was merged into another or has outlived its days; what a killed process left half-written."""
    for rollup in (data / ROLLUP_FOLDER).glob("*/*"):
        if not (data / PARQUET_FOLDER / rollup.relative_to(data / ROLLUP_FOLDER)).exists():
            rollup.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """One round from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mainstay.usage.rollup", description="Sum up the usage ledger.")
    parser.add_argument("data", type=Path, help="the data folder")
    given = parser.parse_args(arguments)
    os.nice(NICENESS)
    configure_logging("info")
    try:
        roll_up(given.data, datetime.now(UTC).date())
    except MainstayError as error:
        _log.error("the usage ledger was not summed up", reason=error.diagnostics())
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
