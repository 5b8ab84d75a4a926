"""ASGI: requests in, replies out. No framework and no middleware: both cost half the rate and break back-pressure."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, assert_never

from mainstay.errors import MainstayError, MethodRefused, RequestError
from mainstay.gateway.call import ORIGIN_KEY, Bases, Call
from mainstay.gateway.conditional import matches
from mainstay.gateway.handle import Handler
from mainstay.gateway.hot import BODY_BYTES, Hot, HotReplies, Key, RawHeaders, Ready
from mainstay.gateway.pages import Pages
from mainstay.gateway.record import Recorder
from mainstay.gateway.refuse import refusal
from mainstay.gateway.reply import Bytes, Filling, Headers, Note, Reply, StoredFile, Streamed
from mainstay.gateway.sending import Gone, Sender, read_whole
from mainstay.store.local import LocalStore
from mainstay.store.shared import Shared
from mainstay.telemetry.log import get_logger

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADER_BYTES = 64 * 1024
REQUEST_KEY = "mainstay.request"
"""ASGI scope key set by a connection that can answer the same bytes by itself the next time: the request as it came."""
_FORWARDED = {b"forwarded", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
_LONG_WAY = frozenset({b"authorization", b"range", *_FORWARDED})
_NOT_IN_304 = ("content-length", "content-type", "content-range")
_log = get_logger(__name__)


class Application:
    """The gateway as an ASGI application."""

    def __init__(
        self,
        handler: Handler,
        pages: Pages,
        bases: Bases,
        recorder: Recorder,
        store: LocalStore,
        shared: Shared,
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._handler, self._pages, self._bases, self._recorder = handler, pages, bases, recorder
        self._store, self._shared = store, shared
        self._on_start, self._on_stop = on_start, on_stop
        self._hot = HotReplies()
        self.refusals: list[str] = []
        """The first refusals in words, for a receipt."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        found: dict[bytes, bytes] = {}
        key: Key = ()
        short_way = scope["method"] == "GET" and not scope["query_string"] and ORIGIN_KEY not in scope
        for name, value in scope["headers"]:
            found[name] = value
            if name in _LONG_WAY:
                short_way = False
        if short_way:
            get = found.get
            key = (
                scope["raw_path"],
                get(b"accept", b""),
                get(b"accept-encoding", b""),
                get(b"host", b""),
                get(b"mainstay-links", b""),
            )
            entry = self._hot.get(key, self._shared.generation)
            if entry is not None:
                await self._send_hot(key, entry, get(b"if-none-match", b""), send, scope, started)
                return
        await self._long_way(scope, found, receive, send, started, key)

    def ready(self, request: bytes) -> Ready | None:
        """The answer to these bytes, if they are a request that was answered from memory before and the reply holds."""
        ready = self._hot.ready.get(request)
        if ready is None:
            return None
        entry = ready.entry
        is_in_force = entry.generation == self._shared.generation and entry.expires_at > time.monotonic()
        return ready if is_in_force else None

    def sent(self, ready: Ready, client: str, started: float) -> None:
        """Such an answer was given."""
        entry = ready.entry
        self._recorder.record_hit(entry.note, entry.cells, ready.status, len(ready.body), ready.path, client, started)

    async def _send_hot(self, key: Key, entry: Hot, wanted: bytes, send: Send, scope: Scope, started: float) -> None:
        """The kept reply, or word that the client has it."""
        ready = self._hot.answer(entry, wanted, scope["path"])
        headers = entry.headers if ready.status == 200 else entry.short_headers
        await send({"type": "http.response.start", "status": ready.status, "headers": headers})
        await send({"type": "http.response.body", "body": ready.body})
        client = scope.get("client")
        self.sent(ready, client[0] if client else "", started)
        if (request := scope.get(REQUEST_KEY)) is not None:
            self._hot.learn(key, request, ready)

    async def _long_way(
        self,
        scope: Scope,
        found: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        started: float,
        key: Key,
    ) -> None:
        sender = Sender(receive, send)
        note = Note()
        call = self._call(scope, found, sender)
        try:
            reply = await self._reply(call, note, found)
            if key:
                reply = self._keep_hot(key, reply)
        except MainstayError as error:
            reply = refusal(error, self._handler.ecosystem_of(call), note)
            if note.outcome != "missing":
                self._say(error)
        except Gone:
            reply = refusal(RequestError("the request's body broke off."), None, note)
        except Exception as error:  # noqa: BLE001 - a defect is logged and answered, and takes no other request with it
            _log.exception("a request failed in a way that is a defect", path=call.raw_path[:200])
            reply = refusal(MainstayError(f"internal error: {type(error).__name__}."), None, note)
        await self._send(call, reply, sender, scope, started)

    async def _reply(self, call: Call, note: Note, found: dict[bytes, bytes]) -> Reply:
        if sum(len(name) + len(value) for name, value in found.items()) > HEADER_BYTES:
            raise RequestError("the request's headers are too large.")
        if not call.origin and (page := await self._pages.answer(call)) is not None:
            return page
        if not call.origin and call.method in ("TRACE", "CONNECT", "OPTIONS"):
            raise MethodRefused(f"{call.method} is refused.")
        return await self._handler.answer(call, note)

    def _call(self, scope: Scope, found: dict[bytes, bytes], sender: Sender) -> Call:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in found.items()}
        peer = (scope.get("client") or ("", 0))[0]
        return Call(
            scope["method"],
            scope["raw_path"].decode("latin-1").partition("?")[0],
            scope["query_string"].decode("latin-1"),
            headers,
            self._bases.base(scope["scheme"], headers, peer),
            self._bases.client(headers, peer),
            scope.get(ORIGIN_KEY, ""),
            sender.body(),
        )

    def _keep_hot(self, key: Key, reply: Reply) -> Reply:
        """Keep what may be given again as it is; a small stored file is read into memory on this occasion."""
        if not isinstance(reply, Bytes | StoredFile) or reply.fresh_s <= 0 or reply.status != 200:
            return reply
        if isinstance(reply, StoredFile):
            if reply.length > BODY_BYTES:
                return reply
            reply = Bytes(200, reply.headers, read_whole(reply), reply.note, reply.fresh_s)
        etag = next((value for name, value in reply.headers if name == "etag"), "")
        headers = [(n, "mainstay; hit" if n == "cache-status" else v) for n, v in reply.headers]
        raw = _raw([*headers, ("content-length", str(len(reply.body)))])
        short = [(name, value) for name, value in raw if name not in (b"content-length", b"content-type")]
        note = reply.note
        kept = Note(note.ecosystem, note.kind, "hit", note.project, note.version, note.filename, note.upstream)
        entry = Hot(
            self._shared.generation,
            time.monotonic() + reply.fresh_s,
            etag.encode(),
            raw,
            short,
            reply.body,
            kept,
            self._recorder.cells(kept),
        )
        self._hot.keep(key, entry)
        return reply

    async def _send(self, call: Call, reply: Reply, sender: Sender, scope: Scope, started: float) -> None:
        status, sent = reply.status, 0
        try:
            etag = next((value for name, value in reply.headers if name == "etag"), "")
            wanted = call.headers.get("if-none-match", "")
            if status in (200, 206) and wanted and etag and matches(wanted, etag):
                status = 304
                await _drop(reply)
                await sender.short(304, _raw([h for h in reply.headers if h[0] not in _NOT_IN_304]))
            elif call.method == "HEAD":
                await _drop(reply)
                await sender.short(status, _raw(_with_length(reply)))
            else:
                sent = await _send_body(reply, sender)
        except Gone as gone:
            sent = gone.sent_bytes
        except MainstayError as error:
            self._say(error)
            if not sender.started:
                answer = refusal(error, self._handler.ecosystem_of(call), reply.note)
                status = answer.status
                sent = await sender.whole(status, _raw(_with_length(answer)), answer.body)
                return
            # Headers are out: the only honest thing left is to break the transfer off.
            name = type(error).__name__
            reply.note.outcome, reply.note.error = "error", name
            log = getattr(_log, error.level)
            log("a transfer was broken off", path=call.raw_path[:200], error=name, reason=error.message)
            self._recorder.refused(reply.note, name)
            raise
        finally:
            self._recorder.record(reply.note, reply.note.outcome, status, sent, scope, started)

    def _say(self, error: MainstayError) -> None:
        if len(self.refusals) < 20:
            self.refusals.append(error.message)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._on_start:
                    await self._on_start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._on_stop:
                    await self._on_stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _send_body(reply: Reply, sender: Sender) -> int:
    pieces: AsyncIterator[bytes]
    match reply:
        case Bytes():
            return await sender.whole(reply.status, _raw(_with_length(reply)), reply.body)
        case StoredFile():
            return await sender.file(reply.status, _raw(_with_length(reply)), reply)
        case Filling():
            pieces = reply.fill.pieces(reply.offset, reply.offset + reply.length)
        case Streamed():
            pieces = reply.chunks
        case _ as never:
            assert_never(never)
    return await sender.pieces(reply.status, _raw(_with_length(reply)), pieces)


async def _drop(reply: Reply) -> None:
    """Let go of what a reply holds when its body is not sent."""
    if isinstance(reply, StoredFile):
        os.close(reply.descriptor)
    elif isinstance(reply, Streamed):
        await reply.chunks.aclose()  # type: ignore[attr-defined]


def _with_length(reply: Reply) -> Headers:
    if any(name == "content-length" for name, _ in reply.headers):
        return reply.headers
    length = len(reply.body) if isinstance(reply, Bytes) else reply.length
    return reply.headers if length is None else [*reply.headers, ("content-length", str(length))]


def _raw(headers: Headers) -> RawHeaders:
    """As bytes, without anything that could start another header (RFC 9110 section 5.5)."""
    return [
        (name.encode("latin-1"), _clean(value)) for name, value in [*headers, ("x-content-type-options", "nosniff")]
    ]


def _clean(value: str) -> bytes:
    text = value.encode("latin-1", "replace")
    if b"\r" in text or b"\n" in text or b"\0" in text:
        text = text.translate(None, b"\r\n\0")
    return text
