"""nginx: the combined format, and JSON lines made of its variables.

Sources: nginx.org, ngx_http_log_module (`log_format`, `escape=json`), ngx_http_core_module and ngx_http_upstream_module
(the variables).
"""

from __future__ import annotations

from mainstay.usage.importers.base import Line, LogFormat
from mainstay.usage.importers.combined import parse_combined
from mainstay.usage.importers.json_lines import JsonLines

_OWN = frozenset(
    "remote_addr remote_user time_local time_iso8601 msec request_uri body_bytes_sent http_user_agent "
    "upstream_cache_status".split()
)
"""Variables under whose names most people log them. A line with none of these is another program's."""


class Nginx(LogFormat):
    """nginx."""

    name = "nginx"
    expects = (
        'ADDRESS - USER [21/Nov/2026:12:00:00 +0000] "GET /path HTTP/1.1" 200 BYTES "REFERRER" "USER AGENT", or a JSON '
        "object with the variables' names (time_iso8601, remote_addr, request, status, body_bytes_sent ...)"
    )

    def __init__(self) -> None:
        self._json = JsonLines(required=_OWN)

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`."""
        return self._json.parse(text) if text[0] == "{" else parse_combined(text)
