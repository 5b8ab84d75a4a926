"""ASGI: requests in, replies out. No framework and no middleware: both cost half the rate and break back-pressure."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any, assert_never

from mainstay.access.tokens import TOKEN_PATH, TOKEN_PREFIX, split_path
from mainstay.errors import MainstayError, MethodRefused, RequestError
from mainstay.gateway.call import ORIGIN_KEY, Bases, Call
from mainstay.gateway.conditional import matches
from mainstay.gateway.handle import Handler
from mainstay.gateway.hot import BODY_BYTES, Hot, HotReplies, KeptFile, Key, RawHeaders, Ready
from mainstay.gateway.pages import Pages
from mainstay.gateway.record import UNKNOWN, Recorder, Visit
from mainstay.gateway.refuse import refusal
from mainstay.gateway.reply import Bytes, Filling, Headers, Note, Reply, StoredFile, Streamed
from mainstay.gateway.sending import Gone, Sender, read_whole
from mainstay.gateway.turns import Payer, Turns
from mainstay.gateway.visitors import Visitor, Visitors
from mainstay.store.local import LocalStore
from mainstay.store.shared import Shared
from mainstay.telemetry.log import get_logger
from mainstay.upstream.cost import open_cost
from mainstay.usage.event import Client

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADER_BYTES = 64 * 1024
REQUEST_KEY = "mainstay.request"
"""ASGI scope key set by a connection that can answer the same bytes by itself the next time: the request as it came."""
_FORWARDED = {b"forwarded", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-proto"}
_LONG_WAY = frozenset({b"range", *_FORWARDED})
_FOR = b"x-forwarded-for"
_TOKEN_PATH = f"{TOKEN_PATH}{TOKEN_PREFIX}".encode()
_NOT_IN_304 = ("content-length", "content-type", "content-range")
_log = get_logger(__name__)


class Application:
    """The gateway as an ASGI application."""

    def __init__(
        self,
        handler: Handler,
        pages: Pages,
        bases: Bases,
        visitors: Visitors,
        turns: Turns,
        recorder: Recorder,
        store: LocalStore,
        shared: Shared,
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._handler, self._pages, self._bases = handler, pages, bases
        self._visitors, self._turns, self._recorder = visitors, turns, recorder
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
        path: bytes = scope["raw_path"]
        short_way = scope["method"] == "GET" and not scope["query_string"] and ORIGIN_KEY not in scope
        if path.startswith(_TOKEN_PATH) or self._turns.counts_hits:
            short_way = False
        for name, value in scope["headers"]:
            found[name] = value
            if name in _LONG_WAY:
                short_way = False
        if short_way:
            get = found.get
            key = (
                path,
                get(b"accept", b""),
                get(b"accept-encoding", b""),
                get(b"host", b""),
                get(b"mainstay-links", b""),
            )
            entry = self._hot.get(key, self._shared.generation)
            if entry is not None and (visitor := self._known(found)) is not None:
                if entry.file is None:
                    await self._send_hot(key, entry, found, visitor, send, scope, started)
                else:
                    await self._long_way(scope, found, receive, send, started, key, entry)
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

    def sent(self, ready: Ready, address: str, started: float) -> None:
        """Such an answer was given, to a client at that address."""
        entry, visitor = ready.entry, ready.visitor
        caller = visitor.caller or self._visitors.at(address)
        self._recorder.record_hit(entry.note, entry.cells, ready, caller, visitor.client, started)

    def _known(self, found: dict[bytes, bytes]) -> Visitor | None:
        """Who asks, where kept replies are for: not who shows a credential for upstream, or a token not in force."""
        if not self._visitors.is_current:
            return None
        try:
            visitor = self._visitors.visitor(_text(found))
        except MainstayError:
            return None
        return None if visitor.authorization else visitor

    async def _send_hot(
        self,
        key: Key,
        entry: Hot,
        found: dict[bytes, bytes],
        visitor: Visitor,
        send: Send,
        scope: Scope,
        started: float,
    ) -> None:
        """The kept reply, or word that the client has it."""
        ready = self._hot.answer(entry, found.get(b"if-none-match", b""), scope["path"], visitor)
        headers = entry.headers if ready.status == 200 else entry.short_headers
        await send({"type": "http.response.start", "status": ready.status, "headers": headers})
        await send({"type": "http.response.body", "body": ready.body})
        peer = (scope.get("client") or ("", 0))[0]
        self.sent(ready, self._bases.client(_text(found), peer) if _FOR in found else peer, started)
        # Whose a forwarded request is depends on the connection that it comes by, which its bytes do not show.
        if (request := scope.get(REQUEST_KEY)) is not None and _FOR not in found:
            self._hot.learn(key, request, ready)

    async def _long_way(
        self,
        scope: Scope,
        found: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        started: float,
        key: Key,
        kept: Hot | None = None,
    ) -> None:
        sender = Sender(receive, send)
        note = Note()
        call = self._call(scope, found, sender)
        visit = Visit(call.method, call.path, UNKNOWN, Client(), open_cost(), started)
        try:
            await self._visitors.current()
            visit.caller = self._visitors.at(call.client)
            visitor = self._visitors.visitor(call.headers, call.token)
            visit.caller, visit.client = visitor.caller or visit.caller, visitor.client
            visit.cost.payer = Payer(visit.caller, visit.client.kind)
            await self._turns.admit_reply(visit.caller, visit.cost)
            call = replace(call, authorization=visitor.authorization)
            stored = self._kept_file(kept) if kept is not None else None
            reply = stored or await self._reply(call, note, found)
            if key and stored is None and not visitor.authorization:
                reply = self._keep_hot(key, reply)
        except MainstayError as error:
            ecosystem = self._handler.ecosystem_of(call)
            note.ecosystem = note.ecosystem or (ecosystem.id if ecosystem else "")
            reply = refusal(error, ecosystem, note)
            if note.outcome != "missing":
                self._say(error)
        except Gone:
            reply = refusal(RequestError("the request's body broke off."), None, note)
        except Exception as error:  # noqa: BLE001 - a defect is logged and answered, and takes no other request with it
            _log.exception("a request failed in a way that is a defect", path=call.raw_path[:200])
            reply = refusal(MainstayError(f"internal error: {type(error).__name__}."), None, note)
        await self._send(call, reply, sender, visit)

    def _kept_file(self, kept: Hot) -> StoredFile | None:
        """A large file whose place is known; None where it was evicted."""
        file = kept.file
        descriptor = self._store.open(file.digest) if file is not None else None
        if file is None or descriptor is None:
            return None
        self._store.used.add(file.digest)
        size = file.size_bytes
        return StoredFile(200, list(file.headers), descriptor, 0, size, size, file.digest, replace(kept.note))

    async def _reply(self, call: Call, note: Note, found: dict[bytes, bytes]) -> Reply:
        if sum(len(name) + len(value) for name, value in found.items()) > HEADER_BYTES:
            raise RequestError("the request's headers are too large.")
        if not call.origin and (page := await self._pages.answer(call)) is not None:
            return page
        if not call.origin and call.method in ("TRACE", "CONNECT", "OPTIONS"):
            raise MethodRefused(f"{call.method} is refused.")
        return await self._handler.answer(call, note)

    def _call(self, scope: Scope, found: dict[bytes, bytes], sender: Sender) -> Call:
        headers = _text(found)
        peer = (scope.get("client") or ("", 0))[0]
        raw_path, token = scope["raw_path"].decode("latin-1").partition("?")[0], ""
        if not scope.get(ORIGIN_KEY):
            token, raw_path = split_path(raw_path)
        return Call(
            scope["method"],
            raw_path,
            scope["query_string"].decode("latin-1"),
            headers,
            self._bases.base(scope["scheme"], headers, peer),
            self._bases.client(headers, peer),
            scope.get(ORIGIN_KEY, ""),
            sender.body(),
            token,
        )

    def _keep_hot(self, key: Key, reply: Reply) -> Reply:
        """Keep what may be given again as it is; a small stored file is read into memory on this occasion."""
        if not isinstance(reply, Bytes | StoredFile) or reply.fresh_s <= 0 or reply.status != 200:
            return reply
        headers = [(n, "mainstay; hit" if n == "cache-status" else v) for n, v in reply.headers]
        file, body = None, b""
        if isinstance(reply, Bytes):
            body = reply.body
        elif reply.length <= BODY_BYTES:
            body = read_whole(reply)
            reply = Bytes(200, reply.headers, body, reply.note, reply.fresh_s)
        else:
            file = KeptFile(reply.digest, reply.size_bytes, headers)
        etag = next((value for name, value in headers if name == "etag"), "")
        raw = _raw([*headers, ("content-length", str(len(body)))])
        short = [(name, value) for name, value in raw if name not in (b"content-length", b"content-type")]
        note = reply.note
        kept = Note(
            note.ecosystem, note.kind, "hit", note.project, note.version, note.filename, note.digest, note.upstream
        )
        entry = Hot(
            self._shared.generation,
            time.monotonic() + reply.fresh_s,
            etag.encode(),
            raw,
            short,
            body,
            kept,
            self._recorder.cells(kept),
            file=file,
        )
        self._hot.keep(key, entry)
        return reply

    async def _send(self, call: Call, reply: Reply, sender: Sender, visit: Visit) -> None:
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
            if isinstance(reply, Filling):
                reply.note.digest = reply.fill.digest
            self._turns.charge_reply(visit.caller, sent)
            self._recorder.record(reply.note, status, sent, visit)

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


def _text(found: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in found.items()}


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
