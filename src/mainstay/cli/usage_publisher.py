"""`mainstay usage publisher`: downloads by project and class, for those who run a registry."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, EngineName, Since, Until, load_settings


def publisher(
    ecosystem: Annotated[str, typer.Option(metavar="ID", help="Only this ecosystem.")] = "",
    project: Annotated[str, typer.Option(metavar="NAME", help="Only this project, by the name in the tables.")] = "",
    by: Annotated[str, typer.Option(metavar="NAME,...", help="Split projects: version, day.")] = "",
    smallest_group: Annotated[int, typer.Option(metavar="N", help="Withhold what fewer consumers did; 2 or more.")] = 5,
    imported: Annotated[bool, typer.Option("--imported", help="Of imported logs, not of this gateway.")] = False,
    since: Since = "",
    until: Until = "",
    engine: EngineName = "duckdb",
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="text, csv or json.")] = "text",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Downloads of each project by class, mirrors and scanners apart, small groups withheld."""
    from datetime import UTC, datetime

    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.publisher import check_format, publisher_view, render
    from mainstay.usage.question import parse_question
    from mainstay.usage.tables import render_losses

    configure_logging("warning")
    check_format(form)
    question = parse_question([], since, until, datetime.now(UTC).date())
    view = publisher_view(
        load_settings(config, data).data_path,
        question.since,
        question.until,
        engine,
        ecosystem=ecosystem,
        project=project,
        by=[by],
        smallest_group=smallest_group,
        imported=imported,
    )
    typer.echo(render("json" if as_json else form, view))
    if form == "csv" and not as_json:
        typer.echo("\n".join(render_losses(view.losses)).strip("\n"), err=True, nl=bool(view.losses))
