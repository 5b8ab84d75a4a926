"""`mainstay usage replay`: what caches of other sizes would have saved."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, Since, Until, load_settings


def replay(
    sizes: Annotated[
        str, typer.Option(metavar="SIZE,...", help="Sizes to try beside that of the settings.")
    ] = "1 GB,5 GB,20 GB",
    policy: Annotated[str, typer.Option(metavar="POLICY", help="What goes first: lru, s3fifo or both.")] = "both",
    since: Since = "",
    until: Until = "",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """What caches of other sizes would have saved of the files that were asked for."""
    from datetime import UTC, datetime

    from mainstay.config import parse_size
    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.question import parse_question
    from mainstay.usage.replay import UNLIMITED, parse_policies, parse_sizes, render_json, render_text, replay_period

    configure_logging("warning")
    question = parse_question([], since, until, datetime.now(UTC).date())
    tried, policies = parse_sizes(sizes), parse_policies(policy)
    settings = load_settings(config, data)
    own_bytes = parse_size(settings.cache.size)
    found = replay_period(
        settings.data_path,
        question.since,
        question.until,
        sorted({*tried, own_bytes}),
        policies=(*policies, UNLIMITED),
    )
    typer.echo((render_json if as_json else render_text)(found, own_bytes))
