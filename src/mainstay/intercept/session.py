"""One run from start to end: proxy, variables, command, receipt."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TextIO

from mainstay.errors import ConfigError
from mainstay.intercept.authority import Authority
from mainstay.intercept.child import Child, describe
from mainstay.intercept.hosted import AsgiApp
from mainstay.intercept.journal import Journal
from mainstay.intercept.proxy import Proxy
from mainstay.intercept.receipt import Totals, render_receipt
from mainstay.intercept.sealed import SealedProcess, open_sealed
from mainstay.intercept.settings import ClientSettings, load_client_settings
from mainstay.intercept.trust import save_run_files
from mainstay.intercept.variables import build_environment
from mainstay.upstream.proxies import ProxySettings
from mainstay.usage.surroundings import CLIENT_HEADER, render_surroundings

_CONTAINER_CLIENTS = ("docker", "podman", "nerdctl", "buildah", "buildctl")


class GatewayLike(Protocol):
    """What answers for the registries during a run: a gateway in this process, or the way to a shared one."""

    @property
    def app(self) -> AsgiApp:
        """Answers requests whose scope carries `mainstay.origin`."""

    async def knows(self, host: str, port: int) -> bool:
        """Whether `app` answers for this host. May ask upstream to find out, for a file host that is still unknown."""

    def hosts(self) -> list[str]:
        """The hosts known now, with `:port` where it is not 443."""

    def totals(self) -> Totals:
        """What was done so far. Asked when it is closed."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run. `environ` is the user's environment, `errors` where the receipt goes."""

    strict: bool = False
    sealed: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    home: Path = field(default_factory=Path.home)
    cwd: Path = field(default_factory=Path.cwd)
    errors: TextIO = field(default_factory=lambda: sys.stderr)


async def run_session(
    command: Sequence[str], opening: AbstractAsyncContextManager[GatewayLike], options: RunOptions
) -> int:
    """Open the gateway, run `command` with every registry that it knows answered by it, print the receipt.

    Gives the exit code: the command's own; 127 or 126 where it cannot be executed; 128 + n where signal n came before
    it was started.

    Raises:
        ConfigError: no command, or the environment names a proxy that cannot be used.
        MainstayError: the gateway cannot be opened, or --sealed is not possible here. Nothing was run.
    """
    if not command:
        raise ConfigError("No command to run.", hint="Write it after `--`: mainstay run -- pip download flask")
    started = time.monotonic()
    child = Child()
    child.catch_signals()
    try:
        async with opening as gateway:
            journal = Journal()
            settings = load_client_settings(options.environ, options.home, options.cwd)
            code = await _answer(command, gateway, child, journal, settings, options)
            child.release_signals()
        # Closed first: what was under way with the command's last request is counted when it has ended.
        notes = _notes(command[0])
        elapsed_s = time.monotonic() - started
        _tell(options.errors, render_receipt(gateway.totals(), journal, elapsed_s, settings.find_links, notes))
        return code
    except asyncio.CancelledError:
        if not child.called_off_by:
            raise
        return 128 + child.called_off_by
    finally:
        child.release_signals()


async def _answer(
    command: Sequence[str],
    gateway: GatewayLike,
    child: Child,
    journal: Journal,
    settings: ClientSettings,
    options: RunOptions,
) -> int:
    """The command's exit code, with the proxy up and the run's files there for as long as it runs."""
    user_proxy = ProxySettings.from_environ(options.environ)
    async with _sealing(options.sealed) as sealed:
        authority = Authority()
        app = _saying(gateway.app, render_surroundings(options.environ))
        proxy = Proxy(app, authority, gateway.knows, strict=options.strict, upstream_proxy=user_proxy, journal=journal)
        try:
            port = await proxy.listen(sealed.listener if sealed else None)
            with TemporaryDirectory(prefix="mainstay-run-") as folder:
                files = save_run_files(Path(folder), authority.pem, options.environ, settings, options.home)
                environ = build_environment(
                    options.environ, f"http://127.0.0.1:{port}", files, gateway.hosts(), sealed=options.sealed
                )
                return await _run(child, command, environ, sealed, options.errors)
        finally:
            await proxy.close()


async def _run(
    child: Child, command: Sequence[str], environ: Mapping[str, str], sealed: SealedProcess | None, errors: TextIO
) -> int:
    try:
        return await child.run(command, environ, sealed)
    except OSError as error:
        code, words = describe(error, command[0])
        _tell(errors, f"mainstay: {words}\n")
        return code


def _saying(app: AsgiApp, said: str) -> AsgiApp:
    """`app`, with every request saying what the run is started by: a CI system, a coding agent."""

    async def answer(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        others = [(name, value) for name, value in scope["headers"] if name != CLIENT_HEADER.encode()]
        scope["headers"] = [*others, (CLIENT_HEADER.encode(), said.encode())]
        await app(scope, receive, send)

    return answer if said else app


def _tell(errors: TextIO, text: str) -> None:
    """Write to the person. Where nobody can hear it (a pipe that was closed), the command's exit code still counts."""
    try:
        errors.write(text)
        errors.flush()
    except OSError:
        # What stays in the buffer would fail again when the interpreter ends, and turn the exit code into 120.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), errors.fileno())


@asynccontextmanager
async def _sealing(wanted: bool) -> AsyncIterator[SealedProcess | None]:
    """The waiting process of a sealed run, ended if the run is called off before the command starts."""
    sealed = await open_sealed() if wanted else None
    try:
        yield sealed
    finally:
        if sealed is not None and sealed.process.returncode is None:
            await sealed.abandon()


def _notes(command: str) -> list[str]:
    if Path(command).name in _CONTAINER_CLIENTS:
        return [
            f"{Path(command).name} works in a daemon of its own: what its builds download is not covered by this run"
        ]
    return []
