"""Options that several commands have, and the settings that they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mainstay.config import Config

By = Annotated[
    str,
    typer.Option(metavar="NAME,...", help="What makes a row: consumer, ecosystem, project, version, client, day ..."),
]
Since = Annotated[str, typer.Option(metavar="DAY", help='First day (UTC), or "7 days"; default the last 30 days.')]
Until = Annotated[str, typer.Option(metavar="DAY", help="Last day (UTC); default today.")]
EngineName = Annotated[str, typer.Option("--engine", metavar="NAME", help="duckdb, spark or spark://HOST:PORT.")]
Sort = Annotated[str, typer.Option(metavar="FIGURE", help="The largest of this come first.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings (mainstay.toml).")]
DataFolder = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def load_settings(config: Path | None, data: Path | None) -> Config:
    """The settings in force, with the data folder of the flag if there is one. Raises ConfigError."""
    from mainstay.ecosystems import ecosystems
    from mainstay.settings import load_config

    return load_config(config, os.environ, {"data": str(data)} if data else {}, tuple(ecosystems()))
