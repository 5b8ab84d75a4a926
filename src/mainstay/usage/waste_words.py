"""The sentence of a finding. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from mainstay.ecosystems import ecosystems
from mainstay.usage.engines import Row
from mainstay.usage.remedies import BYPASS, CI, REDUNDANT
from mainstay.usage.tables import size
from mainstay.usage.waste_queries import FILE, OF_BYTES


@dataclass(slots=True)
class Group:
    """Rows of one kind of waste that are of the same program, by what was wasted."""

    kind: str
    consumer: str
    client: str
    client_class: str
    ecosystem: str
    parts: dict[str, Row] = field(default_factory=dict)

    def sum(self, figure: str) -> int:
        """Over all its rows."""
        return sum(int(row[figure]) for row in self.parts.values())


def describe(group: Group, document_ttl_s: float) -> str:
    """Who wasted how much of what, as one sentence. Names are as they came: they may be from strangers."""
    who = f"{group.client or 'a program without a name'} ({group.client_class}) of {group.consumer}"
    if group.kind == REDUNDANT:
        return f"{who} {_describe_redundant(group)}."
    if group.kind == BYPASS:
        return f"{who} {_describe_bypass(group)}."
    return f"{who} {_describe_revalidation(group, document_ttl_s)}."


def _describe_redundant(group: Group) -> str:
    wasted_bytes, of_bytes = group.sum("bytes"), group.sum(OF_BYTES)
    files = _count(group.sum("requests"), "file")
    part = f"{100 * wasted_bytes / of_bytes:.0f} % of what it was sent whole"
    words = f"was sent {files} again that {group.consumer} already had: {size(wasted_bytes)}, {part}"
    if asked := group.sum("upstream_bytes"):
        words += f"; {size(asked)} came from upstream again"
    if group.client_class == CI and wasted_bytes * 2 > of_bytes:
        words += "; its jobs start without a cache"
    return words


def _describe_revalidation(group: Group, document_ttl_s: float) -> str:
    said = []
    files = int(group.parts[FILE]["requests"]) if FILE in group.parts else 0
    if files:
        said.append(f"asked {_count(files, 'time')} whether a file had changed, which files never do")
    if documents := group.sum("requests") - files:
        times = _count(documents, "time")
        said.append(f"asked {times} for a document that it had been given less than {document_ttl_s:g} s before")
    words = ", and ".join(said)
    return f"{words}: {size(group.sum('bytes'))}" if group.sum("bytes") else words


def _describe_bypass(group: Group) -> str:
    adapter = ecosystems().get(group.ecosystem)
    label = adapter.label if adapter else group.ecosystem
    times, all_bytes, asked_bytes = (
        _count(group.sum("requests"), "time"),
        group.sum("bytes"),
        group.sum("upstream_bytes"),
    )
    words = f"fetched {times} from {label} past the gateway: {size(all_bytes)}"
    return words if asked_bytes == all_bytes else f"{words}, {size(asked_bytes)} of it from the registry itself"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
