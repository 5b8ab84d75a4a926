"""Indexes: fresh, revalidated, stale or gone, fetched once for everybody who waits, in any worker."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mainstay.config import Config, parse_size
from mainstay.db.documents import StoredDocument, load_document, save_document, touch_document
from mainstay.db.engine import Database
from mainstay.errors import MainstayError, NotFound, StoreError, UpstreamError, UpstreamTimeout
from mainstay.model import Artifact, Index
from mainstay.store.local import LocalStore
from mainstay.store.lock import acquire
from mainstay.telemetry.log import get_logger
from mainstay.telemetry.metrics import Metrics
from mainstay.upstream.artifacts import worth_another_try
from mainstay.upstream.ask import Asker
from mainstay.upstream.flights import Flights
from mainstay.upstream.listings import Excerpt, Stored, Summary
from mainstay.upstream.parser import Parser
from mainstay.upstream.registry import Upstream, storage_key
from mainstay.upstream.spool import Spool
from mainstay.upstream.takedowns import Takedowns

PATIENCE_S = 1.0
"""How long a client with a stale copy waits for a newer one."""
RETRY_STALE_S = 5.0
"""After a failure a stale copy is served this long without asking again."""
CONFIRM_AFTER_S = 0.2
WATCH_INTERVAL_S = 0.01
KNOWN_DOCUMENTS = 20_000
BUFFER_BYTES = 1024 * 1024
LARGE_AT_ONCE = 2

How = Literal["hit", "miss", "revalidated", "stale", "collapsed"]
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Obtained:
    """A document and how it was come by."""

    document: StoredDocument
    how: How

    @property
    def gone(self) -> bool:
        """Whether upstream took it away after it was there."""
        return self.document.state == "gone"


@dataclass(frozen=True, slots=True)
class Asked:
    """One index of one upstream, as one caller may see it."""

    upstream: Upstream
    index: Index
    scope: str = ""
    authorization: str = dataclasses.field(default="", repr=False)

    @property
    def url(self) -> str:
        """Where upstream has it."""
        return self.upstream.base(self.index.role) + self.index.path

    @property
    def lists_files(self) -> bool:
        """Whether it is the index that says which releases there are: only what that one drops was taken down."""
        listing = self.upstream.ecosystem.index_of(Artifact(self.index.project, "", "", "", ""))
        return bool(self.index.project) and (listing.role, listing.path) == (self.index.role, self.index.path)

    @property
    def key(self) -> str:
        """The stored document's key."""
        return storage_key("document", self.upstream.ecosystem.id, self.url, self.index.accept, self.scope)


