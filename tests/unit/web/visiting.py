"""Somebody who looks at the site: requests as the gateway's worker passes them on, and what a browser keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mainstay.access.consumers import add_consumer
from mainstay.app import KEY_FILE, load_secret
from mainstay.config import Config
from mainstay.db.engine import FILENAME, Database
from mainstay.gateway.site import Asked
from mainstay.web.admin import admin_routes
from mainstay.web.api import api_routes
from mainstay.web.auth import Guarded, auth_routes
from mainstay.web.auth_session import SESSION_COOKIE
from mainstay.web.process import answer
from mainstay.web.site import Site

BASE = "http://127.0.0.1:4480"


@dataclass(frozen=True)
class Page:
    """One reply; names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body, with characters in the place of their references."""
        return unescape(self.body.decode())

    @property
    def json(self) -> Any:
        """The document in the body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """What its forms bring along."""
        codes = set(re.findall(r'name="csrf" value="([0-9a-f]*)"', self.body.decode()))
        assert len(codes) == 1, codes
        return codes.pop()


@dataclass
class Visitor:
    """A browser, or a program, at one address. `headers` are sent with every request."""

    app: ASGIApp
    base: str = BASE
    address: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Page:
        """Send one request."""
        path, _, query = path.partition("?")
        host = self.base.partition("://")[2].partition("/")[0]
        sent = {"host": host, **self.headers, **(headers or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        listed = [(name, value) for name, value in sent.items() if value]
        found = await answer(self.app, Asked("", method, path, query, listed, self.address, self.base, body))
        page = Page(found.status, dict(found.headers), found.body)
        if cookie := page.headers.get("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies = {name: value} if value else {}
        return page

    async def get(self, path: str, **headers: str) -> Page:
        """Look at a page."""
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, headers: Mapping[str, str] | None = None, **fields: str) -> Page:
        """Send a form."""
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return await self.ask("POST", path, urlencode(fields).encode(), {**kind, **(headers or {})})

    async def send(self, method: str, path: str, document: object, **headers: str) -> Page:
        """Send JSON."""
        return await self.ask(
            method, path, json.dumps(document).encode(), {"content-type": "application/json", **headers}
        )

    async def sign_in(self, token: str, **more: str) -> Page:
        """By the form."""
        return await self.post("/-/sign-in", token=token, **more)

    @property
    def session(self) -> str:
        """The cookie, "" for none."""
        return self.cookies.get(SESSION_COOKIE, "")


@dataclass
class Place:
    """A site on a data folder of its own, with one page that shows nothing, and what is open and closed of it."""

    config: Config
    site: Site
    app: Guarded

    def visitor(self, **how: Any) -> Visitor:
        """Somebody new."""
        return Visitor(**{"app": self.app, **how})

    def add(self, name: str, *, is_admin: bool = False, networks: tuple[str, ...] = ()) -> str:
        """A consumer, as the command adds it; its token."""
        return add_consumer(self.config, name, "free", networks, is_admin=is_admin)[1]

    async def admin(self) -> Visitor:
        """An administrator who has signed in."""
        visitor = self.visitor()
        assert (await visitor.sign_in(self.add("root", is_admin=True))).status == 303
        return visitor


@cache
def _empty_database() -> bytes:
    """The file of one, made once: that takes longer than most tests here."""
    with TemporaryDirectory() as folder:
        Database.open(Path(folder)).close()
        return (Path(folder) / FILENAME).read_bytes()


@contextmanager
def make_place(folder: Path, **settings: Any) -> Iterator[Place]:
    """A site with these settings beside its data folder."""
    config = msgspec.convert({"data": str(folder), **settings}, Config)
    folder.mkdir(exist_ok=True)
    (folder / FILENAME).write_bytes(_empty_database())
    site = Site(config, Database.open(folder), load_secret(folder / KEY_FILE))

    async def show(request: Request) -> Response:
        return PlainTextResponse(f"page for {request.state.viewer.name or 'anybody'}")

    async def show_kept(request: Request) -> Response:
        return PlainTextResponse("kept", headers={"cache-control": "public", "content-security-policy": "sandbox"})

    app = Starlette(
        routes=[
            *auth_routes(),
            *api_routes(),
            *admin_routes(),
            Route("/-/style.css", show_kept),
            Route("/{rest:path}", show),
        ]
    )
    app.state.site = site
    try:
        yield Place(config, site, Guarded(app, site))
    finally:
        site.database.close()
