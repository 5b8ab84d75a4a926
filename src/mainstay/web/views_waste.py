"""What was fetched or asked for in vain, and the one change that would end each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mainstay.ecosystems import ecosystems
from mainstay.usage.engines import DEFAULT_ENGINE
from mainstay.usage.remedies import BYPASS, REDUNDANT, REVALIDATION
from mainstay.usage.waste import Finding, Sum, Waste, find_waste
from mainstay.web.period import parse_period
from mainstay.web.views_frame import gateway_url, look, render_page, site_of, today
from mainstay.web.views_tables import Column, Table

KEPT_S = 60.0
"""A month of many files takes a while to replay, and does not change by much."""
MOST_FINDINGS = 50
_KINDS = {REDUNDANT: "Sent again", REVALIDATION: "Needless questions", BYPASS: "Past the gateway"}
_TOTALS = (
    Column("kind", "What", is_head=True),
    Column("findings", "Findings", "count"),
    Column("requests", "Requests", "count"),
    Column("bytes", "Bytes", "size"),
    Column("upstream_requests", "Asked upstream", "count"),
    Column("upstream_bytes", "From upstream", "size"),
)
_CACHES = (
    Column("size_bytes", "Size", "size", is_head=True),
    Column("hit_rate", "Files in it", "rate"),
    Column("byte_hit_rate", "Bytes in it", "rate"),
    Column("hit_bytes", "Bytes saved", "size"),
)
_REGISTRIES = (
    Column("ecosystem", "Ecosystem", "name"),
    Column("upstream", "Registry", "name", is_head=True),
    Column("past_requests", "Requests past it", "count"),
    Column("past_bytes", "Bytes past it", "size"),
    Column("bytes", "Bytes through it", "size"),
    Column("past_share", "Part past it", "rate"),
)


async def show_waste(request: Request) -> Response:
    """Sums by kind, the findings, other sizes of the store, and who goes past the gateway."""
    period = parse_period(request.query_params, today(), "7")
    site, url = site_of(request), gateway_url(request)
    ttl_s = site.config.cache.document_ttl_s

    def work() -> tuple[Waste, datetime]:
        since, until, read_at = period.since, period.until, datetime.now(UTC)
        return find_waste(site.data, since, until, DEFAULT_ENGINE, gateway_url=url, document_ttl_s=ttl_s), read_at

    found, read_at = await look(request, ("waste", period.since, period.until, url), work, keep_s=KEPT_S)
    small = sum(one.findings for one in found.small.values())
    totals = [_sum(kind, found.total[kind]) for kind in _KINDS]
    return render_page(
        request,
        "waste.html",
        period=period,
        totals=Table("totals", "All that was found, small amounts too", _TOTALS, totals),
        is_empty=not any(one.findings for one in found.total.values()),
        findings=[_shown(finding) for finding in found.findings[:MOST_FINDINGS]],
        more=len(found.findings) - MOST_FINDINGS,
        small=small,
        small_bytes=sum(one.bytes for one in found.small.values()),
        caches=Table(
            "caches",
            "A store for files of this size, empty at first, would have had",
            _CACHES,
            [_fields(run, _CACHES) for run in found.caches if run.requests],
            "No file was asked for in this period.",
        ),
        advice=found.advice,
        registries=Table(
            "registries",
            "On the days of the imported logs",
            _REGISTRIES,
            [_fields(one, _REGISTRIES) for one in found.registries],
            "No imported log has traffic past the gateway in this period.",
        ),
        losses=found.losses,
        read_at=read_at,
    )


def _sum(kind: str, found: Sum) -> dict[str, Any]:
    return {"kind": _KINDS[kind], **_fields(found, _TOTALS[1:])}


def _shown(finding: Finding) -> dict[str, Any]:
    adapter = ecosystems().get(finding.ecosystem)
    client = finding.client or "a program without a name"
    return {
        "title": _KINDS[finding.kind],
        "consumer": finding.consumer,
        "of": f"{adapter.label if adapter else finding.ecosystem}, {client}, {finding.client_class}",
        "words": finding.words,
        "change": finding.change,
        "where": finding.where,
        "bytes": finding.bytes,
        "requests": finding.requests,
    }


def _fields(one: object, columns: tuple[Column, ...]) -> dict[str, Any]:
    return {column.key: getattr(one, column.key) for column in columns}
