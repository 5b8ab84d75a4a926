"""Events from other programs' logs: where they lie, and which there are.

    DATA/usage/imported/NAME/day=YYYY-MM-DD/<digest of the log>.parquet

They have the ledger's columns and are never mixed with what the gateway itself recorded. The files of one log appear
together: while they are being published a note lies beside them, and as long as it does none of them counts.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.errors import ConfigError, StoreError, StoreFull
from mainstay.store.lock import locked
from mainstay.usage.ledger import PART, sync_folder
from mainstay.usage.queries import DAY_US

if TYPE_CHECKING:
    from mainstay.usage.columnar import EventFile
    from mainstay.usage.importers.rows import Row

IMPORTED_FOLDER = Path("usage", "imported")
WAITING_EVENTS = 65_536
"""Events that wait in memory until some are written as a row group, of all days together."""
MOST_DAYS = 1_000
"""Days that one log may span: each has a file that is open until the end."""
_UNFINISHED = ".unfinished"
_LOCK = ".lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_DAY_FOLDER = re.compile(r"day=(\d{4}-\d{2}-\d{2})", re.ASCII)
_EPOCH_DAY = date(1970, 1, 1)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def imported_files(data: Path) -> list[Path]:
    """Every file of imported events, in order of name and day."""
    root = data / IMPORTED_FOLDER
    unfinished = {(note.parent.name, note.stem) for note in root.glob(f"*/*{_UNFINISHED}")}
    files = sorted(root.glob("*/day=*/*.parquet"))
    return [path for path in files if (path.parent.parent.name, path.stem) not in unfinished]


def find_imported(data: Path, digest: str) -> str:
    """The name under which a log was imported, by its digest; "" where it was not."""
    return next((path.parent.parent.name for path in imported_files(data) if path.stem == digest), "")


def imported_names(data: Path) -> list[str]:
    """The names under which logs were imported."""
    return sorted({path.parent.parent.name for path in imported_files(data)})


def forget_imported(data: Path, name: str) -> int:
    """Remove what was imported under a name; returns how many files that were.

    Raises:
        ConfigError: nothing was.
        StoreError: it cannot be removed.
    """
    check_name(name)
    files = [path for path in imported_files(data) if path.parent.parent.name == name]
    if not files:
        known = imported_names(data)
        hint = f"There are: {', '.join(known)}." if known else "Nothing was imported yet."
        raise ConfigError(f"Nothing was imported as {name}.", hint=hint)
    with _told(), _locked(data, name):
        shutil.rmtree(data / IMPORTED_FOLDER / name)
    return len(files)


def forget_outlived(data: Path, keep_days: int, today: date) -> int:
    """Remove files of days that ended more than `keep_days` ago; returns how many.

    Raises:
        StoreError: they cannot be removed.
    """
    first, removed = first_day(keep_days, today), 0
    with _told():
        for folder in (data / IMPORTED_FOLDER).glob("*/day=*"):
            match = _DAY_FOLDER.fullmatch(folder.name)
            if match and match[1] < first.isoformat():
                removed += len(list(folder.glob("*.parquet")))
                shutil.rmtree(folder)
    return removed


def first_day(keep_days: int, today: date) -> date:
    """The first of the days whose events are kept."""
    return today - timedelta(days=min(keep_days, today.toordinal() - 1))


def check_name(name: str) -> None:
    """Raise ConfigError where imports cannot be called so."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name!r} is not allowed.",
            hint="1 to 40 letters, digits, dashes and underscores, a letter or a digit first.",
        )


class Draft:
    """The events of one log on their way into files by day, which are there all at once or not at all."""

    def __init__(self, data: Path, name: str) -> None:
        """`name` is that of the import, and its folder is the caller's alone while this is there: see `drafting`."""
        self._folder = data / IMPORTED_FOLDER / name
        self._draft = secrets.token_hex(8)
        self._waiting: dict[int, list[Row]] = defaultdict(list)
        self._count = 0
        self._files: dict[int, EventFile] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Take events.

        Raises:
            OSError: as every method.
            ConfigError: they are of too many days.
        """
        waiting = self._waiting
        for row in rows:
            waiting[row[0] // DAY_US].append(row)
        self._count += len(rows)
        while self._count >= WAITING_EVENTS:
            self._write(max(self._waiting, key=lambda day: len(self._waiting[day])))

    def publish(self, digest: str) -> None:
        """Have all events in place, as those of the log with this digest."""
        for day in list(self._waiting):
            self._write(day)
        if not self._files:
            return
        note = self._folder / f"{digest}{_UNFINISHED}"
        note.touch(mode=0o600)
        sync_folder(self._folder)
        for file in self._files.values():
            file.path = file.path.with_name(f"{digest}.parquet")
            file.publish()
        note.unlink()
        sync_folder(self._folder)

    def close(self) -> None:
        """Give up what is not published."""
        for file in self._files.values():
            file.close()

    def _write(self, day: int) -> None:
        from mainstay.usage.importers.rows import make_rows

        rows = self._waiting.pop(day)
        self._file(day).add_rows(make_rows(rows))
        self._count -= len(rows)

    def _file(self, day: int) -> EventFile:
        from mainstay.usage.columnar import EventFile

        if day not in self._files:
            if len(self._files) >= MOST_DAYS:
                raise ConfigError(f"The log spans more than {MOST_DAYS} days.", hint="Import it in parts.")
            folder = self._folder / f"day={_EPOCH_DAY + timedelta(days=day)}"
            self._files[day] = EventFile(folder / f"{self._draft}.parquet")
        return self._files[day]


@contextmanager
def drafting(data: Path, name: str) -> Iterator[Draft]:
    """A draft of an import. Waits while another process imports under this name, and removes what one that was killed
    has left.

    Raises:
        ConfigError: imports cannot be called so.
        StoreFull: no space left.
        StoreError: the disk fails.
    """
    check_name(name)
    with _told(), _locked(data, name):
        _remove_left(data / IMPORTED_FOLDER / name)
        draft = Draft(data, name)
        try:
            yield draft
        finally:
            draft.close()
            _remove_left(data / IMPORTED_FOLDER / name)


def _remove_left(folder: Path) -> None:
    """Remove what was not published to the end, and the folders that nothing is in."""
    notes = list(folder.glob(f"*{_UNFINISHED}"))
    left = [path for note in notes for path in folder.glob(f"day=*/{note.stem}.parquet")]
    # The notes go last: as long as one lies there, its files do not count.
    for path in [*left, *folder.glob(f"day=*/*{PART}"), *notes]:
        path.unlink()
    for path in [*folder.glob("day=*"), folder]:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def _locked(data: Path, name: str) -> Iterator[None]:
    """Alone with the imports of a name."""
    root = data / IMPORTED_FOLDER
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(root / f"{name}{_LOCK}"):
        yield


@contextmanager
def _told() -> Iterator[None]:
    """Turn errors of the disk into ours."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in _NO_SPACE else StoreError
        raise kind(f"The imported events cannot be changed: {error.strerror or error}.") from error
