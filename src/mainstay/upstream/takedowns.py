"""Releases that upstream took away: found by comparing indexes, blocked until upstream lists them again or a person
lifts the block. The bytes are kept, pinned against eviction, for forensics."""

from __future__ import annotations

import getpass
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from packageurl import PackageURL

from mainstay.config import Config
from mainstay.db.engine import Database
from mainstay.db.takedowns import Takedown, lift_takedowns, load_restored, load_takedowns, record_takedowns
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.store.shared import Shared
from mainstay.telemetry.log import get_logger
from mainstay.upstream.listings import Excerpt, Summary
from mainstay.upstream.registry import Upstream

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks in force for one project. Empty for nearly all."""

    entries: tuple[Takedown, ...] = ()
    versions: frozenset[str] = field(default_factory=frozenset)

    def on(self, version: str, filename: str = "") -> Takedown | None:
        """The block that holds for this file or release, if any."""
        return next((entry for entry in self.entries if entry.covers(version, filename)), None)

    @property
    def whole_project(self) -> Takedown | None:
        """The block of the project itself, if any."""
        return next((entry for entry in self.entries if not entry.version), None)


NO_BLOCKS = Blocks()


class Takedowns:
    """The blocks, in memory, as of a generation of the shared counter."""

    def __init__(self, database: Database, shared: Shared) -> None:
        self._database = database
        self._shared = shared
        self._generation = -1
        self._blocks: dict[tuple[str, str, str], Blocks] = {}
        self._restored: dict[tuple[str, str, str], tuple[Excerpt, ...]] = {}

    async def current(self) -> int:
        """Bring the blocks up to date where any worker, or `mainstay unblock`, changed them; the generation."""
        generation = self._shared.generation
        if generation != self._generation:
            grouped: dict[tuple[str, str, str], list[Takedown]] = defaultdict(list)
            for entry in await self._database.read(load_takedowns):
                grouped[entry.ecosystem, entry.upstream, entry.project].append(entry)
            blocks = {
                key: Blocks(tuple(entries), frozenset(entry.version for entry in entries if not entry.filename))
                for key, entries in grouped.items()
            }
            restored: dict[tuple[str, str, str], tuple[Excerpt, ...]] = {}
            for entry in await self._database.read(load_restored):
                key = entry.ecosystem, entry.upstream, entry.project
                restored[key] = (*restored.get(key, ()), _excerpt(entry))
            # All at once, with no wait in between: what is rendered meanwhile is by the old rules or by the new.
            self._blocks, self._restored, self._generation = blocks, restored, generation
        return generation

    def of(self, upstream: Upstream, project: str) -> Blocks:
        """The blocks of one project."""
        if not self._blocks:
            return NO_BLOCKS
        return self._blocks.get((upstream.ecosystem.id, upstream.id, project), NO_BLOCKS)

    def restored(self, ecosystem: str, upstream: str, project: str) -> tuple[Excerpt, ...]:
        """What is to be listed though upstream dropped it, because a person wants it."""
        return self._restored.get((ecosystem, upstream, project), ())

    async def compare(
        self,
        upstream: Upstream,
        project: str,
        summary: Summary,
        seen_at: float,
        excerpts: Callable[[tuple[str, ...]], Awaitable[dict[str, Excerpt]]],
        *,
        was_gone: bool,
    ) -> None:
        """Block what a newer valid index no longer lists; lift what it lists again.

        `seen_at` is when the older index was fetched: a block that a person lifted after that stays lifted. `excerpts`
        tells what the older index said of some releases. `was_gone`: upstream had said that the project is not there.
        """
        await self.current()
        ids = (upstream.ecosystem.id, upstream.id, project)
        back = [entry for entry in self.of(upstream, project).entries if _is_back(entry, summary, was_gone)]
        lost = [(version, "") for version in summary.gone.versions] + list(summary.gone.files)
        if not lost and not back:
            return
        reason, now = "upstream no longer lists it", time.time()
        kept = await excerpts(tuple(dict.fromkeys(version for version, _ in lost))) if lost else {}
        said = {version: msgspec.msgpack.encode(excerpt) for version, excerpt in kept.items()}
        entries = [
            Takedown(*ids, version, name, reason, _evidence(seen_at), now, excerpt=said.get(version))
            for version, name in lost
        ]
        await self._database.run(record_takedowns, entries, back, seen_at)
        self._shared.bump()
        for entry in entries:
            _log.warning("takedown: a release is gone upstream and is refused from now on", **_words(entry))
        for entry in back:
            _log.warning("takedown lifted: upstream lists the release again", **_words(entry))

    async def project_gone(self, upstream: Upstream, project: str) -> None:
        """Block every release of a project that upstream says is not there, twice."""
        ids = (upstream.ecosystem.id, upstream.id, project)
        reason = "upstream removed the project"
        entry = Takedown(*ids, "", "", reason, "404 or 410, confirmed by a second request", time.time())
        await self._database.run(record_takedowns, [entry], [], 0.0)
        self._shared.bump()
        _log.warning("takedown: a project is gone upstream and is refused from now on", **_words(entry))


def lift_blocks(config: Config, text: str) -> int:
    """Lift the blocks that `text`, a package URL, names; returns how many there were.

    Raises:
        ConfigError: not a package URL.
    """
    try:
        purl = PackageURL.from_string(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a package URL: {error}.", hint="Write pkg:TYPE/NAME@VERSION.") from error
    project = f"{purl.namespace}/{purl.name}" if purl.namespace else purl.name
    ecosystem = ecosystems().get(purl.type)
    comparable = ecosystem.comparable if ecosystem else str
    if not config.data_path.is_dir():
        raise ConfigError(f"there is no data folder {config.data_path}.", hint="Name the gateway's own with --data.")
    database = Database.open(config.data_path)
    try:
        held = {entry.project for entry in database.read_sync(load_takedowns) if entry.ecosystem == purl.type}
        project = next((name for name in held if comparable(name) == comparable(project)), project)
        lifted = database.run_sync(lift_takedowns, purl.type, project, purl.version, getpass.getuser(), time.time())
    finally:
        database.close()
    if lifted:
        Shared(config.data_path / "shared.bin").bump()
    return lifted


def _excerpt(entry: Takedown) -> Excerpt:
    excerpt = msgspec.msgpack.decode(entry.excerpt or b"", type=Excerpt)
    return msgspec.structs.replace(excerpt, filename=entry.filename)


def _is_back(entry: Takedown, summary: Summary, was_gone: bool) -> bool:
    if not entry.version:
        return was_gone
    return entry.filename in summary.added_filenames if entry.filename else entry.version in summary.added_versions


def _evidence(seen_at: float) -> str:
    return f"listed in the index of {datetime.fromtimestamp(seen_at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _words(entry: Takedown) -> dict[str, str]:
    return {"ecosystem": entry.ecosystem, "project": entry.project, "version": entry.version or "all"}
