"""The npm registry protocol: packuments, tarballs, tags, audit calls.

Sources: https://github.com/npm/registry/tree/main/docs for documents and paths, validate-npm-package-name for names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import ClassVar
from urllib.parse import quote

import msgspec
from packageurl.contrib import purl2url

from mainstay.ecosystems._addresses import clear_url
from mainstay.ecosystems._npm_clients import CLIENTS
from mainstay.ecosystems._npm_config import parse_settings
from mainstay.ecosystems._npm_outgoing import searched_names, strip_audit, strip_bulk
from mainstay.ecosystems._npm_packument import ABBREVIATED_TYPE, FULL_TYPE, TAGS_FORM, VERSION_FORM, Packument
from mainstay.ecosystems._npm_paths import (
    PATH_SAFE,
    attestations_path,
    is_selector,
    packument_path,
    tarball_filename,
    tarball_path,
    version_in,
)
from mainstay.ecosystems.base import Ecosystem, PrivateNames
from mainstay.errors import NotFound
from mainstay.model import (
    Artifact,
    Discovery,
    Document,
    Facts,
    File,
    Found,
    Generated,
    Index,
    Passthrough,
    Request,
    Resource,
    Source,
    Upload,
)

ABBREVIATED_ACCEPT = f"{ABBREVIATED_TYPE}; q=1.0, {FULL_TYPE}; q=0.8, */*"
"""What the clients themselves send when they install, so that registries which compare the text know it."""
_ROLE = "registry"
_SEARCH_TTL_S = 60.0
_TRUST_TTL_S = 3600.0
_BULK = "-/npm/v1/security/advisories/bulk"
_AUDITS = ("-/npm/v1/security/audits", "-/npm/v1/security/audits/quick")
_KEYS = "-/npm/v1/keys"
_ATTESTATIONS = ["-", "npm", "v1", "attestations"]
_ACCOUNT = ("-/user/", "-/v1/login", "-/npm/v1/user", "-/npm/v1/tokens", "-/npm/v1/oidc/")
_LONGEST_NAME = 214
_NAME = re.compile(r"(?:@(?!\.)[A-Za-z0-9._~!*'()-]+/|(?!_))(?!\.)[A-Za-z0-9._~!*'()-]+")
_RESERVED = frozenset({"node_modules", "favicon.ico"})


class Npm(Ecosystem):
    """npm, and the clients that speak its protocol: pnpm, yarn, bun."""

    id = "npm"
    osv = "npm"
    label = "npm"
    mount = "npm"
    roles: ClassVar[Mapping[str, str]] = {_ROLE: ""}
    discovery = Discovery(
        # yarn's own default is a host of its own; yarn 1 and yarn 4 each know one of the two settings.
        commands=(
            ("npm", "config", "list", "--json"),
            ("yarn", "config", "get", "registry"),
            ("yarn", "config", "get", "npmRegistryServer"),
        ),
        environ=(
            ("npm_config_cache", "{temporary}"),
            ("npm_config_logs_max", "0"),
            ("npm_config_update_notifier", "false"),
            ("COREPACK_ENABLE_NETWORK", "0"),
        ),
        env=(
            "npm_config_registry",
            "NPM_CONFIG_REGISTRY",
            "YARN_REGISTRY",
            "YARN_NPM_REGISTRY_SERVER",
        ),
        files=(
            ".npmrc",
            "~/.npmrc",
            ".yarnrc.yml",
            "~/.yarnrc.yml",
            ".yarnrc",
            "~/.yarnrc",
            "pnpm-workspace.yaml",
        ),
    )
    usage = ("npm install --registry {url} PACKAGE", "npm config set registry {url}")
    clients = CLIENTS

    def default_upstream(self) -> str:
        """The base of the address that the purl library gives for a download."""
        return _default_upstream(self.id)

    def bases(self, upstream: str) -> Mapping[str, str]:
        """Everything is below one base."""
        return {_ROLE: upstream.rstrip("/") + "/"}

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """The registries named: first the one for everything, then others, then those of single scopes."""
        names = [" ".join(command) for command in self.discovery.commands]
        names += [*self.discovery.env, *self.discovery.files]
        general: dict[str, str] = {}
        scoped: dict[str, dict[str, str]] = {}
        for name in names:
            for scope, address in parse_settings(name, found.get(name, "")):
                url = clear_url(address)
                if url and scope:
                    scoped.setdefault(url, {}).setdefault(f"{scope}/*", name)
                elif url:
                    general.setdefault(url, name)
        upstreams = [Found(url, extra=number > 0, why=name) for number, (url, name) in enumerate(general.items())]
        for url, scopes in scoped.items():
            if url not in general:
                upstreams.append(Found(url, True, tuple(scopes), next(iter(scopes.values()))))
        return upstreams

    def route(self, request: Request) -> Resource:
        """What a path below the mount asks for."""
        segments = request.path.removesuffix("/").split("/")
        if request.method not in ("GET", "HEAD"):
            return _route_write(request, segments)
        if segments == [""]:
            return Generated("root")
        if segments[0] == "-" and segments[1:2] not in ([], ["-"]):
            return _route_api(request, segments)
        if segments[0] == "download" and segments[1:2] != ["-"] and len(segments) > 3:
            return _route_download(request, segments)
        project, rest = _split_project(request, segments)
        match rest:
            case []:
                return _packument(project, "abbreviated" if _wants_abbreviated(request.headers) else "full")
            case [selector] if is_selector(selector) and selector != "-":
                return _packument(project, VERSION_FORM + selector)
            case ["-", *folders, filename] if all(map(is_selector, (*folders, filename))):
                return _artifact(project, filename, request)
        raise _no_path(request)

    def index_of(self, artifact: Artifact) -> Index:
        """The abbreviated packument: small, with the digests, and what most installs have asked for already."""
        return _packument(artifact.project, "abbreviated")

    def alternatives_to(self, index: Index) -> tuple[Index, ...]:
        """The other form. npm 11 asks for the full one when it installs, and for the abbreviated one in `npm ci`."""
        return (_packument(index.project, "full" if index.accept == ABBREVIATED_ACCEPT else "abbreviated"),)

    def open(self, index: Index, source: Source) -> Packument:
        """Parse a packument, in either form."""
        return Packument(index, source)

    def path(self, file: File) -> str:
        """`<project>/-/<filename>`, where the registry itself keeps its files."""
        return tarball_path(file.project, file.filename)

    def generate(self, name: str) -> Document:
        """The empty object that the registry answers a ping with."""
        return Document(FULL_TYPE, (b"{}",)) if name in ("ping", "root") else super().generate(name)

    def facts(self, resource: Index | Artifact, load: Callable[[], Source]) -> Facts | None:
        """Of packuments."""
        from mainstay.ecosystems._facts_npm import read_packument

        return read_packument(resource, load()) if isinstance(resource, Index) else None

    def outgoing(self, path: str, body: bytes, private: PrivateNames) -> bytes:
        """An audit call without the private names."""
        if path == _BULK:
            return strip_bulk(body, private)
        return strip_audit(body, private) if path in _AUDITS else body

    def refusal(self, status: int, message: str) -> Document:
        """The clients print the text of `error`."""
        return Document(FULL_TYPE, (msgspec.json.encode({"error": message}),))


@cache
def _default_upstream(purl_type: str) -> str:
    file = tarball_path("a", "a-1.tgz")
    address: str = purl2url.get_download_url(f"pkg:{purl_type}/a@1") or ""  # type: ignore[no-untyped-call]
    return address.removesuffix(file) if address.endswith(file) else ""


def _packument(project: str, form: str) -> Index:
    accept = ABBREVIATED_ACCEPT if form in ("abbreviated", TAGS_FORM) else FULL_TYPE
    return Index(project, packument_path(project), _ROLE, accept, form)


def _artifact(project: str, filename: str, request: Request) -> Artifact:
    path = quote(request.path.removesuffix("/"), safe=f"/{PATH_SAFE}")
    return Artifact(project, version_in(project, filename), filename, path, _ROLE)


def _route_api(request: Request, segments: list[str]) -> Resource:
    match segments[1:]:
        case ["ping"]:
            return Generated("ping")
        case ["whoami"]:
            return Passthrough("-/whoami", _ROLE, accept=FULL_TYPE)
        case ["v1", "search"]:
            query = quote(request.query, safe="%=&+:/?@!*()',;~$-._")
            names = searched_names(request.query)
            return Passthrough(f"-/v1/search?{query}", _ROLE, "", _SEARCH_TTL_S, FULL_TYPE, names)
        case ["npm", "v1", "keys"]:
            return Passthrough(_KEYS, _ROLE, ttl_s=_TRUST_TTL_S, accept=FULL_TYPE)
        case ["package", *name, "dist-tags"]:
            return _packument(_checked("/".join(name), request), TAGS_FORM)
        case ["all"]:
            raise NotFound("The registry no longer lists all its packages.", hint="Use search.")
    if segments[:4] == _ATTESTATIONS:
        project, _, version = "/".join(segments[4:]).rpartition("@")
        if is_selector(version):
            path = attestations_path(_checked(project, request), version)
            return Passthrough(path, _ROLE, project, _TRUST_TTL_S, FULL_TYPE)
    raise _no_path(request)


def _route_download(request: Request, segments: list[str]) -> Artifact:
    """`download/<project>/<version>/<hash>`: where GitHub Packages keeps its files."""
    project, rest = _split_project(request, segments[1:])
    if len(rest) != 2 or not all(map(is_selector, rest)):
        raise _no_path(request)
    path = quote("/".join(segments), safe=f"/{PATH_SAFE}")
    return Artifact(project, rest[0], tarball_filename(project, rest[0]), path, _ROLE)


def _route_write(request: Request, segments: list[str]) -> Resource:
    path = "/".join(segments)
    if request.method == "POST" and path in (_BULK, *_AUDITS):
        return Passthrough(path, _ROLE, accept=FULL_TYPE)
    if path.startswith(_ACCOUNT):
        return Upload("login")
    if path.startswith("-/package/"):
        return Upload("tag" if "/dist-tags" in path else "access")
    if path.startswith("-/") and segments[1] not in ("-", "-rev"):
        return Upload("change")
    return Upload("unpublish" if request.method == "DELETE" or "/-rev/" in path else "publish")


def _split_project(request: Request, segments: list[str]) -> tuple[str, list[str]]:
    length = 2 if segments[0].startswith("@") else 1
    return _checked("/".join(segments[:length]), request), segments[length:]


def _checked(project: str, request: Request) -> str:
    """`project`, if it may be a package's name. Capitals are legal: old packages have them."""
    if len(project) > _LONGEST_NAME or project in _RESERVED or not _NAME.fullmatch(project):
        raise _no_path(request)
    return project


def _no_path(request: Request) -> NotFound:
    return NotFound(f"{request.path[:200]!a} is not a path of the npm registry.")


def _wants_abbreviated(headers: Mapping[str, str]) -> bool:
    """Whether the Accept header (RFC 9110, section 12.5.1) prefers the abbreviated form, or likes both as much."""
    weights: dict[str, float] = {}
    for item in headers.get("accept", "").split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        weights[media_type] = next((_weight(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
    full = next((weights[name] for name in (FULL_TYPE, "application/*", "*/*") if name in weights), 0.0)
    return weights.get(ABBREVIATED_TYPE, 0.0) > 0 and weights[ABBREVIATED_TYPE] >= full


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](?:\.[0-9]{0,3})?", text) else 0.0
