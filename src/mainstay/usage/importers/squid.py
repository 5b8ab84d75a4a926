"""Squid, as other egress proxies that write its formats: the native one, and the common and combined one with its tags.

Sources: squid-cache.org, configuration directive `logformat` (the definitions of squid, common and combined) and wiki,
"Squid Log Files", for what its tags mean. Sizes have the headers in them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from mainstay.usage.importers.base import (
    ABSENT,
    CLIENT_LEFT,
    NOTHING,
    Line,
    LogFormat,
    new_line,
    parse_method,
)
from mainstay.usage.importers.combined import HEAD, QUOTED, UNREAD, line_of

CONNECT = "CONNECT"
_COMBINED = re.compile(rf"{HEAD}(?: {UNREAD} {QUOTED})? (\w+):\w+", re.ASCII | re.DOTALL)
_NATIVE = re.compile(
    r" *(\d{1,10})\.(\d{3}) +-?\d+ (\S+) (\w+)/(\d{3}) (\d{1,18}) (\S+) (\S+) (\S+) \w+/\S+(?: |$)", re.ASCII
)
# Words of a tag between underscores, and what a tag with all of these means; the first that fits counts.
_OUTCOMES = (
    ("DENIED", "refused"),
    ("TUNNEL", ""),
    ("CF", "collapsed"),
    ("FAIL ERR", "error"),
    ("FAIL OLD", "stale"),
    ("REF FAIL HIT", "stale"),
    ("REFRESH UNMODIFIED", "revalidated"),
    ("REFRESH HIT", "revalidated"),
    ("HIT", "hit"),
    ("MISS", "miss"),
    ("MODIFIED", "miss"),
)


class Squid(LogFormat):
    """Squid."""

    name = "squid"
    expects = (
        "1795262400.000 MILLISECONDS ADDRESS TCP_MISS/200 BYTES GET URL USER HIER_DIRECT/ADDRESS TYPE, or the combined "
        "format with TCP_MISS:HIER_DIRECT in the end"
    )

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`. A CONNECT that Squid itself answers, to look inside, tells of no request: those that
        are inside have lines of their own."""
        match = _COMBINED.fullmatch(text) if '"' in text else None
        if match is not None:
            *fields, tag = match.groups()
            line = line_of(fields, outcome=outcome_of(tag))
        else:
            line, tag = _parse_native(text)
        is_opened = line is not None and line.method == CONNECT and line.status == 200 and "NONE" in tag
        return NOTHING if is_opened else line


def _parse_native(text: str) -> tuple[Line | None, str]:
    match = _NATIVE.match(text)
    if match is None:
        return None, ""
    seconds, milliseconds, address, tag, status, size, method, target, user = match.groups()
    line = new_line(
        (
            int(seconds + milliseconds) * 1_000,
            address,
            "" if user == ABSENT else unquote(user),
            parse_method(method),
            target,
            "",
            int(status) or CLIENT_LEFT,
            int(size),
            "",
            outcome_of(tag),
        )
    )
    return line, tag


@lru_cache(maxsize=256)
def outcome_of(tag: str) -> str:
    """Our word for a tag such as `TCP_REFRESH_UNMODIFIED` or `TCP_MISS_ABORTED`."""
    words = set(tag.split("_"))
    return next((outcome for wanted, outcome in _OUTCOMES if words.issuperset(wanted.split())), "")
