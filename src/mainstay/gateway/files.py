"""Replies for artifacts and sidecars: stored, or on their way."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.db.artifacts import StoredArtifact
from mainstay.errors import NotFound, UpstreamError, UpstreamUnavailable
from mainstay.gateway.call import Call
from mainstay.gateway.conditional import Unsatisfiable, parse_range, range_applies
from mainstay.gateway.reply import Bytes, Filling, Headers, Note, Reply, StoredFile
from mainstay.gateway.supply import Supply, View
from mainstay.model import Artifact, File, Sidecar
from mainstay.upstream.fill import Fill

IMMUTABLE = "public, max-age=31536000, immutable"


class FileReplies:
    """Answers for one file at a time."""

    def __init__(self, supply: Supply, fresh_s: float) -> None:
        self._supply = supply
        self._fresh_s = fresh_s

    async def artifact(self, call: Call, artifact: Artifact, views: Sequence[View], note: Note) -> Reply:
        """The file itself."""
        note.version, note.filename = artifact.version, artifact.filename
        if (found := await self._supply.stored(artifact, "", views)) is not None:
            reply = self._from_store(call, *found, "hit", note)
            if reply is not None:
                return reply
        view, file = await self._supply.file(artifact, views)
        note.upstream, note.version = view.upstream.id, file.version
        if call.method == "HEAD" and file.size_bytes is not None:
            return _announced(file, note)
        return await self._filling(call, view, file, artifact, note)

    async def sidecar(self, call: Call, sidecar: Sidecar, views: Sequence[View], note: Note) -> Reply:
        """A small file that belongs to it."""
        artifact = sidecar.artifact
        note.version, note.filename = artifact.version, artifact.filename + sidecar.suffix
        if (found := await self._supply.stored(artifact, sidecar.suffix, views)) is not None:
            reply = self._from_store(call, *found, "hit", note)
            if reply is not None:
                return reply
        view, file = await self._supply.file(artifact, views)
        stored = await self._supply.sidecar(sidecar, view, file)
        return self._from_store(call, view, stored, "miss", note) or _evicted()

    async def _filling(self, call: Call, view: View, file: File, artifact: Artifact, note: Note) -> Reply:
        """Follow the fill. Who joined one that was under way and failed begins one of its own."""
        for may_retry in (True, False):
            fill, joined = self._supply.fill(view, file, artifact)
            try:
                return await self._follow(call, view, fill, joined, note)
            except NotFound as error:
                self._supply.note_absent(view, artifact)
                raise NotFound(f"upstream has no {artifact.filename}.") from error
            except UpstreamError:
                if not (joined and may_retry):
                    raise
        raise AssertionError("the second turn returns or raises")

    async def _follow(self, call: Call, view: View, fill: Fill, joined: bool, note: Note) -> Reply:
        note.outcome = "collapsed" if joined else "miss"
        head = await fill.sendable()
        if not fill.attempt:
            note.outcome = "collapsed"  # another worker fetches it
        if head is None or head.total_bytes is None:
            stored = await fill.finished()
            return self._from_store(call, view, stored, note.outcome, note) or _evicted()
        etag = f'"{digest}"' if (digest := fill.wanted.digests.get("sha256")) else ""
        headers = _headers(view, head.media_type, etag, head.last_modified, note.outcome)
        if not fill.wanted.digests and fill.wanted.vouch is None:
            headers.append(("mainstay-verified", "first-seen"))
        return _ranged(call, fill, headers, etag, head.last_modified, head.total_bytes, note)

    def _from_store(self, call: Call, view: View, stored: StoredArtifact, how: str, note: Note) -> Reply | None:
        descriptor = self._supply.open(stored)
        if descriptor is None:
            return None
        note.outcome, note.upstream, note.version = how, stored.upstream, stored.version
        note.digest = stored.digest
        etag = f'"{stored.digest.removeprefix("sha256:")}"'
        headers = _headers(view, stored.media_type, etag, stored.last_modified, how)
        headers.append(("mainstay-verified", stored.verified))
        fresh_s = 0.0 if view.scope else self._fresh_s
        whole = StoredFile(200, headers, descriptor, 0, stored.size, stored.size, stored.digest, note, fresh_s)
        return ranged_file(call, whole, etag, stored.last_modified)


def ranged_file(call: Call, whole: StoredFile, etag: str, last_modified: str) -> Reply:
    """The part of a stored file that the client asks for, or the whole."""
    header = call.headers.get("range", "") if call.method == "GET" else ""
    if not header or not range_applies(call.headers.get("if-range", ""), etag, last_modified):
        return whole
    try:
        span = parse_range(header, whole.size_bytes)
    except Unsatisfiable:
        import os

        os.close(whole.descriptor)
        return _unsatisfiable(whole.size_bytes, whole.note)
    if span is None:
        return whole
    whole.status, whole.offset, whole.length = 206, span.start, span.length
    whole.headers = [*whole.headers, ("content-range", span.content_range)]
    return whole


def _ranged(call: Call, fill: Fill, headers: Headers, etag: str, last_modified: str, total: int, note: Note) -> Reply:
    header = call.headers.get("range", "") if call.method == "GET" else ""
    if not header or not range_applies(call.headers.get("if-range", ""), etag, last_modified):
        return Filling(200, headers, fill, 0, total, note)
    try:
        span = parse_range(header, total)
    except Unsatisfiable:
        return _unsatisfiable(total, note)
    if span is None:
        return Filling(200, headers, fill, 0, total, note)
    return Filling(206, [*headers, ("content-range", span.content_range)], fill, span.start, span.length, note)


def _headers(view: View, media_type: str, etag: str, last_modified: str, how: str) -> Headers:
    from mainstay.gateway.handle import CACHE_STATUS

    headers = [
        ("content-type", media_type or "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("cache-control", "private, no-cache" if view.scope or view.upstream.private else IMMUTABLE),
        ("cache-status", CACHE_STATUS[how]),
    ]
    if etag:
        headers.append(("etag", etag))
    if last_modified:
        headers.append(("last-modified", last_modified))
    return headers


def _announced(file: File, note: Note) -> Reply:
    """HEAD for a file that is not here yet, from what the index says: no download for a question about size."""
    headers = [
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("content-length", str(file.size_bytes)),
        ("cache-status", "mainstay; fwd=miss"),
    ]
    if sha256 := file.digests.get("sha256"):
        headers.append(("etag", f'"{sha256}"'))
    note.outcome = "miss"
    return Bytes(200, headers, b"", note)


def _unsatisfiable(total: int, note: Note) -> Reply:
    return Bytes(416, [("content-range", f"bytes */{total}"), ("content-type", "text/plain")], b"", note)


def _evicted() -> Reply:
    raise UpstreamUnavailable("the file was evicted in this very moment.", hint="Ask again.", retry_after_s=1.0)
