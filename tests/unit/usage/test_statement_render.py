"""A statement as text, JSON, CSV and a page."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from mainstay.db.ledger import LedgerLoss
from mainstay.usage.costs import Costs, load_costs
from mainstay.usage.statement import Statement, divide
from mainstay.usage.statement_html import render_statement_html
from mainstay.usage.statement_money import render_money
from mainstay.usage.statement_render import (
    COLUMNS,
    render_statement_csv,
    render_statement_json,
    render_statement_text,
)
from unit.usage.test_costs import calculate
from unit.usage.test_statement import LAST, MADE, OTHER, PRIVATE, PUBLIC, ROUND, ROWS, Row, answer

VOID = {"meta", "br"}
LOSSES = (LedgerLoss("<i>lost.log", "it was\x1b[31m killed", 0, 1_200, 0),)
FULL: list[Row] = [
    *ROWS,
    ("team-a", "npm", OTHER, 1_000_000, 10**12, 100_000, 10**11),
    ("team-a", "pypi", PRIVATE, 7, 70, 6, 60),
    ("team-a", "pypi", "", 1, 10, 0, 0),
]


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    """The program's, but for one registry, whose name holds markup."""
    path = tmp_path_factory.mktemp("costs") / "costs.toml"
    path.write_text(ROUND)
    return load_costs(path)


@pytest.fixture(scope="module")
def statement(costs: Costs) -> Statement:
    """One with everything that there may be."""
    return divide(answer(FULL, LOSSES), costs, consumer="", currency="EUR", private=(PRIVATE,), made=MADE)


def empty(costs: Costs, **changes: Any) -> Statement:
    """One of a ledger without events, or of a consumer without use."""
    rows = ROWS if changes.get("consumer") else ()
    words: dict[str, Any] = {"consumer": "", "currency": "USD", "private": (), "made": LAST}
    return divide(answer(rows), costs, **words | changes)


class Page(HTMLParser):
    """Reads a page: what is open must be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes it."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Must close what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Notes the text of a cell, and all text."""
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data
        if "style" not in self.open:
            self.words.append(data)


def test_the_text_has_every_line_and_what_it_rests_on(statement):
    """Amounts, basis, the command, what has no amount, and what is lost; nothing speaks to the terminal."""
    text = render_statement_text(statement)
    lines = text.splitlines()
    assert lines[0] == "statement from 2026-10-01 to 2026-10-31 (UTC), in EUR"
    assert lines[2].split("  ")[0] == "consumer" and "without gateway" in lines[2]
    (npm,) = (line for line in lines if line.startswith("team-a") and " npm " in line)
    assert "estimate by analogy" in npm and "100,000" in npm and "100.0 GB" in npm
    (total,) = (line for line in lines if line.startswith("total"))
    assert re.sub(r"\D", "", total.split()[-5]) == str(statement.total.amount)
    assert f"The figures: {statement.command}" in lines
    assert any(line.startswith("npm: estimate by analogy with PyPI, crates.io") for line in lines)
    assert PRIVATE in text and "Without an amount" in text
    assert f"Of the total {render_money(statement.by_analogy(), 2)} EUR are estimates by analogy." in lines
    assert "LOST: an unknown number of events in <i>lost.log" in text and "\x1b" not in text


def test_the_text_of_nothing_says_what_to_do_next(costs):
    """Of an empty period, of a consumer that used nothing, and of a period that is not over."""
    assert "so there is nothing to share.\nAsk about other days with --since" in render_statement_text(empty(costs))
    text = render_statement_text(empty(costs, consumer="nobody"))
    assert text.startswith("nobody has used nothing from 2026-10-01") and "There is use by team-a, team-b" in text
    words: dict[str, Any] = {"currency": "USD", "made": LAST}
    assert "The period is not over yet." in render_statement_text(
        divide(answer(ROWS), costs, consumer="", private=(), **words)
    )
    only_private = divide(answer(FULL[-1:]), costs, consumer="", private=(), **words)
    assert "No row of costs covers what was used." in render_statement_text(only_private)


def test_the_json_has_every_figure(statement):
    """Whole minor units that add up, formulas that give them, and the rows of the summary that each line rests on."""
    document = json.loads(render_statement_json(statement))
    assert (document["schema"], document["currency"], document["digits"], document["made"]) == (
        1,
        "EUR",
        2,
        "2026-11-02",
    )
    names = ("amount", "low", "high", "without", "saved")
    for name in names:
        total = document[f"total_{name}_minor" if name != "amount" else "total_minor"]
        for part in ("lines", "consumers", "registries"):
            assert sum(entry[f"{name}_minor"] for entry in document[part]) == total
    for line in document["lines"]:
        assert sum(line["parts_minor"].values()) == line["amount_minor"]
        exact = sum(calculate(text) for part, text in line["formulas"].items() if part != "without")
        assert abs(exact * 100 - line["amount_minor"]) < 2
        assert line["basis"] in ("primary", "estimate by analogy")
    shared = next(line for line in document["lines"] if line["upstream"] == PUBLIC)
    assert [row["consumer"] for row in shared["rows"]] == [shared["consumer"], "mainstay"]
    alone = next(line for line in document["lines"] if line["upstream"] == OTHER)
    assert [row["consumer"] for row in alone["rows"]] == ["team-a"] and alone["gateway_shared_by"] == 0
    (npm,) = (entry for entry in document["registries"] if entry["registry"] == "npm")
    assert npm["like"] == ["PyPI", "crates.io"] and [figure["name"] for figure in npm["figures"]] == npm["like"]
    assert {source["source"] for source in document["sources"]} == statement.sources.keys()
    assert [use["upstream"] for use in document["unpriced"]] == ["", PRIVATE]
    assert document["losses"][0]["source"] == "<i>lost.log"


