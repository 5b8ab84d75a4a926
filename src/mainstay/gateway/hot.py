"""Replies that may be given again as they are: looked up by the request's bytes, before anything is parsed.

An entry holds until its document's freshness ends or the shared generation moves (a takedown, a changed rule), so the
short way gives what the long way would. Bodies up to 256 KiB are held, within a budget; larger files
go the long way, where finding them is a small part of sending them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mainstay.gateway.reply import Note

BODY_BYTES = 256 * 1024
MEMORY_BYTES = 96 * 1024 * 1024
ENTRIES = 50_000

RawHeaders = list[tuple[bytes, bytes]]
Key = tuple[bytes, ...]


@dataclass(slots=True)
class Hot:
    """One reply. `expires_at` is of the monotonic clock, in seconds."""

    generation: int
    expires_at: float
    etag: bytes
    headers: RawHeaders
    short_headers: RawHeaders
    body: bytes
    note: Note
    cells: tuple[list[int], list[int]]


class HotReplies:
    """The replies of one worker, least recently made first to go."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Key, Hot] = OrderedDict()
        self._held_bytes = 0

    def keep(self, key: Key, entry: Hot) -> None:
        """Take a reply in, letting go of older ones over the budget."""
        self.drop(key)
        self.entries[key] = entry
        self._held_bytes += len(entry.body)
        while self._held_bytes > MEMORY_BYTES or len(self.entries) > ENTRIES:
            _, old = self.entries.popitem(last=False)
            self._held_bytes -= len(old.body)

    def drop(self, key: Key) -> None:
        """Let go of one."""
        if (old := self.entries.pop(key, None)) is not None:
            self._held_bytes -= len(old.body)
