"""Conditional requests and ranges (RFC 9110 sections 13 and 14), as pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` up to and not including `end` of a representation of `total` bytes."""

    start: int
    end: int
    total: int

    @property
    def length(self) -> int:
        """Bytes in the span."""
        return self.end - self.start

    @property
    def content_range(self) -> str:
        """The Content-Range header."""
        return f"bytes {self.start}-{self.end - 1}/{self.total}"


class Unsatisfiable(ValueError):
    """The range lies outside the representation: 416."""


def matches(if_none_match: str, etag: str) -> bool:
    """Whether the client has this representation: weak comparison (section 8.8.3.2)."""
    if if_none_match.strip() == "*":
        return True
    return any(_weak(tag) == _weak(etag) for tag in if_none_match.split(","))


def parse_range(header: str, total: int) -> Span | None:
    """The one range asked for. None where the header is absent, malformed, of another unit, or lists several ranges:
    these are answered with the whole (section 14.2).

    Raises:
        Unsatisfiable: it starts at or after the end.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        if int(last) == 0 or total == 0:
            raise Unsatisfiable
        return Span(max(0, total - int(last)), total, total)
    start = int(first)
    end = min(int(last), total - 1) + 1 if last else total
    if last and int(last) < start:
        return None
    if start >= total:
        raise Unsatisfiable
    return Span(start, end, total)


def range_applies(if_range: str, etag: str, last_modified: str) -> bool:
    """Whether If-Range allows a part: only on a strong match (section 13.1.5)."""
    if not if_range:
        return True
    if if_range.startswith('"'):
        return bool(etag) and if_range == etag
    return bool(last_modified) and if_range == last_modified


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip (section 12.5.3); what it says of gzip by name counts more than the star."""
    other = False
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.strip().partition(";")
        quality = parameters.replace(" ", "").removeprefix("q=")
        accepted = not quality or quality.strip("0.") != ""
        if coding.strip() in ("gzip", "x-gzip"):
            return accepted
        if coding.strip() == "*":
            other = accepted
    return other


def _weak(tag: str) -> str:
    return tag.strip().removeprefix("W/")
