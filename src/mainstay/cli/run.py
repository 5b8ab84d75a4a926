"""`mainstay run`: one command, with every registry answered by the gateway."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

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
    from mainstay.app import open_run
    from mainstay.config import load_config
    from mainstay.ecosystems import ecosystems
    from mainstay.intercept.forward import open_forward
    from mainstay.intercept.session import RunOptions, run_session

    options = RunOptions(strict=strict, sealed=sealed)
    flags = {"data": str(data)} if data else {}
    settings = load_config(config, os.environ, flags, tuple(ecosystems()))

    async def session() -> int:
        token = os.environ.get("MAINSTAY_TOKEN", "")
        shared = open_forward(settings.fetch, gateway, token, strict=strict) if gateway else None
        async with shared or open_run(settings) as answering:
            return await run_session(command, answering, options)

    raise typer.Exit(asyncio.run(session()))
