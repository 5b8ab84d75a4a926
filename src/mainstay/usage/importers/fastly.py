"""Fastly: log streaming as JSON lines, in the names of its own examples and others in use.

Source: fastly.com/documentation, "Useful variables to log" and "Useful log formats".
"""

from __future__ import annotations

from mainstay.usage.importers.base import Line, LogFormat
from mainstay.usage.importers.json_lines import JsonLines


class Fastly(LogFormat):
    """Fastly."""

    name = "fastly"
    expects = (
        "a JSON object with time_start or timestamp, client_ip, request or url, host, status ..., one on each line"
    )

    def __init__(self) -> None:
        self._json = JsonLines()

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`. What stands before the object, a syslog header for one, is passed over."""
        start = text.find("{")
        return self._json.parse(text[start:]) if start >= 0 else None
