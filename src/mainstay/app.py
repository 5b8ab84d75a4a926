"""Composition root: a `Config` becomes a running Mainstay. The only place that picks concrete classes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from mainstay.config import Config, load_config, parse_size
from mainstay.db.blobs import BlobCatalog, load_total, touch_blobs
from mainstay.db.engine import Database
from mainstay.db.origins import Origin, load_origins, save_origins
from mainstay.ecosystems import ecosystems
from mainstay.errors import DataFolderError, MainstayError, StoreError
from mainstay.gateway.asgi import Application
from mainstay.gateway.call import Bases
from mainstay.gateway.files import FileReplies
from mainstay.gateway.handle import Handler
from mainstay.gateway.pages import Pages
from mainstay.gateway.passing import Passing
from mainstay.gateway.record import Recorder
from mainstay.gateway.render import Renderings
from mainstay.gateway.supply import Supply
from mainstay.intercept.receipt import Totals
from mainstay.intercept.trust import load_user_trust
from mainstay.model import Artifact
from mainstay.store.evict import evict
from mainstay.store.local import LocalStore
from mainstay.store.shared import Shared
from mainstay.telemetry import metrics as metrics_module
from mainstay.telemetry.access import AccessLog
from mainstay.telemetry.log import configure_logging, get_logger
from mainstay.telemetry.metrics import Metrics
from mainstay.upstream.artifacts import Artifacts
from mainstay.upstream.ask import Asker
from mainstay.upstream.client import HttpClient
from mainstay.upstream.discover import discover, own_addresses
from mainstay.upstream.documents import Asked, Documents
from mainstay.upstream.parser import Parser
from mainstay.upstream.registry import Registry, Upstream
from mainstay.upstream.takedowns import Takedowns

BOOT_VARIABLE = "MAINSTAY_BOOT"
KEEP_EVERY_S = 30.0
ROOM_EVERY_S = 1.0
FLUSH_EVERY_S = 0.25
SCAN_EVERY_ROUNDS = 120
"""How often eviction also compares the folder with the catalog, which looks at every blob."""
METRICS_FOLDER = "metrics"
KEY_FILE = "secret"
SECRET_BYTES = 32

_log = get_logger(__name__)


class Gateway:
    """One worker's whole gateway: build it, `start` it in its event loop, and `stop` it."""

    def __init__(self, config: Config, registry: Registry, workers: int, trusted: bytes = b"") -> None:
        """`trusted` holds certificates of authorities that upstreams may have beside the usual ones."""
        folder = config.data_path
        self.config, self.registry = config, registry
        self.store = LocalStore(folder)
        self.database = Database.open(folder)
        self._shared = Shared(folder / "shared.bin")
        self.metrics = Metrics()
        self._access = AccessLog(folder / "access.jsonl") if config.log.access else None
        self._parser = Parser()
        self._tasks: list[asyncio.Task[None]] = []
        self._workers = workers
        self._trusted = trusted
        self._ready = False
        self._rounds = 0
        self._room_bytes = 0.0
        """What this worker may store before it is worth asking whether all of them are over the budget."""
        self._learning = asyncio.Lock()
        self._learned: set[str] = set()
        self.app: Application = self._compose(folder)

    def _compose(self, folder: Path) -> Application:
        config, registry = self.config, self.registry
        self.asker = Asker(HttpClient(config.fetch, self._trusted), self._shared, self.metrics, self._workers)
        self._takedowns = Takedowns(self.database, self._shared)
        self.documents = Documents(
            config,
            self.store,
            self.database,
            self.asker,
            self._parser,
            self._takedowns,
            self.metrics,
            on_file_bases=self.learn,
        )
        self._artifacts = Artifacts(
            config, self.store, self.database, self.asker, self._shared, make_room=self.make_room
        )
        supply = Supply(
            registry,
            self.documents,
            self._artifacts,
            self._parser,
            self._takedowns,
            secret=load_secret(folder / KEY_FILE),
            document_ttl_s=config.cache.document_ttl_s,
            negative_ttl_s=config.cache.negative_ttl_s,
        )
        renderings = Renderings(self.store, self.database, self._parser)
        files = FileReplies(supply, config.cache.document_ttl_s)
        passing = Passing(registry, self.asker, parse_size(config.server.max_body))
        handler = Handler(ecosystems(), supply, renderings, files, passing)
        bases = Bases(config.public_url, config.server.trusted_proxies, listen_url(config))
        recorder = Recorder(self.metrics, self._access)
        pages = Pages(self._readiness, self._metrics_page, self._upstreams_page)
        return Application(handler, pages, bases, recorder, self.store, self._shared, self.start, self.stop)

    async def start(self) -> None:
        """Begin the background work."""
        # A worker killed between noting a takedown and telling of it has told nobody.
        self._shared.bump()
        await self._load_origins()
        await self._parser.start()
        if self._access is not None:
            self._access.start(asyncio.get_running_loop())
        self._tasks = [
            asyncio.create_task(self._forever(FLUSH_EVERY_S, self._flush), name="metrics"),
            asyncio.create_task(self._forever(KEEP_EVERY_S, self._keep), name="eviction"),
            asyncio.create_task(self._forever(ROOM_EVERY_S, self._keep_room), name="room"),
        ]
        self._ready = True

    async def stop(self) -> None:
        """End it: what is under way is broken off, what was counted is kept."""
        self._ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._artifacts.close()
        await self.documents.close()
        await self._parser.close()
        await self.asker.close()
        if self._access is not None:
            await self._access.close()
        await self._touch()
        self.metrics.flush()
        await asyncio.to_thread(self.database.close)
        self.store.close()

    async def learn(self, upstream: Upstream, bases: tuple[str, ...]) -> None:
        """Note the hosts where an upstream keeps its files."""
        role = upstream.ecosystem.learned_role
        new = [base for base in bases if self.registry.learn(base, upstream)]
        if new and role is not None:
            ids = (upstream.ecosystem.id, upstream.id, role)
            await self.database.run(save_origins, [Origin(base, *ids, time.time()) for base in new])

    async def learn_all(self) -> None:
        """Learn the file hosts of every upstream that has named none yet, by asking for one small index of each; once,
        as what is learned is kept in the data folder."""
        async with self._learning:
            for upstream in self.registry:
                ecosystem = upstream.ecosystem
                if not ecosystem.learned_role or upstream.id in self._learned or self.registry.learned(upstream):
                    continue
                self._learned.add(upstream.id)
                try:
                    index = ecosystem.index_of(Artifact(ecosystem.probe, "", "", "", ""))
                    await self.documents.obtain(Asked(upstream, index))
                except MainstayError as error:
                    _log.info("file hosts could not be learned", upstream=upstream.id, reason=error.message)

    async def _load_origins(self) -> None:
        known = {(upstream.ecosystem.id, upstream.id): upstream for upstream in self.registry}
        for origin in await self.database.read(load_origins):
            if (upstream := known.get((origin.ecosystem, origin.upstream))) is not None:
                self.registry.learn(origin.base, upstream)

    async def _forever(self, every_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except MainstayError as error:
                _log.error("background work failed", work=work.__name__, reason=error.message)

    async def _flush(self) -> None:
        self.metrics.flush()

    async def _touch(self) -> None:
        used, self.store.used = self.store.used, set()
        if used:
            await self.database.run(touch_blobs, used, time.time())

    async def _keep(self) -> None:
        await self._evict(scan=self._rounds % SCAN_EVERY_ROUNDS == 0)
        self._rounds += 1
        for name in ecosystems():
            resting = sum(self.asker.resting(upstream) for upstream in self.registry.of(name))
            self.metrics.set_resting(name, resting)

    async def _keep_room(self) -> None:
        """Evict out of turn where more was stored than there was room for, so that a fast fill, or a run that ends
        before the first turn, does not leave the store far over its budget."""
        self._room_bytes -= self.store.take_stored_bytes()
        if self._room_bytes < 0:
            await self._evict(scan=False)

    async def _evict(self, *, scan: bool) -> None:
        await self._touch()
        budget = parse_size(self.config.cache.size)
        done = await asyncio.to_thread(evict, self.store, BlobCatalog(self.database), budget, scan=scan)
        if done.busy:
            return
        self._room_bytes = max(0.0, (budget - done.total_bytes) / self._workers)
        self.metrics.set_store_bytes(done.total_bytes)
        if done.blobs:
            _log.info("evicted", blobs=done.blobs, freed_bytes=done.freed_bytes, total_bytes=done.total_bytes)

    async def make_room(self, size_bytes: int) -> int:
        """Evict at least so many bytes, as far as there are blobs that may go; returns how many went."""
        try:
            await self._touch()
            budget = max(0, await self.database.read(load_total) - size_bytes)
            done = await asyncio.to_thread(evict, self.store, BlobCatalog(self.database), budget, scan=False)
        except StoreError as error:
            _log.warning("the disk is full, and nothing can be evicted", reason=error.message)
            return 0
        _log.warning("the disk is full", evicted_blobs=done.blobs, freed_bytes=done.freed_bytes)
        return done.freed_bytes

    async def _readiness(self) -> tuple[int, str, bytes]:
        status, word = (200, "ready") if self._ready else (503, "starting")
        return status, "application/json", msgspec.json.encode({"schema": 1, "status": word})

    async def _metrics_page(self) -> tuple[int, str, bytes]:
        body = await asyncio.to_thread(self.metrics.render)
        return 200, "text/plain; version=0.0.4; charset=utf-8", body

    async def _upstreams_page(self, learn: bool) -> tuple[int, str, bytes]:
        await self._load_origins()
        if learn:
            await self.learn_all()
        return 200, "application/json", msgspec.json.encode({"schema": 1, "upstreams": self.registry.table()})


class RunGateway:
    """A gateway of this process, as `run` sees it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def app(self) -> Application:
        """The ASGI application."""
        return self._gateway.app

    async def knows(self, host: str, port: int) -> bool:
        """Whether this is a registry's host. An unknown one may be a file host that no index has named yet."""
        wanted = (host.lower(), port)
        if wanted in self._gateway.registry.hosts():
            return True
        await self._gateway.learn_all()
        return wanted in self._gateway.registry.hosts()

    def hosts(self) -> list[str]:
        """The hosts known now."""
        return [host if port == 443 else f"{host}:{port}" for host, port in sorted(self._gateway.registry.hosts())]

    def totals(self) -> Totals:
        """What was done so far."""
        counted = self._gateway.metrics.totals()
        replies = counted.replies.items()
        spared = {"hit", "stale", "collapsed", "revalidated"}
        return Totals(
            requests=sum(count.number for _, count in replies),
            files=sum(
                count.number
                for (_, kind, outcome), count in replies
                if kind == "artifact" and outcome not in ("error", "refused", "missing")
            ),
            bytes=sum(count.size_bytes for _, count in replies),
            cached_bytes=sum(count.size_bytes for key, count in replies if key[2] in spared),
            upstream_requests=sum(count.number for count in counted.upstream.values()),
            upstream_bytes=sum(count.size_bytes for count in counted.upstream.values()),
            saved_requests=sum(count.number for count in counted.saved.values()),
            saved_bytes=sum(count.size_bytes for count in counted.saved.values()),
            refused=self._gateway.app.refusals,
        )


@asynccontextmanager
async def open_run(config: Config, finding: Future[Registry]) -> AsyncIterator[RunGateway]:
    """A gateway in this process, for one run, its data kept for the next. `finding` brings its upstreams.

    Raises:
        DataFolderError: the data folder cannot be used. ConfigError: a credential is missing.
    """
    configure_logging("error" if config.log.level == "info" else config.log.level)
    _prepare(config)
    # What any of the user's clients trusts upstream to be, the gateway that stands in for it must trust as well.
    gateway = Gateway(config, await asyncio.wrap_future(finding), 1, load_user_trust(os.environ))
    await gateway.start()
    try:
        yield RunGateway(gateway)
    finally:
        await gateway.stop()


def worker() -> Application:
    """The application of one worker process of `serve`, made by the server; settings come by the environment."""
    boot = json.loads(os.environ[BOOT_VARIABLE])
    config = load_config(
        Path(boot["config"]) if boot["config"] else None, os.environ, boot["flags"], tuple(ecosystems())
    )
    configure_logging(config.log.level)
    metrics_module.prepare(config.data_path / METRICS_FOLDER, wipe=False)
    registry = discover(config, ecosystems(), own=own_addresses(config), extras=False)
    return Gateway(config, registry, worker_count(config)).app


def prepare_serve(config: Config) -> Registry:
    """Make the data folder ready before workers start, and find the upstreams for the start-up table.

    Raises:
        DataFolderError: not usable. ConfigError: a credential is missing.
    """
    _prepare(config)
    metrics_module.prepare(config.data_path / METRICS_FOLDER, wipe=True)
    return discover(config, ecosystems(), own=own_addresses(config), extras=False)


def worker_count(config: Config) -> int:
    """Workers asked for, or one per core."""
    if config.server.workers:
        return config.server.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def listen_url(config: Config) -> str:
    """The address to type where no other is configured."""
    scheme = "https" if config.server.tls_cert else "http"
    host = config.server.host
    address = ip_address(host) if host[:1].isdigit() or ":" in host else None
    if address is not None and address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{config.server.port}"


def _prepare(config: Config) -> None:
    store = LocalStore(config.data_path)
    freed = store.sweep()
    store.close()
    Database.open(config.data_path).close()
    load_secret(config.data_path / KEY_FILE)
    if freed:
        _log.info("unfinished downloads of an earlier process were removed", freed_bytes=freed)


def load_secret(path: Path) -> bytes:
    """A random key of this data folder, with which callers' credentials are told apart and not stored.

    Made where there is none; it appears whole or not at all, whoever else makes it at the same time.

    Raises:
        DataFolderError: it is not one of ours.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise DataFolderError(f"{path} is damaged.", hint="Remove it: callers' own files are then fetched anew.")
    return secret
