"""The gateway's own few addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from mainstay import __version__
from mainstay.errors import MethodRefused
from mainstay.gateway.call import Call
from mainstay.gateway.reply import Bytes, Note
from mainstay.gateway.site import Site

Body = Callable[[], Awaitable[tuple[int, str, bytes]]]
Table = Callable[[bool], Awaitable[tuple[int, str, bytes]]]
UPSTREAMS = "/api/v1/upstreams"


class Pages:
    """Health, readiness, metrics and the route table; all else that people read is the site's, where there is one."""

    def __init__(self, ready: Body, metrics: Body, upstreams: Table, site: Site | None = None) -> None:
        self._pages: dict[str, Body] = {"/healthz": _health, "/readyz": ready, "/metrics": metrics}
        self._upstreams, self._site = upstreams, site

    async def answer(self, call: Call) -> Bytes | None:
        """The page at the call's path, None where there is none."""
        page = self._pages.get(call.raw_path)
        if page is None and call.raw_path != UPSTREAMS:
            return await self._site.answer(call) if self._site and self._site.has(call.raw_path) else None
        if call.method not in ("GET", "HEAD"):
            raise MethodRefused(f"{call.method} is refused.")
        # A run that meets a host it does not know asks whether it is a file host that no index has named yet.
        status, media_type, body = await (page() if page else self._upstreams("learn=1" in call.query))
        return Bytes(status, [("content-type", media_type), ("cache-control", "no-store")], body, Note())


async def _health() -> tuple[int, str, bytes]:
    return 200, "application/json", msgspec.json.encode({"schema": 1, "status": "ok", "version": __version__})
