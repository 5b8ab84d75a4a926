"""`mainstay serve`: the gateway as a service at its own addresses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer


def serve(
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings (mainstay.toml).")] = None,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Port to listen on.")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Worker processes; default one per core.")] = None,
) -> None:
    """Serve every package manager from one address until stopped.

    SIGTERM and Ctrl-C finish what is being sent and stop. SIGHUP reads the settings again and replaces the workers.
    """
    from mainstay.ecosystems import ecosystems
    from mainstay.serving import run_server
    from mainstay.settings import load_config

    server = {"host": host, "port": port, "workers": workers}
    flags: dict[str, Any] = {"server": {name: value for name, value in server.items() if value is not None}}
    if data is not None:
        flags["data"] = str(data)
    settings = load_config(config, os.environ, flags, tuple(ecosystems()))
    run_server(settings, config, flags)
