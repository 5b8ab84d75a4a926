from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path

import pytest

from mainstay.db.artifacts import StoredArtifact
from mainstay.errors import IntegrityError, StoreError, UpstreamError
from mainstay.upstream.fill import HELD_BACK_BYTES, Fill, Head, HeadFile, Wanted, watch

URL = "https://files.example/demo-1.0.tar.gz"
TOTAL = 4 * HELD_BACK_BYTES
BODY = os.urandom(TOTAL)
BLANK = StoredArtifact("key", "e", "u", "demo", "1.0", "demo-1.0.tar.gz", URL, "", 0, "", "", "", "", 0.0)
STORED = StoredArtifact(
    "key", "e", "u", "demo", "1.0", "demo-1.0.tar.gz", URL, "sha256:x", TOTAL, "", "", "", "sha256", 1.0
)
HEAD = Head(URL, TOTAL, etag='"a"')


class Stage:
    """One fill, its files, and the readers that follow it."""

    def __init__(self, folder: Path) -> None:
        self.blob = folder / "blob"
        self.files = HeadFile(folder, "key")
        self.fill = Fill(Wanted("key", URL, {}, None, BLANK), self.files.part, self._open)
        self.received: list[bytearray] = []

    def _open(self, digest: str) -> int | None:
        return os.open(self.blob, os.O_RDONLY) if self.blob.exists() else None

    def write(self, upto: int, body: bytes = BODY) -> None:
        """Have the part file grow to so many bytes."""
        with self.files.part.open("ab") as file:
            file.write(body[file.tell() : upto])
        self.fill.grown(upto)

    def publish(self) -> None:
        """Verify and move to the store."""
        self.fill.announce(Head(URL, TOTAL, etag='"a"', verified=True))
        self.fill.grown(TOTAL)
        self.files.part.replace(self.blob)
        self.fill.finish(STORED)

    def read(self, start: int = 0, end: int = TOTAL) -> asyncio.Task[None]:
        """A reader; what it gets is in `received`."""
        got = bytearray()
        self.received.append(got)

        async def follow() -> None:
            async for piece in self.fill.pieces(start, end):
                got.extend(piece)

        return asyncio.create_task(follow())


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A fill whose head is known and of which nothing is written."""
    stage = Stage(tmp_path)
    stage.files.part.touch()
    stage.fill.announce(HEAD)
    return stage


async def settle() -> None:
    """Let every reader read what there is."""
    for _ in range(50):
        await asyncio.sleep(0)


def descriptors() -> int:
    """How many this process holds."""
    return len(os.listdir("/proc/self/fd"))


async def test_readers_get_bytes_as_they_come_and_the_end_only_when_verified(stage: Stage) -> None:
    """From the beginning, from the middle and of the end: the held back part is nobody's before the digest is right."""
    readers = [stage.read(), stage.read(HELD_BACK_BYTES, TOTAL), stage.read(TOTAL - 10, TOTAL), stage.read(0, 10)]
    await settle()
    assert [len(got) for got in stage.received] == [0, 0, 0, 0]
    stage.write(2 * HELD_BACK_BYTES)
    await settle()
    assert [len(got) for got in stage.received] == [2 * HELD_BACK_BYTES, HELD_BACK_BYTES, 0, 10]
    stage.write(TOTAL)
    await settle()
    assert [len(got) for got in stage.received] == [TOTAL - HELD_BACK_BYTES, TOTAL - 2 * HELD_BACK_BYTES, 0, 10]
    stage.publish()
    await asyncio.gather(*readers)
    assert stage.received == [BODY, BODY[HELD_BACK_BYTES:], BODY[-10:], BODY[:10]]


async def test_a_wrong_digest_reaches_no_reader_as_a_whole(stage: Stage) -> None:
    """All bytes were there; the reader is told, one held-back part short."""
    reader = stage.read()
    stage.write(TOTAL)
    await settle()
    stage.fill.finish(IntegrityError("does not match its index."))
    with pytest.raises(IntegrityError):
        await reader
    assert len(stage.received[0]) == TOTAL - HELD_BACK_BYTES


