"""What may be asked of the ledger: by what, over which days, in which order. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from mainstay.errors import ConfigError

DIMENSIONS: dict[str, str] = {
    "consumer": "consumer",
    "identified_by": "identified_by",
    "tier": "tier",
    "ecosystem": "ecosystem",
    "project": "project",
    "version": "version",
    "filename": "filename",
    "kind": "kind",
    "upstream": "upstream",
    "outcome": "cache_status",
    "method": "method",
    "status": "status",
    "throttled": "throttled",
    "client": "client_name",
    "client_version": "client_version",
    "class": "client_class",
    "runtime": "runtime",
    "runtime_version": "runtime_version",
    "system": "system",
    "arch": "arch",
    "ci": "ci",
    "ci_vendor": "ci_vendor",
    "agent": "agent",
    "day": "time_us",
}
"""What rows may be grouped by, and the column of the ledger that it is read from."""
IMPLIED = {"project": ("ecosystem",), "version": ("ecosystem", "project"), "filename": ("ecosystem", "project")}
"""What a dimension says nothing without: one name may be two projects of two ecosystems."""
MEASURES = (
    "requests",
    "bytes",
    "artifacts",
    "hits",
    "upstream_requests",
    "upstream_bytes",
    "redundant_bytes",
    "refused",
    "waited",
)
"""The figures of each row: whole numbers, all of them."""
DEFAULT_DAYS = 30
_DAYS = re.compile(r"\s*([1-9][0-9]{0,4})\s*days?\s*")


@dataclass(frozen=True, slots=True)
class Question:
    """`by` are names of DIMENSIONS; `since` and `until` are days in UTC, both within. `limit` 0 is every row.

    Rows come with the largest `sort` first, and by day first where `day` is among `by`.
    """

    by: tuple[str, ...]
    since: date
    until: date
    sort: str = "bytes"
    limit: int = 0


def parse_question(
    by: Sequence[str], since: str, until: str, today: date, *, sort: str = "bytes", limit: int = 0
) -> Question:
    """From what a person typed: names with commas between, days as `2026-01-31` or `7 days`, "" for the default.

    Raises:
        ConfigError: with what is allowed.
    """
    last = _parse_day("--until", until) if until else today
    if match := _DAYS.fullmatch(since or f"{DEFAULT_DAYS} days"):
        first = last - timedelta(days=min(int(match[1]), last.toordinal()) - 1)
    else:
        first = _parse_day("--since", since)
    if first > last:
        raise ConfigError(f"--since {first} is after --until {last}.", hint="Swap them.")
    if sort not in MEASURES:
        raise ConfigError(f"--sort {sort} is not a figure of a row.", hint=_allowed(sort, MEASURES))
    return Question(parse_by(by), first, last, sort, limit)


def parse_by(by: Sequence[str]) -> tuple[str, ...]:
    """The dimensions named, each once and after what it implies.

    Raises:
        ConfigError: with what is allowed.
    """
    wanted: dict[str, None] = {}
    for name in (part.strip() for text in by for part in text.split(",")):
        if name and name not in DIMENSIONS:
            raise ConfigError(f"--by {name} is not something to group by.", hint=_allowed(name, DIMENSIONS))
        wanted |= dict.fromkeys((*IMPLIED.get(name, ()), name)) if name else {}
    return tuple(wanted)


def _parse_day(flag: str, text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        hint = 'Write a day as 2026-01-31; --since may also be "7 days".'
        raise ConfigError(f"{flag} {text} is not a day.", hint=hint) from None


def _allowed(name: str, names: Sequence[str] | dict[str, str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"{f'Did you mean {near[0]}? ' if near else ''}Allowed: {', '.join(names)}."
