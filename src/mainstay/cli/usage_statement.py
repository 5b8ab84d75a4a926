"""`mainstay usage statement`: a fair share of the registries' costs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, EngineName, Since, Until, load_settings

if TYPE_CHECKING:
    from mainstay.usage.statement import Statement


def statement(
    since: Since = "",
    until: Until = "",
    month: Annotated[str, typer.Option(metavar="MONTH", help="A whole month (UTC), as 2026-10.")] = "",
    consumer: Annotated[str, typer.Option(metavar="NAME", help="This consumer's part alone.")] = "",
    currency: Annotated[str, typer.Option(metavar="CODE", help="USD, EUR, or one that the costs add.")] = "USD",
    costs: Annotated[Path | None, typer.Option(metavar="FILE", help="Costs of your own (TOML), over ours.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="text, json, csv or html.")] = "text",
    as_json: AsJson = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: standard output.")] = None,
    engine: EngineName = "duckdb",
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """What a fair share of the registries' costs is, for each consumer: a suggestion, with all that it rests on."""
    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.costs import load_costs, private_upstreams
    from mainstay.usage.statement import make_statement, parse_statement_period
    from mainstay.usage.statement_render import check_statement_format

    configure_logging("warning")
    form = "json" if as_json else form
    check_statement_format(form)
    first, last = parse_statement_period(month, since, until, datetime.now(UTC).date())
    settings = load_settings(config, data)
    found = make_statement(
        settings.data_path,
        first,
        last,
        engine,
        consumer=consumer,
        currency=currency,
        costs=load_costs(costs),
        private=private_upstreams(settings),
    )
    _write(_render(found, form), output)
    _warn(found, form)


def _render(found: Statement, form: str) -> str:
    from mainstay.usage import statement_html, statement_render

    if form == "html":
        return statement_html.render_statement_html(found)
    if form == "json":
        return statement_render.render_statement_json(found) + "\n"
    if form == "csv":
        return statement_render.render_statement_csv(found)
    return statement_render.render_statement_text(found)


def _write(text: str, output: Path | None) -> None:
    from mainstay.errors import ConfigError

    if output is None:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(text.encode())
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}.", hint="Name a file that can be written.") from error


def _warn(found: Statement, form: str) -> None:
    """Say on standard error what is lost, where the form itself has no place for it."""
    from mainstay.usage.tables import render_losses

    if form == "csv" and found.losses:
        typer.echo("\n".join(render_losses(found.losses)).strip("\n"), err=True)
