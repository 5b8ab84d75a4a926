"""The log format that web servers share: NCSA's common one, and the combined one with referrer and user agent.

Sources: httpd.apache.org, mod_log_config, "Examples" and "Format Notes"; nginx.org, ngx_http_log_module, `log_format`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mainstay.usage.importers.base import ABSENT, CLIENT_LEFT, Line, new_line, parse_clf_time, split_request, unescape

_INSIDE = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
QUOTED = rf'"({_INSIDE})"'
"""A text between quotes, in which a backslash takes the next character along."""
UNREAD = rf'"{_INSIDE}"'
"""The same of a text that nobody needs."""
REQUEST = rf'"(?:([A-Z]{{1,16}}) ([^" \\]+) HTTP/[0-9.]+|({_INSIDE}))"'
"""A request's first line as method and target, or as it is where it is out of the ordinary."""
TIME = r"\[([^\]]{20,32})\]"
HEAD = rf"(\S+) (?![0-9A-Fa-f]*[.:][0-9A-Fa-f.:]* )\S+ ([^\[]*) {TIME} {REQUEST} (\d{{3}}) (\d{{1,18}}|-)"
"""Address, user (which may have blanks), time, the request's three groups, status and bytes. What stands second is no
address: where it is one, a virtual host comes first."""
SQUID_TAG = r" \w+:\w+"
"""What Squid adds in the end: what its cache did, and whom it asked."""
# Servers are often set to add fields of their own in the end. What Squid adds is not theirs.
_LINE = re.compile(rf"{HEAD}(?: {UNREAD} {QUOTED}(?!{SQUID_TAG}$)(?: .*)?)?", re.ASCII | re.DOTALL)


def parse_combined(text: str, origin: str = "") -> Line | None:
    """What a line in the common or the combined format says."""
    match = _LINE.fullmatch(text)
    return line_of(match.groups(), origin) if match is not None else None


def line_of(fields: Sequence[str | Any], origin: str = "", outcome: str = "") -> Line | None:
    """A line of the groups of HEAD and the user agent's, which may be None; None where the time is none."""
    address, user, time, method, target, request, status, size, agent = fields
    time_us = parse_clf_time(time)
    if time_us is None:
        return None
    if not method:
        method, target = split_request(request)
        target = unescape(target)
    return new_line(
        (
            time_us,
            "" if address == ABSENT else address,
            "" if user == ABSENT else user,
            method,
            target,
            origin,
            int(status) or CLIENT_LEFT,
            0 if size == ABSENT else int(size),
            unescape(agent) if agent and agent != ABSENT else "",
            outcome,
        )
    )