async def test_a_late_reader_reads_the_published_bytes(stage: Stage) -> None:
    """The part file is gone by then."""
    early = stage.read()
    stage.write(TOTAL)
    stage.publish()
    late = stage.read(5, 25)
    await asyncio.gather(early, late)
    assert stage.received[1] == BODY[5:25]


async def test_a_file_that_is_evicted_while_it_is_read_goes_on(stage: Stage) -> None:
    """The descriptor keeps its bytes; who comes after gets them too, or is told."""
    reader = stage.read()
    stage.write(2 * HELD_BACK_BYTES)
    await settle()
    stage.write(TOTAL)
    stage.publish()
    stage.blob.unlink()
    await reader
    assert stage.received[0] == BODY
    with contextlib.suppress(StoreError):
        await stage.read()
    assert stage.received[1] in (BODY, b"")


async def test_a_new_run_before_the_first_byte_is_not_noticed(stage: Stage) -> None:
    """A restart from zero: readers that were given nothing yet read the new bytes."""
    reader = stage.read()
    await settle()
    new = os.urandom(TOTAL)
    stage.files.part.unlink()
    stage.fill.grown(0)
    stage.files.part.touch()
    stage.fill.announce(Head(URL, TOTAL, etag='"b"', run=1))
    stage.write(TOTAL, new)
    stage.fill.announce(Head(URL, TOTAL, etag='"b"', run=1, verified=True))
    stage.fill.finish(STORED)
    await reader
    assert stage.received[0] == new


