"""Maven repositories (layout "default"), as Maven, Gradle, sbt and others read them: metadata, files, checksums.

Sources: https://maven.apache.org/repositories/layout.html and metadata.html, and the resolver's pages on checksums.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import BinaryIO, ClassVar
from urllib.parse import unquote

from packageurl.contrib import purl2url

from mainstay.ecosystems._maven_clients import CLIENTS
from mainstay.ecosystems._maven_discovery import DISCOVERY, find_fallbacks, find_repositories
from mainstay.ecosystems._maven_metadata import Metadata, Verbatim
from mainstay.ecosystems._maven_paths import (
    ARCHETYPES,
    CHECKSUMS,
    METADATA,
    are_folders,
    folder_of,
    is_immutable,
    is_segment,
    project_of,
    quoted,
    split_checksum,
)
from mainstay.ecosystems._maven_version import is_snapshot
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import NotFound
from mainstay.model import (
    Artifact,
    Facts,
    File,
    Found,
    Index,
    Listing,
    Request,
    Resource,
    Sidecar,
    Source,
    Upload,
)

_ROLE = "repository"
_ACCEPT = "*/*"
"""What the clients themselves send."""
_SIGNATURE = ".asc"
_POM = ".pom"
_HEX_DIGITS = {".sha1": 40, ".md5": 32, ".sha256": 64, ".sha512": 128}
_CHECKSUM_LINE = re.compile(r"(?:.*\)\s*=\s*)?([0-9A-Fa-f]+)(?:\s.*)?")
_HTML = (".html", ".htm")
_PIECE_BYTES = 1024 * 1024


class Maven(Ecosystem):
    """Maven, and the clients that speak its protocol: Gradle, sbt, Ivy, Coursier."""

    id = "maven"
    osv = "Maven"
    label = "Maven"
    mount = "maven"
    roles: ClassVar[Mapping[str, str]] = {_ROLE: ""}
    discovery = DISCOVERY
    usage = (
        (
            "echo '<settings><mirrors><mirror><id>central</id><mirrorOf>*</mirrorOf>"
            "<url>{url}</url></mirror></mirrors></settings>' > mainstay.xml"
        ),
        "mvn --settings mainstay.xml package",
    )
    clients = CLIENTS

    def default_upstream(self) -> str:
        """The base of the address that the purl library gives for a download."""
        return _default_upstream(self.id)

    def bases(self, upstream: str) -> Mapping[str, str]:
        """Everything is below one base."""
        return {_ROLE: upstream.rstrip("/") + "/"}

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """From Maven's settings and project file and Gradle's scripts: the mirror of everything comes first."""
        return find_repositories(found)

    def fallbacks(self, found: Mapping[str, str]) -> list[Found]:
        """What no mirror stands in for."""
        return find_fallbacks(found)

    def route(self, request: Request) -> Resource:
        """What a path below the mount asks for."""
        if request.method not in ("GET", "HEAD"):
            return Upload("deploy")
        path, algorithm = split_checksum(request.path)
        *folders, filename = path.split("/")
        resource = _resource(folders, filename)
        if resource is None:
            raise NotFound(f"{request.path[:200]!a} is not a path of a Maven repository.")
        if not algorithm:
            return resource
        if isinstance(resource, Artifact):
            return Sidecar(resource, f".{algorithm}")
        return replace(resource, form=algorithm)

    def index_of(self, artifact: Artifact) -> Index:
        """The project's metadata, which lists its releases and no files."""
        return Index(artifact.project, f"{folder_of(artifact.project)}/{METADATA}", _ROLE, _ACCEPT, "xml")

    def addressed(self, artifact: Artifact) -> bool:
        """Every file is had by its path."""
        return True

    def checksum_of(self, artifact: Artifact) -> str:
        """`.sha1`, which every repository has for every file but signatures."""
        return "" if artifact.filename.endswith(_SIGNATURE) else ".sha1"

    def parse_checksum(self, suffix: str, body: bytes) -> Mapping[str, str]:
        """The first line, as tools of three kinds write it: `hex`, `hex  filename`, `SHA1(filename)= hex`."""
        lines = body[:4096].decode("ascii", "replace").split("\n")
        line = next((line.strip() for line in lines if line.strip()), "")
        match = _CHECKSUM_LINE.fullmatch(line)
        if match is None or len(match[1]) != _HEX_DIGITS.get(suffix):
            return {}
        return {suffix.removeprefix("."): match[1].lower()}

    def open(self, index: Index, source: Source) -> Listing:
        """Parse metadata; what else changes is passed on as it is."""
        *folders, filename = unquote(index.path).split("/")
        if filename != METADATA:
            return Verbatim(source, folders[-1] if folders else "", page=filename.endswith(_HTML))
        return Metadata(source, folders[-1] if _is_snapshot_folder(folders) else "")

    def path(self, file: File) -> str:
        """`<group>/<artifact>/<version>/<filename>`; the version is part of the name."""
        return f"{folder_of(file.project)}/{quoted(file.filename)}"

    def derivable(self, artifact: Artifact, suffix: str) -> bool:
        """Checksums are."""
        return suffix in CHECKSUMS

    def derive_sidecar(self, artifact: Artifact, suffix: str, blob: BinaryIO) -> bytes | None:
        """The digits alone, as repositories write them."""
        if suffix not in CHECKSUMS:
            return None
        running = hashlib.new(suffix.removeprefix("."), usedforsecurity=False)
        while piece := blob.read(_PIECE_BYTES):
            running.update(piece)
        return running.hexdigest().encode()

    def facts(self, resource: Index | Artifact, load: Callable[[], Source]) -> Facts | None:
        """Of POMs: metadata lists no files, so it cannot tell whether a sources jar is among them."""
        from mainstay.ecosystems._facts_maven import read_pom

        if isinstance(resource, Artifact) and resource.filename.endswith(_POM):
            return read_pom(resource.version, load().body)
        return None


@cache
def _default_upstream(purl_type: str) -> str:
    file = "/a/b/1/b-1.jar"
    address: str = purl2url.get_download_url(f"pkg:{purl_type}/a/b@1") or ""  # type: ignore[no-untyped-call]
    return address.removesuffix(file) + "/" if address.endswith(file) else ""


def _resource(folders: list[str], filename: str) -> Index | Artifact | None:
    """What a path that is no checksum names."""
    path = quoted("/".join((*folders, filename)))
    if filename == METADATA:
        owner = folders[:-1] if _is_snapshot_folder(folders) else folders
        legal = are_folders(owner) and is_segment(folders[-1])
        return Index(project_of(owner), path, _ROLE, _ACCEPT, "xml") if legal else None
    if filename == ARCHETYPES and not folders:
        return Index("", path, _ROLE, _ACCEPT, "raw", opaque=True)
    if filename.startswith(METADATA) or filename.endswith(CHECKSUMS) or len(folders) < 3:
        return None
    *owner, version = folders
    if not (are_folders(owner) and is_segment(version) and is_segment(filename)):
        return None
    if not is_immutable(version, filename):
        return Index(project_of(owner), path, _ROLE, _ACCEPT, "raw", opaque=True)
    return Artifact(project_of(owner), version, f"{version}/{filename}", path, _ROLE)


def _is_snapshot_folder(folders: list[str]) -> bool:
    return len(folders) > 2 and is_snapshot(folders[-1])
