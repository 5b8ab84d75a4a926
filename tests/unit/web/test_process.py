"""The process of the pages: a frame in, the application's answer out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mainstay.config import Config
from mainstay.ecosystems import ecosystems
from mainstay.gateway.site import SEGMENTS, Answered, Asked, encode_frame, fingerprint, read_frame
from mainstay.web.process import answer, make_scope
from mainstay.web.site import make_site


def asked(path: str = "/", **changed: Any) -> Asked:
    """A request from behind a proxy that has the gateway below a prefix."""
    fields: dict[str, Any] = {
        "fingerprint": "f",
        "method": "GET",
        "path": path,
        "query": "",
        "headers": [("host", "mainstay.example")],
        "client": "192.0.2.7",
        "base": "https://mainstay.example/proxied",
        "body": b"",
    }
    return Asked(**fields | changed)


def test_a_request_reaches_the_application_as_it_came() -> None:
    """Path, query, headers, and where the client reaches the gateway."""
    scope = make_scope(asked("/projects/a%2Fb", method="POST", query="x=1"))

    assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/projects/a/b", b"/projects/a%2Fb")
    assert (scope["query_string"], scope["client"], scope["scheme"]) == (b"x=1", ("192.0.2.7", 0), "https")
    assert scope["headers"] == [(b"host", b"mainstay.example")]
    assert (scope["mainstay.base"], scope["mainstay.prefix"]) == ("https://mainstay.example/proxied", "/proxied")


async def test_an_application_that_fails_is_answered_for() -> None:
    """500 with words; the rest goes on."""

    async def broken(scope: object, receive: object, send: object) -> None:
        raise ValueError("a defect")

    answered = await answer(broken, asked())

    assert answered.status == 500
    assert b"log says why" in answered.body


async def test_a_frame_is_read_as_it_was_written() -> None:
    """Both ends speak the same."""
    reader = asyncio.StreamReader()
    reader.feed_data(encode_frame(Answered(200, [("a", "b")], b"body")))

    assert await read_frame(reader, Answered) == Answered(200, [("a", "b")], b"body")


async def test_a_frame_that_breaks_off_is_the_end_of_the_other_side() -> None:
    """No half of a message is taken for a whole one."""
    reader = asyncio.StreamReader()
    reader.feed_data(encode_frame(Answered(200, [], b"body"))[:-1])
    reader.feed_eof()

    with pytest.raises(EOFError):
        await read_frame(reader, Answered)


def test_settings_are_told_apart_without_being_shown() -> None:
    """Settings may hold credentials."""
    assert fingerprint(Config()) == fingerprint(Config())
    assert fingerprint(Config()) != fingerprint(Config(public_url="https://mainstay.example"))
    assert "mainstay.example" not in fingerprint(Config(public_url="https://mainstay.example"))


def test_the_gateway_knows_every_path_of_the_site_and_none_is_an_ecosystems(tmp_path: Path) -> None:
    """A new page needs its first segment in the gateway's list, a new ecosystem a mount of its own."""
    site: Any = make_site(Config(data=str(tmp_path)))
    paths = [route.path for route in site._app.routes]

    # One route stands for whatever else is asked for, to say that there is no such page.
    assert {path.split("/")[1] for path in paths} - {"{rest:path}"} == SEGMENTS
    assert not SEGMENTS & {ecosystem.mount for ecosystem in ecosystems().values()}
