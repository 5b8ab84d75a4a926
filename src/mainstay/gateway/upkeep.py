"""What a worker does by itself, beside answering: metrics written out, the store kept within its budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mainstay.config import Config, parse_size
from mainstay.db.blobs import BlobCatalog, load_total, touch_blobs
from mainstay.db.engine import Database
from mainstay.ecosystems import ecosystems
from mainstay.errors import MainstayError, StoreError
from mainstay.store.evict import evict
from mainstay.store.local import LocalStore
from mainstay.telemetry.log import get_logger
from mainstay.telemetry.metrics import Metrics
from mainstay.upstream.ask import Asker
from mainstay.upstream.registry import Registry
from mainstay.usage.ledger import LOG_FOLDER
from mainstay.usage.seal import run_sealer

KEEP_EVERY_S = 30.0
ROOM_EVERY_S = 1.0
SEAL_EVERY_S = 300.0
MANY_SEGMENTS = 32
FLUSH_EVERY_S = 0.25
SCAN_EVERY_ROUNDS = 120
"""How often eviction also compares the folder with the catalog, which looks at every blob."""

_log = get_logger(__name__)


class Upkeep:
    """The background work of one worker."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        store: LocalStore,
        database: Database,
        metrics: Metrics,
        asker: Asker,
        workers: int,
        refresh: Callable[[], Awaitable[object]],
    ) -> None:
        """`refresh` takes in what has changed of callers; a day that has passed is such a change, also where nobody
        calls: the key of its pseudonyms is to go."""
        self._budget_bytes = parse_size(config.cache.size)
        self._data = config.data_path
        self._keep_days = config.usage.keep_days if config.usage.ledger else 0
        self._registry, self._store, self._database = registry, store, database
        self._metrics, self._asker, self._workers, self._refresh = metrics, asker, workers, refresh
        self._tasks: list[asyncio.Task[None]] = []
        self._rounds = 0
        self._room_bytes = 0.0
        """What this worker may store before it is worth asking whether all of them are over the budget."""

    def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(_forever(FLUSH_EVERY_S, self._flush), name="metrics"),
            asyncio.create_task(_forever(KEEP_EVERY_S, self._keep), name="eviction"),
            asyncio.create_task(_forever(ROOM_EVERY_S, self._keep_room), name="room"),
        ]
        if self._keep_days:
            self._tasks.append(asyncio.create_task(self._seal_forever(), name="sealing"))

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def touch(self) -> None:
        """Write down which blobs were used since the last time: the least recently used go first."""
        used, self._store.used = self._store.used, set()
        if used:
            await self._database.run(touch_blobs, used, time.time())

    async def make_room(self, size_bytes: int) -> int:
        """Evict at least so many bytes, as far as there are blobs that may go; returns how many went."""
        try:
            await self.touch()
            budget = max(0, await self._database.read(load_total) - size_bytes)
            done = await asyncio.to_thread(evict, self._store, BlobCatalog(self._database), budget, scan=False)
        except StoreError as error:
            _log.warning("the disk is full, and nothing can be evicted", reason=error.message)
            return 0
        _log.warning("the disk is full", evicted_blobs=done.blobs, freed_bytes=done.freed_bytes)
        return done.freed_bytes

    async def _seal_forever(self) -> None:
        # One `mainstay run` after another leaves a segment each, and none of them lasts until its turn comes.
        if len(list((self._data / LOG_FOLDER).glob("*"))) > MANY_SEGMENTS:
            await self._seal()
        await _forever(SEAL_EVERY_S, self._seal)

    async def _seal(self) -> None:
        """Have the ledger's closed segments made into columns by a process of its own, one for all workers."""
        await run_sealer(self._data, self._keep_days)

    async def _flush(self) -> None:
        self._metrics.flush()

    async def _keep(self) -> None:
        await self._evict(scan=self._rounds % SCAN_EVERY_ROUNDS == 0)
        self._rounds += 1
        await self._refresh()
        for name in ecosystems():
            resting = sum(self._asker.resting(upstream) for upstream in self._registry.of(name))
            self._metrics.set_resting(name, resting)

    async def _keep_room(self) -> None:
        """Evict out of turn where more was stored than there was room for, so that a fast fill, or a run that ends
        before the first turn, does not leave the store far over its budget."""
        self._room_bytes -= self._store.take_stored_bytes()
        if self._room_bytes < 0:
            await self._evict(scan=False)

    async def _evict(self, *, scan: bool) -> None:
        await self.touch()
        catalog = BlobCatalog(self._database)
        done = await asyncio.to_thread(evict, self._store, catalog, self._budget_bytes, scan=scan)
        if done.busy:
            return
        self._room_bytes = max(0.0, (self._budget_bytes - done.total_bytes) / self._workers)
        self._metrics.set_store_bytes(done.total_bytes)
        if done.blobs:
            _log.info("evicted", blobs=done.blobs, freed_bytes=done.freed_bytes, total_bytes=done.total_bytes)


async def _forever(every_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
        except MainstayError as error:
            _log.error("background work failed", work=work.__name__, reason=error.message)
