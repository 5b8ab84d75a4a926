"""Counts a shared gateway's replies for the receipt, by what their Cache-Status field says (RFC 9211)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from mainstay.errors import MainstayError
from mainstay.intercept.receipt import Totals

_REFUSALS = frozenset({403, 451, 502})
_EXCERPT_BYTES = 2000


class _Refusal(msgspec.Struct):
    error: str


@dataclass(slots=True)
class Count:
    """One reply on its way."""

    tally: Tally
    status: int
    media_type: str
    cache_status: str
    size_bytes: int = 0
    excerpt: bytes = b""

    def add(self, chunk: bytes) -> None:
        """A piece of the body."""
        self.size_bytes += len(chunk)
        if self.status in _REFUSALS and len(self.excerpt) < _EXCERPT_BYTES:
            self.excerpt += chunk[:_EXCERPT_BYTES]

    def close(self) -> None:
        """The body is over, or broke off: count what went across."""
        self.tally.record(self)


@dataclass(slots=True)
class Tally:
    """The totals so far."""

    _totals: Totals = field(default_factory=Totals)
    _refused: list[str] = field(default_factory=list)

    def open(self, status: int, headers: Mapping[str, str]) -> Count:
        """Begin to count a reply."""
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        return Count(self, status, media_type, headers.get("cache-status", ""))

    def note_failure(self, error: MainstayError) -> None:
        """A request that got no reply from the gateway."""
        self._refused.append(error.message)

    def totals(self) -> Totals:
        """A snapshot."""
        return replace(self._totals, refused=tuple(self._refused))

    def record(self, count: Count) -> None:
        """Add a finished reply."""
        asked = "fwd=" in count.cache_status and "detail=collapsed" not in count.cache_status
        fetched = asked and "fwd-status=304" not in count.cache_status
        was = self._totals
        self._totals = Totals(
            requests=was.requests + 1,
            files=was.files + (count.status == 200 and _is_file(count.media_type)),
            bytes=was.bytes + count.size_bytes,
            cached_bytes=was.cached_bytes + (0 if fetched else count.size_bytes),
            upstream_requests=was.upstream_requests + asked,
            upstream_bytes=was.upstream_bytes + (count.size_bytes if fetched else 0),
            saved_requests=was.saved_requests + (bool(count.cache_status) and not asked),
            saved_bytes=was.saved_bytes + (count.size_bytes if count.cache_status and not asked else 0),
        )
        if count.status in _REFUSALS:
            self._refused.append(_words(count))


def _is_file(media_type: str) -> bool:
    """Whether a reply is an artifact: every index is JSON, XML or text, and no artifact is."""
    return not (media_type.startswith("text/") or media_type.endswith(("json", "xml")))


def _words(count: Count) -> str:
    try:
        return msgspec.json.decode(count.excerpt, type=_Refusal).error
    except (msgspec.MsgspecError, UnicodeDecodeError):  # not every client takes its refusals as JSON
        text = count.excerpt.decode("utf-8", errors="replace").strip()
        return text.partition("\n")[0] or f"the gateway answered {count.status}"
