"""The statement: what a fair share of the registries' costs is, for each consumer, in a period.

A registry's yearly cost has three parts: traffic, requests, and what is fixed. A consumer bears of the first by the
bytes that came from the registry because of it, of the second by the requests that went there because of it, and of the
third by the replies it was given, from the store or not: each divided by what all the world takes of the registry in a
year. What the gateway asked on its own account is borne by those that it served from that upstream, by their replies.

Everything rests on one answer of the ledger, and is exact until it is rounded to whole cents, once.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from mainstay.db.ledger import LedgerLoss
from mainstay.errors import ConfigError
from mainstay.usage.answers import Answer, ask
from mainstay.usage.costs import Costs, Price, Row, load_costs
from mainstay.usage.engines import DEFAULT_ENGINE
from mainstay.usage.question import Question, parse_question
from mainstay.usage.statement_lines import Amounts, Line, Use, add_up_uses, make_lines
from mainstay.usage.statement_rows import Source

BY = ("consumer", "ecosystem", "upstream")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Use of an upstream that no row of costs covers: a private one, or none at all."""

    consumer: str
    ecosystem: str
    upstream: str
    use: Use


@dataclass(frozen=True, slots=True)
class Share:
    """The lines of one consumer, or of one registry by its key, added up."""

    name: str
    use: Use
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Statement:
    """`since` and `until` are both within, `made` is the day it was made, all in UTC; `digits` are the currency's
    decimal places. With a `consumer` it is of that one alone, cut from the statement of all. The largest amounts come
    first."""

    since: date
    until: date
    made: date
    currency: str
    digits: int
    consumer: str
    lines: tuple[Line, ...]
    unpriced: tuple[Unpriced, ...]
    rows: Mapping[str, Row]
    """The rows of costs that the lines rest on, by key."""
    prices: Mapping[str, Mapping[str, Price]]
    """Of each of these rows, by part, in the currency."""
    sources: Mapping[str, Source]
    costs_as_of: date | None
    figures: Answer
    """The answer that all rests on; of every consumer."""

    @property
    def consumers(self) -> tuple[Share, ...]:
        """One for each consumer with an amount, the largest first."""
        return _added_up(self.lines, "consumer")

    @property
    def registries(self) -> tuple[Share, ...]:
        """One for each row of costs, by its key, the largest first."""
        return _added_up(self.lines, "registry")

    @property
    def total(self) -> Amounts:
        """Of all lines."""
        return sum((line.amounts for line in self.lines), Amounts())

    @property
    def use(self) -> Use:
        """Of all lines, without the gateway's own."""
        return sum((line.use for line in self.lines), Use())

    def by_analogy(self, consumer: str = "") -> int:
        """How much of the amount, of all or of one consumer, rests on figures of other registries: minor units."""
        lines = [line for line in self.lines if consumer in ("", line.consumer)]
        return sum(line.amounts.amount for line in lines if self.rows[line.registry].like)

    @property
    def losses(self) -> tuple[LedgerLoss, ...]:
        """What the ledger lacks."""
        return self.figures.losses

    @property
    def is_over(self) -> bool:
        """Whether the last day had ended when it was made."""
        return self.until < self.made

    @property
    def command(self) -> str:
        """The command that shows the figures it rests on."""
        return f"mainstay usage summary --by {','.join(BY)} --since {self.since} --until {self.until}"


def make_statement(
    data: Path,
    since: date,
    until: date,
    engine: str = DEFAULT_ENGINE,
    *,
    consumer: str = "",
    currency: str = "USD",
    costs: Costs | None = None,
    private: Collection[str] = (),
    made: date | None = None,
) -> Statement:
    """The statement of a period, from the ledger in the data folder `data`.

    `private` are addresses of upstreams that are no public registry (`costs.private_upstreams` knows those of the
    settings). `made` is today in UTC unless given.

    Raises:
        ConfigError: no such currency or engine.
        and as `ask` does.
    """
    costs = costs or load_costs()
    costs.check_currency(currency)
    figures = ask(data, Question(BY, since, until), engine)
    made = made or datetime.now(UTC).date()
    return divide(figures, costs, consumer=consumer, currency=currency, private=private, made=made)


def parse_statement_period(month: str, since: str, until: str, today: date) -> tuple[date, date]:
    """The first and the last day, from `2026-10` or from what `parse_question` takes.

    Raises:
        ConfigError: with what is allowed.
    """
    if not month:
        question = parse_question([], since, until, today)
        return question.since, question.until
    if since or until:
        raise ConfigError("--month stands in the place of --since and --until.", hint="Leave one of the two out.")
    try:
        first = date.fromisoformat(f"{month}-01" if _MONTH.fullmatch(month) else "")
    except ValueError:
        raise ConfigError(f"--month {month} is not a month.", hint="Write a month as 2026-10.") from None
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def divide(
    figures: Answer, costs: Costs, *, consumer: str, currency: str, private: Collection[str], made: date
) -> Statement:
    """The statement that follows from an answer by BY. Pure.

    Raises:
        ConfigError: no such currency.
    """
    digits = costs.check_currency(currency).digits
    uses = add_up_uses(figures.rows)
    keys = {place: costs.find(*place, private) for place in dict.fromkeys((use[1], use[2]) for use in uses)}
    prices = {key: costs.prices(key, currency) for key in dict.fromkeys(keys.values()) if key}
    lines = [line for line in make_lines(uses, keys, prices, digits) if consumer in ("", line.consumer)]
    unpriced = [Unpriced(*at, use) for at, use in sorted(uses.items()) if not keys[at[1:]] and consumer in ("", at[0])]
    used = dict.fromkeys(line.registry for line in lines)
    question = figures.question
    return Statement(
        question.since,
        question.until,
        made,
        currency,
        digits,
        consumer,
        tuple(lines),
        tuple(unpriced),
        {key: costs.rows[key] for key in used},
        {key: prices[key] for key in used},
        costs.sources_of(used, currency),
        costs.as_of,
        figures,
    )


def _added_up(lines: tuple[Line, ...], by: str) -> tuple[Share, ...]:
    found: dict[str, Share] = {}
    for line in lines:
        name = getattr(line, by)
        old = found.get(name, Share(name, Use(), Amounts()))
        found[name] = Share(name, old.use + line.use, old.amounts + line.amounts)
    return tuple(sorted(found.values(), key=lambda share: (-share.amounts.amount, share.name)))
