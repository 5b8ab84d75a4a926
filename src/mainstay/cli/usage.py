"""`mainstay usage`: what the ledger of replies says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.options import AsJson, By, ConfigFile, DataFolder, EngineName, Since, Sort, Until, load_settings
from mainstay.cli.usage_import import import_logs
from mainstay.cli.usage_publisher import publisher
from mainstay.cli.usage_replay import replay
from mainstay.cli.usage_signals import signals
from mainstay.cli.usage_statement import statement
from mainstay.cli.usage_waste import waste

if TYPE_CHECKING:
    from mainstay.usage.answers import Answer

usage = typer.Typer(no_args_is_help=True, help="Who used what, at what cost upstream, and how much of it was waste.")


@usage.command()
def summary(
    by: By = "",
    since: Since = "",
    until: Until = "",
    sort: Sort = "bytes",
    engine: EngineName = "duckdb",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Requests, bytes, files, hits, cost upstream and redundant bytes, for each group and in all."""
    _print(_ask(by, since, until, sort, 0, engine, config, data), as_json)


@usage.command()
def top(
    by: By = "project",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many rows.")] = 20,
    sort: Sort = "bytes",
    engine: EngineName = "duckdb",
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The largest groups only. The total is that of all."""
    _print(_ask(by, since, until, sort, limit, engine, config, data), as_json)


@usage.command()
def export(
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="csv, json or parquet.")] = "csv",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: standard output.")] = None,
    by: By = "",
    since: Since = "",
    until: Until = "",
    sort: Sort = "bytes",
    engine: EngineName = "duckdb",
    config: ConfigFile = None,
    data: DataFolder = None,
) -> None:
    """A summary for another program. What the ledger has lost is said on standard error."""
    from mainstay.usage.tables import check_format, render_as, render_losses

    check_format(form, to_terminal=output is None and sys.stdout.isatty())
    answer = _ask(by, since, until, sort, 0, engine, config, data)
    content = render_as(form, answer)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        output.write_bytes(content)
    typer.echo("\n".join(render_losses(answer.losses)).strip("\n"), err=True, nl=bool(answer.losses))


def _ask(
    by: str, since: str, until: str, sort: str, limit: int, engine: str, config: Path | None, data: Path | None
) -> Answer:
    from datetime import UTC, datetime

    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.answers import ask
    from mainstay.usage.question import parse_question

    configure_logging("warning")
    question = parse_question([by], since, until, datetime.now(UTC).date(), sort=sort, limit=limit)
    return ask(load_settings(config, data).data_path, question, engine)


def _print(answer: Answer, as_json: bool) -> None:
    from mainstay.usage.tables import render_json, render_text

    typer.echo(render_json(answer) if as_json else render_text(answer).rstrip("\n"))


usage.command("replay")(replay)
usage.command("publisher")(publisher)
usage.command("import")(import_logs)
usage.command("statement")(statement)
usage.command("waste")(waste)
usage.command("signals")(signals)
