"""The gateway's ASGI layer over a handler that breaks every reply off, for servers to be tried with."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from mainstay.access.balances import Balances
from mainstay.access.identity import Callers
from mainstay.access.tiers import Tiers
from mainstay.config import Config
from mainstay.db.engine import Database
from mainstay.errors import UpstreamError
from mainstay.gateway.asgi import Application
from mainstay.gateway.call import Bases, Call
from mainstay.gateway.pages import Pages
from mainstay.gateway.record import Recorder
from mainstay.gateway.reply import Bytes, Note, Reply, Streamed
from mainstay.gateway.turns import Turns
from mainstay.gateway.visitors import Visitors
from mainstay.store.local import LocalStore
from mainstay.store.shared import Shared
from mainstay.telemetry.metrics import Metrics

ANNOUNCED_BYTES = 1_000_000


class Breaking:
    """Answers `/long` with a known length and `/open` without one, and breaks both off; `/whole` is as it should be."""

    def ecosystem_of(self, call: Call) -> None:
        """Nobody's."""

    async def answer(self, call: Call, note: Note) -> Reply:
        """The reply for the path."""
        if call.raw_path == "/whole":
            return Bytes(200, [("content-type", "text/plain")], b"whole", note)
        length = ANNOUNCED_BYTES if call.raw_path == "/long" else None
        return Streamed(200, [("content-type", "application/octet-stream")], _pieces(), length, note)


async def _pieces() -> AsyncIterator[bytes]:
    for _ in range(2):
        yield bytes(50_000)
    raise UpstreamError("upstream broke off.")


async def _page() -> tuple[int, str, bytes]:
    return 200, "text/plain", b"page"


def make() -> Application:
    """The application, on a data folder of its own."""
    folder = Path(tempfile.mkdtemp())
    handler: Any = Breaking()
    recorder = Recorder(Metrics(), None, None)
    bases = Bases("", (), "http://127.0.0.1")
    store, shared = LocalStore(folder), Shared(folder / "shared.bin")
    visitors = Visitors(Callers(Database.open(folder), shared, folder))
    turns = Turns(Tiers(Config()), Balances(folder / "balances.bin"), 1)
    return Application(handler, Pages(_page, _page, _page), bases, visitors, turns, recorder, store, shared)
