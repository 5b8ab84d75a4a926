"""The protocol of cargo's registries: the sparse index, crates, the web API.

Sources: https://doc.rust-lang.org/cargo/reference/registry-index.html and registry-web-api.html beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from packageurl.contrib import purl2url

from mainstay.ecosystems._cargo_clients import CLIENTS
from mainstay.ecosystems._cargo_config import CONFIG_TYPE, Configuration, parse_layout
from mainstay.ecosystems._cargo_discovery import DISCOVERY, SPARSE, find_registries
from mainstay.ecosystems._cargo_index import CrateIndex
from mainstay.ecosystems._cargo_paths import (
    CRATES,
    crate_filename,
    crate_path,
    index_path,
    is_name,
    is_segment,
    project_in,
    release_in,
)
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import NotFound
from mainstay.model import (
    Artifact,
    Facts,
    File,
    Found,
    Index,
    Listing,
    Passthrough,
    Request,
    Resource,
    Source,
    Upload,
)

_INDEX, _FILES, _API = "index", "crates", "api"
_ACCEPT = "text/plain"
"""What cargo itself asks with, for the description as well."""
_CONFIG = Index("", "config.json", _INDEX, _ACCEPT, "config")
_API_TTL_S = 60.0
_CALLS = "api/v1/crates"
_REPLACED = """--config 'source.crates-io.replace-with="mainstay"'"""
_NAMED = """--config 'registries.mainstay.index="sparse+{url}/"'"""


class Cargo(Ecosystem):
    """cargo, through source replacement or as a registry of its own."""

    id = "cargo"
    osv = "crates.io"
    label = "cargo"
    mount = "cargo"
    roles: ClassVar[Mapping[str, str]] = {_INDEX: "", _FILES: CRATES, _API: "api/"}
    learned_role = _FILES
    description = _CONFIG
    discovery = DISCOVERY
    authorization_scheme = ""
    usage = (f"cargo {_REPLACED} {_NAMED} build", f"cargo {_NAMED} search --registry mainstay WORD")
    clients = CLIENTS

    def default_upstream(self) -> str:
        """The index beside the host of the address that the purl library gives for a download."""
        address: str = purl2url.get_download_url(f"pkg:{self.id}/a@1") or ""  # type: ignore[no-untyped-call]
        host = urlsplit(address).hostname
        return f"https://index.{host}/" if host else ""

    def bases(self, upstream: str) -> Mapping[str, str]:
        """The index. Where the rest is, the registry says itself."""
        return {_INDEX: upstream.removeprefix(SPARSE).rstrip("/") + "/"}

    def bases_in(self, description: Source) -> Mapping[str, str]:
        """The files and the web API."""
        return parse_layout(description.body).bases

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """The registry that replaces the public one, then others."""
        return find_registries(found)

    def comparable(self, project: str) -> str:
        """A registry has one crate of names that differ in case, or in `-` and `_`; cargo itself tries them all."""
        return _hyphens(project.lower())

    def route(self, request: Request) -> Resource:
        """What a path below the mount asks for."""
        if request.method not in ("GET", "HEAD"):
            return _route_write(request)
        if request.path == _CONFIG.path:
            return _CONFIG
        if project := project_in(request.path):
            return _index(project)
        project, version = release_in(request.path)
        if project:
            return _artifact(project, version)
        return _route_call(request)

    def index_of(self, artifact: Artifact) -> Index:
        """The crate's index; the registry's description where no crate is named."""
        return _index(artifact.project) if artifact.project else _CONFIG

    def open(self, index: Index, source: Source) -> Listing:
        """Parse a crate's index, or the registry's description."""
        return CrateIndex(index, source) if index.project else Configuration(source)

    def path(self, file: File) -> str:
        """`crates/<crate>/<version>/download`, and the same with the markers of a template as they are."""
        return crate_path(file.project, file.version)

    def facts(self, resource: Index | Artifact, load: Callable[[], Source]) -> Facts | None:
        """Of a crate's index."""
        from mainstay.ecosystems._facts_cargo import read_entry

        return read_entry(resource, load()) if isinstance(resource, Index) and resource.project else None


def _index(project: str) -> Index:
    return Index(project, index_path(project), _INDEX, _ACCEPT, "index")


def _artifact(project: str, version: str) -> Artifact:
    """A file's address at upstream is in its description and index: the path says no more than which release it is."""
    path = crate_path(project, version).removeprefix(CRATES)
    return Artifact(project, version, crate_filename(project, version), path, _FILES)


def _route_call(request: Request) -> Resource:
    """A call of the web API that reads: search, what is known of a crate."""
    if not (request.path == _CALLS or request.path.startswith(f"{_CALLS}/")):
        raise _no_path(request)
    segments = request.path.removeprefix(_CALLS).removeprefix("/").split("/")
    query = quote(request.query, safe="%=&+:/?@!*()',;~$-._[]")
    path = _CALLS.removeprefix("api/")
    if segments == [""] and request.path == _CALLS:
        return Passthrough(f"{path}?{query}", _API, "", _API_TTL_S, CONFIG_TYPE, _searched(request.query))
    if not is_name(segments[0]) or not all(map(is_segment, segments)):
        raise _no_path(request)
    path = "/".join([path, *segments]) + (f"?{query}" if query else "")
    return Passthrough(path, _API, segments[0].lower(), _API_TTL_S, CONFIG_TYPE)


def _route_write(request: Request) -> Upload:
    segments = request.path.removeprefix(f"{_CALLS}/").split("/")
    if request.path.startswith(f"{_CALLS}/"):
        match request.method, segments:
            case "PUT", ["new"]:
                return Upload("publish")
            case "DELETE", [_, _, "yank"]:
                return Upload("yank")
            case "PUT", [_, _, "unyank"]:
                return Upload("unyank")
            case (("PUT" | "DELETE"), [_, "owners"]):
                return Upload("a change of owners")
    raise _no_path(request)


def _searched(query: str) -> tuple[str, ...]:
    """The words of a search that may be names, in the spellings that are one name to a registry."""
    values = parse_qs(query)
    words = " ".join(values.get("q", []) + values.get("ids[]", [])).lower().split()
    return tuple(dict.fromkeys(name for word in words for name in (word, _hyphens(word), _underscores(word))))


def _hyphens(word: str) -> str:
    return word.replace("_", "-")


def _underscores(word: str) -> str:
    return word.replace("-", "_")


def _no_path(request: Request) -> NotFound:
    return NotFound(f"{request.path[:200]!a} is not a path of a cargo registry.")
