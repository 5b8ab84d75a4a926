"""The statement: who bears what, to the cent."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.db.engine import Database
from mainstay.db.ledger import LedgerLoss, save_sealed
from mainstay.errors import ConfigError
from mainstay.usage.answers import Answer
from mainstay.usage.costs import Costs, load_costs
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger
from mainstay.usage.question import MEASURES, Question
from mainstay.usage.statement import BY, Amounts, Statement, Use, divide, make_statement, parse_statement_period
from mainstay.usage.statement_lines import ADDRESSES, GATEWAY
from unit.usage.test_costs import calculate

FIRST, LAST, MADE = date(2026, 10, 1), date(2026, 10, 31), date(2026, 11, 2)
PUBLIC, PRIVATE, OTHER = (
    "https://registry.example/simple",
    "https://private.example/simple",
    "https://registry.example/npm",
)
ROUND = """
[registries.round]
name = "Round <b>&amp;</b>"
ecosystem = "pypi"
cost = { low = 100, high = 300 }
requests = { yearly = 1_000 }
bytes = { yearly = 1_000_000 }
split = { traffic = 25, requests = 15, fixed = 60 }
"""
"""In the middle a byte costs 0.00005, a request 0.03 and a reply 0.12."""
Row = tuple[str, str, str, int, int, int, int]
ROWS: tuple[Row, ...] = (
    ("team-a", "pypi", PUBLIC, 100, 50_000, 40, 20_000),
    ("team-b", "pypi", PUBLIC, 300, 600_000, 60, 200_000),
    (GATEWAY, "pypi", PUBLIC, 0, 0, 10, 4_000),
)
NAMES = ("requests", "bytes", "upstream_requests", "upstream_bytes")


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Costs:
    """The program's, but for one registry, whose figures are round."""
    path = tmp_path_factory.mktemp("costs") / "costs.toml"
    path.write_text(ROUND)
    return load_costs(path)


def answer(rows: tuple[Row, ...] | list[Row], losses: tuple[LedgerLoss, ...] = ()) -> Answer:
    """What the ledger would answer."""
    found = [dict.fromkeys(MEASURES, 0) | dict(zip((*BY, *NAMES), row)) for row in rows]
    total = {name: sum(row[name] for row in found) for name in MEASURES}
    return Answer(Path("data"), Question(BY, FIRST, LAST), "duckdb", found, total, losses)


def state(rows: tuple[Row, ...] | list[Row], costs: Costs, **changes: Any) -> Statement:
    """The statement of some rows, in dollars, of all unless told otherwise."""
    words: dict[str, Any] = {"consumer": "", "currency": "USD", "private": (), "made": MADE}
    return divide(answer(rows), costs, **words | changes)


def exact(statement: Statement, line: Any) -> Fraction:
    """What a line comes to before rounding, by its formulas alone."""
    return sum((calculate(text) for part, text in line.formulas.items() if part in line.parts), Fraction(0))


def test_a_statement_by_hand(costs):
    """Traffic by bytes, requests by requests, what is fixed by replies, and the gateway's own by replies: of its 0.50
    the first consumer, with 100 of 400 replies, bears 0.125. Of two half cents the larger amount gets the whole one."""
    statement = state(ROWS, costs)
    b, a = statement.lines
    assert (a.consumer, a.registry, a.ecosystem, a.upstream) == ("team-a", "round", "pypi", PUBLIC)
    assert exact(statement, a) == Fraction("1.00") + Fraction("1.20") + Fraction("12.00") + Fraction("0.125")
    assert a.amounts == Amounts(1432, 716, 2149, 1750)
    assert a.parts == {"traffic": 100, "requests": 120, "fixed": 1200, GATEWAY: 12}
    assert b.amounts == Amounts(4818, 2409, 7226, 7500)
    assert b.parts == {"traffic": 1000, "requests": 180, "fixed": 3600, GATEWAY: 38}
    assert statement.total == Amounts(6250, 3125, 9375, 9250)
    assert (a.amounts.saved, statement.total.saved) == (318, 3000)
    assert a.formulas["traffic"] == ("20,000 × (100 × 25 ÷ 100 ÷ 1,000,000 + 300 × 25 ÷ 100 ÷ 1,000,000) ÷ 2")
    assert calculate(a.formulas[GATEWAY]) == Fraction("0.125")
    assert calculate(a.formulas["without"]) == Fraction("17.50")
    assert (a.gateway, a.replies) == (Use(0, 0, 10, 4_000), 400)


def test_what_the_gateway_asked_is_its_own_line_where_it_served_nobody(costs):
    """There is nobody else to bear it; the sum is right all the same."""
    lone: list[Row] = [(GATEWAY, "pypi", PUBLIC, 0, 0, 10, 4_000), ("late", "pypi", PUBLIC, 0, 0, 1, 0)]
    statement = state(lone, costs)
    assert {line.consumer: line.amounts.amount for line in statement.lines} == {GATEWAY: 50, "late": 3}
    assert all(line.replies == 0 and line.parts[GATEWAY] == 0 for line in statement.lines)


