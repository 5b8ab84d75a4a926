"""Where upstreams come from: mainstay.toml, else what the machine's package managers use, else the public default."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from mainstay.config import Config, UpstreamSetting
from mainstay.ecosystems.base import Ecosystem
from mainstay.model import Discovery, Found
from mainstay.telemetry.log import get_logger
from mainstay.upstream.addresses import host_and_port
from mainstay.upstream.registry import Registry, Upstream, build_upstream

COMMAND_TIMEOUT_S = 10.0
MAX_CONFIG_BYTES = 256 * 1024

_log = get_logger(__name__)


def discover(
    config: Config, ecosystems: Mapping[str, Ecosystem], *, own: frozenset[tuple[str, int]], extras: bool
) -> Registry:
    """The upstreams in force. `own` are Mainstay's own addresses, never taken as an upstream. With `extras` the
    registries that the clients of this machine and folder name beside their main one are included."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = pool.map(lambda ecosystem: _upstreams(config, ecosystem, own, extras), ecosystems.values())
        return Registry(dict(zip(ecosystems, found, strict=True)))


def _upstreams(
    config: Config, ecosystem: Ecosystem, own: frozenset[tuple[str, int]], extras: bool
) -> tuple[Upstream, ...]:
    setting = config.ecosystems.get(ecosystem.id)
    configured = setting.upstream if setting else ()
    if isinstance(configured, str):
        configured = (UpstreamSetting(url=configured),)
    chosen = [build_upstream(ecosystem, entry, "mainstay.toml") for entry in configured]
    found = [] if chosen and not extras else _found(ecosystem, own)
    if not chosen:
        main = next((entry for entry in found if not entry.extra), None)
        url, why = (main.url, main.why) if main else (ecosystem.default_upstream(), "public default")
        chosen = [build_upstream(ecosystem, UpstreamSetting(url=url), why)] if url else []
    if extras:
        known = {upstream.id for upstream in chosen}
        for entry in found:
            extra = build_upstream(ecosystem, UpstreamSetting(url=entry.url, namespaces=entry.namespaces), entry.why)
            if extra.id not in known:
                known.add(extra.id)
                chosen.append(extra)
    return tuple(chosen)


def _found(ecosystem: Ecosystem, own: frozenset[tuple[str, int]]) -> list[Found]:
    entries = ecosystem.find_upstreams(read_configuration(ecosystem.discovery, os.environ, Path.cwd()))
    return [entry for entry in entries if host_and_port(entry.url) not in own]


def read_configuration(discovery: Discovery, environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The texts that `discovery` names, as far as they exist. A command that fails or hangs counts as absent."""
    texts = {name: environ[name] for name in discovery.env if environ.get(name)}
    for pattern in discovery.files:
        for path in _candidates(pattern, folder, environ):
            try:
                with path.open("rb") as file:
                    texts[pattern] = file.read(MAX_CONFIG_BYTES).decode("utf-8", "replace")
                break
            except OSError:
                continue
    commands = [command for command in discovery.commands if shutil.which(command[0], path=environ.get("PATH"))]
    with (
        TemporaryDirectory(prefix="mainstay-", ignore_cleanup_errors=True) as temporary,
        ThreadPoolExecutor(max(1, len(commands))) as pool,
    ):
        own = {name: value.replace("{temporary}", temporary) for name, value in discovery.environ}
        outputs = pool.map(lambda command: _run(command, {**environ, **own}), commands)
        texts |= {" ".join(command): text for command, text in zip(commands, outputs, strict=True) if text is not None}
    return texts


def _candidates(pattern: str, folder: Path, environ: Mapping[str, str]) -> list[Path]:
    if pattern.startswith("$"):
        name, _, rest = pattern[1:].partition("/")
        return [Path(environ[name]) / rest] if environ.get(name) else []
    if pattern.startswith("~") or Path(pattern).is_absolute():
        return [Path(os.path.expanduser(pattern))]
    return [parent / pattern for parent in (folder, *folder.parents)]


def _run(command: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL, env=environ
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.debug("a client's configuration could not be read", command=" ".join(command), reason=str(error))
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def own_addresses(config: Config) -> frozenset[tuple[str, int]]:
    """Mainstay's own addresses: a client already pointed here does not make it its own upstream."""
    own = {(host, config.server.port) for host in (config.server.host, *("127.0.0.1", "localhost", "::1"))}
    if config.public_url:
        own.add(host_and_port(config.public_url))
    return frozenset(own)
