"""What the addresses in logs are of: which registry, and what in it. Asks nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from mainstay.ecosystems import ecosystems
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import ConfigError, NotAcceptable, NotFound
from mainstay.model import Artifact, Index, Passthrough, Redirect, Request, Sidecar
from mainstay.usage.importers.base import Line

REMEMBERED = 65_536
"""Targets whose meaning is remembered."""
LONGEST_REMEMBERED = 512
"""Characters of a target that is remembered: a log of endless ones would fill the memory."""
_URL = re.compile(
    r"(https?)://(?:[^/@?#]*@)?(\[[^\]/]*\]|[^/@:?#]+)(?::(\d{1,5}))?(/[^?#]*)?(?:[?#].*)?", re.DOTALL | re.IGNORECASE
)
_TUNNEL = re.compile(r"(\[[^\]/]*\]|[^/@:]+):(\d{1,5})", re.ASCII)
_PORTS = {"http": 80, "https": 443}


class What(NamedTuple):
    """What a request was for. Of a tunnel only the registry is known, of an unknown path that it was no package."""

    ecosystem: str
    kind: str = ""
    project: str = ""
    version: str = ""
    filename: str = ""
    upstream: str = ""


Located = tuple[Ecosystem, str, str]
"""An adapter, the path below its mount (percent-encoded) and the upstream's id."""


@dataclass(frozen=True, slots=True)
class Known:
    """The registries that are known. `hosts` has of each host and port the ecosystems and upstreams that are there;
    `locate` says of a URL without a query where it is, `upstreams` are the ids of them all."""

    hosts: Mapping[tuple[str, int], frozenset[tuple[str, str]]]
    locate: Callable[[str], Located | None]
    upstreams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Base:
    """The paths that begin with `path` are those below `url`, or below an ecosystem's mount."""

    path: str
    url: str = ""
    ecosystem: Ecosystem | None = None


class Places:
    """Knows what requests in one kind of log are for. `find` remembers."""

    def __init__(self, known: Known, bases: Sequence[str]) -> None:
        """`bases` are the values of --base. Raises ConfigError for one that leads nowhere."""
        self._known = known
        # The longest path decides.
        self._bases = sorted(map(self._parse_base, bases), key=lambda base: len(base.path), reverse=True)
        self._remembering = lru_cache(REMEMBERED)(self._find)

    def is_lost(self, line: Line) -> bool:
        """Whether a line has a path alone, and nobody has said what it is below."""
        return not self._bases and not line.origin and line.target.startswith("/")

    def find(self, method: str, origin: str, target: str) -> What | None:
        """What a request was for, None where it is of no registry; the arguments are those of a `Line`."""
        look = self._remembering if len(origin) + len(target) <= LONGEST_REMEMBERED else self._find
        return look(method, origin, target)

    def _find(self, method: str, origin: str, target: str) -> What | None:
        if target.startswith("/"):
            if self._bases:
                return self._find_below(method, target.partition("?")[0])
            return self._find_url(method, origin + target) if origin else None
        if method == "CONNECT":
            match = _TUNNEL.fullmatch(target)
            return self._of_host(match[1], int(match[2])) if match else None
        return self._find_url(method, target)

    def _find_url(self, method: str, url: str) -> What | None:
        match = _URL.fullmatch(url)
        if match is None:
            return None
        scheme, host, port, path = match[1].lower(), match[2].lower(), int(match[3] or 0), match[4] or "/"
        if port == _PORTS[scheme]:
            port = 0
        # A registry is the same by either scheme: a client that begins with plain http is sent to the other.
        schemes = (scheme,) if port else (scheme, *(_PORTS.keys() - {scheme}))
        owner = next((found for name in schemes if (found := self._of_host(host, port or _PORTS[name]))), None)
        if owner is None:
            return None
        where = f"{host}:{port}" if port else host
        located = (self._locate(method, f"{name}://{where}{path}") for name in schemes)
        return next((what for what in located if what), owner._replace(kind="passthrough"))

    def _find_below(self, method: str, path: str) -> What | None:
        base = next((base for base in self._bases if path.startswith(base.path)), None)
        if base is None:
            return None
        below = path[len(base.path) :]
        return _route(base.ecosystem, method, below, "") if base.ecosystem else self._locate(method, base.url + below)

    def _locate(self, method: str, url: str) -> What | None:
        located = self._known.locate(url)
        return _route(located[0], method, located[1], located[2]) if located is not None else None

    def _of_host(self, host: str, port: int) -> What | None:
        """The registry that a host is of; of several, what they have in common."""
        owners = self._known.hosts.get((host.lower().strip("[]"), port))
        if not owners:
            return None
        names = {ecosystem for ecosystem, _ in owners}
        upstreams = {upstream for _, upstream in owners}
        return What(
            "".join(names) if len(names) == 1 else "", upstream="".join(upstreams) if len(upstreams) == 1 else ""
        )

    def _parse_base(self, text: str) -> _Base:
        path, equals, where = text.partition("=") if text.startswith("/") else ("/", "=", text)
        path = path if path.endswith("/") else f"{path}/"
        for ecosystem in ecosystems().values():
            if where.strip("/") in (ecosystem.id, ecosystem.mount):
                return _Base(path, ecosystem=ecosystem)
        url = where if where.endswith("/") else f"{where}/"
        if not equals or self._known.locate(url) is None:
            raise ConfigError(
                f"--base {text} is below no registry that is known here.",
                hint=f"Allowed: an address below one of {', '.join(self._known.upstreams)}; or {name_mounts()}.",
            )
        return _Base(path, url)


def name_mounts() -> str:
    """The ecosystems that --base can name, as words for a hint."""
    words = ", ".join(ecosystem.mount for ecosystem in ecosystems().values())
    return f"one of {words} for paths as a gateway has them below that name"


def _route(ecosystem: Ecosystem, method: str, raw_path: str, upstream: str) -> What | None:
    """What a path below the mount is of; None where the protocol has no such path."""
    request = Request(unquote(raw_path), raw_path, method)
    try:
        resource = ecosystem.route(request)
        if isinstance(resource, Redirect):
            resource = ecosystem.route(Request(resource.path, resource.path, method))
    except (NotFound, NotAcceptable):
        return None
    match resource:
        case Index(project):
            return What(ecosystem.id, "index", project, upstream=upstream)
        case Artifact(project, version, filename):
            return What(ecosystem.id, "artifact", project, version, filename, upstream)
        case Sidecar(Artifact(project, version, filename), suffix):
            return What(ecosystem.id, "sidecar", project, version, filename + suffix, upstream)
        case Passthrough(project=project):
            return What(ecosystem.id, "passthrough", project, upstream=upstream)
    return What(ecosystem.id, "passthrough", upstream=upstream)