def test_the_same_use_bears_the_same_whoever_asked_upstream(costs):
    """What the gateway asked on its own account is borne in full, no more and no less."""
    moved: list[Row] = [("team-a", "pypi", PUBLIC, 100, 0, 50, 24_000)]
    split: list[Row] = [("team-a", "pypi", PUBLIC, 100, 0, 40, 20_000), (GATEWAY, "pypi", PUBLIC, 0, 0, 10, 4_000)]
    assert state(moved, costs).total == state(split, costs).total


def test_a_private_upstream_is_listed_without_an_amount(costs):
    """With its use; so is what had no upstream."""
    rows: list[Row] = [*ROWS, ("team-a", "pypi", PRIVATE, 7, 70, 6, 60), ("team-a", "pypi", "", 1, 10, 0, 0)]
    statement = state(rows, costs, private=(PRIVATE + "/",))
    assert statement.total == state(ROWS, costs).total
    assert [(use.consumer, use.upstream, use.use) for use in statement.unpriced] == [
        ("team-a", "", Use(1, 10, 0, 0)),
        ("team-a", PRIVATE, Use(7, 70, 6, 60)),
    ]


def test_those_without_a_name_are_one_consumer(costs):
    """A pseudonym lasts a day; a statement is of longer."""
    rows: list[Row] = [(f"address:{at:012x}", "pypi", PUBLIC, 10, 0, 0, 0) for at in range(5)]
    (share,) = state(rows, costs).consumers
    assert (share.name, share.use.requests, share.amounts.amount) == (ADDRESSES, 50, 600)


def test_a_statement_of_one_consumer_is_cut_from_that_of_all(costs):
    """The same cents, so that those of all consumers are the whole."""
    whole = state(ROWS, costs)
    cut = state(ROWS, costs, consumer="team-a")
    assert cut.lines == tuple(line for line in whole.lines if line.consumer == "team-a")
    assert (cut.total.amount, cut.rows.keys()) == (1432, {"round"})
    assert state(ROWS, costs, consumer="nobody").lines == ()


def test_an_amount_by_analogy_says_so(costs):
    """It rests on the sources of what it is like; how much of a total is such is told."""
    statement = state([*ROWS, ("team-a", "npm", OTHER, 10**6, 0, 10**6, 10**12)], costs)
    (line,) = (line for line in statement.lines if line.ecosystem == "npm")
    assert statement.by_analogy() == statement.by_analogy("team-a") == line.amounts.amount
    assert statement.by_analogy("team-b") == 0
    assert statement.rows[line.registry].basis == "estimate by analogy"
    assert line.amounts.low < line.amounts.amount < line.amounts.high
    assert {"report", "pycon", "rust"} <= statement.sources.keys()


def test_money_in_another_currency_is_that_in_dollars_at_the_rate(costs):
    """To the last digit before rounding; the rate's source is named."""
    dollars, euros = (state(ROWS, costs, currency=currency) for currency in ("USD", "EUR"))
    for ours, theirs in zip(dollars.lines, euros.lines):
        assert exact(euros, theirs) == exact(dollars, ours) / Fraction("1.1534")
    assert euros.total.amount == round(Fraction(6250) / Fraction("1.1534"))
    assert "ecb" in euros.sources and "ecb" not in dollars.sources


def test_an_unknown_currency_is_refused(costs):
    """Before anything is asked."""
    with pytest.raises(ConfigError, match="--currency GBP has no rate"):
        make_statement(Path("none"), FIRST, LAST, currency="GBP", costs=costs)


COUNTS = st.integers(0, 10**6)
USES = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c", GATEWAY, "address:1", "address:2"]), st.sampled_from([PUBLIC, OTHER])),
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
    max_size=10,
)


def rows_of(uses: dict[tuple[str, str], tuple[int, int, int, int]]) -> list[Row]:
    """Rows of a summary. The gateway is given no replies."""
    kinds = {PUBLIC: "pypi", OTHER: "npm"}
    return [
        (name, kinds[upstream], upstream, *((0, 0, *counts[2:]) if name == GATEWAY else counts))
        for (name, upstream), counts in uses.items()
    ]


@settings(max_examples=60, deadline=None)
@given(uses=USES)
def test_everything_adds_up_to_the_cent(costs, uses):
    """Parts to lines, lines to consumers, registries and the total; each within a cent of what is exact, none negative,
    and the total is all that was used at its price."""
    statement = state(rows_of(uses), costs)
    for line in statement.lines:
        assert sum(line.parts.values()) == line.amounts.amount
        assert min(line.amounts.amount, line.amounts.low, line.amounts.without, *line.parts.values()) >= 0
        assert abs(line.amounts.amount - exact(statement, line) * 100) < 2
        assert line.amounts.low <= line.amounts.amount + 1 and line.amounts.amount <= line.amounts.high + 1
    for shares in (statement.consumers, statement.registries):
        assert sum((share.amounts for share in shares), Amounts()) == statement.total
        assert sum((share.use for share in shares), Use()) == statement.use
    for share in statement.consumers:
        own = sum((exact(statement, line) for line in statement.lines if line.consumer == share.name), Fraction(0))
        assert abs(share.amounts.amount - own * 100) < 1
        assert share.amounts == state(rows_of(uses), costs, consumer=share.name).total
    assert statement.total.amount == (2 * price_of(rows_of(uses), costs) * 100 + 1) // 2


