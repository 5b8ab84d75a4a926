"""`mainstay usage import`: what other programs' logs tell of the registries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, load_settings


def import_logs(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Access logs, as they are or gzip; - is standard input."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="nginx, apache, artifactory, nexus, fastly, cloudfront or squid; default: found by itself.",
        ),
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What the events are called; default: the format.")
    ] = "",
    base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATH=]URL", help="What paths without a host are below: a registry's address, or an ecosystem."
        ),
    ] = None,
    forget: Annotated[
        str, typer.Option("--forget", metavar="NAME", help="Remove what was imported as NAME instead.")
    ] = "",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Read access logs of proxies, mirrors and CDNs, to see who asks registries past the gateway.

    Exits with 1 where more than half of a log cannot be read; nothing of it is kept then.
    """
    from datetime import UTC, datetime

    from mainstay.importing import import_logs as read_logs
    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.importers.report import render_reports, render_reports_json

    configure_logging("warning")
    if forget:
        _forget(forget, bool(files), config, data, as_json)
        return
    if not files:
        raise typer.BadParameter("name a log, or - for standard input")
    today = datetime.now(UTC).date()
    done = read_logs(load_settings(config, data), files, today, form=form, name=name, bases=base or ())
    render = render_reports_json if as_json else render_reports
    typer.echo(render(done.reports, done.removed_files, done.unknown_hosts_of))
    raise typer.Exit(1 if any(report.is_refused for report in done.reports) else 0)


def _forget(name: str, has_files: bool, config: Path | None, data: Path | None, as_json: bool) -> None:
    from mainstay.usage.imported import forget_imported

    if has_files:
        raise typer.BadParameter("--forget takes no logs")
    removed = forget_imported(load_settings(config, data).data_path, name)
    words = f"{name}: {removed:,} file{'s' * (removed != 1)} of events removed"
    typer.echo(json.dumps({"schema": 1, "name": name, "removed_files": removed}) if as_json else words)
