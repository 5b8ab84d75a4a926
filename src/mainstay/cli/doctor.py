"""`mainstay doctor`: what is found, what is wrong, what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings (mainstay.toml).")] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no upstream.")] = False,
) -> None:
    """Look at the settings, the machine, the upstreams and the clients, and say what is wrong and what to do.

    It changes nothing. Exits with 1 where a problem was found; warnings do not count.
    """
    from mainstay.doctor.examine import examine
    from mainstay.doctor.finding import Result
    from mainstay.doctor.report import render_json, render_text
    from mainstay.telemetry.log import configure_logging

    configure_logging("error")
    findings = examine(config, {"data": str(data)} if data else {}, offline=offline)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    typer.echo(render_json(findings) if as_json else render_text(findings, colour=colour).rstrip("\n"))
    raise typer.Exit(any(finding.result is Result.PROBLEM for finding in findings))
