"""The questions as Ibis expressions, the same for every engine.

Only count, sum, min and max, exact distinct as a count over groups, and one row number; only whole numbers. Days are
whole numbers too (microseconds at midnight UTC), so that no engine's time zone has a say. Columns are named in
brackets: an attribute may be a method of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mainstay.usage.event import COLUMNS
from mainstay.usage.question import DIMENSIONS, MEASURES, Question

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

DAY_US = 86_400_000_000
TOTAL = "is_total"
"""The column that marks the one row over all groups; its other dimensions say nothing."""
_DELIVERED = (200, 206, 304)
_FROM_DIGESTS = ("artifacts", "redundant_bytes")
_SUMS = tuple(name for name in MEASURES if name not in _FROM_DIGESTS)
_DIGEST, _NUMBERS = ("content",), ("content_high", "content_low")
_FIGURES = (*_DIGEST, "copy_bytes", "copies", "ended_us", *_SUMS)
_ROLLED_FIGURES = (*_NUMBERS, *_FIGURES[1:])
ROLLED = ("consumer", "tier", "ecosystem", "kind", "project", "version", "upstream", "client", "class", "day")
"""The dimensions that are asked for most: by these a rollup answers."""
ROLLED_COLUMNS = {name: "int64" if name == "day" else "string" for name in ROLLED} | dict.fromkeys(
    _ROLLED_FIGURES, "int64"
)
"""The columns of a rollup, with their types."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def answer(events: ir.Table, question: Question) -> ir.Table:
    """The rows of a question, in no order, and one more over all of them, which `is_total` marks.

    Columns are the dimensions, MEASURES and `is_total`. `events` has the ledger's columns, none of them null.
    """
    rows = within(events, question.since, question.until)
    keys = {_holder(question.by): rows["consumer"]} | {name: _dimension(rows, name) for name in question.by}
    return _answer(_facts(rows, keys), question, _DIGEST)


def within(events: ir.Table, since: date, until: date) -> ir.Table:
    """The events of these days in UTC, both within."""
    begin, end = midnight_us(since), midnight_us(until) + DAY_US
    return events.filter(events["time_us"] >= begin, events["time_us"] < end)


def answer_rolled(rolled: ir.Table, question: Question) -> ir.Table:
    """The same from what `roll` has made, for questions by ROLLED only."""
    days = rolled["day"]
    rows = rolled.filter(days >= midnight_us(question.since), days <= midnight_us(question.until))
    keys = {_holder(question.by): rows["consumer"]} | {name: rows[name] for name in question.by}
    return _answer(rows.select(**keys, **{name: rows[name] for name in _ROLLED_FIGURES}), question, _NUMBERS)


def roll(events: ir.Table) -> ir.Table:
    """Events summed over all that ROLLED does not tell apart, for each digest and size of a copy: what the questions
    that are asked most can be answered from as well, in a fraction of the time. Its columns are ROLLED_COLUMNS.

    A digest is its first 120 bits there, as two numbers: of a thousand million SHA-256 no two agree in them but by a
    chance of 1 in 10^18, and numbers are grouped in half the time. Of DuckDB only, which reads hexadecimal.
    """
    import ibis

    facts = _facts(events, {name: _dimension(events, name) for name in ROLLED})
    for name, start in zip(_NUMBERS, (len("sha256:"), len("sha256:") + 15)):
        number = (ibis.literal("0x") + facts["content"].substr(start, 15)).cast("int64")
        facts = facts.mutate(**{name: ibis.ifelse(facts["content"] != "", number, 0)})
    found = {name: facts[name].sum() for name in (*_SUMS, "copies")} | {"ended_us": facts["ended_us"].min()}
    rows = facts.group_by([*ROLLED, *_NUMBERS, "copy_bytes"]).aggregate(**found)
    return rows.select(**{name: rows[name].cast(kind) for name, kind in ROLLED_COLUMNS.items()})


def day_of(midnight_us: int) -> date:
    """The day of a value of the dimension `day`."""
    return (_EPOCH + timedelta(microseconds=midnight_us)).date()


def midnight_us(day: date) -> int:
    """The value of the dimension `day` on a day."""
    return (day - _EPOCH.date()).days * DAY_US


def _answer(facts: ir.Table, question: Question, digest: tuple[str, ...]) -> ir.Table:
    """`digest` names the columns that are a file's digest."""
    import ibis

    held, longest = _holdings(facts, question.by, digest)
    rows = _added_up(ibis.union(_sums(facts, question.by), _digests(held, question.by, digest)), question.by)
    files = _grouped(longest, (), {name: longest.count() if name == "artifacts" else 0 for name in MEASURES})
    total = _added_up(ibis.union(_added_up(rows, ()).mutate(artifacts=ibis.literal(0, "int64")), files), ())
    if question.limit:
        order = [ibis.desc(rows[question.sort]), *(rows[name] for name in question.by)]
        rows = rows.order_by(order).limit(question.limit)
    blanks = {name: ibis.literal(COLUMNS[DIMENSIONS[name]](), rows[name].type()) for name in question.by}
    same = [*question.by, *MEASURES, TOTAL]
    rows, total = rows.mutate(**{TOTAL: False}), total.mutate(**blanks, **{TOTAL: True})
    return ibis.union(rows.select(same), total.select(same))


