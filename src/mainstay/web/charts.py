"""Charts as SVG to stand inside a page: bars over time, drawn by Vega-Lite, coloured by the page's stylesheet.

What Vega-Lite is told as colours are marks, which become classes; so one drawing is right in light and dark, on screen
and on paper. A series is also told by its pattern, or by its width, never by colour alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

WIDE_PX, NARROW_PX, HEIGHT_PX = 520, 270, 190
"""The inner widths of the two drawings of a chart: for screens, and for phones, where its words stay legible."""
_STACKED, _LAID = ("#100001", "#100002", "#100003", "#100004"), ("#100005", "#100006")
_INK, _GRID = "#200001", "#200002"
_PAINTS = {_INK: 'class="ink"', _GRID: 'class="grid"', _STACKED[0]: 'class="series-1"'}
_PAINTS |= {mark: f'class="series-{at}" fill="url(#pattern-{at})"' for at, mark in enumerate(_STACKED[1:], 2)}
_PAINTS |= dict(zip(_LAID, ('class="behind"', 'class="before"')))
"""What stands in a page for each colour that Vega-Lite is told. The patterns are the page's."""
_PAINT = re.compile(r'(?:fill|stroke)="(#[12]0000[1-6])"')
_NEEDLESS = r"xmlns(?::\w+)?|aria-[a-z]+|role|font-family|version|class|pointer-events|cursor|style"
_DROPPED = re.compile(rf' (?:opacity="1"|(?:{_NEEDLESS})="[^"]*")')
_TICKS = {WIDE_PX: 9, NARROW_PX: 5}


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of bar. `values` has one whole number for each label of its chart."""

    name: str
    values: tuple[int, ...]

    @property
    def total(self) -> int:
        """Of all bars."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time. `is_stacked`: series, at most four, lie on one another and differ by pattern; else there are two,
    the second one narrower and before the first. `unit` is "" for counts or "B" for bytes."""

    name: str
    """A word that no other chart of the page has."""
    title: str
    words: str
    """What it shows, for who does not see it."""
    labels: tuple[str, ...]
    label_name: str
    series: tuple[Series, ...]
    unit: str = ""
    is_stacked: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(series.total for series in self.series)


def render_chart(chart: Chart, width_px: int) -> str:
    """The drawing at one of the two widths, as `<svg>` with title and description. Blocks: the first one of a process
    for about a second, others for some hundredths."""
    drawing = _draw(chart, width_px)
    ids = f"{chart.name}-{width_px}"
    size = re.match(r"<svg[^>]*?(viewBox=\"[^\"]*\")", drawing)
    start = drawing.index(">") + 1
    box = size[1] if size else ""
    head = f'<svg {box} role="img" aria-labelledby="{ids}-title {ids}-words" focusable="false">'
    names = (
        f'<title id="{ids}-title">{_escape(chart.title)}</title><desc id="{ids}-words">{_escape(chart.words)}</desc>'
    )
    return head + names + drawing[start:]


@lru_cache(maxsize=64)
def _draw(chart: Chart, width_px: int) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(_specify(chart, width_px))
    svg = svg[svg.index("<svg") :]
    return _PAINT.sub(lambda paint: _PAINTS[paint[1]], _DROPPED.sub("", svg))


def _specify(chart: Chart, width_px: int) -> dict[str, Any]:
    """What Vega-Lite is to draw."""
    import altair as alt

    rows = [
        {"at": at, "start": label, "of": number, "value": series.values[at]}
        for number, series in enumerate(chart.series)
        for at, label in enumerate(chart.labels)
    ]
    every = max(1, -(-len(chart.labels) // _TICKS[width_px]))
    shown = [at for at in range(len(chart.labels)) if at % every == 0]
    names = f"{list(chart.labels)}[datum.value]"
    marks = list(_STACKED if chart.is_stacked else _LAID)[: len(chart.series)]
    data = alt.InlineData(values=rows)
    across = alt.X("at:O", title=None, axis=alt.Axis(values=shown, labelExpr=names, labelAngle=0, tickSize=3))
    sizes = f"format(datum.value, '~s') + '{chart.unit}'"
    up_axis = alt.Axis(labelExpr=sizes, tickCount=4, domain=False, ticks=False)
    domain = alt.Scale(zero=True, nice=True)
    color = alt.Color("of:N", scale=alt.Scale(domain=list(range(len(chart.series))), range=marks), legend=None)
    picture = alt.Chart(data, width=width_px, height=HEIGHT_PX)
    if chart.is_stacked:
        up = alt.Y("value:Q", title=None, axis=up_axis, scale=domain, stack="zero")
        drawn: Any = picture.mark_bar(binSpacing=0).encode(x=across, y=up, color=color, order=alt.Order("of:Q"))
    else:
        up = alt.Y("value:Q", title=None, axis=up_axis, scale=domain, stack=None)
        bars = [
            picture.transform_filter(alt.datum.of == number)
            .mark_bar(width=alt.RelativeBandSize(band=0.9 if number == 0 else 0.45))
            .encode(x=across, y=up, color=color)
            for number in range(len(chart.series))
        ]
        drawn = alt.layer(*bars)
    words = {"labelColor": _INK, "labelFontSize": 12, "gridColor": _GRID, "domainColor": _GRID, "tickColor": _GRID}
    # The first of these makes the configuration that the others add to.
    drawn = drawn.configure(background="transparent", padding=4, aria=False).configure_axis(**words)
    specification: dict[str, Any] = drawn.configure_axisX(grid=False).configure_view(stroke=None).to_dict()
    return specification


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
