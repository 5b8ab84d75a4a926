"""What was answered and what it cost upstream: totals, charts over time, and what was refused and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from mainstay.usage.engines import Row
from mainstay.usage.queries import DAY_US, midnight_us
from mainstay.web.charts import NARROW_PX, WIDE_PX, Chart, Series, render_chart
from mainstay.web.period import HOUR_US, Period
from mainstay.web.views_frame import render_count, render_rate, render_size
from mainstay.web.views_tables import Column, Table

STORE = "from the store"
_KINDS = (
    (STORE, ("hit",)),
    ("checked or shared", ("revalidated", "collapsed", "stale")),
    ("fetched", ("miss",)),
)
_REST = "refused, failed, missing"
_THROTTLED = {
    "refused": ("refused", "over the limits of its tier"),
    "waited": ("held back", "over the limits of its tier"),
    "would-refuse": ("would be refused", "limits of its tier, which are only evaluated"),
    "would-wait": ("would be held back", "limits of its tier, which are only evaluated"),
}
_BY_STATUS = {
    401: "no credential, or one that is not in force",
    403: "a rule, or a release that upstream took away",
    405: "a write, and the gateway only reads",
    429: "over the limits of its tier",
}


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of a whole period, in numbers of replies and bytes."""

    requests: int
    hits: int
    bytes: int
    upstream_requests: int
    upstream_bytes: int
    refused: int

    @property
    def hit_rate(self) -> float | None:
        """Part of the replies that the store gave without a word to upstream; None without replies."""
        return self.hits / self.requests if self.requests else None

    @property
    def saved_bytes(self) -> int:
        """Bytes that upstream did not have to send; below 0 where more was fetched than asked for."""
        return self.bytes - self.upstream_bytes

    @property
    def saved_requests(self) -> int:
        """Requests that upstream did not have to answer."""
        return self.requests - self.upstream_requests

    @property
    def saved_rate(self) -> float | None:
        """What was saved as a part of the bytes served; None without bytes, and where nothing was saved."""
        return self.saved_bytes / self.bytes if self.bytes and self.saved_bytes >= 0 else None


def add_up(rows: Sequence[Row]) -> Totals:
    """The totals of a timeline."""

    def total(name: str, chosen: Sequence[Row]) -> int:
        return sum(int(row[name]) for row in chosen)

    refused = [row for row in rows if "refused" in (row["outcome"], row["throttled"])]
    return Totals(
        requests=total("requests", rows),
        hits=total("requests", [row for row in rows if row["outcome"] == "hit"]),
        bytes=total("bytes", rows),
        upstream_requests=total("upstream_requests", rows),
        upstream_bytes=total("upstream_bytes", rows),
        refused=total("requests", refused),
    )


