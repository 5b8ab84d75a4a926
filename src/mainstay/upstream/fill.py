"""Filling one artifact: one download at a time over all workers, readable while it grows, complete only when verified.

`fills/KEY.lock` is held (flock) by the one who downloads, `KEY.part` grows, `KEY.head` says what upstream announced. A
worker that finds the lock taken watches these files; when the lock comes free and the artifact is not there, the
downloader has died or failed, and the watcher takes over from where the part file ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mainstay.db.artifacts import StoredArtifact
from mainstay.errors import MainstayError, StoreError, UpstreamError
from mainstay.upstream.cost import current_cost

HELD_BACK_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
WATCH_INTERVAL_S = 0.01


class Head(msgspec.Struct, frozen=True):
    """What upstream announced.

    `run` names one download from byte 0, so that bytes of two are never mixed; `verified` is set once the digest was
    checked, and `digest` is then that of the bytes.
    """

    url: str
    total_bytes: int | None
    media_type: str = ""
    etag: str = ""
    last_modified: str = ""
    run: int = 0
    verified: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fill: where it is, what it must be. `digests` maps algorithm to hex, empty where none is known.
    `voucher` is the key of the stored checksum that they are from, "" where they are an index's.
    """

    key: str
    url: str
    digests: Mapping[str, str]
    size_bytes: int | None
    blank: StoredArtifact
    authorization: str = field(default="", repr=False)
    voucher: str = ""
    algorithm: str = ""
    """Of the digest that `vouch` may give."""
    vouch: Callable[[], Awaitable[Mapping[str, str]]] | None = field(default=None, repr=False)
    """Gives the digests where they stand beside the file: asked when the bytes are here, so that a file that is missing
    costs one request, and the first byte does not wait for the second."""


