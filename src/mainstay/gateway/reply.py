"""What is answered, as data: status, headers, and a body that is bytes, a range of a stored file, or a growing one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from mainstay.upstream.fill import Fill

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Note:
    """What the log and the metrics are told of a reply."""

    ecosystem: str = ""
    kind: str = "generated"
    outcome: str = "hit"
    project: str = ""
    version: str = ""
    filename: str = ""
    digest: str = ""
    upstream: str = ""
    error: str = ""


@dataclass(slots=True)
class Bytes:
    """A whole body in memory. `fresh_s` is how long the same reply may be given again without asking anybody."""

    status: int
    headers: Headers
    body: bytes
    note: Note = field(default_factory=Note)
    fresh_s: float = 0.0


@dataclass(slots=True)
class StoredFile:
    """`length` bytes from `offset` of a blob; `descriptor` is closed by the sender. `size_bytes` is the whole blob."""

    status: int
    headers: Headers
    descriptor: int
    offset: int
    length: int
    size_bytes: int
    digest: str
    note: Note = field(default_factory=Note)
    fresh_s: float = 0.0


@dataclass(slots=True)
class Filling:
    """Bytes `offset` up to `offset + length` of a fill that goes on while they are sent."""

    status: int
    headers: Headers
    fill: Fill
    offset: int
    length: int
    note: Note = field(default_factory=Note)


@dataclass(slots=True)
class Streamed:
    """A body passed on as it comes, never stored. Its length is `length`, or not known."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    length: int | None
    note: Note = field(default_factory=Note)


Reply = Bytes | StoredFile | Filling | Streamed
