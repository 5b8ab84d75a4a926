from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.usage.event import COLUMNS, Event
from mainstay.usage.frames import (
    HEADER_BYTES,
    Frame,
    Gap,
    Kind,
    close_batch,
    encode_event,
    name_sum,
    open_batch,
    parse_events,
    parse_frames,
    render_frame,
)

BEGIN = name_sum("20261121T120000Z-7-0a1b2c3d.log")
VALUES = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    bool: st.booleans(),
}
EVENTS = st.builds(Event, st.integers(0, 2**50), **{name: VALUES[kind] for name, kind in list(COLUMNS.items())[1:]})


def frame(*events: Event, begin: int = BEGIN) -> bytes:
    """A frame of events."""
    batch = open_batch()
    for event in events:
        encode_event(event, batch, -1)
    close_batch(batch, len(events), begin)
    return bytes(batch)


def numbers(segment: bytes) -> list[list[int]]:
    """The times of the events of each frame."""
    return [
        [event.time_us for event in parse_events(part.payload)]
        for part in parse_frames(segment, BEGIN)
        if isinstance(part, Frame)
    ]


def gaps(segment: bytes) -> list[Gap]:
    """What is no frame."""
    return [part for part in parse_frames(segment, BEGIN) if isinstance(part, Gap)]


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def make_frames(sizes: list[int]) -> list[bytes]:
    """Frames of so many events each, numbered throughout."""
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return [
        frame(*(Event(start + n, project=f"project-{start + n}") for n in range(size)))
        for start, size in zip(starts, sizes)
    ]


@given(st.lists(EVENTS, max_size=5))
def test_what_is_written_is_read(events: list[Event]) -> None:
    """Every field of every event, in order."""
    (part,) = parse_frames(frame(*events), BEGIN)
    assert isinstance(part, Frame) and part.events == len(events)
    assert [msgspec.structs.astuple(event) for event in parse_events(part.payload)] == [
        msgspec.structs.astuple(event) for event in events
    ]


@given(SIZES, st.data())
def test_of_a_segment_that_is_cut_anywhere_the_whole_frames_are_read(sizes: list[int], data: st.DataObject) -> None:
    """Those before the cut and no event more; the bytes of the torn one are counted, and its events when its header is
    there."""
    frames = make_frames(sizes)
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, frames[: at + 1])) for at in range(len(frames))]
    kept = [at for at, end in enumerate(ends) if end <= cut]
    assert numbers(whole[:cut]) == numbers(whole)[: len(kept)]
    torn_bytes = cut - (ends[kept[-1]] if kept else 0)
    known = sizes[len(kept)] if torn_bytes >= HEADER_BYTES else 0
    assert gaps(whole[:cut]) == ([Gap(known, torn_bytes)] if torn_bytes else [])


@given(SIZES, st.data(), st.integers(1, 255))
@settings(max_examples=300)
def test_a_flipped_byte_costs_its_frame_and_no_other(sizes: list[int], data: st.DataObject, flip: int) -> None:
    """No event is ever wrong, and all frames before and after are read."""
    frames = make_frames(sizes)
    whole = bytearray(b"".join(frames))
    at = data.draw(st.integers(0, len(whole) - 1))
    hit = next(n for n in range(len(frames)) if at < sum(map(len, frames[: n + 1])))
    expected = numbers(bytes(whole))
    whole[at] ^= flip
    assert numbers(bytes(whole)) == expected[:hit] + expected[hit + 1 :]
    (gap,) = gaps(bytes(whole))
    in_header = at - sum(map(len, frames[:hit])) < HEADER_BYTES
    assert gap == Gap(0 if in_header else sizes[hit], len(frames[hit]))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_hold_no_frame(noise: bytes) -> None:
    """What stood in a block of the disk before is told as damage, and a frame after it is read."""
    segment = noise + frame(Event(5))
    assert numbers(segment) == [[5]]
    assert sum(gap.size_bytes for gap in gaps(segment)) == len(noise)


def test_a_frame_of_another_segment_is_none_of_this_one() -> None:
    """Blocks of a removed segment, or bytes that a client made, cannot pass for events."""
    assert numbers(frame(Event(1), begin=name_sum("another.log")) + frame(Event(2))) == [[2]]


def test_a_frame_inside_a_damaged_one_is_not_read() -> None:
    """Whoever writes a frame into a name does not know the segment's."""
    inner = frame(Event(666), begin=0)
    outer = bytearray(render_frame(Kind.LOST, 1, b"x" * 10 + inner, BEGIN))
    outer[HEADER_BYTES] ^= 1
    assert list(parse_frames(bytes(outer), BEGIN)) == [Gap(0, len(outer))]


def test_other_kinds_carry_a_number_and_a_reason() -> None:
    """How many were lost and why; how many were written."""
    segment = bytes(render_frame(Kind.LOST, 7, b"full", BEGIN) + render_frame(Kind.END, 9, b"", BEGIN))
    lost, end = parse_frames(segment, BEGIN)
    assert isinstance(lost, Frame) and (lost.kind, lost.events, bytes(lost.payload)) == (Kind.LOST, 7, b"full")
    assert isinstance(end, Frame) and (end.kind, end.events, bytes(end.payload)) == (Kind.END, 9, b"")


def test_an_event_of_an_older_version_has_defaults_for_what_came_since() -> None:
    """New fields stand at the end."""
    (event,) = parse_events(msgspec.msgpack.encode([[17, "team"]]))
    assert msgspec.structs.astuple(event) == msgspec.structs.astuple(Event(17, "team"))


def test_an_event_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    """A field too many is no damage."""
    newer = [*msgspec.structs.astuple(Event(17, "team")), "new", 3]
    (event,) = parse_events(msgspec.msgpack.encode([newer]))
    assert (event.time_us, event.consumer, event.agent) == (17, "team", "")


def test_an_event_that_fits_no_row_takes_no_other_with_it() -> None:
    """A number over 63 bits, a time after the year 9999, a text for a number: each is left out."""
    fitting = [[1, "a"], [2, "b"]]
    wrong: list[list[object]] = [[3, *[""] * 10, 2**63], [2**62, "c"], ["4", "d"], [-1, "e"]]
    events = parse_events(msgspec.msgpack.encode([fitting[0], *wrong, fitting[1]]))
    assert [(event.time_us, event.consumer) for event in events] == [(1, "a"), (2, "b")]


def test_a_batch_can_be_completed_for_another_segment() -> None:
    """A batch that one segment did not take goes into the next."""
    batch = open_batch()
    encode_event(Event(3), batch, -1)
    close_batch(batch, 1, name_sum("full.log"))
    close_batch(batch, 1, BEGIN)
    assert numbers(bytes(batch)) == [[3]]
