"""`mainstay usage waste`: what was fetched in vain, and the change that ends it."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, EngineName, Since, Until, load_settings


def waste(
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="How many findings; 0 is all.")] = 20,
    sizes: Annotated[
        str, typer.Option(metavar="SIZE,...", help='Caches to try; "" for none.')
    ] = "1 GB,5 GB,20 GB,100 GB",
    engine: EngineName = "duckdb",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """What was sent again, asked in vain or fetched past the gateway, with the one change that would end each."""
    from datetime import UTC, datetime

    from mainstay.app import listen_url
    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.question import parse_question
    from mainstay.usage.replay import parse_sizes
    from mainstay.usage.waste import find_waste
    from mainstay.usage.waste_report import render_json, render_text

    configure_logging("warning")
    period = parse_question([], since, until, datetime.now(UTC).date())
    tried = parse_sizes(sizes) if sizes.strip() else []
    settings = load_settings(config, data)
    found = find_waste(
        settings.data_path,
        period.since,
        period.until,
        engine,
        gateway_url=settings.public_url or listen_url(settings),
        document_ttl_s=settings.cache.document_ttl_s,
        sizes=tried,
    )
    typer.echo(render_json(found, limit) if as_json else render_text(found, limit).rstrip("\n"))
