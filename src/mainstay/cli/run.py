"""`mainstay run`: one command, with every registry answered by the gateway."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mainstay.intercept.session import GatewayLike

CONTEXT_SETTINGS = {"allow_interspersed_args": False}


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", show_default=False)],
    gateway: Annotated[
        str, typer.Option(metavar="URL", envvar="MAINSTAY_URL", help="Use this shared gateway instead of an own one.")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse hosts that are no registry.")] = False,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Give the command a network whose only way out is the gateway (Linux).")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings (mainstay.toml).")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder.")] = None,
) -> None:
    """Run COMMAND with its own configuration, its downloads cached and verified; then print a receipt.

    The command keeps its standard streams and signals, and its exit code becomes this one's. MAINSTAY_TOKEN identifies
    the run to a shared gateway.
    """
    from concurrent.futures import ThreadPoolExecutor

    from mainstay.ecosystems import ecosystems
    from mainstay.settings import load_config

    flags = {"data": str(data)} if data else {}
    settings = load_config(config, os.environ, flags, tuple(ecosystems()))
    opening: AbstractAsyncContextManager[GatewayLike]
    with ThreadPoolExecutor(1) as pool:
        if gateway:
            from mainstay.intercept.forward import open_forward

            opening = open_forward(settings.fetch, gateway, os.environ.get("MAINSTAY_TOKEN", ""), strict=strict)
        else:
            # The package managers take half a second to say what they are set to: the rest is imported meanwhile.
            from mainstay.upstream.discover import discover, own_addresses

            finding = pool.submit(discover, settings, ecosystems(), own=own_addresses(settings), extras=True)
            from mainstay.app import open_run

            opening = open_run(settings, finding)
        from mainstay.intercept.session import RunOptions, run_session

        code = asyncio.run(run_session(command, opening, RunOptions(strict=strict, sealed=sealed)))
    raise typer.Exit(code)
