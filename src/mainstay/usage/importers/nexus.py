"""Sonatype Nexus Repository: what it was asked (request.log), and what it asked registries itself
(outbound-request.log).

Sources: help.sonatype.com, "Logging"; support.sonatype.com, "Inspecting Inbound Request Headers" for the pattern of the
first and "Outbound Request Logging" for lines of the second. Numbers between the status and the user agent end with
the bytes of the reply and the milliseconds that it took; newer versions have the request's length before them and the
thread behind. Quotes in a user agent stand as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mainstay.usage.importers.base import ABSENT, Line, LogFormat
from mainstay.usage.importers.combined import REQUEST, TIME, line_of

_TAIL = REQUEST + r' (\d{3}) (?:(?:-|-?\d+) )?(-|-1|\d{1,18}) -?\d+ "(.*)"(?: \[[^\]"]*\])?'
_INBOUND = re.compile(rf"(\S+) \S+ ([^\[]*) {TIME} {_TAIL}", re.ASCII | re.DOTALL)
_OUTBOUND = re.compile(rf"{TIME} (\S+) {_TAIL}", re.ASCII | re.DOTALL)


class Nexus(LogFormat):
    """Nexus Repository."""

    name = "nexus"
    expects = (
        'ADDRESS - USER [21/Nov/2026:12:00:00 +0000] "GET /path HTTP/1.1" 200 REQUEST-BYTES BYTES MILLISECONDS "USER '
        'AGENT" [THREAD], or in the outbound log [21/Nov/2026:12:00:00 +0000] USER "GET URL HTTP/1.1" 200 BYTES '
        'MILLISECONDS "USER AGENT" [THREAD]'
    )

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`."""
        if text[0] != "[":
            match = _INBOUND.fullmatch(text)
            return line_of(_known(match.groups())) if match is not None else None
        match = _OUTBOUND.fullmatch(text)
        if match is None:
            return None
        time, user, *rest = match.groups()
        return line_of(_known((ABSENT, user, time, *rest)))


def _known(fields: Sequence[str]) -> list[str]:
    """The fields with `-` for a size that is not known."""
    return [ABSENT if field == "-1" else field for field in fields]
