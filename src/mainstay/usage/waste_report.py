"""Waste as text for a person, and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from mainstay.usage.tables import aligned, printable, render_losses, size
from mainstay.usage.waste import KINDS, SMALL_BYTES, SMALL_REQUESTS, Sum, Waste

_KIND_WORDS = {
    "redundant": "files sent again",
    "revalidation": "questions to spare",
    "bypass": "past the gateway",
}


def render_text(waste: Waste, limit: int = 0) -> str:
    """What comes to how much, the largest findings with the change that ends each, and what was left out.

    Names may come from strangers: nothing in them starts a line of its own or speaks to the terminal.
    """
    period = f"{waste.since} to {waste.until} (UTC)"
    if any(waste.total[kind].findings for kind in KINDS):
        lines = [f"waste from {period}", "", *_render_totals(waste), *_render_findings(waste, limit)]
        lines += [*_render_small(waste), *_render_registries(waste)]
    else:
        lines = [
            f"No waste is in the usage ledger from {period}.",
            "Other programs' logs: see `mainstay usage import`.",
        ]
    lines += [*_render_caches(waste), *render_losses(waste.losses)]
    return "\n".join(map(printable, lines)) + "\n"


def render_json(waste: Waste, limit: int = 0) -> str:
    """`{"schema": 1, "since", "until", "engine", "findings": [...], "more", "totals": {...}, "small": {...},
    "registries": [...], "caches": [...], "advice": {...} or null, "losses": [...]}`; figures as whole numbers, sums by
    kind. `more` is how many findings `limit` leaves out, 0 being no limit."""
    shown = waste.findings[:limit] if limit else waste.findings
    document = {
        "schema": 1,
        "since": waste.since.isoformat(),
        "until": waste.until.isoformat(),
        "engine": waste.engine,
        "findings": [asdict(finding) for finding in shown],
        "more": len(waste.findings) - len(shown),
        "totals": {kind: asdict(found) for kind, found in waste.total.items()},
        "small": {kind: asdict(found) for kind, found in waste.small.items()},
        "registries": [asdict(one) | {"past_share": one.past_share} for one in waste.registries],
        "caches": [
            asdict(run) | {"hit_rate": run.hit_rate, "byte_hit_rate": run.byte_hit_rate} for run in waste.caches
        ],
        "advice": asdict(waste.advice) if waste.advice else None,
        "losses": [asdict(loss) for loss in waste.losses],
    }
    return json.dumps(document)


def _render_totals(waste: Waste) -> list[str]:
    head = ["", "findings", "requests", "bytes", "asked upstream", "from upstream"]
    body = [[_KIND_WORDS[kind], *_figures(waste.total[kind])] for kind in KINDS]
    return _table([head, *body])


def _figures(found: Sum) -> list[str]:
    return [
        f"{found.findings:,}",
        f"{found.requests:,}",
        size(found.bytes),
        f"{found.upstream_requests:,}",
        size(found.upstream_bytes),
    ]


def _render_findings(waste: Waste, limit: int) -> list[str]:
    shown = waste.findings[:limit] if limit else waste.findings
    lines: list[str] = []
    for number, finding in enumerate(shown, 1):
        lines += ["", f"{number}. {finding.words}", f"   change: {finding.change}", f"   where:  {finding.where}"]
    if more := len(waste.findings) - len(shown):
        lines += ["", f"{more:,} more: see them with --limit 0."]
    return lines


def _render_small(waste: Waste) -> list[str]:
    count = sum(found.findings for found in waste.small.values())
    if not count:
        return []
    requests = sum(found.requests for found in waste.small.values())
    size_bytes = sum(found.bytes for found in waste.small.values())
    few = f"less than {size(SMALL_BYTES)} and {SMALL_REQUESTS} requests each"
    return ["", f"Not shown: {count:,} with {few}, {requests:,} requests and {size(size_bytes)} in all."]


def _render_registries(waste: Waste) -> list[str]:
    if not waste.registries:
        return []
    head = ["ecosystem", "registry", "past the gateway", "through it", "past it, of all bytes"]
    body = []
    for one in waste.registries:
        share = "-" if one.past_share is None else f"{one.past_share * 100:.1f} %"
        body.append([one.ecosystem, one.upstream or "-", size(one.past_bytes), size(one.bytes), share])
    return ["", "on the days of the imported logs", "", *_table([head, *body], names=2)]


def _render_caches(waste: Waste) -> list[str]:
    if not waste.caches or not waste.caches[0].requests:
        return []
    body = []
    for run in waste.caches:
        rates = ["-" if rate is None else f"{rate * 100:.1f} %" for rate in (run.hit_rate, run.byte_hit_rate)]
        body.append([size(run.size_bytes), *rates, size(run.hit_bytes)])
    lines = ["", "a cache for files would have served", "", *_table([["size", "requests", "bytes", "saved"], *body])]
    if waste.advice:
        change = f"   change: {waste.advice.change}"
        lines += ["", waste.advice.words, change, f"   where:  {waste.advice.where}"]
    return lines


def _table(lines: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    widths = [max(len(printable(line[at])) for line in lines) for at in range(len(lines[0]))]
    return [aligned([printable(cell) for cell in line], widths, names) for line in lines]
