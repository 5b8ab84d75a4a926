"""Composition root: a `Config` becomes a running Mainstay. The only place that picks concrete classes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import msgspec

from mainstay.access.balances import Balances
from mainstay.access.identity import Callers
from mainstay.access.tiers import Tiers
from mainstay.config import Config, parse_size
from mainstay.db.engine import Database
from mainstay.db.origins import Origin, load_origins, save_origins
from mainstay.ecosystems import ecosystems
from mainstay.errors import DataFolderError, MainstayError
from mainstay.gateway.asgi import Application
from mainstay.gateway.call import Bases
from mainstay.gateway.files import FileReplies
from mainstay.gateway.handle import Handler
from mainstay.gateway.pages import Pages
from mainstay.gateway.passing import Passing
from mainstay.gateway.record import Recorder
from mainstay.gateway.render import Renderings
from mainstay.gateway.site import Site
from mainstay.gateway.supply import Supply
from mainstay.gateway.turns import Turns
from mainstay.gateway.upkeep import Upkeep
from mainstay.gateway.visitors import Visitors
from mainstay.intercept.receipt import Totals
from mainstay.model import Artifact
from mainstay.settings import load_config
from mainstay.store.absences import Absences
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
from mainstay.usage.ledger import Ledger

BOOT_VARIABLE = "MAINSTAY_BOOT"
METRICS_FOLDER = "metrics"
KEY_FILE = "secret"
SECRET_BYTES = 32

_log = get_logger(__name__)


class Gateway:
    """One worker's whole gateway: build it, `start` it in its event loop, and `stop` it."""

    def __init__(
        self, config: Config, registry: Registry, workers: int, trusted: bytes = b"", *, with_site: bool = False
    ) -> None:
        """`trusted` holds certificates of authorities that upstreams may have beside the usual ones; `with_site` has
        the pages and the API answered as well."""
        folder = config.data_path
        self.config, self.registry = config, registry
        self.store = LocalStore(folder)
        self.database = Database.open(folder)
        self._shared = Shared(folder / "shared.bin")
        self.metrics = Metrics()
        self._access = AccessLog(folder / "access.jsonl") if config.log.access else None
        self._ledger = Ledger(folder) if config.usage.ledger else None
        self._parser = Parser()
        self._workers = workers
        self._trusted = trusted
        self._site = Site(config, parse_size(config.server.max_body)) if with_site else None
        self._ready = False
        self._learning = asyncio.Lock()
        self._learned: set[str] = set()
        self.app: Application = self._compose(folder)

    def _compose(self, folder: Path) -> Application:
        config, registry = self.config, self.registry
        recorder = Recorder(self.metrics, self._access, self._ledger)
        client = HttpClient(config.fetch, self._trusted)
        turns = Turns(Tiers(config), Balances(folder / "balances.bin"), self._workers)
        self.asker = Asker(client, self._shared, self.metrics, turns, recorder.record_late)
        self._takedowns = Takedowns(self.database, self._shared)
        self.documents = Documents(
            config,
            self.store,
            self.database,
            self.asker,
            self._parser,
            self._takedowns,
            self.metrics,
            on_bases=self.learn,
        )
        callers = Callers(self.database, self._shared, folder / "usage")
        self._upkeep = Upkeep(
            config, registry, self.store, self.database, self.metrics, self.asker, self._workers, callers.refresh
        )
        self._artifacts = Artifacts(
            config, self.store, self.database, self.asker, self._shared, make_room=self._upkeep.make_room
        )
        supply = Supply(
            registry,
            self.documents,
            self._artifacts,
            self._parser,
            self._takedowns,
            Absences(folder / "absent.bin"),
            secret=load_secret(folder / KEY_FILE),
            document_ttl_s=config.cache.document_ttl_s,
            negative_ttl_s=config.cache.negative_ttl_s,
        )
        renderings = Renderings(self.store, self.database, self._parser)
        files = FileReplies(supply, config.cache.document_ttl_s)
        passing = Passing(registry, self.asker, parse_size(config.server.max_body))
        handler = Handler(ecosystems(), supply, renderings, files, passing)
        bases = Bases(config.public_url, config.server.trusted_proxies, listen_url(config))
        visitors = Visitors(callers)
        pages = Pages(self._readiness, self._metrics_page, self._upstreams_page, self._site)
        return Application(
            handler, pages, bases, visitors, turns, recorder, self.store, self._shared, self.start, self.stop
        )

    async def start(self) -> None:
        """Begin the background work."""
        # A worker killed between noting a takedown and telling of it has told nobody.
        self._shared.bump()
        await self._load_origins()
        await self._parser.start()
        if self._access is not None:
            self._access.start(asyncio.get_running_loop())
        if self._ledger is not None:
            self._ledger.start(asyncio.get_running_loop())
        self._upkeep.start()
        self._ready = True

    async def stop(self) -> None:
        """End it: what is under way is broken off, what was counted is kept."""
        self._ready = False
        if self._site is not None:
            await self._site.close()
        await self._upkeep.stop()
        await self._artifacts.close()
        await self.documents.close()
        await self._parser.close()
        await self.asker.close()
        if self._access is not None:
            await self._access.close()
        if self._ledger is not None:
            await self._ledger.close()
        await self._upkeep.touch()
        self.metrics.flush()
        await asyncio.to_thread(self.database.close)
        self.store.close()

    async def learn(self, upstream: Upstream, bases: Mapping[str, str | None]) -> None:
        """Note where an upstream keeps what: the base of a role, None standing for the learned one."""
        new = [(base, role) for base, role in bases.items() if self.registry.learn(base, upstream, role)]
        if new:
            ecosystem = upstream.ecosystem
            ids = (ecosystem.id, upstream.id)
            origins = [Origin(base, *ids, role or ecosystem.learned_role or "", time.time()) for base, role in new]
            await self.database.run(save_origins, origins)

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
                self.registry.learn(origin.base, upstream, origin.role)

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
    from mainstay.intercept.trust import load_user_trust

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
    return Gateway(config, registry, worker_count(config), with_site=True).app


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
