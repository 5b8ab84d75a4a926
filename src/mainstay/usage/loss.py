"""What of a segment can be read, and what of it is lost: counted and said, never guessed and never passed over."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from mainstay.db.ledger import LedgerLoss
from mainstay.usage.event import Event
from mainstay.usage.frames import Frame, Gap, Kind, name_sum, parse_events, parse_frames

KILLED = "its process ended without closing it: what it took in its last second may be missing"
DAMAGED = "its bytes are damaged"
UNFIT = "its events are not in a form that can be read"
UNREADABLE = "the disk does not give it back"
SHORT = "events that were written to it are not in it"


@dataclass(slots=True)
class Segment:
    """One segment, open. `losses` is whole when `batches` has come to its end."""

    name: str
    file: BinaryIO
    is_live: bool
    """Its writer was still at it: what stands at its end may be half of a frame that is being written."""
    seen_at: float
    is_readable: bool = True
    """Whether the disk has given it back, once that was tried."""
    losses: list[LedgerLoss] = field(default_factory=list)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def batches(self) -> Iterator[list[Event]]:
        """The events of each whole frame, in the order of writing; none where the disk does not give it back."""
        try:
            content = self.file.read()
        except OSError:
            self.is_readable = False
            self._lose(UNREADABLE, 0, os.fstat(self.file.fileno()).st_size)
            return
        written: int | None = None
        found = 0
        gaps: list[Gap] = []
        trailing = False
        for part in parse_frames(content, name_sum(self.name)):
            trailing = isinstance(part, Gap)
            if isinstance(part, Gap):
                gaps.append(part)
            elif part.kind == Kind.EVENTS:
                found += part.events
                yield self._events(part)
            elif part.kind == Kind.LOST:
                self._lose(bytes(part.payload).decode("utf-8", "replace"), part.events, 0)
            elif part.kind == Kind.END:
                written = part.events
        if self.is_live and trailing:
            gaps.pop()
        if content:
            self._judge(gaps, found, written)

    def _judge(self, gaps: list[Gap], found: int, written: int | None) -> None:
        """What is missing of what its writer wrote: exactly where it was closed, else as far as headers tell."""
        size = sum(gap.size_bytes for gap in gaps)
        if written is not None:
            if size or found < written:
                self._lose(DAMAGED if size else SHORT, max(0, written - found), size)
        elif self.is_live:
            if size:
                self._lose(DAMAGED, sum(gap.events for gap in gaps), size)
        else:
            self._lose(KILLED, sum(gap.events for gap in gaps), size)

    def _events(self, frame: Frame) -> list[Event]:
        try:
            events = parse_events(frame.payload)
        except msgspec.DecodeError:
            events = []
        if len(events) < frame.events:
            self._lose(UNFIT, frame.events - len(events), len(frame.payload))
        return events

    def _lose(self, reason: str, events: int, size_bytes: int) -> None:
        """Note a loss; those of one reason are one."""
        for at, loss in enumerate(self.losses):
            if loss.reason == reason:
                self.losses[at] = LedgerLoss(
                    self.name, reason, loss.events + events, loss.size + size_bytes, self.seen_at
                )
                return
        self.losses.append(LedgerLoss(self.name, reason, events, size_bytes, self.seen_at))


def list_segments(folder: Path) -> list[Path]:
    """The segments in a folder, the oldest first."""
    return sorted(path for path in folder.iterdir() if path.suffix == ".log") if folder.is_dir() else []


def open_segment(path: Path, seen_at: float) -> Segment:
    """A segment that may be written to meanwhile, and is read to the end even if it is removed.

    Raises:
        FileNotFoundError: it was sealed since.
        OSError: the disk fails.
    """
    file = path.open("rb")
    # Looked at before its bytes are: one that was closed in between would pass for killed.
    return Segment(path.name, file, _is_locked(file.fileno()), seen_at)


def _is_locked(descriptor: int) -> bool:
    """Whether another holds the lock. Held here for a moment only: a sealer that meets it comes again."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
