"""The first page: a period at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from mainstay.db.ledger import LedgerLoss
from mainstay.ecosystems import ecosystems
from mainstay.usage.engines import Row
from mainstay.web.figures import Reading, read, timeline
from mainstay.web.period import Period, parse_period
from mainstay.web.views_frame import gateway_url, look, render_page, site_of, today
from mainstay.web.views_tables import BYTES, CONSUMER, FETCHED, HIT_RATE, PROJECT, REQUESTS, Column, Table
from mainstay.web.views_traffic import add_up, chart_traffic, draw, list_refusals, tiles_of

TOP = 10


@dataclass(frozen=True, slots=True)
class _Overview:
    timeline: list[Row]
    consumers: list[Row]
    projects: list[Row]
    losses: tuple[LedgerLoss, ...]
    read_at: datetime


async def show_overview(request: Request) -> Response:
    """Hit rate, requests, bytes, what upstream was asked and spared, who, what, and what was refused."""
    period = parse_period(request.query_params, today())
    data = site_of(request).data
    found = await look(
        request,
        ("overview", period.since, period.until),
        lambda: read(data, period.since, period.until, lambda reading: _overview(reading, period)),
    )
    totals = add_up(found.timeline)
    return render_page(
        request,
        "overview.html",
        period=period,
        is_empty=not (totals.requests or totals.upstream_requests),
        is_live=period.choice == "today",
        tiles=tiles_of(totals),
        charts=await draw(chart_traffic(found.timeline, period, datetime.now(UTC))),
        consumers=_top("consumers", "Consumers by bytes served", (CONSUMER,), found.consumers),
        projects=_top("projects", "Projects by bytes served", PROJECT, found.projects),
        refusals=list_refusals(found.timeline),
        losses=found.losses,
        read_at=found.read_at,
        setup=list_setup(gateway_url(request)),
    )


def list_setup(url: str) -> list[tuple[str, list[str]]]:
    """For each ecosystem what to type to use the gateway at `url`, as the gateway says when it starts."""
    return [
        (ecosystem.label, [line.format(url=f"{url}/{ecosystem.mount}") for line in ecosystem.usage])
        for ecosystem in ecosystems().values()
    ]


def _overview(reading: Reading, period: Period) -> _Overview:
    return _Overview(
        timeline(reading, period.step_us),
        reading.sums(("consumer",), limit=TOP),
        [row for row in reading.sums(("ecosystem", "project"), limit=TOP + 1) if row["project"]][:TOP],
        reading.losses,
        reading.read_at,
    )


def _top(name: str, caption: str, head: tuple[Column, ...], rows: list[Row]) -> Table:
    return Table(name, caption, (*head, REQUESTS, BYTES, HIT_RATE, FETCHED), rows)
