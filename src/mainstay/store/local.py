"""Blobs as files named by their sha256, published by rename so that a name never stands for half a file."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mainstay.errors import DataFolderError, StoreError, StoreFull
from mainstay.store.lock import acquire
from mainstay.store.sweep import sweep

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalStore:
    """The blobs of one data folder: `blobs/ab/<hex>`, with what is being written in `fills/`.

    Safe for many processes at once. Nothing is ever changed in place, so an open descriptor goes on reading its bytes
    after the blob was replaced or deleted.
    """

    def __init__(self, root: Path) -> None:
        """Make the folders under `root`, readable to this user alone, and try to write.

        Raises:
            DataFolderError: the folder cannot be made or written.
        """
        self.root = root
        self.blobs = root / "blobs"
        self.fills = root / "fills"
        self.used: set[str] = set()
        """Digests served since the set was last taken over into the catalog: what is used is not evicted."""
        self._stored_bytes = 0
        self._counting = threading.Lock()
        self._prefix = os.path.join(self.blobs, "")
        self._counter = itertools.count()
        self._owner: tuple[int, str] | None = None
        self._live: int | None = None
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.blobs.mkdir(mode=0o700, exist_ok=True)
            self.fills.mkdir(mode=0o700, exist_ok=True)
            probe = self.temporary()
            probe.touch(mode=0o600, exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise DataFolderError(
                f"The data folder {root} cannot be written: {error.strerror or error}.",
                hint="Name another one with --data, or change who owns it.",
            ) from error

    def path(self, digest: str) -> Path:
        """Where the blob of `digest` ("sha256:" and 64 lower-case hex digits) is or would be.

        Raises:
            StoreError: not such a digest.
        """
        return Path(self._locate(digest))

    def open(self, digest: str) -> int | None:
        """A descriptor to read the blob from, which the caller closes, or None when it is not here.

        Raises:
            StoreError: it is here and cannot be read.
        """
        try:
            return os.open(self._locate(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"The blob {digest} cannot be read: {error.strerror or error}.") from error

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        return os.path.isfile(self._locate(digest))

    def publish(self, part: Path, digest: str, *, sync: bool = True) -> None:
        """Move `part` to its place. The caller has checked that its bytes have `digest`.

        With `sync`, the bytes are on disk before the name is, and the name before this returns. A blob that is there
        already is replaced: its bytes may have suffered since, those of `part` were just checked.

        Raises:
            StoreFull: no space left. `part` stays, for the caller to drop or to publish again.
            StoreError: the disk fails, or `part` is not there.
        """
        target = self.path(digest)
        with _told(f"publish {digest}"):
            size = _flush(part) if sync else part.stat().st_size
            new_shard = not target.parent.is_dir()
            target.parent.mkdir(exist_ok=True)
            os.utime(part)
            os.replace(part, target)
            if sync:
                _flush(target.parent)
                if new_shard:
                    _flush(self.blobs)
        with self._counting:
            self._stored_bytes += size

    def take_stored_bytes(self) -> int:
        """Bytes published by this process since the last call."""
        with self._counting:
            stored, self._stored_bytes = self._stored_bytes, 0
        return stored

    def save(self, body: bytes) -> str:
        """Store a small body and return its digest.

        Raises:
            StoreFull: no space left; nothing stays behind.
        """
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        part = self.temporary()
        try:
            with _told(f"write {digest}"):
                part.write_bytes(body)
            self.publish(part, digest)
        finally:
            part.unlink(missing_ok=True)
        return digest

    def adopt(self, path: Path) -> tuple[str, int]:
        """Publish an existing file of `fills/` under the digest of its bytes; returns digest and size in bytes.

        Raises:
            StoreFull: no space left.
            StoreError: the file cannot be read or moved.
        """
        with _told(f"read {path.name}"), path.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        self.publish(path, digest)
        return digest, size

    def temporary(self) -> Path:
        """A fresh name in `fills/`. The file is removed by a later `sweep` if this process ends without doing so."""
        pid = os.getpid()
        if self._owner is None or self._owner[0] != pid:
            # A forked child must not share its parent's names, nor keep its lock alive.
            if self._live is not None:
                os.close(self._live)
            token = f"{pid}-{secrets.token_hex(4)}"
            self._live = acquire(self.fills / f"{token}.live", wait=True)
            self._owner = (pid, token)
        return self.fills / f"{self._owner[1]}-{next(self._counter)}.tmp"

    def delete(self, digest: str) -> int:
        """Remove the blob; returns the bytes freed, 0 when it was not here.

        Raises:
            StoreError: it is here and cannot be removed.
        """
        target = self.path(digest)
        with _told(f"delete {digest}"):
            try:
                size = target.stat().st_size
                target.unlink()
            except FileNotFoundError:
                return 0
        return size

    def scan(self) -> Iterator[tuple[str, int, float]]:
        """(digest, size in bytes, modification time in seconds) of every blob, in no order. Slow: not for a request."""
        for shard in os.scandir(self.blobs):
            if not shard.is_dir():
                continue
            for entry in os.scandir(shard.path):
                digest = f"sha256:{entry.name}"
                if _DIGEST.fullmatch(digest):
                    # Another process may delete it between the listing and the look.
                    with suppress(FileNotFoundError):
                        stat = entry.stat()
                        yield digest, stat.st_size, stat.st_mtime

    def sweep(self) -> int:
        """Remove what processes that are gone left in `fills/`; returns the bytes freed. Safe while others fill."""
        return sweep(self.fills)

    def close(self) -> None:
        """Give up this process's claim on its temporary names."""
        if self._owner is not None and self._live is not None and self._owner[0] == os.getpid():
            (self.fills / f"{self._owner[1]}.live").unlink(missing_ok=True)
            os.close(self._live)
        self._owner = self._live = None

    def _locate(self, digest: str) -> str:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise StoreError(f"{digest!r} is not a digest: sha256: and 64 lower-case hex digits.")
        name = match[1]
        return f"{self._prefix}{name[:2]}/{name}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in _NO_SPACE else StoreError
        raise kind(f"Could not {what}: {error.strerror or error}.") from error


def _flush(path: Path) -> int:
    """Bring a file or folder to disk; returns its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
