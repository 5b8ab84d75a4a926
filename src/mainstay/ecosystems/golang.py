"""The Go module proxy protocol, and the checksum database behind it.

Sources: https://go.dev/ref/mod#goproxy-protocol for the proxy, #checksum-database for the paths below `sumdb/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import ClassVar

from packageurl.contrib import purl2url

from mainstay.ecosystems._golang_clients import CLIENTS
from mainstay.ecosystems._golang_documents import VersionList, parse_database_note, parse_info
from mainstay.ecosystems._golang_paths import (
    escape,
    file_path,
    is_canonical,
    is_database,
    is_module,
    is_query,
    is_tile,
    quote_path,
    unescape,
)
from mainstay.ecosystems._golang_settings import DISCOVERY, find_fallbacks, find_proxies
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import NotFound
from mainstay.model import Artifact, File, Found, Index, Listing, Request, Resource, Source, Upload

_PROXY = "proxy"
_SUMDB = "sumdb"
_LIST = "list"
_ANY = "*/*"


class Golang(Ecosystem):
    """Go modules."""

    id = "golang"
    osv = "Go"
    label = "Go"
    mount = "go"
    # No module's path can begin with `sumdb/`: its first part has a dot.
    roles: ClassVar[Mapping[str, str]] = {_PROXY: "", _SUMDB: "sumdb/"}
    discovery = DISCOVERY
    usage = ("GOPROXY={url} go build", "go env -w GOPROXY={url}")
    clients = CLIENTS

    def default_upstream(self) -> str:
        """The base of the address that the purl library gives for a download."""
        return _default_upstream(self.id)

    def bases(self, upstream: str) -> Mapping[str, str]:
        """Everything is below one base; a proxy may also serve checksum databases."""
        base = upstream.rstrip("/") + "/"
        return {role: base + prefix for role, prefix in self.roles.items()}

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """The proxies that the go command is set to use, in its order."""
        return find_proxies(found)

    def fallbacks(self, found: Mapping[str, str]) -> list[Found]:
        """What comes after the first proxy: others, and `direct`."""
        return find_fallbacks(found)

    def route(self, request: Request) -> Resource:
        """What a path below the mount asks for."""
        if request.method not in ("GET", "HEAD"):
            return Upload("publish")
        prefix = self.roles[_SUMDB]
        if request.path.startswith(prefix):
            resource = _route_database(request.path.removeprefix(prefix))
        else:
            resource = _route_module(request.path)
        if resource is None:
            raise NotFound(f"{request.path[:200]!a} is not a path of a Go module proxy.")
        return resource

    def index_of(self, artifact: Artifact) -> Index:
        """The list of the module's versions; of a checksum database's parts, whether the proxy serves that database."""
        if artifact.project:
            return _index(artifact.project, f"{escape(artifact.project)}/@v/list", _LIST)
        return _note(artifact.path.partition("/")[0], "supported")

    def addressed(self, artifact: Artifact) -> bool:
        """Everything is: no document names a file. The client checks them against its go.sum and the database."""
        return True

    def open(self, index: Index, source: Source) -> Listing:
        """Parse a list of versions, what tells of one version, or a checksum database's note."""
        if index.role == _SUMDB:
            return parse_database_note(index, source.body)
        return VersionList(index, source) if index.form == _LIST else parse_info(index, source.body)

    def path(self, file: File) -> str:
        """`<module>/@v/<version>.zip`, where the proxy itself has it."""
        return file_path(file.project, file.filename)


@cache
def _default_upstream(purl_type: str) -> str:
    file = file_path("a", "v1.zip")
    address: str = purl2url.get_download_url(f"pkg:{purl_type}/a@v1") or ""  # type: ignore[no-untyped-call]
    return address.removesuffix(file) if address.endswith(file) else ""


def _index(project: str, path: str, form: str) -> Index:
    return Index(project, quote_path(path), _PROXY, _ANY, form)


def _note(database: str, name: str) -> Index:
    return Index("", f"{database}/{name}", _SUMDB, _ANY, name)


def _route_module(path: str) -> Resource | None:
    escaped, _, end = path.partition("/@")
    project = unescape(escaped)
    if not is_module(project):
        return None
    if end == "latest":
        return _index(project, path, end)
    if end == f"v/{_LIST}":
        return _index(project, path, _LIST)
    return _route_version(project, path, end.removeprefix("v/")) if end.startswith("v/") else None


def _route_version(project: str, path: str, name: str) -> Resource | None:
    """`<version>.info`, `.mod` or `.zip`. A branch or the like has only the first, which tells the version that it now
    stands for."""
    stem, _, kind = name.rpartition(".")
    version = unescape(stem)
    if is_canonical(version) and kind in ("info", "mod", "zip"):
        return Artifact(project, version, f"{version}.{kind}", file_path(project, f"{version}.{kind}"), _PROXY)
    return _index(project, path, "info") if is_query(version) and kind == "info" else None


def _route_database(path: str) -> Resource | None:
    """`<database>/supported`, `latest`, `lookup/<module>@<version>` or `tile/...`. A lookup is the module's, so that
    the name of a private one is never sent to the public database."""
    database, _, rest = path.partition("/")
    if not is_database(database):
        return None
    if rest in ("supported", "latest"):
        return _note(database, rest)
    if is_tile(rest):
        return Artifact("", "", f"{_SUMDB} {database} {rest}", path, _SUMDB)
    kind, _, name = rest.partition("/")
    escaped, _, escaped_version = name.partition("@")
    project, version = unescape(escaped), unescape(escaped_version)
    if kind != "lookup" or not is_module(project) or not is_canonical(version):
        return None
    return Artifact(project, version, f"{_SUMDB} {database} {kind} {version}", quote_path(path), _SUMDB)
