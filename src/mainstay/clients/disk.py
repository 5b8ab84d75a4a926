"""Reads and replaces configuration files, with everything about them kept but their text."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from mainstay.clients.marks import Refusal

LARGEST_BYTES = 4 * 2**20


class Disk:
    """The files of this machine. With `only_look` nothing is written, and what would be is remembered."""

    def __init__(self, *, only_look: bool = False) -> None:
        self._only_look = only_look
        self._imagined: dict[Path, bytes | None] = {}

    def load(self, path: Path) -> bytes | Refusal | None:
        """A file's bytes; None where there is none."""
        if path in self._imagined:
            return self._imagined[path]
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                return Refusal("it is not a regular file")
            if status.st_size > LARGEST_BYTES:
                return Refusal(f"it is larger than {LARGEST_BYTES} bytes")
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return Refusal(f"it cannot be read: {error.strerror}")

    def missing_folders(self, path: Path) -> int:
        """How many folders have to be made before the file can be."""
        real = Path(os.path.realpath(path))
        return sum(not folder.exists() for folder in real.parents)

    def save(self, path: Path, body: bytes) -> Refusal | None:
        """Replace the file in one step, or make it for its owner alone. A link stays a link, to a changed file."""
        if self._only_look:
            self._imagined[path] = body
            return None
        try:
            _replace(Path(os.path.realpath(path)), body)
        except OSError as error:
            return Refusal(f"it cannot be written: {error.strerror}")
        return None

    def remove(self, path: Path, folders: int) -> Refusal | None:
        """Delete the file, and of the folders above it as many as were made for it and are empty."""
        if self._only_look:
            self._imagined[path] = None
            return None
        real = Path(os.path.realpath(path))
        try:
            real.unlink()
        except OSError as error:
            return Refusal(f"it cannot be deleted: {error.strerror}")
        with suppress(OSError):  # something else is in it now
            for folder in real.parents[:folders]:
                folder.rmdir()
        return None


def _replace(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if path.exists() else None
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            if before is not None:
                _take_over(descriptor, before)
            file.write(body)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Owner and mode as they were. Who may not give the file its owner back does not get to replace it."""
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
