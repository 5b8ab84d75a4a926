"""The lines of a statement: what each consumer bears at each upstream, exact first and then in whole cents. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mainstay.usage.costs import Price
from mainstay.usage.engines import Row
from mainstay.usage.statement_money import Term, round_half_up, share_out, whole
from mainstay.usage.statement_rows import PARTS

GATEWAY = "mainstay"
"""The consumer of what the gateway asks on its own account; as a part of a line, its share of that."""
ADDRESSES = "address:*"
"""All who have no name, together: their pseudonyms last a day."""
WITHOUT = "without"
"""The formula of what the same use would have come to without the gateway."""
At = tuple[str, str, str]
"""Consumer, ecosystem, upstream."""
_ADDRESS = "address:"


@dataclass(frozen=True, slots=True)
class Use:
    """Figures of a summary: replies, bytes to clients, requests to the registry, bytes from it."""

    requests: int = 0
    bytes: int = 0
    upstream_requests: int = 0
    upstream_bytes: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.upstream_requests + other.upstream_requests,
            self.upstream_bytes + other.upstream_bytes,
        )


@dataclass(frozen=True, slots=True)
class Amounts:
    """In minor units of the currency. `low` and `high` follow the sources' range, and `amount`, what is suggested, is
    the middle; `without` is what the same use would have come to had every request gone to the registry."""

    amount: int = 0
    low: int = 0
    high: int = 0
    without: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.amount + other.amount, self.low + other.low, self.high + other.high, self.without + other.without
        )

    @property
    def saved(self) -> int:
        """What the gateway spared the registry; negative where it asked for more than was asked of it."""
        return self.without - self.amount


@dataclass(frozen=True, slots=True)
class Line:
    """One consumer at one upstream. `registry` is the key of the row of costs.

    `parts` are PARTS and GATEWAY in minor units, and add up to the amount. `formulas` have for each part that is not
    nothing, and for WITHOUT, the arithmetic that gives it in whole units of the currency, before rounding. `gateway` is
    what the gateway asked there on its own account, `replies` those among which that is divided: 0 where it is not.
    """

    consumer: str
    ecosystem: str
    upstream: str
    registry: str
    use: Use
    gateway: Use
    replies: int
    amounts: Amounts
    parts: Mapping[str, int]
    formulas: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Exact:
    """One line before rounding, in whole units of the currency."""

    at: At
    registry: str
    use: Use
    gateway: Use
    replies: int
    parts: Mapping[str, Term]
    without: Term
    low: Fraction
    high: Fraction

    @property
    def amount(self) -> Fraction:
        return sum((part.value for part in self.parts.values()), Fraction(0))


def add_up_uses(rows: Sequence[Row]) -> dict[At, Use]:
    """The rows of a summary by consumer, ecosystem and upstream, with those who have no name as one."""
    uses: dict[At, Use] = defaultdict(Use)
    for row in rows:
        name = ADDRESSES if row["consumer"].startswith(_ADDRESS) else row["consumer"]
        use = Use(row["requests"], row["bytes"], row["upstream_requests"], row["upstream_bytes"])
        uses[name, row["ecosystem"], row["upstream"]] += use
    return dict(uses)


def make_lines(
    uses: Mapping[At, Use], keys: Mapping[tuple[str, str], str], prices: Mapping[str, Mapping[str, Price]], digits: int
) -> list[Line]:
    """All lines, the consumer with the largest amount first. The total is rounded, then shared out among the consumers,
    and what each has among its lines.

    `keys` are the rows of costs by ecosystem and upstream, "" where none covers it; `prices` are theirs, by part.
    """
    by_consumer: dict[str, list[_Exact]] = defaultdict(list)
    for line in _exact_lines(uses, keys, prices):
        by_consumer[line.at[0]].append(line)
    groups = [sorted(lines, key=lambda line: -line.amount) for lines in by_consumer.values()]
    groups.sort(key=lambda lines: -sum(line.amount for line in lines))
    amount = _rounded([[line.amount for line in lines] for lines in groups], digits)
    low = _rounded([[line.low for line in lines] for lines in groups], digits)
    high = _rounded([[line.high for line in lines] for lines in groups], digits)
    without = _rounded([[line.without.value for line in lines] for lines in groups], digits)
    every = [line for lines in groups for line in lines]
    return [_line(line, Amounts(*found), digits) for line, *found in zip(every, amount, low, high, without)]


def _exact_lines(
    uses: Mapping[At, Use], keys: Mapping[tuple[str, str], str], prices: Mapping[str, Mapping[str, Price]]
) -> Iterator[_Exact]:
    """By consumer, ecosystem and upstream. The gateway has a line of its own only where it served nobody."""
    replies: dict[tuple[str, str], int] = defaultdict(int)
    for (name, ecosystem, upstream), use in uses.items():
        replies[ecosystem, upstream] += use.requests if name != GATEWAY else 0
    for at, use in sorted(uses.items(), key=lambda entry: entry[0]):
        key, among = keys[at[1:]], replies[at[1:]]
        if key and (at[0] != GATEWAY or not among):
            own = uses.get((GATEWAY, *at[1:]), Use()) if among else Use()
            yield _reckon(at, key, use, own, among, prices[key])


def _reckon(at: At, key: str, use: Use, own: Use, replies: int, prices: Mapping[str, Price]) -> _Exact:
    suggested = {part: price.suggested for part, price in prices.items()}
    lows, highs = ({part: getattr(price, end) for part, price in prices.items()} for end in ("low", "high"))
    low, high = (_parts(use, own, replies, ends) for ends in (lows, highs))
    direct = Use(use.requests, use.bytes, use.requests, use.bytes)
    return _Exact(
        at,
        key,
        use,
        own,
        replies if own != Use() else 0,
        _parts(use, own, replies, suggested),
        _sum(_parts(direct, Use(), replies, suggested)),
        _sum(low).value,
        _sum(high).value,
    )


def _parts(use: Use, own: Use, replies: int, prices: Mapping[str, Term]) -> dict[str, Term]:
    """What is not nothing of a line, by part. `prices` are of a byte, a request, a reply."""
    counts = dict(zip(PARTS, (use.upstream_bytes, use.upstream_requests, use.requests)))
    parts = {part: whole(count) * prices[part] for part, count in counts.items() if count}
    if own != Use() and use.requests:
        parts[GATEWAY] = _sum(_parts(own, Use(), 0, prices)) * whole(use.requests) / whole(replies)
    return parts


def _sum(parts: Mapping[str, Term]) -> Term:
    terms = list(parts.values()) or [whole(0)]
    total = terms[0]
    for term in terms[1:]:
        total += term
    return total


def _rounded(groups: list[list[Fraction]], digits: int) -> list[int]:
    """Exact amounts, by consumer, as whole minor units that add up: all of them, and those of each consumer."""
    minor = [[amount * 10**digits for amount in lines] for lines in groups]
    sums = [sum(lines, Fraction(0)) for lines in minor]
    totals = share_out(round_half_up(sum(sums, Fraction(0))), sums)
    return [part for total, lines in zip(totals, minor) for part in share_out(total, lines)]


def _line(exact: _Exact, amounts: Amounts, digits: int) -> Line:
    parts = dict(zip(exact.parts, share_out(amounts.amount, [p.value * 10**digits for p in exact.parts.values()])))
    formulas = {part: term.text for part, term in exact.parts.items()} | {WITHOUT: exact.without.text}
    full = {part: parts.get(part, 0) for part in (*PARTS, GATEWAY)}
    return Line(*exact.at, exact.registry, exact.use, exact.gateway, exact.replies, amounts, full, formulas)
