"""Who looks at the site and what they may do: by a token in a header, or by a session that a token began.

`Guarded` stands before every page and answers what is not allowed, so that no page can forget to ask.
"""

from __future__ import annotations

import hmac
import math
import re
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.access.identity import unknown_token
from mainstay.access.tokens import find_token, hash_token, is_whole
from mainstay.config import Config
from mainstay.db.consumers import Consumer, load_holder, load_token
from mainstay.db.sessions import end_session, load_session_holder
from mainstay.errors import BodyTooLarge, MainstayError, UnknownToken
from mainstay.telemetry.log import get_logger
from mainstay.web.api_problem import RETRY_AFTER, render_error, render_problem
from mainstay.web.auth_attempts import Attempts
from mainstay.web.auth_headers import is_from_own_site, with_headers
from mainstay.web.auth_session import SESSION_COOKIE, Session, Sessions, render_cookie
from mainstay.web.views_frame import render_page, site_of

if TYPE_CHECKING:
    from mainstay.web.site import Site

SIGN_IN, SIGN_OUT = "/-/sign-in", "/-/sign-out"
FREE, ADMIN, API = "/-", "/admin", "/api"
"""Below the first is what anybody may have, below the second what administrators may see, below the third no page."""
FORM_CODE, FORM_CODE_HEADER = "csrf", "mainstay-csrf"
"""Where a request by a session brings its code along: a field of the form, or a header."""
FORM_BYTES = 64 * 1024
CHALLENGE = {"www-authenticate": 'Bearer realm="mainstay"'}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FIELDS = 100
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")
"""An address that stays on this site: a browser takes what begins with two slashes, or with one and a backslash, for
another host (WHATWG URL standard), and leaves blanks and line ends out of account."""
_log = get_logger("mainstay.web")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. `name` is a consumer's, "" where nobody is signed in. `csrf` goes into the hidden field of that name of
    every form; it is "" without a session."""

    name: str = ""
    is_admin: bool = False
    may_read: bool = False
    csrf: str = ""


class Guarded:
    """The site behind its door: sets `request.state.viewer`, answers what is not allowed, adds headers to all."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site
        self._sessions, self._attempts = Sessions(site.secret), Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        is_trusted = scope["scheme"] == "https" or _is_loopback(_host_of(request.headers.get("host", "")))
        send = with_headers(send, is_trusted=is_trusted)
        # Also what the routes below need; nothing of it comes from outside.
        scope["state"] = {"viewer": Viewer(), "session": None, "sessions": self._sessions, "attempts": self._attempts}
        try:
            session, viewer = await self._recognise(request)
            scope["state"] |= {"viewer": viewer, "session": session}
            answer = await self._refusal(request, viewer, session)
        except UnknownToken as error:
            answer = render_problem(401, error.diagnostics(), {"www-authenticate": error.challenge})
        except MainstayError as error:
            answer = render_error(error)
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive if request.method in _SAFE else _again(await request.body()), send)

    async def _recognise(self, request: Request) -> tuple[Session | None, Viewer]:
        """Who asks; a cookie that does not hold is as good as none.

        Raises:
            UnknownToken: a header shows a token that is not in force.
        """
        if text := find_token(request.headers):
            holder = await find_holder(self._site, text)
            return None, Viewer(holder.name, holder.is_admin, may_read=True)
        session = self._sessions.load(request.cookies.get(SESSION_COOKIE, ""))
        if session is not None:
            ids = (session.number, session.token_prefix)
            if (found := await self._site.database.read(load_session_holder, *ids)) is not None:
                code = self._sessions.form_code(session)
                return session, Viewer(found.name, found.is_admin, may_read=True, csrf=code)
        return None, Viewer(may_read=is_reading_open(self._site.config, request))

    async def _refusal(self, request: Request, viewer: Viewer, session: Session | None) -> Response | None:
        """The answer to what is not allowed, None for what is."""
        path: str = request.scope["path"]
        if request.method in _SAFE:
            if not (viewer.may_read or _is_below(path, FREE)):
                return _ask_to_sign_in(request)
            return _refuse_others(request, viewer) if _is_below(path, ADMIN) else None
        if not is_from_own_site(request.scope):
            return _refuse(request, 403, "This was sent by a page of another site.")
        form = await read_form(request)
        # A person who signs in may have a session already, and a page from before it.
        if session is not None and path != SIGN_IN and not self._is_code_right(request, form, session):
            return _refuse(request, 403, "This form is out of date. Load its page again.")
        return None if _is_below(path, FREE) else _refuse_others(request, viewer)

    def _is_code_right(self, request: Request, form: dict[str, str], session: Session) -> bool:
        given = request.headers.get(FORM_CODE_HEADER) or form.get(FORM_CODE, "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._sessions.form_code(session).encode())


async def find_holder(site: Site, text: str) -> Consumer:
    """The consumer that a token identifies, as the database has it now.

    Raises:
        UnknownToken: it is not in force; the words say why.
    """
    digest = hash_token(text).hex()
    found = await site.database.read(load_holder, digest) if is_whole(text) else None
    if found is None:
        kept = await site.database.read(load_token, digest)
        raise unknown_token(text, was_revoked=kept is not None and kept.revoked_at is not None)
    return found[0]


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name; none where the body is no form.

    Raises:
        BodyTooLarge: it is larger than any form of ours.
    """
    body = await request.body()
    if len(body) > FORM_BYTES:
        raise BodyTooLarge(f"The body is larger than {FORM_BYTES} bytes.", hint="Send less at a time.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:  # more fields than any form of ours has
        return {}


def is_reading_open(config: Config, request: Request) -> bool:
    """Whether nobody needs to sign in to read.

    Where the settings leave it open, that is on this machine only: the gateway listens on loopback, is asked by a name
    of loopback (a page elsewhere can have a name of its own point there, and then read what it likes), and by no proxy.
    """
    if config.web.reading:
        return config.web.reading == "open"
    host = _host_of(request.headers.get("host", ""))
    is_direct = not any(name in request.headers for name in _FORWARDED)
    return _is_loopback(config.server.host) and _is_loopback(host) and is_direct


def own_path(text: str) -> str:
    """`text` where it is an address of a page of this site, else that of the first page."""
    return text if _PATH.fullmatch(text) and not _is_below(text, FREE) else "/"


def redirect(request: Request, path: str) -> Response:
    """To another page of this site, which is asked for by GET (RFC 9110, section 15.4.4)."""
    return RedirectResponse(f"{request.scope.get('mainstay.prefix', '')}{path}", 303)


def auth_routes() -> list[BaseRoute]:
    """Signing in and out."""
    return [
        Route(SIGN_IN, _show_sign_in, methods=["GET"]),
        Route(SIGN_IN, _sign_in, methods=["POST"]),
        Route(SIGN_OUT, _sign_out, methods=["POST"]),
    ]


async def _show_sign_in(request: Request) -> Response:
    return _render_sign_in(request, request.query_params.get("next", ""))


async def _sign_in(request: Request) -> Response:
    form = await read_form(request)
    wanted, text = form.get("next", ""), form.get("token", "").strip()
    address = request.client.host if request.client else ""
    attempts: Attempts = request.state.attempts
    if (wait_s := attempts.take(address)) > 0:
        words = f"Too many attempts. Try again in {math.ceil(wait_s)} seconds."
        return _render_sign_in(request, wanted, 429, words, {RETRY_AFTER: str(math.ceil(wait_s))})
    try:
        holder = await find_holder(site_of(request), text)
    except UnknownToken as error:
        _log.warning("a sign-in failed", reason=error.message)
        words = error.diagnostics() if text else "Paste a token: mainstay consumer token NAME prints one."
        return _render_sign_in(request, wanted, 401, words, CHALLENGE)
    attempts.give_back(address)
    _log.info("signed in", consumer=holder.name, is_admin=holder.is_admin)
    sessions: Sessions = request.state.sessions
    return _with_cookie(request, redirect(request, own_path(wanted)), sessions.begin(hash_token(text)))


async def _sign_out(request: Request) -> Response:
    session: Session | None = request.state.session
    if session is not None:
        await site_of(request).database.run(end_session, session.number, session.expires_at, time.time())
        _log.info("signed out", consumer=request.state.viewer.name)
    return _with_cookie(request, redirect(request, SIGN_IN), "")


def _render_sign_in(
    request: Request, wanted: str, status: int = 200, error: str = "", headers: dict[str, str] | None = None
) -> Response:
    reply = render_page(request, "sign_in.html", status=status, next=own_path(wanted), error=error)
    reply.headers.update(headers or {})
    return reply


def _with_cookie(request: Request, reply: Response, value: str) -> Response:
    reply.headers.append("set-cookie", render_cookie(value, is_secure=request.scope["scheme"] == "https"))
    return reply


def _ask_to_sign_in(request: Request) -> Response:
    """Where a token is to be shown; afterwards a page is there again, or what leads to the form that was sent."""
    if _is_below(request.scope["path"], API):
        words = "Show a token of a consumer: Authorization: Bearer mst_..., or Mainstay-Token: mst_..."
        return render_problem(401, words, CHALLENGE)
    path = request.scope.get("raw_path", request.scope["path"].encode()).decode("latin-1")
    query = request.scope["query_string"].decode("latin-1")
    here = f"{path}?{query}" if query else path
    return redirect(request, f"{SIGN_IN}?next={quote(own_path(here) if request.method in _SAFE else ADMIN, safe='')}")


def _refuse_others(request: Request, viewer: Viewer) -> Response | None:
    """The answer to whoever is no administrator, None for one who is."""
    if viewer.is_admin:
        return None
    if not viewer.name:
        return _ask_to_sign_in(request)
    words = f"This is for administrators, and {viewer.name} is none: mainstay consumer change {viewer.name} --admin"
    return _refuse(request, 403, words)


def _refuse(request: Request, status: int, words: str) -> Response:
    if _is_below(request.scope["path"], API):
        return render_problem(status, words)
    return render_page(request, "admin_refused.html", status=status, words=words)


def _again(body: bytes) -> Receive:
    """A body that was read, to be read once more."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _host_of(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