class Documents:
    """The indexes of one worker."""

    def __init__(
        self,
        config: Config,
        store: LocalStore,
        database: Database,
        asker: Asker,
        parser: Parser,
        takedowns: Takedowns,
        metrics: Metrics,
        *,
        on_bases: Callable[[Upstream, Mapping[str, str | None]], Awaitable[None]],
    ) -> None:
        """`on_bases` is told where an upstream has a role, None standing for its learned one."""
        self._store, self._database, self._asker, self._parser = store, database, asker, parser
        self._takedowns, self._metrics, self._on_bases = takedowns, metrics, on_bases
        self._ttl_s, self._negative_ttl_s = config.cache.document_ttl_s, config.cache.negative_ttl_s
        self._attempts, self._timeout_s = config.fetch.attempts, config.fetch.document_timeout_s
        self._max_bytes = parse_size(config.cache.max_document)
        self._buffers = asyncio.Semaphore(max(1, parse_size(config.cache.document_memory) // BUFFER_BYTES))
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._known: OrderedDict[str, StoredDocument] = OrderedDict()
        self._descriptions: dict[str, str] = {}
        self._authorized: set[str] = set()
        self._flights: Flights[Obtained] = Flights()
        self._retry_at: dict[str, float] = {}

    async def obtain(self, asked: Asked) -> Obtained:
        """The index: fresh from the store, else asked of upstream, else stale.

        Raises:
            NotFound: upstream has none (remembered for a short time). AuthorizationRequired: not for this caller.
            UpstreamError: upstream fails and nothing is stored.
        """
        await self.describe(asked)
        stored = await self._load(asked.key)
        if stored is not None and self.fresh(stored):
            return _present(Obtained(stored, "hit"))
        if stored is None or stored.digest is None:
            return _present(await self._insist(asked))
        if time.monotonic() < self._retry_at.get(asked.key, 0.0):
            return _present(Obtained(stored, "stale"))
        flight, _ = self._flight(asked)
        await asyncio.wait({flight}, timeout=PATIENCE_S)
        if not flight.done():
            return _present(Obtained(stored, "stale"))
        try:
            return _present(flight.result())
        except (UpstreamError, StoreError) as error:
            _log.warning(
                "no newer index can be had, a stale one is served", project=stored.project, reason=error.message
            )
            return _present(Obtained(stored, "stale"))

    async def describe(self, asked: Asked) -> None:
        """Have the registry's description of itself at hand, where the protocol has one. Raises as `obtain`."""
        description = asked.upstream.ecosystem.description
        if description is None:
            return
        if asked.upstream.authorization:
            self._authorized.add(asked.upstream.id)
        if asked.index.path == description.path:
            return
        document = (await self.obtain(dataclasses.replace(asked, index=description))).document
        if document.digest is not None:
            self._descriptions[asked.upstream.id] = str(self._store.path(document.digest))

    async def at_hand(self, asked: Asked) -> bool:
        """Whether it is stored and fresh, so that upstream need not be asked."""
        stored = await self._load(asked.key)
        return stored is not None and stored.state == "ok" and self.fresh(stored)

    def fresh(self, stored: StoredDocument) -> bool:
        """Whether it can be served without asking."""
        ttl_s = self._negative_ttl_s if stored.state == "missing" else self._ttl_s
        return time.time() - stored.checked_at < ttl_s

    def expires_in_s(self, stored: StoredDocument) -> float:
        """Seconds of freshness left."""
        return max(0.0, self._ttl_s - (time.time() - stored.checked_at))

    async def recheck(self, asked: Asked, older_than_s: float) -> None:
        """Ask upstream in the background whether an index that is being bypassed (lock files) has changed."""
        stored = await self._load(asked.key)
        if stored is None or stored.state != "ok" or time.time() - stored.checked_at < older_than_s:
            return
        await self.describe(asked)
        if time.monotonic() >= self._retry_at.get(asked.key, 0.0) and not self._asker.resting(asked.upstream):
            self._flight(asked)

    def place(self, index: Index, document: StoredDocument) -> Stored:
        """The document as the parser takes it, with what a person has put back into it."""
        assert document.digest is not None, "a document without bytes is not parsed"
        path = str(self._store.path(document.digest))
        return Stored(
            document.ecosystem,
            index,
            path,
            document.digest,
            document.size,
            document.media_type,
            document.url,
            self._takedowns.restored(document.ecosystem, document.upstream, document.project),
            self._descriptions.get(document.upstream, ""),
            document.upstream in self._authorized,
        )

    async def forget(self, key: str) -> None:
        """Drop what is remembered of a document whose bytes turn out to be missing or damaged.

        The bytes go too: else a 304 would confirm them, and a 200 with the same digest would keep them.
        """
        self._known.pop(key, None)
        stored = await self._database.read(load_document, key)
        if stored is not None and stored.digest is not None:
            await asyncio.to_thread(self._store.delete, stored.digest)
        await self._database.run(touch_document, key, 0.0)

    async def close(self) -> None:
        """Stop what is under way."""
        await self._flights.close()

    async def _load(self, key: str) -> StoredDocument | None:
        stored = self._known.get(key)
        if stored is None or not self.fresh(stored):
            stored = await self._database.read(load_document, key)
            self._remember(key, stored)
        if stored is not None and stored.digest is not None and not self._store.has(stored.digest):
            self._known.pop(key, None)
            return None
        if stored is not None and stored.digest is not None:
            self._store.used.add(stored.digest)
        return stored

    def _here(self, stored: StoredDocument) -> bool:
        """Whether its bytes, if it has any, were not evicted."""
        return stored.digest is None or self._store.has(stored.digest)

    def _remember(self, key: str, stored: StoredDocument | None) -> None:
        self._known.pop(key, None)
        if stored is not None:
            self._known[key] = stored
            if len(self._known) > KNOWN_DOCUMENTS:
                self._retry_at.pop(self._known.popitem(last=False)[0], None)

    async def _insist(self, asked: Asked) -> Obtained:
        """Wait for the document; who joined a fetch that was under way and failed tries once for itself."""
        flight, joined = self._flight(asked)
        try:
            obtained = await asyncio.shield(flight)
        except UpstreamError:
            if not joined:
                raise
            obtained = await asyncio.shield(self._flight(asked)[0])
        return Obtained(obtained.document, "collapsed") if joined and obtained.how == "miss" else obtained

    def _flight(self, asked: Asked) -> tuple[asyncio.Task[Obtained], bool]:
        key = asked.key
        if (flight := self._flights.join(key)) is not None:
            return flight, True
        flight = self._flights.begin(key, self._refresh(asked, time.time()))
        flight.add_done_callback(lambda task: self._landed(key, task))
        return flight, False

    def _landed(self, key: str, task: asyncio.Task[Obtained]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            self._retry_at.pop(key, None)
        elif isinstance(error, UpstreamError | StoreError) and key in self._known:
            self._retry_at[key] = time.monotonic() + RETRY_STALE_S

    async def _refresh(self, asked: Asked, asked_at: float) -> Obtained:
        path = self._store.fills / f"{asked.key}.lock"
        while (lock := acquire(path, wait=False)) is None:
            await asyncio.sleep(WATCH_INTERVAL_S)
        try:
            stored = await self._database.read(load_document, asked.key)
            if stored is not None and self._here(stored) and (self.fresh(stored) or stored.checked_at >= asked_at):
                self._remember(asked.key, stored)
                return Obtained(stored, "collapsed")
            return await self._attempt(asked, stored)
        finally:
            path.unlink(missing_ok=True)
            os.close(lock)

    async def _attempt(self, asked: Asked, stored: StoredDocument | None) -> Obtained:
        if stored is not None and not self._here(stored):
            # Evicted: there is nothing to revalidate, but what was there and is gone now was taken down all the same.
            stored = dataclasses.replace(stored, etag="", last_modified="")
        for number in range(1, self._attempts + 1):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._fetch(asked, stored, {})
            except TimeoutError:
                error: MainstayError = UpstreamTimeout(f"{asked.upstream.id} took too long for {asked.index.path}.")
            except UpstreamError as failure:
                error = failure
            self._metrics.count_refused(asked.upstream.ecosystem.id, "index", type(error).__name__)
            if number == self._attempts or not worth_another_try(error):
                raise error
            await asyncio.sleep(0.05 * 2**number)
        raise AssertionError("the last attempt returns or raises")

    async def _fetch(self, asked: Asked, stored: StoredDocument | None, extra: dict[str, str]) -> Obtained:
        headers = {"accept": asked.index.accept, "accept-encoding": "gzip", **_validators(stored), **extra}
        kind, authorization = "index", asked.authorization
        try:
            async with self._asker.ask(
                asked.upstream, asked.url, headers, kind=kind, authorization=authorization
            ) as reply:
                if reply.status == 304 and stored is not None:
                    return Obtained(await self._confirm(stored), "revalidated")
                spool = Spool(self._store, self._max_bytes, self._large)
                async with self._buffers:  # within the turn: who waits for memory must not stand before the queue
                    digest, size = await spool.take(reply)
        except NotFound:
            if stored is not None and stored.state == "ok" and not extra:
                await asyncio.sleep(CONFIRM_AFTER_S)
                return await self._fetch(asked, dataclasses.replace(stored, etag="", last_modified=""), _CONFIRM)
            return Obtained(await self._missing(asked, stored), "miss")
        now = time.time()
        document = StoredDocument(
            asked.key,
            asked.upstream.ecosystem.id,
            asked.upstream.id,
            asked.index.project,
            reply.url,
            asked.index.accept,
            digest,
            size,
            reply.headers.get("content-type", ""),
            reply.headers.get("etag", ""),
            reply.headers.get("last-modified", ""),
            now,
            now,
        )
        summary = await self._summarise(asked, document, stored)
        await self._on_bases(asked.upstream, summary.bases)
        seen_at = stored.fetched_at if stored is not None else now
        was_gone = stored is not None and stored.state != "ok"
        # Before the new index is saved: a crash in between then leads to the same comparison again.
        if asked.lists_files:
            await self._takedowns.compare(
                asked.upstream,
                asked.index.project,
                summary,
                seen_at,
                lambda versions: self._excerpts(asked, stored, versions),
                was_gone=was_gone,
            )
        await self._save(document)
        return Obtained(document, "miss")

    async def _summarise(self, asked: Asked, new: StoredDocument, old: StoredDocument | None) -> Summary:
        before = self.place(asked.index, old) if old is not None and old.digest is not None else None
        if before is not None and before.digest == new.digest:
            before = None
        return await self._parser.summarise(self.place(asked.index, new), before)

    async def _excerpts(
        self, asked: Asked, stored: StoredDocument | None, versions: tuple[str, ...]
    ) -> dict[str, Excerpt]:
        """What the older index says of releases that are gone; a block does not depend on it."""
        if stored is None or stored.digest is None:
            return {}
        try:
            return await self._parser.excerpts(self.place(asked.index, stored), versions)
        except MainstayError as error:
            _log.warning("unblocked, these releases would not be listed", versions=versions[:20], reason=error.message)
            return {}

    async def _confirm(self, stored: StoredDocument) -> StoredDocument:
        document = dataclasses.replace(stored, checked_at=time.time(), state="ok")
        await self._save(document)
        return document

    async def _missing(self, asked: Asked, stored: StoredDocument | None) -> StoredDocument:
        """Upstream has no such document. One that was there is gone: its bytes are kept, its releases blocked."""
        now = time.time()
        document: StoredDocument | None = None
        if stored is not None and stored.state in ("ok", "gone") and asked.lists_files:
            if stored.state == "ok":
                await self._takedowns.project_gone(asked.upstream, asked.index.project)
            document = dataclasses.replace(stored, checked_at=now, state="gone")
        if document is None or not self._here(document):
            ids = (asked.upstream.ecosystem.id, asked.upstream.id, asked.index.project)
            document = StoredDocument(
                asked.key, *ids, asked.url, asked.index.accept, None, 0, "", "", "", now, now, "missing"
            )
        await self._save(document)
        return document

    async def _save(self, document: StoredDocument) -> None:
        await self._database.run(save_document, document)
        self._remember(document.key, document)


_CONFIRM = {"cache-control": "no-cache", "pragma": "no-cache"}


def _present(obtained: Obtained) -> Obtained:
    if obtained.document.state == "missing":
        raise NotFound(f"upstream has no project {obtained.document.project!r}.")
    return obtained


def _validators(stored: StoredDocument | None) -> dict[str, str]:
    if stored is None or stored.digest is None or stored.state != "ok":
        return {}
    headers = {"if-none-match": stored.etag, "if-modified-since": stored.last_modified}
    return {name: value for name, value in headers.items() if value}
