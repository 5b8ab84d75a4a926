"""JFrog Artifactory 7: what it was asked (artifactory-request.log) and what it asked registries itself
(artifactory-request-out.log).

Source: jfrog.com/help, JFrog Platform Administration Documentation, "Request Log" and "Outbound Request Log". Both are
in UTC, with fields between bars; a size that is not known is -1.
"""

from __future__ import annotations

from mainstay.usage.importers.base import Line, LogFormat, parse_iso_time, parse_method, parse_size, parse_status

_FIELDS = 10
_AGENT = 10
_ITSELF = "Artifactory"
"""Who asks in the outbound log, which has no user agent."""


class Artifactory(LogFormat):
    """Artifactory."""

    name = "artifactory"
    expects = (
        "2026-11-21T12:00:00.000Z|TRACE|ADDRESS|USER|GET|/path|200|REQUEST BYTES|RESPONSE BYTES|MILLISECONDS|USER "
        "AGENT, or in the outbound log 2026-11-21T12:00:00.000Z|TRACE|REPOSITORY|USER|GET|URL|200|REQUEST BYTES|"
        "RESPONSE BYTES|MILLISECONDS"
    )

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`."""
        fields = text.split("|", _AGENT)
        if len(fields) < _FIELDS:
            return None
        time_us, status = parse_iso_time(fields[0]), parse_status(fields[6])
        if time_us is None or status is None:
            return None
        user, target = fields[3], fields[5]
        is_outbound = "://" in target
        agent = _ITSELF if is_outbound else "".join(fields[_AGENT:])
        return Line(
            time_us,
            "" if is_outbound else fields[2],
            user,
            parse_method(fields[4]),
            target,
            "",
            status,
            parse_size(fields[8]),
            agent,
        )
