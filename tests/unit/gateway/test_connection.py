"""Which bytes are answered at once, and how long and how large a head may be. Bytes arrive here in pieces of the test's
own choosing, which a network does not promise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from mainstay.gateway import connection
from mainstay.gateway.asgi import REQUEST_KEY
from mainstay.gateway.connection import Connection
from mainstay.gateway.hot import Hot, Ready
from mainstay.gateway.reply import Note
from mainstay.gateway.visitors import Visitor
from mainstay.usage.event import Client

KNOWN = b"GET /known HTTP/1.1\r\nHost: a\r\n\r\n"
ENTRY = Hot(1, 10.0, b"", [], [], b"short", Note(), ([0, 0], [0, 0]))
READY = Ready(ENTRY, 200, b"content-length: 5\r\n\r\n", b"short", "/known", Visitor(None, Client()))


class App:
    """Answers `long` to everything, when the test lets it, and knows one request byte for byte."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.recorded: list[str] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request the long way."""
        self.scopes.append(scope)
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"long"})

    def ready(self, request: bytes) -> Ready | None:
        """What is known."""
        return READY if request == KNOWN else None

    def sent(self, ready: Ready, client: str, started: float) -> None:
        """Note it."""
        self.recorded.append(client)


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 5)})
        self.out = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        """Take it."""
        self.out += bytes(data)

    def writelines(self, pieces: Any) -> None:
        """Take them."""
        self.out += b"".join(pieces)

    def close(self) -> None:
        """No more."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_closed

    def pause_reading(self) -> None:
        """Reads are the test's."""

    def resume_reading(self) -> None:
        """Reads are the test's."""


class Talk:
    """One connection. `say` hands the server a piece, and returns what it answers before it waits for more."""

    def __init__(self) -> None:
        self.app, self.wire = App(), Wire()
        app: Any = self.app
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        config = Config(app, interface="asgi3", lifespan="off", log_config=None, ws="none", proxy_headers=False)
        config.load()
        self.connection = Connection(config, state, {})
        self.connection.connection_made(self.wire)

    async def say(self, data: bytes) -> bytes:
        """One piece."""
        before = len(self.wire.out)
        self.connection.data_received(data)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.wire.out[before:]


@pytest.fixture
async def talk() -> Any:
    """A connection that is just made."""
    talk = Talk()
    yield talk
    talk.connection.connection_lost(None)


async def test_a_known_request_is_answered_at_once(talk: Talk) -> None:
    """With the server's own headers, recorded, and without a task."""
    for _ in range(2):
        answer = await talk.say(KNOWN)
        assert answer == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\n\r\nshort"
    assert talk.app.recorded == ["192.0.2.7"] * 2 and talk.app.scopes == []


async def test_a_body_that_looks_like_a_known_request_is_a_body(talk: Talk) -> None:
    """While the reply is awaited, and where the request was answered before its body had come."""
    for is_early in (True, False):
        talk.app.go.set() if is_early else talk.app.go.clear()
        head = await talk.say(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(KNOWN))
        assert head.endswith(b"long") == is_early
        talk.app.go.set()
        body = await talk.say(KNOWN)
        assert b"short" not in body and body.endswith(b"long") == (not is_early)
    assert (await talk.say(KNOWN)).endswith(b"short"), "the next request is one again"


async def test_known_bytes_inside_an_unfinished_head_belong_to_it(talk: Talk) -> None:
    """They end that head and are no request."""
    await talk.say(b"GET /a HTTP/1.1\r\nX-Rest: ")
    assert (await talk.say(KNOWN)).endswith(b"long")
    assert [scope["path"] for scope in talk.app.scopes] == ["/a"] and not talk.app.recorded
    assert REQUEST_KEY not in talk.app.scopes[0], "or the reply to /a would be learned as theirs"