def chart_traffic(rows: Sequence[Row], period: Period, now: datetime, whose: str = "") -> tuple[Chart, Chart]:
    """Two charts of a timeline: requests by outcome, and bytes served against those from upstream. Bars go up to the
    hour of `now`. `whose` names whose they are in the charts' words: " of NAME"."""
    starts, labels = _bars(period, now)
    requests, served, fetched = Counter[tuple[str, int]](), Counter[int](), Counter[int]()
    for row in rows:
        start = int(row["start_us"])
        requests[_kind_of(row["outcome"]), start] += int(row["requests"])
        served[start] += int(row["bytes"])
        fetched[start] += int(row["upstream_bytes"])
    names = [*(name for name, _ in _KINDS), _REST]
    by_outcome = tuple(Series(name, tuple(requests[name, start] for start in starts)) for name in names)
    sizes = tuple(
        Series(name, tuple(counted[start] for start in starts))
        for name, counted in (("served", served), ("from upstream", fetched))
    )
    step = period.step_words
    when = f"in each {step} of {period.words} (UTC)"
    return (
        Chart("requests", f"Requests by outcome, by {step}", _say(f"Requests{whose} {when}", by_outcome, render_count),
              labels, step, by_outcome),
        Chart("bytes", f"Served and from upstream, by {step}", _say(f"Bytes{whose} {when}", sizes, render_size),
              labels, step, sizes, unit="B", is_stacked=False),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart with its two drawings."""

    chart: Chart
    wide: Markup
    narrow: Markup


async def draw(charts: Sequence[Chart]) -> list[Drawn]:
    """Charts as pages show them; of one that is empty there is no drawing."""
    return await asyncio.to_thread(lambda: [_draw(chart) for chart in charts])


def _draw(chart: Chart) -> Drawn:
    # The drawings are our own, and what is in them of others' words was escaped there.
    wide, narrow = ("" if chart.is_empty else render_chart(chart, width) for width in (WIDE_PX, NARROW_PX))
    return Drawn(chart, Markup(wide), Markup(narrow))  # noqa: S704


def list_refusals(rows: Sequence[Row], name: str = "refused") -> Table:
    """What of a timeline was refused or held back, or would have been, and why."""
    found = Counter[tuple[str, str]]()
    for row in rows:
        if row["requests"] and (why := _why(row)):
            found[why] += int(row["requests"])
    columns = (
        Column("what", "What", is_head=True),
        Column("why", "Why"),
        Column("requests", "Requests", "count"),
    )
    listed = [{"what": what, "why": why, "requests": count} for (what, why), count in found.most_common()]
    caption = "Requests that were refused or held back, or would be"
    return Table(name, caption, columns, listed, "Nothing was refused or held back.")


def tiles_of(totals: Totals) -> list[dict[str, str]]:
    """What stands in large figures at the top: `name`, `value`, `note`, and `live`, the word by which the script knows
    it."""
    fewer = "fewer" if totals.saved_requests >= 0 else "more"
    saved = f"{render_count(abs(totals.saved_requests))} {fewer} requests"
    return [
        _tile("Hit rate", render_rate(totals.hit_rate), "answered without upstream", "hit_rate"),
        _tile("Requests", render_count(totals.requests), f"{render_count(totals.refused)} refused", "requests"),
        _tile("Served", render_size(totals.bytes), "to clients", "bytes"),
        _tile("Asked upstream", render_count(totals.upstream_requests), "requests", "upstream_requests"),
        _tile("From upstream", render_size(totals.upstream_bytes), "fetched", "upstream_bytes"),
        _tile("Saved upstream", render_size(max(0, totals.saved_bytes)), saved, "saved_bytes"),
    ]


def _tile(name: str, value: str, note: str, live: str) -> dict[str, str]:
    return {"name": name, "value": value, "note": note, "live": live}


def _bars(period: Period, now: datetime) -> tuple[list[int], tuple[str, ...]]:
    first, end = midnight_us(period.since), midnight_us(period.until) + DAY_US
    is_by_hour = period.step_us == HOUR_US
    if is_by_hour:
        # Hours to come are no hours without requests.
        end = min(end, max(first + period.step_us, int(now.timestamp()) * 1_000_000 + 1))
    starts = list(range(first, end, period.step_us))
    form = "%H:%M" if period.days == 1 else "%d %b %H:%M" if is_by_hour else "%d %b"
    return starts, tuple(datetime.fromtimestamp(start // 1_000_000, UTC).strftime(form) for start in starts)


def _kind_of(outcome: str) -> str:
    return next((name for name, outcomes in _KINDS if outcome in outcomes), _REST)


def _why(row: Row) -> tuple[str, str] | None:
    if row["throttled"] in _THROTTLED:
        return _THROTTLED[row["throttled"]]
    if row["outcome"] != "refused":
        return None
    return "refused", _BY_STATUS.get(row["status"], f"answered with status {row['status']}")


def _say(what: str, series: Sequence[Series], render: Any) -> str:
    return f"{what}: " + ", ".join(f"{one.name} {render(one.total)}" for one in series) + "."
