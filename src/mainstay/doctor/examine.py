"""All checks, side by side: what has to be waited for (programs, upstreams) is waited for once."""

from __future__ import annotations

import asyncio
import os
from asyncio import Future
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.config import Config
from mainstay.doctor.clients import Doors, check_clients, find_ready
from mainstay.doctor.finding import Finding, problem, warning
from mainstay.doctor.machine import check_descriptors, check_python, check_sealed
from mainstay.doctor.settings import load_settings
from mainstay.ecosystems import ecosystems
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import ConfigError
from mainstay.model import Discovery, Found
from mainstay.upstream.discover import discover, own_addresses, read_configuration

if TYPE_CHECKING:
    from mainstay.doctor.upstreams import Asked
    from mainstay.upstream.client import HttpClient

THREADS = 32
_MEND = "Set what is missing, or change the setting that asks for it: the gateway does not start with it."

Texts = Mapping[str, str]
"""What one ecosystem's clients are set to, as `Ecosystem.discovery` finds it."""
Reading = Mapping[str, Future[Texts | OSError]]
"""For each ecosystem, what its clients are set to or why that cannot be told."""


def examine(path: Path | None, flags: Mapping[str, Any], *, offline: bool) -> list[Finding]:
    """Everything that was found, in the order in which a person reads it. `offline` asks no upstream."""
    config, findings = load_settings(path, os.environ, flags, tuple(ecosystems()))
    # Not asyncio.run: it would wait at the end for a resolver that is stuck, however long that takes.
    loop = asyncio.new_event_loop()
    try:
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        return [*findings, *loop.run_until_complete(_examine(config, offline=offline))]
    finally:
        loop.close()


async def _examine(config: Config | None, *, offline: bool) -> list[Finding]:
    if config is None:
        return await _examine_machine()
    # The clients' programs take most of the time. They run while the rest is imported and looked at.
    run = asyncio.get_running_loop().run_in_executor
    folder, environ = Path.cwd(), os.environ.copy()
    reading = {name: run(None, _read, ecosystem.discovery, environ, folder) for name, ecosystem in ecosystems().items()}
    machine = await _examine_machine()
    place, registries = await asyncio.gather(
        asyncio.to_thread(_examine_place, config), _examine_registries(config, reading, offline=offline)
    )
    return [*machine, *place, *registries]


async def _examine_machine() -> list[Finding]:
    return [check_python(), check_descriptors(), await check_sealed()]


def _examine_place(config: Config) -> list[Finding]:
    """The folder, the disk, the database, the port."""
    from mainstay.doctor.database import check_schema
    from mainstay.doctor.folder import check_budget, check_disk, check_file_system, check_folder, load_space
    from mainstay.doctor.port import check_port

    try:
        folder = config.data_path.absolute()
    except ConfigError as error:
        return [problem("data", config.data, error.message, error.hint), check_port(config)]
    schema, stored = check_schema(folder)
    space = load_space(folder)
    disk = [*check_file_system(folder), check_disk(folder, space), check_budget(config, space, stored.blob_bytes)]
    return [check_folder(folder), *disk, schema, check_port(config)]


async def _examine_registries(config: Config, reading: Reading, *, offline: bool) -> list[Finding]:
    """The upstreams, the clock by what they say, the clients."""
    from mainstay.doctor.upstreams import check_clock
    from mainstay.upstream.client import HttpClient

    findings: list[Finding] = []
    client: HttpClient | None = None
    try:
        client = None if offline else HttpClient(config.fetch)
    except ConfigError as error:
        findings.append(problem("upstream", "", error.message, error.hint or _MEND))
    asking = [_ask(config, ecosystem, reading[name], client) for name, ecosystem in ecosystems().items()]
    try:
        asked = [entry for entries in await asyncio.gather(*asking) for entry in entries]
    finally:
        if client is not None:
            await client.close()
    findings += [*(entry.finding for entry in asked), *check_clock(asked)]
    found = {name: texts.result() for name, texts in reading.items()}
    return [*findings, *await asyncio.to_thread(_examine_clients, config, found)]


def _examine_clients(config: Config, found: Mapping[str, Texts | OSError]) -> list[Finding]:
    doors = Doors.of(config, os.environ.get("MAINSTAY_URL", ""))
    findings = []
    for name, ecosystem in ecosystems().items():
        texts = found[name]
        if isinstance(texts, OSError):
            text = f"the clients' settings cannot be read: {texts.strerror or texts}"
            findings.append(warning("client", name, text, "The folder for temporary files (TMPDIR) must be writable."))
        else:
            findings += check_clients(ecosystem, texts, doors, find_ready(ecosystem, doors))
    return findings


async def _ask(
    config: Config, ecosystem: Ecosystem, reading: Future[Texts | OSError], client: HttpClient | None
) -> list[Asked]:
    from mainstay.doctor.upstreams import Asked, ask_upstream, list_upstream, missing

    texts = await reading
    told = {ecosystem.id: _told(ecosystem, {} if isinstance(texts, OSError) else texts)}
    try:
        registry = discover(config, told, own=own_addresses(config), extras=False)
    except ConfigError as error:
        return [Asked(problem("upstream", ecosystem.id, error.message, error.hint or _MEND))]
    upstreams = registry.of(ecosystem.id)
    if client is None:
        return [Asked(list_upstream(upstream)) for upstream in upstreams] or [Asked(missing(ecosystem.id))]
    asked = await asyncio.gather(*(ask_upstream(client, registry, upstream) for upstream in upstreams))
    return [*asked] or [Asked(missing(ecosystem.id))]


def _read(discovery: Discovery, environ: Mapping[str, str], folder: Path) -> Texts | OSError:
    try:
        return read_configuration(discovery, environ, folder)
    except OSError as error:  # a disk without room for the programs' temporary folder, say
        return error


def _told(ecosystem: Ecosystem, found: Texts) -> Ecosystem:
    """The same adapter with what the clients' programs said at hand, so that `discover` does not run them again."""
    entries = ecosystem.find_upstreams(found)
    known: dict[str, Discovery | Callable[[Ecosystem, Texts], list[Found]]] = {
        "discovery": Discovery(),
        "find_upstreams": lambda _ecosystem, _found: entries,
    }
    adapter: Ecosystem = type(type(ecosystem).__name__, (type(ecosystem),), known)()
    return adapter
