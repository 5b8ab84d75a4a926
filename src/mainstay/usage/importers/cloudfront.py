"""Amazon CloudFront: standard logs. Their `#Fields` line says which columns there are, tabs stand between them.

Source: docs.aws.amazon.com, CloudFront Developer Guide, "Standard logging reference". Times are in UTC; `sc-bytes` has
the headers in it.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote

from mainstay.usage.importers.base import (
    LONGEST_REMEMBERED,
    Line,
    LogFormat,
    parse_epoch,
    parse_iso_time,
    parse_method,
    parse_size,
    parse_status,
    value_of,
)

_FIELDS = "#Fields:"
_NEEDED = ("c-ip", "cs-method", "cs-uri-stem", "sc-status")
_OUTCOMES = {
    "Hit": "hit",
    "OriginShieldHit": "hit",
    "RefreshHit": "revalidated",
    "Miss": "miss",
    "LimitExceeded": "refused",
    "CapacityExceeded": "error",
    "Error": "error",
}


class CloudFront(LogFormat):
    """CloudFront."""

    name = "cloudfront"
    expects = "a line that begins with #Fields: and names the columns, then lines with tabs between their columns"

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}

    def remark(self, text: str) -> None:
        """See `LogFormat.remark`."""
        if text.startswith(_FIELDS):
            names = {name: at for at, name in enumerate(text.removeprefix(_FIELDS).split())}
            has_time = {"date", "time"} <= names.keys() or "timestamp" in names or "timestamp(ms)" in names
            self._columns = names if has_time and names.keys() >= set(_NEEDED) else {}

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`."""
        values, columns = text.split("\t"), self._columns
        if len(values) != len(columns):
            return None

        def value(name: str) -> str:
            return value_of(values[columns[name]]) if name in columns else ""

        if "date" in columns:
            time_us = parse_iso_time(f"{value('date')}T{value('time')}")
        else:
            time_us = parse_epoch(value("timestamp(ms)") or value("timestamp"))
        status = parse_status(value("sc-status"))
        if time_us is None or status is None:
            return None
        host = value("x-host-header") or value("cs(Host)")
        scheme = "http" if value("cs-protocol") == "http" else "https"
        return Line(
            time_us,
            value("c-ip"),
            "",
            parse_method(value("cs-method")),
            value("cs-uri-stem"),
            f"{scheme}://{host}" if host else "",
            status,
            parse_size(value("sc-bytes")),
            _decode(value("cs(User-Agent)")[:LONGEST_REMEMBERED]),
            _OUTCOMES.get(value("x-edge-result-type"), ""),
        )


@lru_cache(maxsize=4096)
def _decode(text: str) -> str:
    """A text without percent-encoding; older logs have it twice."""
    once = unquote(text)
    return unquote(once) if "%20" in once else once
