"""Replies that may be given again as they are: looked up by the request's bytes, before anything is parsed.

An entry holds until its document's freshness ends or the shared generation moves (a takedown, a changed rule), so the
short way gives what the long way would. Bodies up to 256 KiB are held, within a budget; of a larger file
what is known of it is, so that it need not be looked for again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from mainstay.access.identity import Caller
from mainstay.gateway.conditional import matches
from mainstay.gateway.reply import Headers, Note
from mainstay.gateway.visitors import Visitor

BODY_BYTES = 256 * 1024
MEMORY_BYTES = 96 * 1024 * 1024
ENTRIES = 50_000
REQUEST_BYTES = 2048
REQUESTS = 10_000
"""Requests known byte for byte. Each client version has its own, so a few for each reply."""

RawHeaders = list[tuple[bytes, bytes]]
Key = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of the store, and the headers of the whole of it."""

    digest: str
    size_bytes: int
    headers: Headers


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
    requests: list[bytes] = field(default_factory=list)
    """Those known to be answered with this one."""
    file: KeptFile | None = None
    """Where the body is, if it is not here."""


@dataclass(slots=True)
class Ready:
    """The answer to one request, byte for byte. `head` is what follows Date, up to and with the empty line."""

    entry: Hot
    status: int
    head: bytes
    body: bytes
    path: str
    visitor: Visitor
    recorded: tuple[Caller, bytes] | None = None
    """What the ledger was told of it last, but for the time, and as whose request."""


class HotReplies:
    """The replies of one worker, least recently made first to go."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Key, Hot] = OrderedDict()
        self.ready: dict[bytes, Ready] = {}
        self._held_bytes = 0

    def get(self, key: Key, generation: int) -> Hot | None:
        """The reply kept under `key`, if it still holds."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if entry.generation == generation and entry.expires_at > time.monotonic():
            return entry
        self.drop(key)
        return None

    def keep(self, key: Key, entry: Hot) -> None:
        """Take a reply in, letting go of older ones over the budget."""
        self.drop(key)
        self.entries[key] = entry
        self._held_bytes += len(entry.body)
        while self._held_bytes > MEMORY_BYTES or len(self.entries) > ENTRIES:
            self._let_go(self.entries.popitem(last=False)[1])

    def drop(self, key: Key) -> None:
        """Let go of one."""
        if (old := self.entries.pop(key, None)) is not None:
            self._let_go(old)

    def answer(self, entry: Hot, if_none_match: bytes, path: str, visitor: Visitor) -> Ready:
        """What a client that holds `if_none_match` gets: the whole reply, or word that it has it."""
        if if_none_match and entry.etag and matches(if_none_match.decode("latin-1"), entry.etag.decode("latin-1")):
            return Ready(entry, 304, _lines(entry.short_headers), b"", path, visitor)
        return Ready(entry, 200, _lines(entry.headers), entry.body, path, visitor)

    def learn(self, key: Key, request: bytes, ready: Ready) -> None:
        """Remember that these bytes, a whole request, are answered so, unless the reply was let go while it was sent:
        nothing would take it out of here again."""
        if self.entries.get(key) is not ready.entry or request in self.ready:
            return
        if len(self.ready) >= REQUESTS:
            for entry in self.entries.values():
                entry.requests.clear()
            self.ready.clear()
        ready.entry.requests.append(request)
        self.ready[request] = ready

    def _let_go(self, old: Hot) -> None:
        self._held_bytes -= len(old.body)
        for request in old.requests:
            self.ready.pop(request, None)


def _lines(headers: RawHeaders) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"
