"""A statement as text for a person, as JSON, and as CSV. Pure; the page is `statement_html`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mainstay.errors import ConfigError
from mainstay.usage.costs import Row
from mainstay.usage.question import MEASURES
from mainstay.usage.statement import Share, Statement
from mainstay.usage.statement_lines import ADDRESSES, GATEWAY, Amounts, Line, Use
from mainstay.usage.statement_money import render_money
from mainstay.usage.statement_rows import PARTS
from mainstay.usage.tables import aligned, printable, render_losses, size

STATEMENT_FORMATS = ("text", "json", "csv", "html")
COLUMNS = (
    *("since", "until", "consumer", "ecosystem", "upstream", "registry", "basis"),
    *("requests", "bytes", "upstream_requests", "upstream_bytes"),
    *("gateway_upstream_requests", "gateway_upstream_bytes", "gateway_shared_by"),
    *("currency", "amount", "low", "high", "without", "saved"),
    *(f"amount_{part}" for part in (*PARTS, GATEWAY)),
    *("command", "formula"),
)
"""Of the CSV, in order. Amounts are in whole units of the currency with all their decimal places."""
_PRICED = ("consumer", "registry", "basis", "replies", "asked registry", "from registry")
_AMOUNTS = ("suggested", "low", "high", "without gateway", "saved")


def check_statement_format(form: str) -> None:
    """Raise ConfigError for a format that there is not."""
    if form not in STATEMENT_FORMATS:
        raise ConfigError(f"--format {form} is not a format.", hint=f"Allowed: {', '.join(STATEMENT_FORMATS)}.")


def render_statement_text(statement: Statement) -> str:
    """Tables of the lines and of what has no amount, what they rest on, and what the ledger lacks."""
    period = f"{statement.since} to {statement.until} (UTC)"
    if not statement.lines and not statement.unpriced:
        lines = _render_nothing(statement, period)
    else:
        lines = [f"statement from {period}, in {statement.currency}", "", *_render_lines(statement)]
        lines += [*_render_unpriced(statement), *_render_basis(statement)]
    return "\n".join([*lines, *render_losses(statement.losses)]) + "\n"


def render_statement_json(statement: Statement) -> str:
    """`{"schema": 1, "since", "until", "currency", "total_minor", "lines": [...], ...}`; amounts are whole minor units,
    `digits` of which are decimal places; formulas are in whole units."""
    document = {
        "schema": 1,
        "since": statement.since.isoformat(),
        "until": statement.until.isoformat(),
        "made": statement.made.isoformat(),
        "is_over": statement.is_over,
        "consumer": statement.consumer,
        "currency": statement.currency,
        "digits": statement.digits,
        "command": statement.command,
        **{f"total_{name}".replace("total_amount", "total"): value for name, value in _minor(statement.total).items()},
        "total_by_analogy_minor": statement.by_analogy(),
        "lines": [_line(statement, line) for line in statement.lines],
        "consumers": [
            _share("consumer", share) | {"by_analogy_minor": statement.by_analogy(share.name)}
            for share in statement.consumers
        ],
        "registries": [_registry(statement, share) for share in statement.registries],
        "unpriced": [
            {"consumer": use.consumer, "ecosystem": use.ecosystem, "upstream": use.upstream, **asdict(use.use)}
            for use in statement.unpriced
        ],
        "sources": [{"source": name, **_plain(source)} for name, source in statement.sources.items()],
        "costs_as_of": statement.costs_as_of.isoformat() if statement.costs_as_of else "",
        "losses": [asdict(loss) for loss in statement.losses],
    }
    return json.dumps(document)


def render_statement_csv(statement: Statement) -> str:
    """The lines (RFC 4180, but they end as on Unix) below their names, and what has no amount, with these empty; no
    total, for who adds them up."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    period = {"since": statement.since, "until": statement.until, "command": statement.command}
    for line in statement.lines:
        writer.writerow(period | _cells(statement, line))
    for use in statement.unpriced:
        at = {"consumer": use.consumer, "ecosystem": use.ecosystem, "upstream": use.upstream}
        writer.writerow(period | at | asdict(use.use))
    return text.getvalue()


def rows_of(line: Line) -> list[dict[str, str]]:
    """Which rows of the summary a line rests on: its own, and the gateway's where it bears a part of that."""
    place = {"ecosystem": line.ecosystem, "upstream": line.upstream}
    names = [line.consumer, *([GATEWAY] if line.replies else [])]
    return [{"consumer": name, **place} for name in names]


def _line(statement: Statement, line: Line) -> dict[str, Any]:
    return {
        "consumer": line.consumer,
        "ecosystem": line.ecosystem,
        "upstream": line.upstream,
        **_named(line.registry, statement.rows[line.registry]),
        **asdict(line.use),
        "gateway_upstream_requests": line.gateway.upstream_requests,
        "gateway_upstream_bytes": line.gateway.upstream_bytes,
        "gateway_shared_by": line.replies,
        **_minor(line.amounts),
        "parts_minor": dict(line.parts),
        "formulas": dict(line.formulas),
        "rows": rows_of(line),
    }


