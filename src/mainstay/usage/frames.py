"""Frames: how events lie in a segment, so that of what a crash leaves, whole batches are read and nothing else is.

A segment is a row of frames. A frame is a header of 24 bytes (magic, kind, number of events, bytes of the payload,
CRC-32 of the payload, CRC-32 of the header before it; little endian) and its payload. Both sums begin with the sum of
the segment's name. What of an older file is found in a block of the disk, or what a client has put into a name of a
project, is no frame of this segment therefore.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

import msgspec

from mainstay.usage.event import COLUMNS, Event

MAGIC = b"\xd7MSL"
_HEADER = struct.Struct("<4sIIII")
_SUM = struct.Struct("<I")
_ARRAY = struct.Struct(">BI")
_ARRAY_OF_32_BITS = 0xDD
HEADER_BYTES = _HEADER.size + _SUM.size
_YEAR_10000_US = 253_402_300_800_000_000
_MOST = 2**63 - 1


class Kind(IntEnum):
    """What a frame says."""

    EVENTS = 1
    """Payload: the events, as MessagePack."""
    LOST = 2
    """So many events could not be written before this. Payload: why, as UTF-8."""
    END = 3
    """The last frame of a segment that was closed: how many events were written to it. No payload."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame."""

    kind: int
    events: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that are no whole frame, with the events that whole headers among them tell of."""

    events: int
    size_bytes: int


def open_batch() -> bytearray:
    """A frame of events to which each is added with `encode_event(event, batch, -1)`, until `close_frame`."""
    return bytearray(HEADER_BYTES + _ARRAY.size)


encode_event: Callable[[Event, bytearray, int], None] = msgspec.msgpack.Encoder().encode_into
"""Add an event to a batch: `encode_event(event, batch, -1)`."""


_FIRST = struct.Struct(">BHBQ")
_ARRAY_OF_16_BITS, _UNSIGNED_OF_64_BITS = 0xDC, 0xCF


def encode_rest(event: Event) -> bytes:
    """All of an event but its time, for `encode_again`: a reply that is given many times differs in that alone."""
    # Any time of this century is encoded in as many bytes.
    later = msgspec.structs.replace(event, time_us=_YEAR_10000_US)
    return msgspec.msgpack.encode(later)[_FIRST.size :]


def encode_again(time_us: int, rest: bytes, batch: bytearray) -> None:
    """Add an event to a batch in a third of the time that `encode_event` takes."""
    batch += _FIRST.pack(_ARRAY_OF_16_BITS, len(COLUMNS), _UNSIGNED_OF_64_BITS, time_us)
    batch += rest


def name_sum(segment: str) -> int:
    """What the sums in a segment of that name begin with."""
    return zlib.crc32(segment.encode())


def close_batch(batch: bytearray, events: int, begin: int) -> None:
    """Complete a batch of that many events, for a segment with that `name_sum`. Can be done again for another one."""
    _ARRAY.pack_into(batch, HEADER_BYTES, _ARRAY_OF_32_BITS, events)
    _complete(batch, Kind.EVENTS, events, begin)


def render_frame(kind: Kind, events: int, payload: bytes, begin: int) -> bytearray:
    """A frame that is no batch."""
    frame = bytearray(HEADER_BYTES) + payload
    _complete(frame, kind, events, begin)
    return frame


def parse_frames(segment: bytes, begin: int) -> Iterator[Frame | Gap]:
    """What a segment holds, in its order. After damage it goes on with the next whole frame."""
    at = whole_to = known = 0
    while at < len(segment):
        header = _parse_header(segment, at, begin)
        frame = _parse_payload(segment, at, header, begin) if header else None
        if frame is not None:
            if whole_to < at:
                yield Gap(known, at - whole_to)
            yield frame
            at = whole_to = at + HEADER_BYTES + len(frame.payload)
            known = 0
            continue
        known += header.events if header and header.kind == Kind.EVENTS else 0
        following = segment.find(MAGIC, at + 1)
        at = following if following >= 0 else len(segment)
    if whole_to < len(segment):
        yield Gap(known, len(segment) - whole_to)


def parse_events(payload: bytes | memoryview) -> list[Event]:
    """The events of a frame. A field that its writer did not know has its default, one that we do not know is left out,
    and so is an event that fits no row.

    Raises:
        msgspec.DecodeError: no list.
    """
    try:
        return _decode(payload)
    except msgspec.ValidationError:
        fitting: list[Event] = []
        for one in msgspec.msgpack.decode(payload, type=list[msgspec.Raw]):
            # So that one that is wrong does not take the others of its frame with it.
            with suppress(msgspec.ValidationError):
                fitting += _decode(b"\x91" + one)
        return fitting


@dataclass(frozen=True, slots=True)
class _Header:
    kind: int
    events: int
    size_bytes: int
    crc: int


def _complete(frame: bytearray, kind: Kind, events: int, begin: int) -> None:
    with memoryview(frame) as view:
        crc = zlib.crc32(view[HEADER_BYTES:], begin)
        _HEADER.pack_into(frame, 0, MAGIC, kind, events, len(frame) - HEADER_BYTES, crc)
        _SUM.pack_into(frame, _HEADER.size, zlib.crc32(view[: _HEADER.size], begin))


def _parse_header(segment: bytes, at: int, begin: int) -> _Header | None:
    if at + HEADER_BYTES > len(segment):
        return None
    magic, kind, events, size_bytes, crc = _HEADER.unpack_from(segment, at)
    (own,) = _SUM.unpack_from(segment, at + _HEADER.size)
    if magic != MAGIC or zlib.crc32(memoryview(segment)[at : at + _HEADER.size], begin) != own:
        return None
    return _Header(kind, events, size_bytes, crc)


def _parse_payload(segment: bytes, at: int, header: _Header, begin: int) -> Frame | None:
    start = at + HEADER_BYTES
    payload = memoryview(segment)[start : start + header.size_bytes]
    if len(payload) < header.size_bytes or zlib.crc32(payload, begin) != header.crc:
        return None
    return Frame(header.kind, header.events, payload)


def _make_decoder() -> Callable[[bytes | memoryview], list[Event]]:
    """For events whose numbers fit the columns: one that does not would stop its whole segment from being sealed."""
    whole: Any = Annotated[int, msgspec.Meta(ge=-_MOST - 1, le=_MOST)]
    time: Any = Annotated[int, msgspec.Meta(ge=0, lt=_YEAR_10000_US)]
    fields: list[Any] = [("time_us", time)]
    fields += [
        (field.name, whole if COLUMNS[field.name] is int else field.type, field.default)
        for field in msgspec.structs.fields(Event)[1:]
    ]
    stored = msgspec.defstruct("StoredEvent", fields, frozen=True, array_like=True, gc=False)
    return msgspec.msgpack.Decoder(list[stored]).decode  # type: ignore[valid-type]


_decode = _make_decoder()