def price_of(rows: list[Row], costs: Costs) -> Fraction:
    """All use at its price, whoever's it is."""
    total = Fraction(0)
    for _, ecosystem, upstream, requests, _, upstream_requests, upstream_bytes in rows:
        prices = costs.prices(costs.find(ecosystem, upstream), "USD")
        counts = {"traffic": upstream_bytes, "requests": upstream_requests, "fixed": requests}
        total += sum((prices[part].suggested.value * count for part, count in counts.items()), Fraction(0))
    return total


@settings(max_examples=60, deadline=None)
@given(uses=USES.filter(lambda uses: any(name == "a" for name, _ in uses)))
def test_twice_the_use_never_bears_less(costs, uses):
    """Of one consumer, all else as it was."""
    twice = {at: tuple(2 * count for count in counts) if at[0] == "a" else counts for at, counts in uses.items()}
    once, doubled = (state(rows_of(found), costs, consumer="a").total for found in (uses, twice))
    assert doubled.amount >= once.amount and doubled.low >= once.low
    assert doubled.high >= once.high and doubled.without >= once.without


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (("2026-10", "", ""), FIRST, LAST),
        (("2028-02", "", ""), date(2028, 2, 1), date(2028, 2, 29)),
        (("9999-12", "", ""), date(9999, 12, 1), date(9999, 12, 31)),
        (("", "2026-10-01", "2026-10-31"), FIRST, LAST),
        (("", "7 days", "2026-10-31"), date(2026, 10, 25), LAST),
    ],
)
def test_a_period_is_a_month_or_two_days(words, first, last):
    """Both days are within."""
    assert parse_statement_period(*words, MADE) == (first, last)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2026-13", "", ""), "--month 2026-13 is not a month. Write a month as 2026-10."),
        (("October", "", ""), "--month October is not a month."),
        (("2026-1", "", ""), "--month 2026-1 is not a month."),
        (("2026-10", "7 days", ""), "--month stands in the place of --since and --until. Leave one of the two out."),
        (("", "soon", ""), "--since soon is not a day."),
    ],
)
def test_what_is_no_period_is_refused(words, said):
    """With what to write."""
    with pytest.raises(ConfigError) as caught:
        parse_statement_period(*words, MADE)
    assert caught.value.diagnostics().startswith(said)


def write_ledger(data: Path, rows: tuple[Row, ...] | list[Row]) -> None:
    """A ledger that answers with these rows, on one day of the period, and has lost something."""
    Database.open(data).close()
    ledger = Ledger(data)
    day_us = int(datetime(2026, 10, 10, tzinfo=UTC).timestamp()) * 1_000_000
    for at, (name, ecosystem, upstream, requests, size, upstream_requests, upstream_bytes) in enumerate(rows):
        event = Event(day_us + at, consumer=name, ecosystem=ecosystem, upstream=upstream)
        late = {"upstream_requests": upstream_requests, "bytes_up": upstream_bytes}
        for number in range(max(requests, 1)):
            change = {"status": 200 if requests else 0} | (late | {"bytes_down": size} if not number else {})
            ledger.record(replaced(event, **change))
    asyncio.run(ledger.close())
    database = Database.open(data)
    database.run_sync(save_sealed, [], [LedgerLoss("lost.log", "its bytes are damaged", 3, 120, 0)])
    database.close()


def replaced(event: Event, **changes: Any) -> Event:
    """The same, but for some fields."""
    import msgspec

    return msgspec.structs.replace(event, **changes)


def test_the_ledger_is_asked_for_the_period(tmp_path, costs):
    """The same statement as from its rows, with what the ledger lacks; of other days there is none."""
    data = tmp_path / "data"
    write_ledger(data, ROWS)
    statement = make_statement(data, FIRST, LAST, costs=costs, made=MADE)
    assert statement.lines == state(ROWS, costs).lines
    assert [loss.source for loss in statement.losses] == ["lost.log"]
    assert (statement.since, statement.until, statement.is_over) == (FIRST, LAST, True)
    assert make_statement(data, LAST, LAST, costs=costs).lines == ()


def test_an_empty_ledger_is_an_empty_statement(tmp_path):
    """No lines, nothing to pay, no error."""
    statement = make_statement(tmp_path / "none", FIRST, LAST)
    assert (statement.lines, statement.unpriced, statement.total, statement.sources) == ((), (), Amounts(), {})
