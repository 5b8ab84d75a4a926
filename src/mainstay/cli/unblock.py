"""`mainstay unblock`: let a release through that upstream took away."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer


def unblock(
    purl: Annotated[str, typer.Argument(metavar="PURL", help="pkg:TYPE/NAME@VERSION, without @VERSION the project.")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings (mainstay.toml).")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Lift the block on a release that upstream took away. Running gateways follow at once.

    Exits with 1 where nothing was blocked.
    """
    from mainstay.ecosystems import ecosystems
    from mainstay.settings import load_config
    from mainstay.upstream.takedowns import lift_blocks

    flags = {"data": str(data)} if data else {}
    lifted = lift_blocks(load_config(config, os.environ, flags, tuple(ecosystems())), purl)
    words = f"{lifted} lifted" if lifted else "nothing was blocked"
    typer.echo(json.dumps({"schema": 1, "purl": purl, "lifted": lifted}) if as_json else f"{purl}: {words}")
    raise typer.Exit(0 if lifted else 1)
