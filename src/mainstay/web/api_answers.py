"""What the JSON API tells: the documents of the commands' `--json`, and how the gateway is.

The ledger is asked in threads, two questions at a time with those of the pages. No worker of the gateway imports this.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from mainstay import __version__
from mainstay.app import worker_count
from mainstay.config import parse_size
from mainstay.db.blobs import load_total
from mainstay.db.takedowns import load_takedowns
from mainstay.store.shared import Shared
from mainstay.upstream.addresses import origin_of
from mainstay.usage.engines import DEFAULT_ENGINE
from mainstay.usage.question import parse_question
from mainstay.web.figures import SUMS, read
from mainstay.web.openapi import Asked
from mainstay.web.views_frame import gateway_url, look, site_of, today

if TYPE_CHECKING:
    from mainstay.web.site import Site


async def tell_summary(asked: Asked) -> Response:
    """What `mainstay usage summary --json` prints."""
    from mainstay.usage.answers import ask
    from mainstay.usage.tables import render_json

    query, data = asked.query, site_of(asked.request).data
    question = parse_question([query.by], query.since, query.until, today(), sort=query.sort, limit=query.limit)
    return await _tell(asked.request, question, lambda: render_json(ask(data, question, DEFAULT_ENGINE)))


async def tell_today(asked: Asked) -> Response:
    """The counters of the day, which are soon had."""
    data, day = site_of(asked.request).data, today()

    def work() -> str:
        rows = read(data, day, day, lambda reading: reading.sums(("day",)))
        total = {name: sum(row[name] for row in rows) for name in SUMS}
        rate = round(total["hits"] / total["requests"], 4) if total["requests"] else None
        return json.dumps({"schema": 1, "day": day.isoformat(), "total": total | {"hit_rate": rate}})

    return await _tell(asked.request, day, work)


async def tell_waste(asked: Asked) -> Response:
    """What `mainstay usage waste --json` prints."""
    from mainstay.usage.waste import find_waste
    from mainstay.usage.waste_report import render_json

    query, site, url = asked.query, site_of(asked.request), gateway_url(asked.request)
    period = parse_question([], query.since, query.until, today())
    ttl_s = site.config.cache.document_ttl_s

    def work() -> str:
        days = (period.since, period.until)
        return render_json(
            find_waste(site.data, *days, DEFAULT_ENGINE, gateway_url=url, document_ttl_s=ttl_s), query.limit
        )

    return await _tell(asked.request, (period, url, query.limit), work)


async def tell_statement(asked: Asked) -> Response:
    """What `mainstay usage statement --json` prints."""
    from mainstay.usage.costs import private_upstreams
    from mainstay.usage.statement import make_statement, parse_statement_period
    from mainstay.usage.statement_render import render_statement_json

    query, site = asked.query, site_of(asked.request)
    since, until = parse_statement_period(query.month, query.since, query.until, today())

    def work() -> str:
        statement = make_statement(
            site.data,
            since,
            until,
            consumer=query.consumer,
            currency=query.currency,
            private=private_upstreams(site.config),
        )
        return render_statement_json(statement)

    return await _tell(asked.request, (since, until, query.consumer, query.currency), work)


async def tell_publisher(asked: Asked) -> Response:
    """What `mainstay usage publisher --json` prints; how small a group may be is not for the caller to say."""
    from mainstay.usage.publisher import publisher_view, render_json

    query, data = asked.query, site_of(asked.request).data
    period = parse_question([], query.since, query.until, today())

    def work() -> str:
        days, by = (period.since, period.until), [query.by]
        return render_json(
            publisher_view(data, *days, DEFAULT_ENGINE, ecosystem=query.ecosystem, project=query.project, by=by)
        )

    return await _tell(asked.request, (period, query), work)


async def tell_health(asked: Asked) -> Response:
    """What the ledger lost, how full the store is, what is blocked, and which upstreams rest."""
    site = site_of(asked.request)
    return await _tell(asked.request, "health", lambda: json.dumps(_health(site)))


def render_json_reply(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A reply with one document."""
    return Response(json.dumps(document), status, dict(headers or {}), "application/json")


async def _tell(request: Request, key: Hashable, work: Callable[[], str]) -> Response:
    """A document that is made in a thread, for all who ask the same within a few seconds.

    Raises:
        TimeoutError: it takes longer than a minute, or too many others wait.
    """
    text = await look(request, ("api", request.scope["path"], key), work)
    return Response(text, media_type="application/json")


def _health(site: Site) -> dict[str, Any]:
    day = today()
    losses = read(site.data, day, day, lambda reading: reading.losses)
    store = {"bytes": site.database.read_sync(load_total), "budget_bytes": parse_size(site.config.cache.size)}
    ledger = {"is_on": site.config.usage.ledger, "keep_days": site.config.usage.keep_days}
    return {
        "schema": 1,
        "version": __version__,
        "workers": worker_count(site.config),
        "ledger": ledger | {"losses": [asdict(loss) for loss in losses]},
        "store": store,
        "takedowns": len(site.database.read_sync(load_takedowns)),
        "upstreams": _upstreams(site),
    }


def _upstreams(site: Site) -> list[dict[str, Any]]:
    shared, now = Shared(site.data / "shared.bin"), time.time()
    try:
        return [
            {
                "ecosystem": upstream.ecosystem.id,
                "upstream": upstream.id,
                "why": upstream.why,
                "rest_s": round(max(0.0, shared.rest_until(origin_of(upstream.url)) - now), 3),
            }
            for upstream in site.registry
        ]
    finally:
        shared.close()
