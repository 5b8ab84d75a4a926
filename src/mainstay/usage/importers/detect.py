"""Which format a log is in."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.errors import ConfigError
from mainstay.usage.importers.apache import Apache
from mainstay.usage.importers.artifactory import Artifactory
from mainstay.usage.importers.base import Line, LogFormat
from mainstay.usage.importers.cloudfront import CloudFront
from mainstay.usage.importers.fastly import Fastly
from mainstay.usage.importers.nexus import Nexus
from mainstay.usage.importers.nginx import Nginx
from mainstay.usage.importers.squid import Squid

FORMATS: dict[str, type[LogFormat]] = {
    kind.name: kind for kind in (Nginx, Apache, Artifactory, Nexus, Fastly, CloudFront, Squid)
}
"""Every format by its name. Where two read a log alike, the first of them is taken for it."""
LOOKED_AT = 50
"""Lines by which a format is found."""


def open_format(name: str) -> LogFormat:
    """A reader of that format for one log.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in FORMATS:
        raise ConfigError(f"--format {name} is not a format.", hint=f"Allowed: {', '.join(FORMATS)}.")
    return FORMATS[name]()


def find_format(lines: Sequence[str]) -> str:
    """The name of the format that a log with these first lines is in: the one that reads most of them, at least half.

    Raises:
        ConfigError: none does, or several do and differ in what they read.
    """
    found = {name: _read(open_format(name), lines[:LOOKED_AT]) for name in FORMATS}
    most = max(len(read) for read in found.values())
    best = [name for name, read in found.items() if len(read) == most]
    if most * 2 < sum(1 for text in lines[:LOOKED_AT] if text and text[0] != "#") or not most:
        raise ConfigError(
            "The log is in no format that is known here.", hint=f"Name it with --format: {', '.join(FORMATS)}."
        )
    if any(found[name] != found[best[0]] for name in best):
        raise ConfigError(f"The log may be in several formats: {', '.join(best)}.", hint="Name it with --format.")
    return best[0]


def _read(reader: LogFormat, lines: Sequence[str]) -> list[Line]:
    read = []
    for text in lines:
        if text[:1] == "#":
            reader.remark(text)
        elif text and (line := reader.parse(text)) is not None:
            read.append(line)
    return read
