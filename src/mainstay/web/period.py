"""The days that a page is about, as its address says them. Days are in UTC, both ends within."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlencode

from mainstay.errors import RequestError

CHOICES = {"today": 1, "7": 7, "30": 30}
"""What `period` may be, and how many days that are, up to today."""
CUSTOM = "custom"
HOUR_US = 3_600_000_000
_LONGEST_BY_HOUR_DAYS, _LONGEST_BY_DAY_DAYS = 2, 92
_HINT = "Write days as 2026-01-31, the first one as since, the last one as until."


@dataclass(frozen=True, slots=True)
class Period:
    """`choice` is one of CHOICES or CUSTOM; `given` says whether the address named it."""

    since: date
    until: date
    choice: str
    given: bool

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.until - self.since).days + 1

    @property
    def step_us(self) -> int:
        """What one bar of a chart stands for: an hour, a day or a week."""
        if self.days <= _LONGEST_BY_HOUR_DAYS:
            return HOUR_US
        return 24 * HOUR_US * (1 if self.days <= _LONGEST_BY_DAY_DAYS else 7)

    @property
    def step_words(self) -> str:
        """The same for a caption."""
        if self.step_us == HOUR_US:
            return "hour"
        return "day" if self.step_us == 24 * HOUR_US else "week"

    @property
    def words(self) -> str:
        """As a heading says it."""
        return f"{self.since}" if self.days == 1 else f"{self.since} to {self.until}"

    @property
    def query(self) -> dict[str, str]:
        """The part of an address that names it again; nothing where the page's own default holds."""
        if not self.given:
            return {}
        if self.choice != CUSTOM:
            return {"period": self.choice}
        return {"since": self.since.isoformat(), "until": self.until.isoformat()}


def parse_period(query: Mapping[str, str], today: date, default: str = "today") -> Period:
    """From `period`, or from `since` and `until`, which are whole days; one of them alone ends or begins today.

    Raises:
        RequestError: it is no period, in words.
    """
    since, until = query.get("since", "").strip(), query.get("until", "").strip()
    choice = query.get("period", "").strip() or (CUSTOM if since or until else "")
    if choice == CUSTOM:
        last = _parse_day("until", until) if until else today
        first = _parse_day("since", since) if since else last
        if first > last:
            raise RequestError(f"The first day, {first}, is after the last one, {last}.", hint="Swap them.")
        return Period(first, last, CUSTOM, given=True)
    if choice and choice not in CHOICES:
        allowed = ", ".join((*CHOICES, CUSTOM))
        raise RequestError(f"period={choice[:40]} is not a period.", hint=f"There are: {allowed}.")
    days = CHOICES[choice or default]
    return Period(today - timedelta(days=days - 1), today, choice or default, given=bool(choice))


def render_query(*parts: Mapping[str, str]) -> str:
    """`?a=b&c=d` of all parts, later ones first in force, empty values left out; "" of none."""
    merged = {name: value for part in parts for name, value in part.items()}
    text = urlencode({name: value for name, value in merged.items() if value})
    return f"?{text}" if text else ""


def _parse_day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{name}={text[:40]} is not a day.", hint=_HINT) from None
