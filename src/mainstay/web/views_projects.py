"""What is asked for: the table of projects, and the page of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from mainstay.db.ledger import LedgerLoss
from mainstay.ecosystems import ecosystems
from mainstay.errors import RequestError
from mainstay.usage.engines import Row
from mainstay.usage.tables import printable
from mainstay.web.figures import Reading, read, timeline
from mainstay.web.period import Period, parse_period
from mainstay.web.views_frame import look, render_page, site_of, today
from mainstay.web.views_tables import (
    ASKED,
    BYTES,
    CONSUMER,
    FETCHED,
    FIGURES,
    HIT_RATE,
    PROJECT,
    REDUNDANT,
    REQUESTS,
    Column,
    Listed,
    Table,
    caption_of,
    parse_page,
    parse_sort,
)
from mainstay.web.views_traffic import add_up, chart_traffic, draw, list_refusals, tiles_of

ON_A_PAGE = 100
TOP = 50
_COLUMNS = (*PROJECT, REQUESTS, BYTES, HIT_RATE, ASKED, FETCHED, REDUNDANT)
_LONGEST_FILTER = 200


async def show_projects(request: Request) -> Response:
    """Every project with its figures, the largest first; those of an ecosystem, or whose name has a text."""
    query = request.query_params
    period = parse_period(query, today(), "7")
    sort, page = parse_sort(query), parse_page(query)
    ecosystem, name = query.get("ecosystem", ""), query.get("name", "").strip()
    if len(name) > _LONGEST_FILTER:
        raise RequestError("That is too long for a part of a name.", hint=f"At most {_LONGEST_FILTER} characters.")
    data, skip = site_of(request).data, (page - 1) * ON_A_PAGE
    only = {"ecosystem": ecosystem} if ecosystem else {}

    def work(reading: Reading) -> Listed:
        by = ("ecosystem", "project")
        rows = reading.rows(by, only, sort=sort, limit=ON_A_PAGE + 1, skip=skip, holding=name)
        return Listed(rows, reading.losses, reading.read_at)

    found = await look(
        request,
        ("projects", period.since, period.until, sort, page, ecosystem, name),
        lambda: read(data, period.since, period.until, work),
    )
    empty = "No project is like that in this period." if page == 1 else "There are no more."
    return render_page(
        request,
        "projects.html",
        period=period,
        table=Table(
            "projects",
            caption_of("Projects", sort),
            _COLUMNS,
            found.rows[:ON_A_PAGE],
            empty,
            sort,
            {"ecosystem": ecosystem, "name": name},
        ),
        page=page,
        has_more=len(found.rows) > ON_A_PAGE,
        chosen={"ecosystem": ecosystem, "name": name, "sort": "" if sort == BYTES.key else sort},
        ecosystem=ecosystem,
        name=name,
        losses=found.losses,
        read_at=found.read_at,
        ecosystems=[(adapter.id, adapter.label) for adapter in ecosystems().values()],
    )


@dataclass(frozen=True, slots=True)
class _One:
    timeline: list[Row]
    versions: list[Row]
    consumers: list[Row]
    classes: list[Row]
    upstreams: list[Row]
    losses: tuple[LedgerLoss, ...]
    read_at: datetime


async def show_project(request: Request) -> Response:
    """One project: when, which versions, by whom, by people or machines, from where."""
    period = parse_period(request.query_params, today(), "7")
    ecosystem, name = request.path_params["ecosystem"], request.path_params["project"]
    data = site_of(request).data
    found = await look(
        request,
        ("project", ecosystem, name, period.since, period.until),
        lambda: read(data, period.since, period.until, lambda reading: _one(reading, ecosystem, name, period)),
    )
    totals = add_up(found.timeline)
    tables = (
        (
            "Versions",
            _table("version", f"Its {TOP} largest versions by bytes served; indexes have none", found.versions),
        ),
        ("Consumers", Table("consumers", f"Its {TOP} largest by bytes served", (CONSUMER, *FIGURES), found.consumers)),
        ("Classes", _table("class", "By class of client", found.classes)),
        ("Upstreams", _table("upstream", "By the registry that it came from", found.upstreams)),
    )
    adapter = ecosystems().get(ecosystem)
    return render_page(
        request,
        "project.html",
        period=period,
        ecosystem=ecosystem,
        label=adapter.label if adapter else ecosystem,
        name=name,
        is_empty=not (totals.requests or totals.upstream_requests),
        tiles=tiles_of(totals),
        charts=await draw(chart_traffic(found.timeline, period, datetime.now(UTC), f" of {printable(name)}")),
        tables=tables,
        refusals=list_refusals(found.timeline),
        losses=found.losses,
        read_at=found.read_at,
    )


def _table(name: str, caption: str, rows: list[Row]) -> Table:
    return Table(name, caption, (Column(name, name.capitalize(), "name", is_head=True), *FIGURES), rows)


def _one(reading: Reading, ecosystem: str, name: str, period: Period) -> _One:
    only = {"ecosystem": ecosystem, "project": name}

    def by(dimension: str) -> list[Row]:
        return reading.sums((dimension,), only, limit=TOP)

    when = timeline(reading, period.step_us, only)
    return _One(when, by("version"), by("consumer"), by("class"), by("upstream"), reading.losses, reading.read_at)
