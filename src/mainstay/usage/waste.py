"""Waste: what was fetched or asked for in vain, by whom, and the one change that ends it.

`mainstay serve` and `run` do not import this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mainstay.db.ledger import LedgerLoss
from mainstay.usage.answers import query
from mainstay.usage.engines import Row
from mainstay.usage.remedies import BYPASS, REDUNDANT, REVALIDATION, find_remedy
from mainstay.usage.replay_caches import CacheRun
from mainstay.usage.waste_caches import SIZES, CacheAdvice, advise, try_caches
from mainstay.usage.waste_queries import COPY, DOCUMENT, FETCH, FIGURES, FILE, KEYS, REGISTRY, bypassed, wasted
from mainstay.usage.waste_registries import RegistryTraffic, compare
from mainstay.usage.waste_words import Group, describe

KINDS = (REDUNDANT, REVALIDATION, BYPASS)
SMALL_BYTES = 1_000_000
SMALL_REQUESTS = 100
"""What has less of both is no finding: it is only added up."""
_KIND_OF = {COPY: REDUNDANT, FILE: REVALIDATION, DOCUMENT: REVALIDATION, FETCH: BYPASS}


@dataclass(frozen=True, slots=True)
class Finding:
    """Waste of one kind by one program of one consumer, in one ecosystem.

    The figures are of the wasted part only; those of upstream are what of it reached the registry. `words` is a
    sentence with the figures, `change` one line that would end it, and `where` the file or place that it goes into.
    """

    kind: str
    consumer: str
    client: str
    client_class: str
    ecosystem: str
    requests: int
    bytes: int
    upstream_requests: int
    upstream_bytes: int
    words: str
    change: str
    where: str

    @property
    def is_small(self) -> bool:
        """Whether it is too little to be shown by itself."""
        return self.bytes < SMALL_BYTES and self.requests < SMALL_REQUESTS


@dataclass(frozen=True, slots=True)
class Sum:
    """What findings come to."""

    findings: int
    requests: int
    bytes: int
    upstream_requests: int
    upstream_bytes: int


@dataclass(frozen=True, slots=True)
class Waste:
    """`findings` are the largest first, without those that are small. By kind, `small` is what was left out and `total`
    is all of it: the sum of both. `losses` is what the ledger says it lost, whenever that was."""

    data: Path
    since: date
    until: date
    engine: str
    findings: tuple[Finding, ...]
    total: dict[str, Sum]
    small: dict[str, Sum]
    registries: tuple[RegistryTraffic, ...]
    caches: tuple[CacheRun, ...]
    advice: CacheAdvice | None
    losses: tuple[LedgerLoss, ...]


def find_waste(
    data: Path,
    since: date,
    until: date,
    engine: str,
    *,
    gateway_url: str = "",
    document_ttl_s: float = 300,
    sizes: Sequence[int] = SIZES,
) -> Waste:
    """The waste in the ledger of the data folder and in the imported logs beside it; days in UTC, both within.

    `gateway_url` is the gateway's own address, for the lines that point at it. `document_ttl_s` is how long the gateway
    holds a document for fresh (`cache.document_ttl_s`). `sizes` are those of caches to try, in bytes; none for nothing.

    Raises:
        as `answers.query`.
    """
    ttl_us = round(document_ttl_s * 1_000_000)
    imported, _ = query(data, since, until, bypassed, engine, imported=True)
    rows, losses = query(
        data, since, until, lambda events: wasted(events, ttl_us, with_registries=bool(imported)), engine
    )
    found = [_find(group, gateway_url, document_ttl_s) for group in _grouped([*rows, *imported])]
    found.sort(key=_order)
    caches = try_caches(data, since, until, sizes)
    return Waste(
        data,
        since,
        until,
        engine,
        tuple(one for one in found if not one.is_small),
        {kind: add_up(one for one in found if one.kind == kind) for kind in KINDS},
        {kind: add_up(one for one in found if one.kind == kind and one.is_small) for kind in KINDS},
        compare(*([row for row in part if row["what"] == REGISTRY] for part in (rows, imported))),
        caches,
        advise(caches),
        losses,
    )


def add_up(findings: Iterable[Finding]) -> Sum:
    """Their figures, and how many they are."""
    found = list(findings)
    return Sum(len(found), *(sum(getattr(one, name) for one in found) for name in FIGURES))


def _grouped(rows: Iterable[Row]) -> Iterable[Group]:
    """Rows of one kind and KEYS together."""
    groups: dict[tuple[str, ...], Group] = {}
    for row in rows:
        if kind := _KIND_OF.get(row["what"]):
            names = tuple(row[name] for name in KEYS)
            consumer, client, client_class, ecosystem = names
            new = Group(kind, consumer, client, client_class, ecosystem)
            groups.setdefault((kind, *names), new).parts[row["what"]] = row
    return groups.values()


def _find(group: Group, gateway_url: str, document_ttl_s: float) -> Finding:
    remedy = find_remedy(group.kind, group.client, group.client_class, group.ecosystem, gateway_url)
    return Finding(
        group.kind,
        group.consumer,
        group.client,
        group.client_class,
        group.ecosystem,
        group.sum("requests"),
        group.sum("bytes"),
        group.sum("upstream_requests"),
        group.sum("upstream_bytes"),
        describe(group, document_ttl_s),
        remedy.change,
        remedy.where,
    )


def _order(finding: Finding) -> tuple[int, int, tuple[str, ...]]:
    """The largest first; those of one size by name."""
    names = (finding.kind, finding.consumer, finding.client, finding.client_class, finding.ecosystem)
    return -finding.bytes, -finding.requests, names
