"""How the gateway is: its ledger, its upstreams, its store, and what it blocks."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from mainstay.app import worker_count
from mainstay.config import parse_size
from mainstay.db.blobs import load_total
from mainstay.db.ledger import LedgerLoss
from mainstay.db.origins import load_origins
from mainstay.db.takedowns import Takedown, load_takedowns
from mainstay.store.shared import Shared
from mainstay.upstream.addresses import origin_of
from mainstay.upstream.registry import Upstream
from mainstay.web.figures import read
from mainstay.web.views_frame import look, render_page, site_of, today
from mainstay.web.views_tables import Column, Table

if TYPE_CHECKING:
    from mainstay.web.site import Site

_UPSTREAMS = (
    Column("ecosystem", "Ecosystem", "name"),
    Column("upstream", "Upstream", "name", is_head=True),
    Column("state", "State"),
    Column("why", "Chosen by"),
    Column("access", "Access"),
)
_TAKEDOWNS = (
    Column("ecosystem", "Ecosystem", "name"),
    Column("project", "Project", "project", is_head=True),
    Column("version", "Version", "name"),
    Column("reason", "Why"),
    Column("seen_at", "Since"),
)
_LOSSES = (
    Column("source", "Where", "name", is_head=True),
    Column("events", "Events"),
    Column("size", "Bytes", "size"),
    Column("reason", "Why"),
)


@dataclass(frozen=True, slots=True)
class _Health:
    stored_bytes: int
    free_bytes: int
    upstreams: list[Mapping[str, Any]]
    takedowns: list[Takedown]
    losses: tuple[LedgerLoss, ...]
    read_at: datetime


async def show_health(request: Request) -> Response:
    """Losses, upstreams with their rests, the store against its budget, workers, version, takedowns in force."""
    site = site_of(request)
    found = await look(request, ("health",), lambda: _health(site))
    budget_bytes = parse_size(site.config.cache.size)
    return render_page(
        request,
        "health.html",
        budget_bytes=budget_bytes,
        stored_bytes=found.stored_bytes,
        stored_part=found.stored_bytes / budget_bytes if budget_bytes else None,
        free_bytes=found.free_bytes,
        workers=worker_count(site.config),
        has_ledger=site.config.usage.ledger,
        keep_days=site.config.usage.keep_days,
        resting=[row for row in found.upstreams if row["is_resting"]],
        upstreams=Table("upstreams", "Registries, in the order in which they are asked", _UPSTREAMS, found.upstreams),
        takedowns=Table(
            "takedowns",
            "Releases that upstream took away, and that are blocked here",
            _TAKEDOWNS,
            [_blocked(entry) for entry in found.takedowns],
            "Nothing is blocked.",
        ),
        losses=Table(
            "losses",
            "Events that the ledger does not have, whenever that was",
            _LOSSES,
            [_lost(loss) for loss in found.losses],
            "The ledger has lost nothing.",
        ),
        read_at=found.read_at,
    )


def _health(site: Site) -> _Health:
    day = today()
    return _Health(
        site.database.read_sync(load_total),
        shutil.disk_usage(site.data).free,
        _upstreams(site),
        site.database.read_sync(load_takedowns),
        read(site.data, day, day, lambda reading: reading.losses),
        datetime.now(UTC),
    )


def _upstreams(site: Site) -> list[Mapping[str, Any]]:
    learned: dict[tuple[str, str], set[str]] = defaultdict(set)
    for origin in site.database.read_sync(load_origins):
        learned[origin.ecosystem, origin.upstream].add(origin_of(origin.base))
    shared, now = Shared(site.data / "shared.bin"), time.time()
    try:
        rows = []
        for upstream in site.registry:
            places = {origin_of(base) for base in upstream.bases.values()} | learned[upstream.ecosystem.id, upstream.id]
            rests = {place: shared.rest_until(place) - now for place in sorted(places)}
            rows.append(_upstream(upstream, {place: rest_s for place, rest_s in rests.items() if rest_s > 0}))
        return rows
    finally:
        shared.close()


def _upstream(upstream: Upstream, rests: Mapping[str, float]) -> Mapping[str, Any]:
    """`rests` are the seconds that each of its hosts is still left alone, as far as it is."""
    resting = ", ".join(f"{place} for {rest_s:,.0f} s" for place, rest_s in rests.items())
    return {
        "ecosystem": upstream.ecosystem.label,
        "upstream": upstream.id,
        "is_resting": bool(rests),
        "state": f"rests, as it failed or asked for it: {resting}" if rests else "asked as needed",
        "why": upstream.why,
        "access": "private" if upstream.private else "with a credential" if upstream.authorization else "open",
    }


def _blocked(entry: Takedown) -> dict[str, str]:
    seen_at = datetime.fromtimestamp(entry.seen_at, UTC)
    return {
        "ecosystem": entry.ecosystem,
        "project": entry.project,
        "version": f"{entry.version or 'all'}{f', {entry.filename}' if entry.filename else ''}",
        "reason": entry.reason,
        "seen_at": f"{seen_at:%Y-%m-%d %H:%M}",
    }


def _lost(loss: LedgerLoss) -> dict[str, Any]:
    return {
        "source": loss.source,
        "events": f"{loss.events:,}" if loss.events else "unknown",
        "size": loss.size,
        "reason": loss.reason,
    }
