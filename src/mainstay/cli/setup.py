"""`mainstay setup`: the clients' own configuration, pointed at the gateway."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mainstay.config import Config


def setup(
    clients: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIENT", show_default=False, help="The name of a client; a wrong one lists them all."),
    ] = None,
    gateway: Annotated[
        str, typer.Option(metavar="URL", envvar="MAINSTAY_URL", help="The gateway; default the one of the settings.")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take out what setup wrote, and nothing else.")] = False,
    only_print: Annotated[bool, typer.Option("--print", help="Show what would be written, and write nothing.")] = False,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings (mainstay.toml).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Point CLIENTs at the gateway in their own configuration, for this user.

    Without CLIENT all that are found on PATH; with --undo all. Exits with 3 where a file could not be changed.
    """
    from mainstay.clients.disk import Disk
    from mainstay.clients.outcome import render_outcomes
    from mainstay.clients.places import Machine
    from mainstay.clients.setup import find_notes, set_up, take_back
    from mainstay.clients.targets import choose_targets
    from mainstay.ecosystems import ecosystems
    from mainstay.settings import load_config

    targets = choose_targets(ecosystems().values(), clients or [], None if undo else os.environ)
    machine, disk = Machine(os.environ, Path.home(), sys.platform), Disk(only_look=only_print)
    if undo:
        outcomes = take_back(targets, machine, disk, show=only_print)
    else:
        settings = load_config(config, os.environ, {}, tuple(ecosystems()))
        url = gateway or settings.public_url or _listen_url(settings)
        outcomes = set_up(targets, url, machine, disk, show=only_print)
    notes = [] if undo else find_notes(os.environ)
    if as_json:
        document = {"schema": 1, "clients": [asdict(outcome) for outcome in outcomes], "notes": notes}
        typer.echo(json.dumps(document | {"only_printed": only_print}))
    else:
        typer.echo(render_outcomes(outcomes, notes), nl=False)
    raise typer.Exit(3 if any(outcome.action == "refused" for outcome in outcomes) else 0)


def _listen_url(settings: Config) -> str:
    from mainstay.app import listen_url  # which takes a second to import

    return listen_url(settings)
