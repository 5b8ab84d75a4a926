"""Apache httpd: the common and the combined format, both also with the virtual host in front.

Sources: httpd.apache.org, mod_log_config, "Examples"; Debian's apache2.conf for `vhost_combined`, where the host has a
port.
"""

from __future__ import annotations

import re

from mainstay.usage.importers.base import Line, LogFormat
from mainstay.usage.importers.combined import parse_combined

# `HOST:PORT ` or `HOST ` and then an address. Without an address behind it, it is the address itself.
_VIRTUAL_HOST = re.compile(r"([A-Za-z0-9._-]+)(?::(\d{1,5}))? (?=[0-9A-Fa-f:.]+ \S+ [^\[]*\[)", re.ASCII)
_PLAIN_PORT = "80"


class Apache(LogFormat):
    """Apache httpd."""

    name = "apache"
    expects = (
        '[HOST:PORT] ADDRESS - USER [21/Nov/2026:12:00:00 +0000] "GET /path HTTP/1.1" 200 BYTES ["REFERRER" '
        '"USER AGENT"]'
    )

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`."""
        line = parse_combined(text)
        if line is not None:
            return line
        match = _VIRTUAL_HOST.match(text)
        if match is None:
            return None
        host, port = match[1], match[2] or ""
        scheme = "http" if port == _PLAIN_PORT else "https"
        return parse_combined(text[match.end() :], f"{scheme}://{host}{f':{port}' if port else ''}")
