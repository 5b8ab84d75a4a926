"""What every reader of facts does with values that nobody vouches for, and how a stored document is told apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import unquote

from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import NotAcceptable, NotFound
from mainstay.model import Artifact, Index, Release, Request

LONGEST_TEXT = 2000
"""Characters that are kept of a text: enough to know a licence by its first words."""


def plain_text(value: object) -> str:
    """The text without the white space around it, cut to LONGEST_TEXT; "" for what is none."""
    return value.strip()[:LONGEST_TEXT].rstrip() if isinstance(value, str) else ""


def plain_texts(value: object) -> tuple[str, ...]:
    """The texts of a list, without empty ones; () for what is none."""
    return tuple(filter(None, map(plain_text, value))) if isinstance(value, list) else ()


def plain_address(url: str) -> str:
    """A URL without credentials, query, fragment and last slash."""
    scheme, mark, rest = re.split("[?#]", url, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def times_of(releases: Iterable[Release]) -> tuple[datetime, ...] | None:
    """When the releases were published; None where no time is known."""
    return tuple(release.published for release in releases if release.published) or None


def index_at(adapter: Ecosystem, project: str, upstream: str, url: str, accept: str) -> Index | None:
    """What a stored document of a project was asked for as: by its URL at the registry `upstream`, or where another
    address answered, the index that lists the project's files, if it is asked for with that Accept header."""
    bases = adapter.bases(upstream)
    for role in sorted(bases, key=lambda role: -len(bases[role])):
        if url.startswith(bases[role]):
            path = adapter.roles[role] + url.removeprefix(bases[role])
            return _routed(adapter, project, path, accept)
    index = adapter.index_of(Artifact(project, "", "", "", ""))
    return index if index.accept == accept else None


def _routed(adapter: Ecosystem, project: str, path: str, accept: str) -> Index | None:
    try:
        resource = adapter.route(Request(unquote(path), path, headers={"accept": accept}))
    except (NotFound, NotAcceptable):
        return None
    return resource if isinstance(resource, Index) and resource.project == project else None
