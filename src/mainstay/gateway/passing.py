"""Calls that upstream answers itself: search, advisories, keys; and, under `run`, whatever else a registry offers."""

from __future__ import annotations

import gzip
import time
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from mainstay.errors import BodyTooLarge, RequestError, TooLarge, UpstreamError, UpstreamUnavailable
from mainstay.gateway.call import Call
from mainstay.gateway.reply import Bytes, Note, Reply, Streamed
from mainstay.gateway.supply import View
from mainstay.model import Passthrough
from mainstay.upstream.addresses import host_and_port
from mainstay.upstream.ask import Asker
from mainstay.upstream.registry import Registry, Upstream

ANSWER_BYTES = 32 * 1024 * 1024
MEMORY_BYTES = 16 * 1024 * 1024
_DROPPED = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host "
    "proxy-connection mainstay-client mainstay-links mainstay-token content-length".split()
)


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Passing:
    """Passes calls on. Replies to calls without a credential may be kept for a while, in memory."""

    def __init__(self, registry: Registry, asker: Asker, max_body_bytes: int) -> None:
        self._registry = registry
        self._asker = asker
        self._max_body_bytes = max_body_bytes
        self._kept: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()
        self._kept_bytes = 0

    async def answer(self, call: Call, resource: Passthrough, views: Sequence[View], note: Note) -> Reply:
        """A call of the protocol that is not an index: to the first upstream for its project, else to the last one,
        which is the public one."""
        first = views[0].upstream if resource.project else views[-1].upstream
        # Of the ways to ask that one, the last is with the caller's own credential where it may go there.
        view = [view for view in views if view.upstream is first][-1]
        upstream = view.upstream
        note.upstream = upstream.id
        accept = call.headers.get("accept", resource.accept)
        key = (upstream.id, resource.path, accept)
        cacheable = resource.ttl_s > 0 and call.method in ("GET", "HEAD") and not view.authorization
        kept = self._kept.get(key) if cacheable else None
        if kept is not None and kept.until > time.monotonic():
            return Bytes(kept.status, [*kept.headers, ("cache-status", "mainstay; hit")], kept.body, note)
        try:
            fetched = await self._fetch(call, resource, view, accept)
        except UpstreamError:
            if kept is None:
                raise
            note.outcome = "stale"
            stale = ("cache-status", "mainstay; hit; detail=stale")
            return Bytes(kept.status, [*kept.headers, stale], kept.body, note)
        note.outcome = "miss"
        if cacheable and fetched.status == 200:
            self._keep(key, _Kept(time.monotonic() + resource.ttl_s, 200, tuple(fetched.headers), fetched.body))
        return Bytes(fetched.status, [*fetched.headers, ("cache-status", "mainstay; fwd=miss")], fetched.body, note)

    async def forward(self, call: Call, note: Note, upstream: Upstream | None = None) -> Reply:
        """Pass a call to a registry's own address on as it is, and its reply back as it is. Nothing is stored."""
        upstream = upstream or self._at(call.origin)
        note.kind, note.outcome, note.upstream = "passthrough", "miss", upstream.id
        url = call.origin + call.raw_path + (f"?{call.query}" if call.query else "")
        headers = {name: value for name, value in call.headers.items() if name not in _DROPPED}
        if not call.authorization:
            headers.pop("authorization", None)  # a token of ours is none of upstream's business
        stack = AsyncExitStack()
        try:
            exchange = self._asker.pass_on(upstream, url, headers, method=call.method, body=call.body)
            reply = await stack.enter_async_context(exchange)
        except BaseException:
            await stack.aclose()
            raise
        kept = [(name, value) for name, value in reply.headers.items() if name not in _DROPPED]
        length = reply.headers.get("content-length", "")

        async def chunks() -> AsyncIterator[bytes]:
            async with stack:
                async for chunk in reply.chunks():
                    yield chunk

        return Streamed(reply.status, kept, chunks(), int(length) if length.isdecimal() else None, note)

    async def _fetch(self, call: Call, resource: Passthrough, view: View, accept: str) -> Bytes:
        upstream = view.upstream
        body = await self._outgoing(call, resource, upstream)
        headers = {"accept": accept, "accept-encoding": "identity"}
        if body is not None:
            headers["content-type"] = call.headers.get("content-type", "application/json")
        url = self._registry.base(upstream, resource.role) + resource.path
        async with self._asker.ask(
            upstream,
            url,
            headers,
            kind="passthrough",
            authorization=view.authorization,
            method="GET" if call.method == "HEAD" else call.method,
            body=body,
            passing=True,
        ) as reply:
            answer = bytearray()
            async for chunk in reply.chunks():
                answer += chunk
                if len(answer) > ANSWER_BYTES:
                    raise TooLarge(f"upstream's answer is larger than {ANSWER_BYTES} bytes.")
            media_type = reply.headers.get("content-type", "application/octet-stream")
            return Bytes(reply.status, [("content-type", media_type), ("cache-control", "no-cache")], bytes(answer))

    async def _outgoing(self, call: Call, resource: Passthrough, upstream: Upstream) -> bytes | None:
        """The caller's body, without names that must not reach this upstream."""
        if call.method in ("GET", "HEAD"):
            return None
        body = await self.read_body(call)
        private = self._registry.private_names(upstream.ecosystem.id, upstream)
        return upstream.ecosystem.outgoing(resource.path, body, private)

    async def read_body(self, call: Call) -> bytes:
        """The whole body, decompressed, within the cap.

        Raises:
            BodyTooLarge: over server.max_body. RequestError: wrong compression.
        """
        body = await call.whole_body(self._max_body_bytes)
        if call.headers.get("content-encoding", "").lower() not in ("gzip", "x-gzip"):
            return body
        stream = zlib.decompressobj(31)
        try:
            plain = stream.decompress(body, self._max_body_bytes)
        except (zlib.error, gzip.BadGzipFile) as error:
            raise RequestError(f"the body is not valid gzip: {error}.") from error
        if stream.unconsumed_tail:
            raise BodyTooLarge(f"the body is larger than {self._max_body_bytes} bytes (server.max_body).")
        return plain

    def _keep(self, key: tuple[str, str, str], kept: _Kept) -> None:
        if (old := self._kept.pop(key, None)) is not None:
            self._kept_bytes -= len(old.body)
        self._kept[key] = kept
        self._kept_bytes += len(kept.body)
        while self._kept_bytes > MEMORY_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1].body)

    def _at(self, origin: str) -> Upstream:
        """The upstream whose host this is."""
        host = host_and_port(origin)
        for upstream in self._registry:
            if host in {host_and_port(base) for base in upstream.bases.values()}:
                return upstream
            if host in {host_and_port(base) for base in self._registry.learned(upstream)}:
                return upstream
        raise UpstreamUnavailable("that host is no registry that is answered for.")
