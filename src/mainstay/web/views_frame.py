"""The frame around each page: templates, how figures are written, who is signed in, where links lead."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Hashable
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mainstay import __version__
from mainstay.usage.tables import printable
from mainstay.web.figures import Shelf
from mainstay.web.period import Period, render_query

if TYPE_CHECKING:
    from mainstay.web.site import Site

PAGES = (
    ("/", "Overview"),
    ("/consumers", "Consumers"),
    ("/projects", "Projects"),
    ("/waste", "Waste"),
    ("/statement", "Statement"),
    ("/health", "Health"),
)
"""What the navigation leads to."""
STATIC = {"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8"}
"""The files beside the pages, with their types."""
KEPT_S = 5.0
"""How long figures are shown again: several people look at one page, and one of them reloads it."""
_PATIENCE_S = 60.0
_shelf = Shelf()
T = TypeVar("T")
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def render_page(
    request: Request, template: str, /, *, status: int = 200, period: Period | None = None, **context: Any
) -> Response:
    """A page from a template that extends base.html.

    Templates have the given names and: `at(path)` for an address of ours, `viewer` (None where nobody is known),
    `period`, `keep(...)` for the query of a link to the same period, `here`, the path of this page, `again`, its whole
    address below the gateway's, and the filters below.
    """
    prefix = request.scope.get("mainstay.prefix", "")

    def at(path: str, **query: str) -> str:
        return f"{prefix}{path}{render_query(query)}"

    def keep(**query: str) -> str:
        return render_query(period.query if period else {}, query)

    frame = {
        "at": at,
        "keep": keep,
        "here": request.scope["path"],
        "again": _address(request),
        "period": period,
        "viewer": getattr(request.state, "viewer", None),
        "pages": PAGES,
        "version": __version__,
    }
    body = _environment().get_template(template).render(**frame, **context)
    return HTMLResponse(body, status)


async def look(request: Request, key: tuple[Hashable, ...], work: Callable[[], T], *, keep_s: float = KEPT_S) -> T:
    """What `work` gives, in a thread, or gave a short while ago for the same key of the same data folder. Where it
    takes too long it goes on, and the next one who asks may find it done.

    Raises:
        TimeoutError: it takes longer than a minute, or too many others wait.
    """
    future = _shelf.ask((site_of(request).data, *key), keep_s, work)
    return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), _PATIENCE_S)


def today() -> date:
    """The day that it is, in UTC."""
    return datetime.now(UTC).date()


def gateway_url(request: Request) -> str:
    """The gateway's own address as this caller reaches it, without a slash at the end."""
    return str(request.scope["mainstay.base"])


def site_of(request: Request) -> Site:
    """What the parts of the site share."""
    site: Site = request.app.state.site
    return site


def consumer_path(name: str) -> str:
    """The path of a consumer's page."""
    return f"/consumers/{quote(name, safe=':@')}"


def project_path(ecosystem: str, project: str) -> str:
    """The path of a project's page. Slashes in its name stay, where a browser would not take a part for a step."""
    is_plain = all(part.strip(".") for part in project.split("/"))
    return f"/projects/{quote(ecosystem, safe='')}/{quote(project, safe='@/' if is_plain else '@')}"


def render_count(value: float) -> str:
    """`1234567` as `1,234,567`."""
    return f"{value:,}"


def render_size(size_bytes: float) -> str:
    """`1234567` as `1.2 MB` (decimal units), with a space that does not break."""
    sign, number, unit = "−" if size_bytes < 0 else "", abs(float(size_bytes)), 0
    while round(number, 1) >= 1000 and unit + 1 < len(_SIZES):
        number, unit = number / 1000, unit + 1
    return f"{sign}{number:.1f}\N{NO-BREAK SPACE}{_SIZES[unit]}" if unit else f"{sign}{number:.0f}\N{NO-BREAK SPACE}B"


def render_rate(part: float | None) -> str:
    """`0.9876` as `98.8 %`; nothing to tell is a dash."""
    return "–" if part is None else f"{part * 100:.1f}\N{NO-BREAK SPACE}%"


def static_file(name: str) -> tuple[bytes, str]:
    """A stylesheet or script of ours, and the beginning of its SHA-256, which its address carries."""
    return _static(name)


@cache
def _static(name: str) -> tuple[bytes, str]:
    content = (files("mainstay.web") / "static" / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mainstay.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": render_count, "size": render_size, "rate": render_rate}
    environment.filters |= {"breakable": _breakable, "printable": printable}
    environment.globals |= {
        "consumer_path": consumer_path,
        "project_path": project_path,
        "static": lambda name: f"/-/{name}?v={static_file(name)[1]}",
    }
    return environment


def _address(request: Request) -> str:
    """Path and query as they were sent: where to come back to."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


def _breakable(text: str) -> Markup:
    """A name that may be broken into lines after its own marks, and says that it is empty. Escaped."""
    shown = printable(text)
    return Markup("<wbr>").join(_parts(shown)) if shown else Markup("–")


def _parts(text: str) -> list[str]:
    parts, start = [], 0
    for at, sign in enumerate(text):
        if sign in "/._-:@" and at + 1 < len(text) and at > start:
            parts.append(text[start : at + 1])
            start = at + 1
    return [*parts, text[start:]]