async def test_a_known_request_waits_for_the_reply_before_it(talk: Talk) -> None:
    """Replies come in the order of requests."""
    talk.app.go.clear()
    assert await talk.say(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    assert await talk.say(KNOWN) == b""
    talk.app.go.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert [scope["path"] for scope in talk.app.scopes] == ["/slow", "/known"]
    assert REQUEST_KEY not in talk.app.scopes[1]


async def test_one_who_does_not_read_is_not_written_to(talk: Talk) -> None:
    """Replies do not pile up in memory: the long way waits until the client has taken what was sent."""
    talk.connection.pause_writing()
    for _ in range(3):
        assert await talk.say(KNOWN) == b""
    talk.connection.resume_writing()
    for _ in range(10):
        await asyncio.sleep(0)
    assert talk.wire.out.count(b"HTTP/1.1 200") == 3


async def test_who_connected_just_before_the_end_is_still_answered(monkeypatch: Any) -> None:
    """Such a client could not know; one that asked before is let go between two requests."""
    monkeypatch.setattr(connection, "LATE_S", 0.1)
    fresh, known = Talk(), Talk()
    await known.say(KNOWN)
    for talk in (fresh, known):
        talk.connection.shutdown()
    assert known.wire.is_closed and not fresh.wire.is_closed
    assert (await fresh.say(KNOWN)).endswith(b"short")
    await asyncio.sleep(0.2)
    assert fresh.wire.is_closed
    for talk in (fresh, known):
        talk.connection.connection_lost(None)


async def test_a_closed_connection_gets_nothing(talk: Talk) -> None:
    """Also not from memory."""
    talk.wire.close()
    assert await talk.say(KNOWN) == b""


@pytest.mark.parametrize(
    ("pieces", "is_told"),
    [
        ([b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"], True),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"], True),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"], True),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"], False),
        ([b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n"], False),
        ([b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"], False),
        ([b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", b"body"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", b"\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\n", b"Host: a\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"], False),
        ([b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000 + b"\r\n\r\n"], False),
    ],
)
async def test_only_whole_plain_requests_become_known(talk: Talk, pieces: list[bytes], is_told: bool) -> None:
    """The application learns the bytes of a request only where the same bytes always mean the same one request."""
    for piece in pieces:
        await talk.say(piece)
    assert talk.app.scopes
    assert [scope.get(REQUEST_KEY) for scope in talk.app.scopes if REQUEST_KEY in scope] == (pieces if is_told else [])


async def test_a_head_without_end_is_refused(talk: Talk) -> None:
    """A few pieces over 64 KiB: 400, and the connection is over."""
    await talk.say(b"GET /a HTTP/1.1\r\nX-Endless: ")
    answers = [await talk.say(b"x" * 4096) for _ in range(17)]
    assert answers[:15] == [b""] * 15, "64 KiB are taken"
    answer = b"".join(answers)
    assert answer.startswith(b"HTTP/1.1 400") and b"too large" in answer and talk.wire.is_closed
    assert talk.app.scopes == []


async def test_a_body_is_not_taken_for_a_head(talk: Talk) -> None:
    """However large it is."""
    await talk.say(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n")
    for _ in range(100):
        await talk.say(b"x" * 4000)
    assert not talk.wire.is_closed
    assert (await talk.say(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"long")


@pytest.mark.parametrize("piece", [b"", b"x", b"\r\n"])
async def test_a_connection_without_a_whole_request_is_closed(monkeypatch: Any, piece: bytes) -> None:
    """One that says nothing, and one that sends a byte now and then."""
    monkeypatch.setattr(connection, "QUIET_S", 0.1)
    talk = Talk()
    await talk.say(b"GET /a HTTP/1.1\r\nX: " if piece == b"x" else b"")
    for _ in range(100):
        if talk.wire.is_closed:
            break
        await asyncio.sleep(0.02)
        if piece:
            await talk.say(piece)
    assert talk.wire.is_closed
    talk.connection.connection_lost(None)


async def test_a_connection_in_use_stays_open(monkeypatch: Any) -> None:
    """By known requests, by others, and by a reply that takes its time."""
    monkeypatch.setattr(connection, "QUIET_S", 0.2)
    talk = Talk()
    for _ in range(25):
        await asyncio.sleep(0.02)
        assert (await talk.say(KNOWN)).endswith(b"short")
    for _ in range(25):
        await asyncio.sleep(0.02)
        assert (await talk.say(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"long")
    talk.app.go.clear()
    await talk.say(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(0.6)
    assert not talk.wire.is_closed
    talk.app.go.set()
    talk.connection.connection_lost(None)