def test_the_csv_reads_back_to_the_same_figures(statement):
    """A row for each line, and one with nothing in its amounts for what has none."""
    rows = list(csv.DictReader(io.StringIO(render_statement_csv(statement), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(statement.lines) + len(statement.unpriced)
    for row, line in zip(rows, statement.lines):
        assert (row["consumer"], row["ecosystem"], row["upstream"]) == (line.consumer, line.ecosystem, line.upstream)
        assert [int(row[name]) for name in ("requests", "upstream_requests")] == [
            line.use.requests,
            line.use.upstream_requests,
        ]
        amounts = line.amounts
        wanted = (amounts.amount, amounts.low, amounts.high, amounts.without, amounts.saved)
        for name, minor in zip(("amount", "low", "high", "without", "saved"), wanted):
            assert Fraction(row[name]) * 100 == minor
        parts = [Fraction(row[f"amount_{part}"]) for part in ("traffic", "requests", "fixed", "mainstay")]
        assert sum(parts) == Fraction(row["amount"])
        assert abs(calculate(row["formula"]) * 100 - amounts.amount) < 2
    assert [(row["upstream"], row["requests"], row["amount"]) for row in rows[-2:]] == [
        ("", "1", ""),
        (PRIVATE, "7", ""),
    ]


def test_the_page_has_every_line_and_is_well_formed(statement):
    """Each amount of each line, its arithmetic, what has no amount, the sources, and what is lost."""
    page = Page(render_statement_html(statement))
    rows = [[" ".join(cell.split()) for cell in row] for row in page.cells]
    for line in statement.lines:
        row = statement.rows[line.registry]
        name = f"{row.registry.name} ({row.basis})"
        (found,) = (cells for cells in rows if cells[:3] == [line.consumer, name, line.upstream])
        assert [int(re.sub(r"\D", "", cell)) for cell in found[3:7]] == [
            line.amounts.amount,
            line.amounts.low,
            line.amounts.high,
            line.amounts.without,
        ]
        assert set(line.formulas.values()) <= {cells[1] for cells in rows if len(cells) == 3}
    words = " ".join(" ".join(page.words).split())
    assert "Without an amount" in words and statement.command in words
    assert f"Of this {render_money(statement.by_analogy(), 2)} EUR are estimates by analogy" in words
    assert all(source.title in words for source in statement.sources.values())
    assert "An unknown number of events in <i>lost.log because" in words


def test_the_page_shows_names_as_text(statement):
    """Markup in a registry's name, or in what a log is called, is not markup there."""
    text = render_statement_html(statement)
    assert "Round &lt;b&gt;&amp;amp;&lt;/b&gt;" in text and "&lt;i&gt;lost.log" in text
    assert "<b>" not in text and "<i>" not in text and "\x1b" not in text


def test_the_page_is_complete_in_itself_and_can_be_printed(statement):
    """No script, nothing from elsewhere; rules for paper, for dark and for light."""
    text = render_statement_html(statement)
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert not [attrs for _, attrs in page.tags if {"src", "href", "style"} & attrs.keys() or "onload" in attrs]
    assert "url(" not in text and "@import" not in text
    assert "@media print" in text and "@page" in text and "break-before: page" in text
    assert "prefers-color-scheme: dark" in text
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')


def test_the_page_can_be_read_aloud(statement):
    """A language, a title, headings in order, a caption for each table, a scope for each heading of a table."""
    page = Page(render_statement_html(statement))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [tag for tag, _ in page.tags]
    assert names.count("table") == names.count("caption") > 5 and names.count("main") == 1
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.tags:
        if attrs.get("role") == "region":
            assert tag == "div" and (attrs.get("aria-label") or attrs.get("aria-labelledby") in ids)


def test_the_page_of_nothing_says_what_to_do_next(costs):
    """Of an empty period, and of a consumer that used nothing."""
    text = render_statement_html(empty(costs))
    assert "there is nothing to share" in text and "By consumer" not in text
    Page(text)
    text = render_statement_html(empty(costs, consumer="nobody"))
    assert "nobody has used nothing in this period" in text and "team-a, team-b" in text
