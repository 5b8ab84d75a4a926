"""How much of the traffic with each registry went past the gateway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.usage.engines import Row


@dataclass(frozen=True, slots=True)
class RegistryTraffic:
    """What reached one registry on the days of the imported logs: `requests` and `bytes` through the gateway, and those
    past it."""

    ecosystem: str
    upstream: str
    requests: int
    bytes: int
    past_requests: int
    past_bytes: int

    @property
    def past_share(self) -> float | None:
        """The part of all bytes that went past the gateway, 0 to 1; None where there were none."""
        everything = self.bytes + self.past_bytes
        return round(self.past_bytes / everything, 4) if everything else None


def compare(own: Sequence[Row], imported: Sequence[Row]) -> tuple[RegistryTraffic, ...]:
    """Each registry that was asked past the gateway, the most bytes first, of the rows of `waste_queries.wasted` and
    `bypassed` that are of registries."""
    days = {row["day"] for row in imported}
    through = _summed([row for row in own if row["day"] in days])
    past = _summed(imported)
    found = [
        RegistryTraffic(*registry, *through.get(registry, (0, 0)), *sums) for registry, sums in past.items() if sums[0]
    ]
    found.sort(key=lambda one: (-one.past_bytes, -one.past_requests, one.ecosystem, one.upstream))
    return tuple(found)


def _summed(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[int, int]]:
    """Requests to each registry and bytes from it."""
    sums: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in rows:
        requests, size_bytes = sums[row["ecosystem"], row["upstream"]]
        sums[row["ecosystem"], row["upstream"]] = (
            requests + row["upstream_requests"],
            size_bytes + row["upstream_bytes"],
        )
    return sums