@pytest.mark.parametrize("total", [TOTAL, TOTAL // 2, None])
async def test_bytes_of_two_runs_are_never_mixed(total: int | None, stage: Stage) -> None:
    """Who was given bytes of the first run is broken off, whatever the second one looks like."""
    reader = stage.read()
    stage.write(2 * HELD_BACK_BYTES)
    await settle()
    stage.files.part.unlink()
    stage.files.part.touch()
    stage.fill.announce(Head(URL, total, etag='"b"', run=1))
    stage.fill.grown(0)
    stage.write(2 * HELD_BACK_BYTES, os.urandom(TOTAL))
    with pytest.raises(UpstreamError, match="changed"):
        await reader
    assert BODY.startswith(stage.received[0])


async def test_a_follower_that_missed_a_new_run_finishes_no_wrong_file(stage: Stage) -> None:
    """Another worker's fill lies, is dropped, and a second one is published between two looks: the first one's bytes
    are all at hand here, but their end is never given out."""
    reader = stage.read()
    stage.write(TOTAL, os.urandom(TOTAL))
    await settle()
    assert len(stage.received[0]) == TOTAL - HELD_BACK_BYTES
    stage.files.drop()
    stage.blob.write_bytes(BODY)
    stage.fill.finish(STORED)
    with pytest.raises(UpstreamError, match="changed"):
        await reader
    await stage.read(5, TOTAL)
    assert stage.received[1] == BODY[5:]


async def test_bytes_that_cannot_be_opened_are_told_and_wedge_nobody(stage: Stage) -> None:
    """Too many open files, or a disk that fails, in the moment of publishing: who waits hears of it."""

    def broken(digest: str) -> int | None:
        raise StoreError("cannot be read.")

    stage.fill._open_blob = broken
    reader, waiter = stage.read(), asyncio.create_task(stage.fill.finished())
    stage.write(2 * HELD_BACK_BYTES)
    await settle()
    stage.fill.finish(STORED)
    for task in (reader, waiter):
        with pytest.raises(StoreError, match="cannot be read"):
            await asyncio.wait_for(task, 1)


async def test_a_follower_that_missed_the_last_look_finishes_the_right_file(stage: Stage) -> None:
    """The part that it reads was published before it was seen to be verified: it is the same file, and goes on."""
    reader = stage.read()
    stage.write(TOTAL)
    await settle()
    stage.files.part.replace(stage.blob)
    stage.fill.finish(STORED)
    await reader
    assert stage.received[0] == BODY


async def test_a_new_run_of_another_length_is_not_cut_to_the_announced_one(stage: Stage) -> None:
    """A reader that was given nothing yet has announced a length all the same: the longer file must not pass as it."""
    reader = stage.read()
    await settle()
    longer = Head(URL, 2 * TOTAL, etag='"b"', run=1)
    stage.files.part.unlink()
    stage.files.part.touch()
    stage.fill.announce(longer)
    stage.write(TOTAL + HELD_BACK_BYTES, os.urandom(2 * TOTAL))
    with pytest.raises(UpstreamError, match="changed"):
        await reader
    assert stage.received[0] == b""


async def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """With readers that finish, that leave in the middle, that never came, and after a failure."""
    gc.collect()
    await settle()
    before = descriptors()
    for ending in ("read", "left", "none", "failed"):
        folder = tmp_path / ending
        folder.mkdir()
        stage = Stage(folder)
        stage.files.part.touch()
        stage.fill.announce(HEAD)
        reader = None if ending == "none" else stage.read()
        stage.write(TOTAL)
        await settle()
        if ending == "left" and reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if ending == "failed":
            stage.fill.finish(UpstreamError("broke off."))
        else:
            stage.publish()
        if reader is not None:
            await asyncio.gather(reader, return_exceptions=True)
        del stage, reader
    gc.collect()
    await settle()  # a generator that was left is closed by the loop, a turn later
    gc.collect()
    assert descriptors() <= before  # what other tests left may go meanwhile


async def test_what_can_be_sent_early_is_said(stage: Stage) -> None:
    """A large file at once; a small or unsized one when it is verified; None where it ended."""
    assert await stage.fill.sendable() == HEAD
    for total in (None, HELD_BACK_BYTES, 0):
        stage.fill.head = Head(URL, total)
        waiting = asyncio.create_task(stage.fill.sendable())
        await settle()
        assert not waiting.done()
        stage.fill.announce(Head(URL, total, verified=True))
        assert (await waiting) == Head(URL, total, verified=True)
    stage.fill.finish(UpstreamError("broke off."))
    assert await stage.fill.sendable() is None


async def test_another_workers_fill_is_followed_and_taken_over_when_its_lock_comes_free(stage: Stage) -> None:
    """The head and the growth are seen on disk; then the lock is ours."""
    stage.fill.head, stage.fill.written_bytes = None, 0
    free = False

    def acquire() -> int | None:
        return 99 if free else None

    watching = asyncio.create_task(watch(stage.fill, stage.files, acquire))
    await asyncio.sleep(0.03)
    assert stage.fill.head is None
    stage.files.save(HEAD)
    stage.files.part.write_bytes(BODY[: 2 * HELD_BACK_BYTES])
    reader = stage.read(0, HELD_BACK_BYTES)
    async with asyncio.timeout(2):
        while stage.fill.head is None:
            await asyncio.sleep(0.005)
        await asyncio.gather(reader, return_exceptions=True)
    assert stage.fill.written_bytes == 2 * HELD_BACK_BYTES
    free = True
    assert await asyncio.wait_for(watching, 1) == 99
    stage.fill.finish(UpstreamError("end of the test."))


def test_a_head_survives_its_file_and_nonsense_counts_as_none(tmp_path: Path) -> None:
    """Written whole or not at all; what a crash left is not believed."""
    files = HeadFile(tmp_path, "key")
    assert files.load() is None and files.written_bytes() == 0
    files.save(HEAD)
    assert files.load() == HEAD
    for nonsense in (b"", b"{", b'{"url": 5}', b"null"):
        files.path.write_bytes(nonsense)
        assert files.load() is None
    files.drop()
    files.drop()
    assert list(tmp_path.iterdir()) == []
