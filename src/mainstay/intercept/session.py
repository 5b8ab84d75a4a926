"""One run from start to end: proxy, variables, command, receipt."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TextIO

from mainstay.errors import ConfigError
from mainstay.intercept.authority import Authority
from mainstay.intercept.child import Child, describe
from mainstay.intercept.hosted import AsgiApp
from mainstay.intercept.journal import Journal
from mainstay.intercept.proxy import Proxy
from mainstay.intercept.receipt import Totals, render_receipt
from mainstay.intercept.sealed import SealedProcess, open_sealed
from mainstay.intercept.settings import load_client_settings
from mainstay.intercept.trust import save_run_files
from mainstay.intercept.variables import build_environment
from mainstay.upstream.proxies import ProxySettings

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
        """What was done so far."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run. `environ` is the user's environment, `errors` where the receipt goes."""

    strict: bool = False
    sealed: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    home: Path = field(default_factory=Path.home)
    cwd: Path = field(default_factory=Path.cwd)
    errors: TextIO = field(default_factory=lambda: sys.stderr)


async def run_session(command: Sequence[str], gateway: GatewayLike, options: RunOptions) -> int:
    """Run `command` with every registry that `gateway` knows answered by it; print the receipt; give the exit code.

    The code is the command's own; 127 or 126 where it cannot be executed.

    Raises:
        ConfigError: no command, or the environment names a proxy that cannot be used.
        MainstayError: --sealed is not possible here. Nothing was run.
    """
    if not command:
        raise ConfigError("No command to run.", hint="Write it after `--`: mainstay run -- pip download flask")
    started = time.monotonic()
    journal = Journal()
    settings = load_client_settings(options.environ, options.home, options.cwd)
    user_proxy = ProxySettings.from_environ(options.environ)
    child = Child()
    child.catch_signals()
    try:
        async with _sealing(options.sealed) as sealed:
            authority = Authority()
            proxy = Proxy(
                gateway.app,
                authority,
                gateway.knows,
                strict=options.strict,
                upstream_proxy=user_proxy,
                journal=journal,
            )
            try:
                port = await proxy.listen(sealed.listener if sealed else None)
                with TemporaryDirectory(prefix="mainstay-run-") as folder:
                    files = save_run_files(Path(folder), authority.pem, options.environ, settings, options.home)
                    environ = build_environment(
                        options.environ, f"http://127.0.0.1:{port}", files, gateway.hosts(), sealed=options.sealed
                    )
                    code = await _run(child, command, environ, sealed, options.errors)
            finally:
                await proxy.close()
    finally:
        child.release_signals()
    elapsed_s = time.monotonic() - started
    options.errors.write(
        render_receipt(gateway.totals(), journal, elapsed_s, find_links=settings.find_links, notes=_notes(command[0]))
    )
    options.errors.flush()
    return code


async def _run(
    child: Child, command: Sequence[str], environ: Mapping[str, str], sealed: SealedProcess | None, errors: TextIO
) -> int:
    try:
        return await child.run(command, environ, sealed)
    except OSError as error:
        code, words = describe(error, command[0])
        errors.write(f"mainstay: {words}\n")
        return code


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
