"""A shared gateway's route table: which upstream addresses it answers for, and at which of its own paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from mainstay.errors import UnsupportedDocument

_USUAL_PORTS = {"https": 443, "http": 80}


class _Base(msgspec.Struct, frozen=True):
    url: str
    path: str


class _Upstream(msgspec.Struct, frozen=True):
    ecosystem: str
    bases: list[_Base]
    upstream: str = ""
    learns: str | None = None


class _Document(msgspec.Struct, frozen=True):
    schema: int
    upstreams: list[_Upstream]


@dataclass(frozen=True, slots=True)
class Route:
    """One base: what is below `prefix` at `origin` is below `path` at the gateway.

    `learns` is the gateway path for file hosts that replies below this base name, None where there are none.
    """

    origin: str
    prefix: str
    path: str
    learns: str | None


@dataclass(slots=True)
class RouteTable:
    """The routes known so far. Grows when a reply names a file host."""

    routes: list[Route] = field(default_factory=list)

    def merge(self, body: bytes) -> None:
        """Add what `GET /api/v1/upstreams` says.

        Raises:
            UnsupportedDocument: not such a table, or of a schema this version does not know.
        """
        try:
            document = msgspec.json.decode(body, type=_Document)
        except msgspec.MsgspecError as error:
            raise UnsupportedDocument(
                f"The gateway's route table does not parse: {error}.",
                hint="Is this the address of a Mainstay gateway?",
            ) from error
        if document.schema != 1:
            raise UnsupportedDocument(f"The gateway's route table has schema {document.schema}; this version reads 1.")
        for upstream in document.upstreams:
            for base in upstream.bases:
                self.add(base.url, base.path, upstream.learns)

    def add(self, url: str, path: str, learns: str | None = None) -> None:
        """Add a base by its absolute URL. The longest prefix comes first, so that it decides."""
        split = urlsplit(url)
        if split.scheme not in _USUAL_PORTS or not split.hostname:
            raise UnsupportedDocument(f"The gateway names {url!r}, which is not an http(s) address.")
        route = Route(_origin(split.scheme, split.hostname, split.port), split.path or "/", path, learns)
        if route not in self.routes:
            self.routes.append(route)
            self.routes.sort(key=lambda entry: len(entry.prefix), reverse=True)

    def find(self, origin: str, path: str) -> tuple[Route, str] | None:
        """The route for a request and its path at the gateway; None where the gateway has nothing for it."""
        for route in self.routes:
            if route.origin == origin and path.startswith(route.prefix):
                return route, route.path + path.removeprefix(route.prefix)
        return None

    def knows(self, host: str, port: int) -> bool:
        """Whether some route is for `host:port`."""
        authority = f"[{host}]" if ":" in host else host
        candidates = {f"{scheme}://{authority}:{port}" for scheme in _USUAL_PORTS}
        candidates |= {f"{scheme}://{authority}" for scheme, usual in _USUAL_PORTS.items() if usual == port}
        return any(route.origin in candidates for route in self.routes)

    def hosts(self) -> list[str]:
        """Every host, with its port where it is not 443."""
        return sorted({_host(route.origin) for route in self.routes})


def _origin(scheme: str, host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port in (None, _USUAL_PORTS[scheme]) else f"{scheme}://{shown}:{port}"


def _host(origin: str) -> str:
    scheme, _, authority = origin.partition("://")
    return authority if scheme == "https" or urlsplit(origin).port else f"{authority}:80"
