"""Rendered indexes in computed form: small ones in memory, large ones as files of the store."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from mainstay import __version__
from mainstay.db.engine import Database
from mainstay.db.renderings import StoredRendering, load_rendering, save_rendering
from mainstay.errors import StoreError
from mainstay.store.local import LocalStore
from mainstay.upstream.listings import Plan, Rendered, Stored
from mainstay.upstream.parser import Parser
from mainstay.upstream.registry import storage_key

MEMORY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rendering:
    """A document ready to send: `body` where it is in memory, else `digest` names the blob."""

    media_type: str
    etag: str
    size_bytes: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    digest: str = ""


class Renderings:
    """Renders each document once per change, form, rules, link base and encoding."""

    def __init__(self, store: LocalStore, database: Database, parser: Parser) -> None:
        self._store = store
        self._database = database
        self._parser = parser
        self._small: OrderedDict[str, Rendering] = OrderedDict()
        self._held_bytes = 0
        self._flights: dict[str, asyncio.Task[Rendering]] = {}

    async def rendering(self, stored: Stored, plan: Plan) -> Rendering:
        """The document in the form that `plan` says.

        Raises:
            NotFound: the form asks for one release that is not there. UnsupportedDocument: it does not parse.
        """
        key = _key(stored, plan)
        if (found := self._small.get(key)) is not None:
            self._small.move_to_end(key)
            return found
        if (flight := self._flights.get(key)) is None:
            flight = asyncio.create_task(self._make(key, stored, plan))
            self._flights[key] = flight
            flight.add_done_callback(lambda task: self._landed(key, task))
        return await asyncio.shield(flight)

    def _landed(self, key: str, task: asyncio.Task[Rendering]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()

    async def _make(self, key: str, stored: Stored, plan: Plan) -> Rendering:
        if not stored.small:
            row = await self._database.read(load_rendering, key)
            if row is not None and self._store.has(row.digest):
                return Rendering(row.media_type, row.etag, row.size, row.headers, None, row.digest)
        out = self._store.temporary()
        try:
            rendered = await self._parser.render(stored, plan, out)
            if rendered.body is not None:
                return self._remember(key, rendered, rendered.body)
            digest, size = await asyncio.to_thread(self._store.adopt, out)
        finally:
            out.unlink(missing_ok=True)
        media_type, etag, headers = rendered.media_type, rendered.etag, rendered.headers
        row = StoredRendering(key, digest, size, media_type, etag, headers, time.time())
        await self._database.run(save_rendering, row)
        return Rendering(media_type, etag, size, headers, None, digest)

    def _remember(self, key: str, rendered: Rendered, body: bytes) -> Rendering:
        rendering = Rendering(rendered.media_type, rendered.etag, len(body), rendered.headers, body)
        self._small[key] = rendering
        self._held_bytes += len(body)
        while self._held_bytes > MEMORY_BYTES and len(self._small) > 1:
            self._held_bytes -= self._small.popitem(last=False)[1].size_bytes
        return rendering

    def open(self, rendering: Rendering) -> int:
        """A descriptor of a large rendering's blob.

        Raises:
            StoreError: it was evicted in this very moment.
        """
        self._store.used.add(rendering.digest)
        descriptor = self._store.open(rendering.digest)
        if descriptor is None:
            raise StoreError("a rendered index was evicted while it was asked for.", hint="Try again.")
        return descriptor


def _key(stored: Stored, plan: Plan) -> str:
    """(source digest, rules in force, link base, form, encoding), and our version: a renderer's change is a change."""
    denied = ",".join(sorted(plan.denied))
    restored = [
        f"{excerpt.version} {excerpt.filename} {storage_key(excerpt.body.hex())}" for excerpt in stored.excerpts
    ]
    base = "verbatim" if plan.base is None else f"base {plan.base}"
    source = (stored.ecosystem, stored.index.path, stored.digest, stored.url, *restored)
    return storage_key("rendering", __version__, *source, denied, base, plan.form, str(plan.gzip))