def _facts(rows: ir.Table, keys: dict[str, Any]) -> ir.Table:
    """What each event adds to the figures."""
    import ibis

    status, digest, outcome, throttled = rows["status"], rows["digest"], rows["cache_status"], rows["throttled"]
    is_reply = status != 0
    is_refused = is_reply & ((outcome == "refused") | (throttled == "refused"))
    figures = {
        "content": ibis.ifelse(status.isin(_DELIVERED), digest, ""),
        "copy_bytes": ibis.ifelse((status == 200) & (digest != ""), rows["bytes_down"], 0),
        "copies": ibis.literal(1, "int64"),
        "ended_us": rows["time_us"],
        "requests": is_reply.cast("int64"),
        "bytes": rows["bytes_down"],
        "hits": (is_reply & (outcome == "hit")).cast("int64"),
        "upstream_requests": rows["upstream_requests"],
        "upstream_bytes": rows["bytes_up"],
        "refused": is_refused.cast("int64"),
        "waited": (is_reply & (throttled == "waited")).cast("int64"),
    }
    return rows.select(**keys, **{name: figures[name] for name in _FIGURES})


def _sums(facts: ir.Table, by: Sequence[str]) -> ir.Table:
    """The figures that need no digest."""
    sums: dict[str, Any] = {name: facts[name].sum() if name in _SUMS else 0 for name in MEASURES}
    return _grouped(facts, by, sums)


def _holdings(facts: ir.Table, by: Sequence[str], digest: tuple[str, ...]) -> tuple[ir.Table, ir.Table]:
    """Which consumer was sent what: a row for each group, holder, digest and size with `redundant_bytes`, what went
    into whole copies that were not the holder's first; and a row for each digest.

    A copy is whole where it has as many bytes as the longest with this digest. The first one is the one that ended
    first; of several in one microsecond, the one of the first group by name.
    """
    import ibis

    sent = facts.filter(facts[digest[0]] != ("" if digest == _DIGEST else 0))
    is_split = bool(set(by) - {"consumer"})
    found = {"copies": sent["copies"].sum()} | ({"first_us": sent["ended_us"].min()} if is_split else {})
    held = sent.group_by([*dict.fromkeys((*by, _holder(by))), *digest, "copy_bytes"]).aggregate(**found)
    longest = held.group_by(digest).aggregate(whole_bytes=held["copy_bytes"].max())
    held = held.inner_join(longest, digest)
    held = held.mutate(is_whole=held["copy_bytes"] == held["whole_bytes"])
    firsts: Any = 1
    if is_split:
        order = [held["first_us"], *(held[name] for name in by)]
        window = ibis.window(group_by=[_holder(by), *digest, "is_whole"], order_by=order)
        held = held.mutate(place=ibis.row_number().over(window))
        firsts = (held["place"] == 0).cast("int64")
    redundant = (held["copies"] - firsts) * held["copy_bytes"]
    return held.mutate(redundant_bytes=ibis.ifelse(held["is_whole"], redundant, 0)), longest


def _digests(held: ir.Table, by: Sequence[str], digest: tuple[str, ...]) -> ir.Table:
    """The figures that need digests: each counted once in its group."""
    distinct = held.group_by([*by, *digest]).aggregate(redundant_bytes=held["redundant_bytes"].sum())
    found: dict[str, Any] = dict.fromkeys(MEASURES, 0)
    found |= {"artifacts": distinct.count(), "redundant_bytes": distinct["redundant_bytes"].sum()}
    return _grouped(distinct, by, found)


def _added_up(table: ir.Table, by: Sequence[str]) -> ir.Table:
    return _grouped(table, by, {name: table[name].sum() for name in MEASURES})


def _grouped(table: ir.Table, by: Sequence[str], figures: dict[str, Any]) -> ir.Table:
    """One row for each group; without `by` one row, also of nothing. All of it whole numbers, never null."""
    import ibis

    found = {name: figure for name, figure in figures.items() if not isinstance(figure, int)}
    rows = table.group_by(by).aggregate(**found) if by else table.aggregate(**found)
    zero = ibis.literal(0, "int64")
    full = {name: rows[name].cast("int64").coalesce(zero) if name in found else zero for name in figures}
    return rows.select(*by, **full)


def _holder(by: Sequence[str]) -> str:
    """The column with the consumer of a copy: a second one only where the groups have none."""
    return "consumer" if "consumer" in by else "holder"


def _dimension(table: ir.Table, name: str) -> ir.Value:
    column = table[DIMENSIONS[name]]
    # Taking the rest away instead of dividing: division is of floating point on some engines.
    return column - column % DAY_US if name == "day" else column
