"""`mainstay usage signals`: where proprietary software may be distributed through a public registry."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.options import AsJson, ConfigFile, DataFolder, Since, Until, load_settings

if TYPE_CHECKING:
    from mainstay.usage.signals import Report, Row

NOTE = (
    "These are signals and no verdict: what is declared may be wrong or old, and nobody read the licences.",
    "Only what passed through this gateway and is still in its store was looked at; no registry was asked.",
    "Upstreams that are private or have namespaces of their own are left out.",
)


def signals(
    ecosystem: Annotated[str, typer.Option(metavar="NAME", help="Only of this ecosystem.")] = "",
    project: Annotated[str, typer.Option(metavar="NAME", help="Only of this project.")] = "",
    lowest: Annotated[int, typer.Option(metavar="SCORE", min=0, max=100, help="Only from this score on.")] = 30,
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many rows.")] = 20,
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Signals of proprietary software in what passed through: evidence with a score, never a verdict."""
    from datetime import UTC, datetime

    from mainstay.telemetry.log import configure_logging
    from mainstay.usage.question import parse_question
    from mainstay.usage.signals import find_signals

    configure_logging("warning")
    question = parse_question([], since, until, datetime.now(UTC).date(), limit=limit)
    report = find_signals(load_settings(config, data), question, ecosystem, project, lowest)
    typer.echo(render_json(report) if as_json else render_text(report))


def render_text(report: Report) -> str:
    """A line for each project with its evidence below, the heaviest first, and what the list does not say. Of the
    documents only the last part of their addresses is shown."""
    from mainstay.usage.tables import printable, render_losses

    lines = [f"signals from {report.question.since} to {report.question.until} (UTC), from score {report.lowest} on"]
    for row in report.rows:
        lines += ["", *_row_lines(row)]
    if not report.rows:
        lines += ["", "No project has such a score."]
    unread = f"; {report.unreadable:,} documents or files could not be read" if report.unreadable else ""
    lines += ["", f"Of {report.projects:,} projects there is something to go by{unread}.", *NOTE]
    return "\n".join([*map(printable, lines), *render_losses(report.losses)])


def render_json(report: Report) -> str:
    """`{"schema": 1, "since", "until", "lowest", "rows": [...], "projects", "unreadable", "losses": [...], "note"}`;
    rows are as `Row`, with the figures of the ledger beside the evidence."""
    document = {
        "schema": 1,
        "since": report.question.since.isoformat(),
        "until": report.question.until.isoformat(),
        "lowest": report.lowest,
        "rows": [_row_fields(row) for row in report.rows],
        "projects": report.projects,
        "unreadable": report.unreadable,
        "losses": [asdict(loss) for loss in report.losses],
        "note": " ".join(NOTE),
    }
    return json.dumps(document)


def _row_lines(row: Row) -> list[str]:
    from mainstay.usage.tables import size

    requests = f"{row.use.requests:,} request{'s' * (row.use.requests != 1)}"
    name = " ".join(filter(None, (row.ecosystem, row.project, row.version)))
    lines = [f"{row.score:>3}  {name}: {size(row.use.bytes)} in {requests}"]
    for entry in row.evidence:
        weight = f"{entry.weight:+d}" if entry.weight else "0"
        lines.append(f"    {weight:>4}  {entry.text}  ({entry.source.rpartition('/')[2]})")
    return lines


def _row_fields(row: Row) -> dict[str, object]:
    return {**{name: value for name, value in asdict(row).items() if name != "use"}, **asdict(row.use)}
