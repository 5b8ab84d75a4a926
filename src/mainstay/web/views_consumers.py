"""Who calls: the table of consumers, and the page of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from mainstay.db.ledger import LedgerLoss
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
    REFUSED,
    REQUESTS,
    WAITED,
    Column,
    Listed,
    Table,
    caption_of,
    parse_page,
    parse_sort,
)
from mainstay.web.views_traffic import add_up, chart_traffic, draw, list_refusals, tiles_of

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

ON_A_PAGE = 100
TOP, TOP_WASTED = 25, 10
_WOULD = ("would-wait", "would-refuse")
_COLUMNS = (
    CONSUMER,
    Column("tier", "Tier", "name"),
    REQUESTS,
    BYTES,
    HIT_RATE,
    ASKED,
    FETCHED,
    REDUNDANT,
    REFUSED,
    WAITED,
    Column("would", "Would be limited", "count"),
)
_CLIENTS = (Column("client", "Client", "name", is_head=True), Column("class", "Class", "name"))


async def show_consumers(request: Request) -> Response:
    """Every consumer with its figures, the largest first."""
    period = parse_period(request.query_params, today(), "7")
    sort, page = parse_sort(request.query_params), parse_page(request.query_params)
    data, skip = site_of(request).data, (page - 1) * ON_A_PAGE
    found = await look(
        request,
        ("consumers", period.since, period.until, sort, page),
        lambda: read(data, period.since, period.until, lambda reading: _consumers(reading, sort, skip)),
    )
    chosen = {} if sort == BYTES.key else {"sort": sort}
    empty = "Nobody called in this period." if page == 1 else "There are no more."
    table = Table("consumers", caption_of("Consumers", sort), _COLUMNS, found.rows[:ON_A_PAGE], empty, sort)
    return render_page(
        request,
        "consumers.html",
        period=period,
        table=table,
        page=page,
        has_more=len(found.rows) > ON_A_PAGE,
        chosen=chosen,
        losses=found.losses,
        read_at=found.read_at,
    )


@dataclass(frozen=True, slots=True)
class _One:
    timeline: list[Row]
    projects: list[Row]
    clients: list[Row]
    wasted: list[Row]
    tiers: list[str]
    losses: tuple[LedgerLoss, ...]
    read_at: datetime


async def show_consumer(request: Request) -> Response:
    """One consumer: when, which projects, with which clients, and what it was sent again and again."""
    period = parse_period(request.query_params, today(), "7")
    name, data = request.path_params["name"], site_of(request).data
    found = await look(
        request,
        ("consumer", name, period.since, period.until),
        lambda: read(data, period.since, period.until, lambda reading: _one(reading, name, period)),
    )
    totals = add_up(found.timeline)
    return render_page(
        request,
        "consumer.html",
        period=period,
        name=name,
        tiers=found.tiers,
        is_empty=not (totals.requests or totals.upstream_requests),
        tiles=tiles_of(totals),
        charts=await draw(chart_traffic(found.timeline, period, datetime.now(UTC), f" of {printable(name)}")),
        projects=Table("projects", f"Its {TOP} largest projects by bytes served", (*PROJECT, *FIGURES), found.projects),
        clients=Table("clients", "The programs it calls with", (*_CLIENTS, *FIGURES), found.clients),
        wasted=Table(
            "wasted",
            "Projects whose files it was sent whole although it had been sent them before",
            (*PROJECT, REQUESTS, BYTES, REDUNDANT),
            found.wasted,
            "It was sent no whole file twice.",
        ),
        refusals=list_refusals(found.timeline),
        losses=found.losses,
        read_at=found.read_at,
    )


def _consumers(reading: Reading, sort: str, skip: int) -> Listed:
    rows = reading.rows(("consumer",), sort=sort, limit=ON_A_PAGE + 1, skip=skip)
    names = [row["consumer"] for row in rows]
    tiers = _tiers(reading, names)
    would = {row["consumer"]: row["would"] for row in _would(reading, names)}
    more = [{"tier": ", ".join(tiers[name]), "would": would.get(name, 0)} for name in names]
    return Listed([row | added for row, added in zip(rows, more)], reading.losses, reading.read_at)


def _tiers(reading: Reading, names: Sequence[str]) -> dict[str, list[str]]:
    """The tiers that each of these consumers had, in order of name."""

    def build(events: ir.Table) -> ir.Table:
        return events.filter(events["consumer"].isin(names)).select("consumer", "tier").distinct()

    found: dict[str, list[str]] = {name: [] for name in names}
    for row in reading.events(build) if names else []:
        found[row["consumer"]].append(row["tier"])
    return {name: sorted(filter(None, tiers)) for name, tiers in found.items()}


def _would(reading: Reading, names: Sequence[str]) -> list[Row]:
    """How many requests of each of these consumers would have been held back or refused."""

    def build(events: ir.Table) -> ir.Table:
        limited = events.filter(events["consumer"].isin(names), events["throttled"].isin(_WOULD))
        return limited.group_by("consumer").aggregate(would=limited.count())

    return reading.events(build) if names else []


def _one(reading: Reading, name: str, period: Period) -> _One:
    only = {"consumer": name}
    wasted = reading.rows(("consumer", "ecosystem", "project"), only, sort=REDUNDANT.key, limit=TOP_WASTED)
    return _One(
        timeline(reading, period.step_us, only),
        reading.sums(("ecosystem", "project"), only, limit=TOP),
        reading.sums(("client", "class"), only),
        [row for row in wasted if row[REDUNDANT.key]],
        _tiers(reading, [name])[name],
        reading.losses,
        reading.read_at,
    )