def _named(key: str, row: Row) -> dict[str, Any]:
    return {"registry": key, "name": row.registry.name, "sure": row.sure, "basis": row.basis}


def _share(by: str, share: Share) -> dict[str, Any]:
    return {by: share.name, **asdict(share.use), **_minor(share.amounts)}


def _registry(statement: Statement, share: Share) -> dict[str, Any]:
    row, prices = statement.rows[share.name], statement.prices[share.name]
    return {
        **_share("registry", share),
        **_named(share.name, row),
        "like": [known.name for known in row.like],
        "notes": row.notes,
        "prices": {part: {"low": price.low.text, "high": price.high.text} for part, price in prices.items()},
        "figures": [_plain(known) for known in row.known],
    }


def _minor(amounts: Amounts) -> dict[str, int]:
    return {f"{name}_minor": value for name, value in {**asdict(amounts), "saved": amounts.saved}.items()}


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _cells(statement: Statement, line: Line) -> dict[str, Any]:
    row, amounts = statement.rows[line.registry], line.amounts
    money = {**asdict(amounts), "saved": amounts.saved}
    money |= {f"amount_{part}": value for part, value in line.parts.items()}
    return {
        "consumer": line.consumer,
        "ecosystem": line.ecosystem,
        "upstream": line.upstream,
        "registry": row.registry.name,
        "basis": row.basis,
        **asdict(line.use),
        "gateway_upstream_requests": line.gateway.upstream_requests,
        "gateway_upstream_bytes": line.gateway.upstream_bytes,
        "gateway_shared_by": line.replies,
        "currency": statement.currency,
        **{name: render_money(value, statement.digits, "") for name, value in money.items()},
        "formula": " + ".join(text for part, text in line.formulas.items() if part in line.parts) or "0",
    }


def _render_nothing(statement: Statement, period: str) -> list[str]:
    place = printable(str(statement.figures.data))
    if any(statement.figures.total[name] for name in MEASURES):
        names = ", ".join(dict.fromkeys(row["consumer"] for row in statement.figures.rows))
        return [
            f"{printable(statement.consumer)} has used nothing from {period}.",
            printable(f"There is use by {names}; {ADDRESSES} is all who have no name."),
        ]
    return [
        f"The usage ledger in {place} holds nothing from {period}, so there is nothing to share.",
        "Ask about other days with --since and --until or --month, or another data folder with --data.",
    ]


def _render_lines(statement: Statement) -> list[str]:
    if not statement.lines:
        return ["No row of costs covers what was used."]
    body = []
    for line in statement.lines:
        row = statement.rows[line.registry]
        words = [line.consumer, row.registry.name, row.basis]
        body.append([*words, *_figures(line.use), *_money(statement, line.amounts)])
    total = ["total", "", "", *_figures(statement.use), *_money(statement, statement.total)]
    return _table([*_PRICED, *_AMOUNTS], [*body, total], 3, has_total=True)


def _render_unpriced(statement: Statement) -> list[str]:
    if not statement.unpriced:
        return []
    body = [[use.consumer, use.ecosystem, use.upstream or "-", *_figures(use.use)] for use in statement.unpriced]
    head = ["consumer", "ecosystem", "upstream", *_PRICED[3:]]
    return ["", "Without an amount, as no row of costs covers these:", "", *_table(head, body, 3)]


def _render_basis(statement: Statement) -> list[str]:
    lines = ["", "A suggestion, not a bill. Suggested is the middle of low and high, the range of the sources."]
    for row in statement.rows.values():
        like = f" with {', '.join(known.name for known in row.like)}" if row.like else ""
        lines.append(printable(f"{row.registry.name}: {row.basis}{like}"))
    if statement.by_analogy():
        money = render_money(statement.by_analogy(), statement.digits)
        lines.append(f"Of the total {money} {statement.currency} are estimates by analogy.")
    lines += [f"The figures: {statement.command}", "Notes, sources and all arithmetic: --format html, or json."]
    return [*lines, *([] if statement.is_over else ["The period is not over yet."])]


def _figures(use: Use) -> list[str]:
    return [f"{use.requests:,}", f"{use.upstream_requests:,}", size(use.upstream_bytes)]


def _money(statement: Statement, amounts: Amounts) -> list[str]:
    return [render_money(value, statement.digits) for value in (*asdict(amounts).values(), amounts.saved)]


def _table(head: Sequence[str], body: Sequence[Sequence[str]], names: int, *, has_total: bool = False) -> list[str]:
    cells = [[printable(cell) for cell in line] for line in (head, *body)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    lines = [aligned(line, widths, names) for line in cells]
    if has_total:
        lines.insert(-1, "-" * max(map(len, lines)))
    return lines