class Opened:
    """A descriptor that lives as long as anybody holds it: the fill, and each reader in the middle of it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class Fill:
    """One artifact on its way, as its readers in this worker see it."""

    def __init__(self, wanted: Wanted, part: Path, open_blob: Callable[[str], int | None]) -> None:
        self.wanted = wanted
        self.part = part
        self._open_blob = open_blob
        self.head: Head | None = None
        self.written_bytes = 0
        self.attempt = 0
        self.outcome: StoredArtifact | MainstayError | None = None
        self.cost = current_cost()
        self._opened: Opened | None = None
        self._changed = asyncio.Event()

    def announce(self, head: Head) -> None:
        """The head is known or has changed; a new run means that bytes read so far are void."""
        if self.head is not None and head.run != self.head.run:
            self._opened = None
            self.written_bytes = 0
        self.head = head
        if self._opened is None:
            # It may have been published between the two looks: readers open the blob then.
            with suppress(FileNotFoundError):
                self._opened = Opened(os.open(self.part, os.O_RDONLY | os.O_CLOEXEC))
        self._wake()

    def grown(self, written_bytes: int) -> None:
        """The part file has grown."""
        if written_bytes != self.written_bytes:
            self.written_bytes = written_bytes
            self._wake()

    def finish(self, outcome: StoredArtifact | MainstayError) -> None:
        """It is stored, or has failed."""
        self.outcome = outcome
        if isinstance(outcome, StoredArtifact):
            try:
                self._take_over(outcome)
            except StoreError as error:
                # Told to those who wait: raised here it would leave them waiting for ever.
                self.outcome = error
        elif self.head is None or not self.head.verified:
            # Verified bytes that could not be stored are still good for those who wait for them.
            self._opened = None
        self._wake()

    async def sendable(self) -> Head | None:
        """Wait until something may be sent: None where the fill has ended, and its outcome says more.

        A file no larger than what is held back, and one whose size is not known, is sent when it is verified: a failure
        is then a clear error and no broken transfer.
        """
        while self.outcome is None:
            head = self.head
            if head is not None and (head.verified or (head.total_bytes or 0) > HELD_BACK_BYTES):
                return head
            await self._changed.wait()
        return None

    async def finished(self) -> StoredArtifact:
        """Wait for the outcome.

        Raises:
            MainstayError: why it failed.
        """
        while self.outcome is None:
            await self._changed.wait()
        if isinstance(self.outcome, MainstayError):
            raise self.outcome
        return self.outcome

    async def pieces(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` up to `end`, as they come; the last part of the whole only after verification.

        Raises:
            MainstayError: the fill failed, or began anew after bytes were given out.
        """
        head = self.head
        assert head is not None, "pieces are asked for after the head is known"
        at = start
        while at < end:
            limit = min(self._readable(), end)
            if limit > at and self._same_run(head) and self._opened is not None:
                piece = os.pread(self._opened.number, min(PIECE_BYTES, limit - at), at)
                if piece:
                    at += len(piece)
                    yield piece
                    continue
            if isinstance(self.outcome, MainstayError):
                raise self.outcome
            if isinstance(self.outcome, StoredArtifact) and self._same_run(head):
                raise StoreError("the file was removed from the store while it was being sent.")
            if self._same_run(head):
                await self._changed.wait()
            elif at > start:
                raise UpstreamError("upstream's file changed while it was being sent.")
            else:
                head = self._begin_anew(head)

    @property
    def digest(self) -> str:
        """Of the whole file, `sha256:<hex>`; "" as long as it is not verified."""
        return self.head.digest if self.head is not None else ""

    def _readable(self) -> int:
        head = self.head
        if head is None or head.verified or isinstance(self.outcome, StoredArtifact):
            return self.written_bytes
        total = head.total_bytes if head.total_bytes is not None else self.written_bytes
        return max(0, min(self.written_bytes, total - HELD_BACK_BYTES))

    def _begin_anew(self, before: Head) -> Head:
        """The head of the new run, for a reader that has given nothing out yet but has announced a length."""
        head = self.head
        if head is None or head.total_bytes != before.total_bytes:
            raise UpstreamError("upstream's file changed before it was sent.")
        return head

    def _take_over(self, stored: StoredArtifact) -> None:
        """Have readers go on with the published bytes, where these are the ones that they began with."""
        head = self.head
        if self._opened is None or head is None or not head.verified:
            number = self._open_blob(stored.digest)
            blob = None if number is None else Opened(number)
            if head is not None and not head.verified and not (blob and self._same_file(blob, head, stored)):
                # Between two looks at another worker's fill it failed, began anew and ended: what was read is void.
                self.head = Head(head.url, stored.size, run=head.run + 1, verified=True, digest=stored.digest)
                self._opened = None
            self._opened = self._opened or blob
        self.written_bytes = stored.size

    def _same_file(self, blob: Opened, head: Head, stored: StoredArtifact) -> bool:
        """Whether the part that is read here was published: it keeps its inode."""
        return (
            self._opened is not None
            and head.total_bytes in (None, stored.size)
            and os.path.samestat(os.fstat(self._opened.number), os.fstat(blob.number))
        )

    def _same_run(self, head: Head) -> bool:
        return self.head is not None and self.head.run == head.run

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class HeadFile:
    """`KEY.head` and `KEY.part`, as the worker that fills writes them and the others read them."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.head"
        self.part = folder / f"{key}.part"

    def save(self, head: Head) -> None:
        """Replace the head whole."""
        draft = self.path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(head))
        draft.replace(self.path)

    def load(self) -> Head | None:
        """The head, or None where there is none."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Head)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def written_bytes(self) -> int:
        """Size of the part file, 0 where there is none."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def drop(self) -> None:
        """Remove both."""
        for path in (self.part, self.path, self.path.with_suffix(".new")):
            path.unlink(missing_ok=True)


async def watch(fill: Fill, files: HeadFile, acquire: Callable[[], int | None]) -> int:
    """Follow another worker's fill until its lock comes free; returns the lock, then ours."""
    while (lock := acquire()) is None:
        head = files.load()
        if head is not None:
            if head != fill.head:
                fill.announce(head)
            written = files.written_bytes()
            if written:
                fill.grown(written)
            elif head.verified and head.total_bytes is not None:
                fill.grown(head.total_bytes)
        await asyncio.sleep(WATCH_INTERVAL_S)
    return lock
