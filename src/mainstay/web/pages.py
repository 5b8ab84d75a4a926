"""The pages at `/`: which there are, and what stands in the place of one that cannot be shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mainstay.errors import MainstayError
from mainstay.telemetry.log import get_logger
from mainstay.web.views_consumers import show_consumer, show_consumers
from mainstay.web.views_frame import STATIC, render_page, static_file
from mainstay.web.views_health import show_health
from mainstay.web.views_overview import show_overview
from mainstay.web.views_projects import show_project, show_projects
from mainstay.web.views_statement import export_statement, print_statement, show_statement
from mainstay.web.views_waste import show_waste

View = Callable[[Request], Awaitable[Response]]
_FOREVER = "public, max-age=31536000, immutable"
_RETRY_S = 10
_log = get_logger("mainstay.web")


def page_routes() -> list[BaseRoute]:
    """The pages, and what they need beside them. The last one answers for every path that nothing else does."""
    views: dict[str, View] = {
        "/": show_overview,
        "/consumers": show_consumers,
        "/consumers/{name:path}": show_consumer,
        "/projects": show_projects,
        "/projects/{ecosystem}/{project:path}": show_project,
        "/waste": show_waste,
        "/statement": show_statement,
        "/statement/print": print_statement,
        "/statement/{form}": export_statement,
        "/health": show_health,
    }
    pages = [Route(path, _page(view), methods=["GET"]) for path, view in views.items()]
    beside = [Route(f"/-/{name}", _static(name), methods=["GET"]) for name in STATIC]
    return [*pages, *beside, Route("/{rest:path}", _show_nothing, methods=["GET"])]


def _page(view: View) -> View:
    """The view with words in the place of errors."""

    async def show(request: Request) -> Response:
        try:
            return await view(request)
        except TimeoutError:
            words = "There is more to add up than a minute is enough for, or others wait for the same machine."
            hint = "It goes on: load this page again in a while. A shorter period is had sooner."
            reply = _say(request, 503, "Not ready yet", words, hint)
            reply.headers["retry-after"] = str(_RETRY_S)
            return reply
        except MainstayError as error:
            if error.status >= 500:
                _log.error("a page could not be made", path=request.url.path, reason=error.diagnostics())
            title = "That cannot be shown" if error.status < 500 else "This page failed"
            return _say(request, error.status, title, error.message, error.hint)

    return show


def _static(name: str) -> View:
    async def send(request: Request) -> Response:
        content, version = static_file(name)
        # An address with another version, or with none, is to be asked for again.
        kept = _FOREVER if request.query_params.get("v") == version else "no-cache"
        return Response(content, headers={"content-type": STATIC[name], "cache-control": kept})

    return send


async def _show_nothing(request: Request) -> Response:
    return _say(request, 404, "There is no such page", "Nothing is at this address.", "")


def _say(request: Request, status: int, title: str, message: str, hint: str) -> Response:
    return render_page(request, "error.html", status=status, title=title, message=message, hint=hint)
