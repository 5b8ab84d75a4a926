"""Tiers: what each consumer of one may use, and how it stands in the queue for upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from mainstay.config import WINDOWS_S, Config, TierSetting, parse_rates, parse_size

FREE = "free"
"""The tier of everybody who has no other. It is always there."""
REQUESTS = "requests"
CONTENT_BYTES = "content-bytes"
CONCURRENT_REQUESTS = "concurrent-requests"
_WINDOW_NAMES = {seconds: name for name, seconds in WINDOWS_S.items()}


class Lane(IntEnum):
    """Which of three queues a request for upstream waits in; the first goes before the others."""

    INTERACTIVE = 0
    """Somebody waits for it: a person, an agent, or a program of which nothing is known."""
    CI = 1
    BULK = 2
    """Scanners, mirrors and updaters."""


_LANE_OF_KIND = {"ci": Lane.CI, "scanner": Lane.BULK, "mirror": Lane.BULK, "updater": Lane.BULK}


@dataclass(frozen=True, slots=True)
class Limit:
    """`quota` units in `window_s` seconds for each consumer. `unit` is one of the RateLimit draft's quota units, `name`
    is what clients are told of it."""

    name: str
    unit: str
    quota: int
    window_s: int

    @property
    def words(self) -> str:
        """As a person would say it: "600 requests per minute"."""
        unit = "bytes" if self.unit == CONTENT_BYTES else self.unit
        return f"{self.quota} {unit} per {_WINDOW_NAMES[self.window_s]}"


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier as configured, with the meaning of each word drawn out."""

    name: str
    requests: tuple[Limit, ...] = ()
    bytes: tuple[Limit, ...] = ()
    concurrency: int | None = None
    """Fetches from one registry at a time, for one consumer over all workers; None: no limit."""
    weight: float = 1.0
    lane: Lane | None = None
    """The lane of all its requests; None: by the class of each client."""
    max_wait_s: float = 10.0
    charges_hits: bool = False
    is_counted: bool = True
    is_enforced: bool = False

    @property
    def limits(self) -> tuple[Limit, ...]:
        """All that are counted."""
        return self.requests + self.bytes if self.is_counted else ()

    def lane_of(self, client_class: str) -> Lane:
        """Where a request waits whose client is a person, ci, mirror, scanner, updater, agent or unknown."""
        return self.lane if self.lane is not None else _LANE_OF_KIND.get(client_class, Lane.INTERACTIVE)

    def concurrency_share(self, workers: int) -> int | None:
        """One worker's part of `concurrency`, at least 1; None where there is no limit or it is not enforced."""
        return max(1, self.concurrency // workers) if self.concurrency is not None and self.is_enforced else None


class Tiers(Mapping[str, Tier]):
    """All tiers by name. `free` is among them whether it is configured or not."""

    def __init__(self, config: Config) -> None:
        settings = {FREE: TierSetting()} | config.tiers
        self._tiers = {name: _tier(name, setting) for name, setting in settings.items()}

    def __getitem__(self, name: str) -> Tier:
        return self._tiers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tiers)

    def __len__(self) -> int:
        return len(self._tiers)

    def of(self, name: str) -> Tier:
        """The tier of that name; `free` where the configuration no longer has it."""
        return self._tiers.get(name) or self._tiers[FREE]


def _tier(name: str, setting: TierSetting) -> Tier:
    return Tier(
        name,
        _limits(name, REQUESTS, parse_rates(setting.requests, int)),
        _limits(name, CONTENT_BYTES, parse_rates(setting.bytes, parse_size)),
        setting.concurrency or None,
        setting.weight,
        None if setting.priority == "client" else Lane[setting.priority.upper()],
        setting.max_wait_s,
        charges_hits=setting.charge == "all",
        is_counted=setting.mode != "off",
        is_enforced=setting.mode == "enforce",
    )


def _limits(tier: str, unit: str, rates: tuple[tuple[int, int], ...]) -> tuple[Limit, ...]:
    return tuple(
        Limit(f"{tier}-{unit}-per-{_WINDOW_NAMES[window_s]}", unit, quota, window_s) for quota, window_s in rates
    )
