from __future__ import annotations

import re

import pytest
from selectolax.lexbor import LexborHTMLParser

from mainstay.web.charts import NARROW_PX, WIDE_PX, Chart, Series, render_chart

LABELS = tuple(f"{hour:02}:00" for hour in range(24))
STACKED = Chart(
    "requests",
    "Requests <by> outcome",
    'Requests: "hit" 300 & miss 24.',
    LABELS,
    "hour",
    tuple(Series(name, tuple(range(24))) for name in ("hit", "checked", "miss", "refused")),
)
LAID = Chart(
    "bytes", "Bytes", "Served 10 GB.", LABELS, "hour",
    (Series("served", (10**9,) * 24), Series("from upstream", (3 * 10**8,) * 24)), unit="B", is_stacked=False,
)  # fmt: skip


def drawing(chart: Chart, width_px: int = WIDE_PX) -> LexborHTMLParser:
    """The drawing as a browser reads it inside a page."""
    return LexborHTMLParser(f"<body>{render_chart(chart, width_px)}</body>")


@pytest.mark.parametrize("chart", [STACKED, LAID], ids=["stacked", "laid"])
@pytest.mark.parametrize("width_px", [WIDE_PX, NARROW_PX])
def test_a_drawing_says_what_it_shows(chart, width_px):
    """As one image with a name and a description, which are its own on the page."""
    (svg,) = drawing(chart, width_px).css("svg")
    assert svg.attributes["role"] == "img"
    named, described = svg.attributes["aria-labelledby"].split()
    assert svg.css_first(f"title#{named}").text() == chart.title
    assert svg.css_first(f"desc#{described}").text() == chart.words
    assert not [
        node for node in svg.css("g, path, line, text") if "role" in node.attributes or "aria-label" in node.attributes
    ]


@pytest.mark.parametrize("chart", [STACKED, LAID], ids=["stacked", "laid"])
def test_a_drawing_has_no_style_of_its_own(chart):
    """The policy of the pages forbids it, and colours are the stylesheet's, in light and dark."""
    text = render_chart(chart, WIDE_PX)
    assert "style" not in text
    assert "font-family" not in text
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb|hsl", text)
    assert "http" not in text


def test_stacked_bars_are_told_apart_by_pattern():
    """The first one is plain, each other one refers to a pattern of the page; none is told by its colour alone."""
    found = drawing(STACKED)
    for number in range(1, 5):
        bars = found.css(f"path.series-{number}, rect.series-{number}")
        assert len(bars) >= 23, number
        assert {bar.attributes.get("fill") for bar in bars} == {None if number == 1 else f"url(#pattern-{number})"}


def test_bars_that_lie_on_one_another_are_told_apart_by_width():
    """What came from upstream is a narrow bar before the wide one of what was served."""
    found = drawing(LAID)

    def widths(name: str) -> set[float]:
        return {float(re.findall(r"h(-?[\d.]+)", bar.attributes["d"])[0]) for bar in found.css(f"path.{name}")}

    assert len(found.css("path.behind")) == len(found.css("path.before")) == 24
    assert max(widths("before")) < min(widths("behind"))


@pytest.mark.parametrize(("width_px", "most"), [(WIDE_PX, 9), (NARROW_PX, 5)])
def test_words_below_the_bars_stay_legible(width_px, most):
    """As many as fit, the first one first, in the size that they are drawn in."""
    texts = [node.text() for node in drawing(STACKED, width_px).css("text.ink")]
    shown = [text for text in texts if text in LABELS]
    assert shown[0] == LABELS[0]
    assert 3 <= len(shown) <= most


def test_one_bar_can_be_drawn():
    """The first hour of a day."""
    chart = Chart("a", "A", "One.", ("00:00",), "hour", (Series("hit", (1,)), Series("miss", (0,))))
    assert drawing(chart).css(".series-1")
