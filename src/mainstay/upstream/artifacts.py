"""Immutable files: from the store, or filled from upstream once for everybody who waits."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mainstay.config import Config, parse_size
from mainstay.db.artifacts import StoredArtifact, drop_artifact, load_artifact, save_artifact
from mainstay.db.engine import Database
from mainstay.errors import (
    IntegrityError,
    MainstayError,
    StoreFull,
    TooLarge,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from mainstay.store.local import LocalStore
from mainstay.store.lock import acquire
from mainstay.store.shared import Shared
from mainstay.telemetry.log import get_logger
from mainstay.upstream.ask import Asker
from mainstay.upstream.client import Reply
from mainstay.upstream.cost import current_cost
from mainstay.upstream.fill import Fill, Head, HeadFile, Wanted, watch
from mainstay.upstream.registry import Upstream
from mainstay.upstream.sums import Sums

FLUSH_BYTES = 256 * 1024
INLINE_BYTES = 64 * 1024
FLUSH_INTERVAL_S = 0.005
HEAD_AFTER = 2
"""Other workers are told of a fill with its second flush, so that nobody's first byte waits for that."""
KNOWN_ARTIFACTS = 50_000
LEAST_ROOM_BYTES = 16 * 1024 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

_log = get_logger(__name__)


class Artifacts:
    """The files of one worker. Every download in any worker goes through here."""

    def __init__(
        self,
        config: Config,
        store: LocalStore,
        database: Database,
        asker: Asker,
        shared: Shared,
        *,
        make_room: Callable[[int], Awaitable[int]],
    ) -> None:
        """`make_room` evicts so many bytes if it can and returns how many it did."""
        self._make_room = make_room
        self._store = store
        self._database = database
        self._asker, self._shared = asker, shared
        self._attempts = config.fetch.attempts
        self._max_bytes = parse_size(config.cache.max_artifact)
        self._fills: dict[str, Fill] = {}
        self._tasks: dict[asyncio.Task[None], Fill] = {}
        self._known: OrderedDict[str, StoredArtifact] = OrderedDict()
        self._absent: OrderedDict[str, int] = OrderedDict()
        """What was looked for in vain, and the shared count of stored artifacts then."""

    async def stored(self, key: str) -> StoredArtifact | None:
        """The artifact of that key if its bytes are here."""
        found, count = self._known.get(key), self._shared.stored_count
        if found is None and self._absent.get(key) == count:
            return None
        if found is None:
            found = await self._database.read(load_artifact, key)
        if found is None or not self._store.has(found.digest):
            self._known.pop(key, None)
            self._absent[key] = count
            if len(self._absent) > KNOWN_ARTIFACTS:
                self._absent.popitem(last=False)
            return None
        self._remember(found)
        return found

    def fill(self, upstream: Upstream, wanted: Wanted, kind: str) -> tuple[Fill, bool]:
        """The fill of that key, begun if nobody is at it, and whether it was under way already.

        The fill belongs to nobody: a client that leaves does not end it.
        """
        fill = self._fills.get(wanted.key)
        if fill is not None and fill.outcome is None:
            if fill.cost is not None:
                fill.cost.join(current_cost())
            return fill, True
        files = HeadFile(self._store.fills, wanted.key)
        fill = Fill(wanted, files.part, self._store.open)
        self._fills[wanted.key] = fill
        task = asyncio.create_task(self._run(fill, files, upstream, kind))
        self._tasks[task] = fill
        task.add_done_callback(self._tasks.pop)
        return fill, False

    def blob_path(self, stored: StoredArtifact) -> Path:
        """Where the bytes are."""
        return self._store.path(stored.digest)

    def open(self, stored: StoredArtifact) -> int | None:
        """A descriptor of the bytes, which the caller closes; None where they were evicted."""
        self._store.used.add(stored.digest)
        return self._store.open(stored.digest)

    async def close(self) -> None:
        """Stop all fills; what they have is taken up by whoever asks next. A verified one, which clients may have whole
        already, is put in its place first."""
        await asyncio.gather(*(task for task, fill in self._tasks.items() if fill.head and fill.head.verified))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def save_derived(self, wanted: Wanted, body: bytes) -> StoredArtifact:
        """Keep a sidecar that was made from an artifact's own bytes."""
        digest = await asyncio.to_thread(self._store.save, body)
        stored = dataclasses.replace(
            wanted.blank, digest=digest, size=len(body), verified="derived", fetched_at=time.time()
        )
        await self._save(stored)
        return stored

    async def _run(self, fill: Fill, files: HeadFile, upstream: Upstream, kind: str) -> None:
        outcome: StoredArtifact | MainstayError
        try:
            outcome = await self._lead_or_follow(fill, files, upstream, kind)
        except MainstayError as error:
            outcome = error
        except asyncio.CancelledError:
            outcome = UpstreamUnavailable("the gateway is stopping.", hint="Try again.")
        except Exception as error:  # noqa: BLE001 - a defect must end the fill, or its readers would wait for ever
            _log.exception("a fill failed in a way that is a defect", url_path=fill.wanted.blank.filename)
            outcome = MainstayError(f"internal error: {type(error).__name__}.")
        if self._fills.get(fill.wanted.key) is fill:
            del self._fills[fill.wanted.key]
        if isinstance(outcome, StoredArtifact):
            self._remember(outcome)
        fill.finish(outcome)

    async def _lead_or_follow(self, fill: Fill, files: HeadFile, upstream: Upstream, kind: str) -> StoredArtifact:
        path = files.part.with_suffix(".lock")
        lock = await watch(fill, files, lambda: acquire(path, wait=False))
        try:
            if self._absent.get(fill.wanted.key) != self._shared.stored_count:
                # Somebody has stored something since it was looked for, perhaps this.
                done = await self._database.read(load_artifact, fill.wanted.key)
                if done is not None and self._store.has(done.digest):
                    return done
            return await self._download(fill, files, upstream, kind)
        finally:
            path.unlink(missing_ok=True)
            os.close(lock)

    async def _download(self, fill: Fill, files: HeadFile, upstream: Upstream, kind: str) -> StoredArtifact:
        for number in range(1, self._attempts + 1):
            fill.attempt = number
            try:
                return await self._try(fill, files, upstream, kind)
            except MainstayError as error:
                if isinstance(error, IntegrityError | StoreFull | TooLarge):
                    files.drop()
                if isinstance(error, IntegrityError) and fill.wanted.voucher:
                    await self._forget(fill.wanted.voucher)  # it may be the checksum that is wrong
                roomier = isinstance(error, StoreFull) and await self._make_room(_needed_bytes(fill)) > 0
                if number == self._attempts or not (roomier or worth_another_try(error)):
                    raise
                _log.warning("a fill is tried again", file=fill.wanted.blank.filename, reason=error.message)
                await asyncio.sleep(0.05 * 2**number)
        raise AssertionError("the last attempt returns or raises")

    async def _try(self, fill: Fill, files: HeadFile, upstream: Upstream, kind: str) -> StoredArtifact:
        wanted, before = fill.wanted, files.load()
        resume_at = files.written_bytes() if before and before.url == wanted.url and _validator(before) else 0
        if before and before.total_bytes is not None and resume_at >= before.total_bytes:
            resume_at = 0
        headers = {"accept": "*/*", "accept-encoding": "identity"}
        if before and resume_at:
            headers |= {"range": f"bytes={resume_at}-", "if-range": _validator(before)}
        async with self._asker.ask(
            upstream, wanted.url, headers, kind=kind, authorization=wanted.authorization
        ) as reply:
            if reply.status in (206, 416) and not _goes_on(reply, before, resume_at):
                files.drop()
            head, resume_at = _start(wanted.url, reply, before, resume_at)
            _refuse_page(wanted, head)
            self._check_size(wanted, head)
            if resume_at == 0 and (before is not None or files.written_bytes()):
                files.drop()
            with _storing():
                descriptor = os.open(files.part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                sums, written = await self._receive(fill, files, reply, head, descriptor, resume_at)
            finally:
                os.close(descriptor)
        # Outside: who holds a turn at upstream while waiting for another one would have all wait for ever.
        if wanted.vouch is not None:
            sums.expect(await wanted.vouch())
        return await self._finish(fill, files, head, written, sums.digest, sums.verify(wanted))

    async def _receive(
        self, fill: Fill, files: HeadFile, reply: Reply, head: Head, descriptor: int, resume_at: int
    ) -> tuple[Sums, int]:
        sums = Sums(fill.wanted.digests, fill.wanted.algorithm)
        if resume_at:
            await asyncio.to_thread(sums.add_file, files.part, resume_at)
        fill.announce(head)
        fill.grown(resume_at)
        written, pending, flushed_at, flushes = resume_at, bytearray(), 0.0, 0
        try:
            async for chunk in reply.chunks():
                pending += chunk
                if written + len(pending) > self._max_bytes or (head.total_bytes or 1 << 62) < written + len(pending):
                    raise TooLarge(f"upstream sends more than it may for {fill.wanted.blank.filename}.")
                if len(pending) >= FLUSH_BYTES or time.monotonic() - flushed_at > FLUSH_INTERVAL_S:
                    written += await _flush(descriptor, pending, sums)
                    flushed_at = time.monotonic()
                    fill.grown(written)
                    flushes += 1
                    if flushes == HEAD_AFTER:
                        _tell(files, head)
        except UpstreamError:
            if flushes < HEAD_AFTER:
                _tell(files, head)
            raise
        written += await _flush(descriptor, pending, sums)
        if head.total_bytes is not None and written != head.total_bytes:
            raise UpstreamError(f"upstream ended after {written} of {head.total_bytes} bytes.")
        return sums, written

    async def _finish(
        self, fill: Fill, files: HeadFile, head: Head, size: int, digest: str, verified: str
    ) -> StoredArtifact:
        final = Head(
            head.url, size, head.media_type, head.etag, head.last_modified, head.run, verified=True, digest=digest
        )
        fill.announce(final)
        fill.grown(size)
        await asyncio.sleep(0)  # readers in this worker need not wait for what follows
        _tell(files, final)
        await asyncio.to_thread(self._store.publish, files.part, digest)
        stored = dataclasses.replace(
            fill.wanted.blank,
            digest=digest,
            size=size,
            media_type=head.media_type,
            etag=head.etag,
            last_modified=head.last_modified,
            verified=verified,
            fetched_at=time.time(),
        )
        await self._save(stored)
        files.drop()
        return stored

    async def _save(self, stored: StoredArtifact) -> None:
        await self._database.run(save_artifact, stored)
        self._shared.note_stored()
        self._absent.pop(stored.key, None)
        self._remember(stored)

    async def _forget(self, key: str) -> None:
        """Drop an artifact with its bytes, by which every worker finds that it is gone."""
        if (stored := await self.stored(key)) is not None:
            await asyncio.to_thread(self._store.delete, stored.digest)
        self._known.pop(key, None)
        await self._database.run(drop_artifact, key)

    def _remember(self, stored: StoredArtifact) -> None:
        self._known[stored.key] = stored
        self._known.move_to_end(stored.key)
        if len(self._known) > KNOWN_ARTIFACTS:
            self._known.popitem(last=False)

    def _check_size(self, wanted: Wanted, head: Head) -> None:
        name = wanted.blank.filename
        if head.total_bytes is None:
            return
        if head.total_bytes > self._max_bytes:
            raise TooLarge(f"{name} has {head.total_bytes} bytes, over cache.max_artifact.")
        if wanted.size_bytes is not None and head.total_bytes != wanted.size_bytes:
            raise IntegrityError(
                f"{name} has {head.total_bytes} bytes upstream, but the index says {wanted.size_bytes}.",
                hint="Nothing was served. Tell the registry.",
            )


def _refuse_page(wanted: Wanted, head: Head) -> None:
    """A file that nothing vouches for is kept as it first came: a sign-in page must not pass for one."""
    page = head.media_type.partition(";")[0].strip().lower() == "text/html"
    if page and not wanted.digests and not wanted.blank.filename.endswith((".html", ".htm")):
        raise UpstreamRefused(
            f"upstream answers with an HTML page where {wanted.blank.filename} is due.", upstream_status=200
        )


def _needed_bytes(fill: Fill) -> int:
    return max(fill.head.total_bytes or 0 if fill.head else 0, LEAST_ROOM_BYTES)


@contextmanager
def _storing() -> Iterator[None]:
    """Turn a disk's errors into ours."""
    try:
        yield
    except OSError as error:
        raise StoreFull(f"the data folder cannot take more: {error.strerror or error}.") from error


def _tell(files: HeadFile, head: Head) -> None:
    """Have the other workers, and the next attempt, know what the part file is the beginning of."""
    with _storing():
        files.save(head)


async def _flush(descriptor: int, pending: bytearray, sums: Sums) -> int:
    """Write and hash what has come in; returns how much. A little is done at once, where a thread would cost more."""
    data = bytes(pending)
    pending.clear()
    if len(data) <= INLINE_BYTES:
        _write(descriptor, data, sums)
        return len(data)
    writing = asyncio.ensure_future(asyncio.to_thread(_write, descriptor, data, sums))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        # The descriptor is closed next: a write that came later would go to whatever has its number then.
        await asyncio.wait({writing})
        raise
    return len(data)


def _write(descriptor: int, data: bytes, sums: Sums) -> None:
    with _storing():
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    sums.add(data)


def _validator(head: Head) -> str:
    """What If-Range can be sent with: a strong ETag, else a date (RFC 9110 section 13.1.5)."""
    return head.etag if head.etag.startswith('"') else head.last_modified


def _goes_on(reply: Reply, before: Head | None, resume_at: int) -> bool:
    """Whether the reply is the rest, from `resume_at` on, of what `before` is the head of."""
    match = _RANGE.fullmatch(reply.headers.get("content-range", "")) if reply.status == 206 else None
    if before is None or match is None or int(match[1]) != resume_at:
        return False
    same_length = match[3] in ("*", str(before.total_bytes))
    return same_length and reply.headers.get("etag", before.etag) == before.etag


def _start(url: str, reply: Reply, before: Head | None, resume_at: int) -> tuple[Head, int]:
    """The head, and from which byte the reply goes on. A full reply to a ranged request begins a new run."""
    if before and _goes_on(reply, before, resume_at):
        return before, resume_at
    if reply.status not in (200, 203):
        raise UpstreamRefused(f"upstream answers {reply.status} to a request for a file.", upstream_status=500)
    length = reply.headers.get("content-length", "")
    head = Head(
        url,
        int(length) if length.isdecimal() else None,
        reply.headers.get("content-type", ""),
        reply.headers.get("etag", ""),
        reply.headers.get("last-modified", ""),
        secrets.randbits(53),
    )
    return head, 0


def worth_another_try(error: MainstayError) -> bool:
    """Whether the same request may well succeed in a moment."""
    if isinstance(error, UpstreamRefused):
        return error.upstream_status >= 500
    if isinstance(error, UpstreamUnavailable):
        return error.retry_after_s is None
    return isinstance(error, UpstreamTimeout) or type(error) is UpstreamError
