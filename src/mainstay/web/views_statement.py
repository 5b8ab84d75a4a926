"""The statement: what a fair share of the registries' costs is, on a page, to print, and for other programs."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mainstay.errors import ConfigError, NotFound, RequestError
from mainstay.usage.costs import load_costs, private_upstreams
from mainstay.usage.statement import Share, Statement, Unpriced, make_statement
from mainstay.usage.statement_html import render_statement_html
from mainstay.usage.statement_lines import Amounts, Line, Use
from mainstay.usage.statement_money import render_money
from mainstay.usage.statement_render import render_statement_csv, render_statement_json
from mainstay.web.period import Period, parse_period
from mainstay.web.views_frame import look, render_page, site_of, today
from mainstay.web.views_tables import Column, Table

KEPT_S = 60.0
DEFAULT_CURRENCY = "USD"
_LONGEST_NAME = 200
_FORMS: dict[str, tuple[str, Callable[[Statement], str]]] = {
    "csv": ("text/csv; charset=utf-8", render_statement_csv),
    "json": ("application/json", render_statement_json),
}
_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_USED = (
    Column("requests", "Replies", "count"),
    Column("upstream_requests", "Asked the registry", "count"),
    Column("upstream_bytes", "From the registry", "size"),
)
_MONEY = (
    Column("amount", "Suggested", "number"),
    Column("range", "Low to high", "number"),
    Column("without", "Without the gateway", "number"),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    period: Period
    consumer: str
    currency: str

    @property
    def query(self) -> dict[str, str]:
        return {"consumer": self.consumer, "currency": "" if self.currency == DEFAULT_CURRENCY else self.currency}


async def show_statement(request: Request) -> Response:
    """The statement by registry and by consumer, with each line and what it rests on."""
    asked = _parse(request)
    statement, read_at = await _make(request, asked)
    total = _cells(statement, statement.use, statement.total)
    return render_page(
        request,
        "statement.html",
        period=asked.period,
        chosen=asked.query,
        consumer=asked.consumer,
        currency=asked.currency,
        currencies=sorted(load_costs().currencies),
        is_empty=not (statement.lines or statement.unpriced),
        statement=statement,
        total=total,
        registries=_shares(
            statement, "By registry", "Registry", statement.registries, lambda key: statement.rows[key].registry.name
        ),
        consumers=_shares(statement, "By consumer", "Consumer", statement.consumers),
        lines=Table(
            "lines", "Each consumer at each registry", _LINES, [_line(statement, line) for line in statement.lines]
        ),
        unpriced=Table(
            "unpriced",
            "Use of registries that no row of costs covers, without an amount",
            _UNPRICED,
            [_unpriced(use) for use in statement.unpriced],
        ),
        losses=statement.losses,
        read_at=read_at,
    )


async def print_statement(request: Request) -> Response:
    """The statement as a document of its own, for the browser to print or to keep as PDF."""
    statement, _ = await _make(request, _parse(request))
    return _document(render_statement_html(statement))


async def export_statement(request: Request) -> Response:
    """The statement for another program."""
    form = request.path_params["form"]
    if form not in _FORMS:
        raise NotFound(f"There is no statement as {form[:20]}.", hint=f"There are: {', '.join(_FORMS)}.")
    asked = _parse(request)
    statement, _ = await _make(request, asked)
    media_type, render = _FORMS[form]
    name = f"statement-{asked.period.since}-{asked.period.until}.{form}"
    headers = {"content-type": media_type, "content-disposition": f'attachment; filename="{name}"'}
    return Response(render(statement), headers=headers)


def _parse(request: Request) -> _Asked:
    query = request.query_params
    consumer, currency = query.get("consumer", "").strip(), query.get("currency", "").strip() or DEFAULT_CURRENCY
    if len(consumer) > _LONGEST_NAME:
        raise RequestError("That is too long for a consumer's name.", hint=f"At most {_LONGEST_NAME} characters.")
    try:
        load_costs().check_currency(currency)
    except ConfigError as error:
        raise RequestError(f"currency={currency[:20]} is not a currency here.", hint=error.hint) from None
    return _Asked(parse_period(query, today(), "30"), consumer, currency)


async def _make(request: Request, asked: _Asked) -> tuple[Statement, datetime]:
    site, period = site_of(request), asked.period
    private = private_upstreams(site.config)

    def work() -> tuple[Statement, datetime]:
        return make_statement(
            site.data,
            period.since,
            period.until,
            consumer=asked.consumer,
            currency=asked.currency,
            private=private,
            made=today(),
        ), datetime.now(UTC)

    key = ("statement", period.since, period.until, asked.consumer, asked.currency)
    return await look(request, key, work, keep_s=KEPT_S)


def _document(text: str) -> Response:
    """A document with its own style sheet inside, which alone it may use."""
    sheets = [hashlib.sha256(sheet.encode()).digest() for sheet in _STYLE.findall(text)]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in sheets) or "'none'"
    policy = f"default-src 'none'; style-src {allowed}; img-src data:; frame-ancestors 'none'; base-uri 'none'"
    return HTMLResponse(text, headers={"content-security-policy": f"{policy}; form-action 'none'"})


def _shares(
    statement: Statement, caption: str, head: str, shares: tuple[Share, ...], name_of: Callable[[str], str] = str
) -> Table:
    columns = (Column("name", head, "name", is_head=True), *_USED, *_MONEY)
    rows = [{"name": name_of(share.name), **_cells(statement, share.use, share.amounts)} for share in shares]
    return Table(caption.replace(" ", "-").lower(), caption, columns, rows)


_LINES = (
    Column("consumer", "Consumer", "name", is_head=True),
    Column("registry", "Registry", "name"),
    Column("basis", "Figures"),
    *_USED,
    *_MONEY,
)
_UNPRICED = (
    Column("consumer", "Consumer", "name", is_head=True),
    Column("ecosystem", "Ecosystem", "name"),
    Column("upstream", "Upstream", "name"),
    *_USED,
)


def _line(statement: Statement, line: Line) -> dict[str, Any]:
    row = statement.rows[line.registry]
    named = {"consumer": line.consumer, "registry": row.registry.name, "basis": row.basis}
    return {**named, **_cells(statement, line.use, line.amounts)}


def _unpriced(use: Unpriced) -> dict[str, Any]:
    return {"consumer": use.consumer, "ecosystem": use.ecosystem, "upstream": use.upstream, **_used(use.use)}


def _cells(statement: Statement, use: Use, amounts: Amounts) -> dict[str, Any]:
    def money(minor: int) -> str:
        return render_money(minor, statement.digits)

    return {
        **_used(use),
        "amount": money(amounts.amount),
        "range": f"{money(amounts.low)} to {money(amounts.high)}",
        "without": money(amounts.without),
    }


def _used(use: Use) -> dict[str, int]:
    return {
        "requests": use.requests,
        "upstream_requests": use.upstream_requests,
        "upstream_bytes": use.upstream_bytes,
    }
