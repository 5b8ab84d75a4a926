"""The Python Package Index and everything that speaks its protocol (packaging.python.org, simple repository API)."""

from __future__ import annotations

import ast
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import BinaryIO, ClassVar
from urllib.parse import parse_qs, quote

from mainstay.ecosystems._pypi_clients import CLIENTS
from mainstay.ecosystems._pypi_discovery import DISCOVERY, find_indexes
from mainstay.ecosystems._pypi_legacy import LegacyListing
from mainstay.ecosystems._pypi_names import guess_release, is_filename, is_name, normalize, version_in, version_of
from mainstay.ecosystems._pypi_read import parse_project_list, parse_project_page
from mainstay.ecosystems._pypi_simple import HTML, JSON, TEXT, ProjectListing, SimpleListing
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import NotAcceptable, NotFound
from mainstay.model import (
    Artifact,
    Facts,
    File,
    Found,
    Index,
    Listing,
    Passthrough,
    Redirect,
    Request,
    Resource,
    Sidecar,
    Source,
    Upload,
)

ACCEPT_UPSTREAM = f"{JSON}, {HTML};q=0.2, {TEXT};q=0.01"
_PROVENANCE = "application/vnd.pypi.integrity.v1+json"
_PROVENANCE_TTL_S = 3600.0
_METADATA_MAX_BYTES = 16 * 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What wheels are packed with. The reader of any other one unpacks without a bound."""
_METADATA = ".metadata"
_SIDECARS = (_METADATA, ".asc")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\%\ud800-\udfff]")
_LATEST = {
    "application/vnd.pypi.simple.latest+json": JSON,
    "application/vnd.pypi.simple.latest+html": HTML,
}
_LEGACY = "legacy"


class PyPI(Ecosystem):
    """Simple API in JSON and HTML, files with their metadata and signatures, legacy JSON, provenance."""

    id = "pypi"
    osv = "PyPI"
    label = "PyPI"
    mount = "pypi"
    roles: ClassVar[Mapping[str, str]] = {"simple": "simple/", "files": "files/", "root": ""}
    learned_role = "files"
    link_base = "../../"
    probe = "six"
    discovery = DISCOVERY
    usage = (
        "pip install --index-url {url}/simple/ PROJECT",
        "uv pip install --default-index {url}/simple/ PROJECT",
    )
    clients = CLIENTS

    def default_upstream(self) -> str:
        """The address in pypi-simple's source, read without importing it: the import pulls in an HTTP client."""
        spec = find_spec("pypi_simple")
        source = getattr(spec.loader, "get_source", lambda _: None)(spec.name) if spec else None
        for node in ast.parse(source or "").body:
            names = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            if any(isinstance(name, ast.Name) and name.id == "PYPI_SIMPLE_ENDPOINT" for name in names):
                return str(ast.literal_eval(node.value))  # type: ignore[attr-defined]
        return ""

    def bases(self, upstream: str) -> Mapping[str, str]:
        """The index, and the folder above it where it is called `simple`."""
        base = upstream.rstrip("/") + "/"
        found = {"simple": base}
        if base.endswith("/simple/"):
            found["root"] = base.removesuffix("simple/")
        return found

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """From pip, uv, Poetry, PDM and requirements files; those that replace the default come first."""
        return find_indexes(found, self.id)

    def route(self, request: Request) -> Resource:
        """See `Ecosystem.route`.

        Raises:
            NotFound: no such path, an illegal name, or traversal.
            NotAcceptable: an index in a representation that does not exist.
        """
        segments = request.path.split("/")
        if _UNSAFE.search(request.path) or any(part in (".", "..") for part in segments) or "" in segments[:-1]:
            raise _missing(request.path)
        if request.method not in ("GET", "HEAD"):
            return Upload("XML-RPC" if segments[0] == "pypi" else "publish")
        match segments:
            case ["simple"]:
                return Redirect("simple/")
            case ["simple", ""]:
                return Index("", "", "simple", ACCEPT_UPSTREAM, negotiate(request))
            case ["simple", name] | ["simple", name, ""] if is_name(name):
                return _project_page(name, request)
            case ["pypi", name, "json"] if is_name(name):
                project = normalize(name)
                return Index(project, f"pypi/{project}/json", "root", "application/json", _LEGACY)
            case ["pypi", name, version, "json"] if is_name(name) and _VERSION.fullmatch(version):
                project = normalize(name)
                return Index(project, f"pypi/{project}/{version}/json", "root", "application/json", _LEGACY)
            case ["integrity", name, version, filename, "provenance"] if is_name(name):
                if _VERSION.fullmatch(version) and is_filename(filename):
                    path = quote(f"integrity/{normalize(name)}/{version}/{filename}/provenance")
                    return Passthrough(path, "root", normalize(name), _PROVENANCE_TTL_S, _PROVENANCE)
        return _file(request.path, segments)

    def index_of(self, artifact: Artifact) -> Index:
        """The project's page in the simple API."""
        return Index(artifact.project, f"{artifact.project}/", "simple", ACCEPT_UPSTREAM, JSON)

    def link_base_of(self, index: Index) -> str | None:
        """Relative for pages of the simple API; the legacy documents' readers expect absolute addresses."""
        return None if index.form == _LEGACY else self.link_base

    def open(self, index: Index, source: Source) -> Listing:
        """See `Ecosystem.open`."""
        if index.form == _LEGACY:
            return LegacyListing(index.project, source)
        if not index.project:
            return ProjectListing(parse_project_list(source))
        return SimpleListing(index.project, parse_project_page(index.project, source), source.url)

    def path(self, file: File) -> str:
        """`files/<project>/<filename>`, percent-encoded; with a `-` between where the name does not fit the project."""
        fits = version_of(file.project, file.filename) is not None
        return f"files/{file.project}/{'' if fits else '-/'}{quote(file.filename)}"

    def derivable(self, artifact: Artifact, suffix: str) -> bool:
        """The metadata of a wheel (PEP 658)."""
        return suffix == _METADATA and artifact.filename.endswith(".whl")

    def derive_sidecar(self, artifact: Artifact, suffix: str, blob: BinaryIO) -> bytes | None:
        """METADATA of the wheel's `.dist-info` folder (PEP 427); None where the wheel has none that can be read."""
        if not self.derivable(artifact, suffix):
            return None
        try:
            with zipfile.ZipFile(blob) as wheel:
                name = _metadata_member(wheel.namelist(), artifact.project)
                if name is None or wheel.getinfo(name).compress_type not in _COMPRESSIONS:
                    return None
                # In one bounded piece: the size that the archive states may be a lie.
                with wheel.open(name) as member:
                    body = member.read(_METADATA_MAX_BYTES + 1)
                return body if len(body) <= _METADATA_MAX_BYTES else None
        # A wheel is untrusted: the zip reader answers damage and unknown methods with any of these.
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, RuntimeError):
            return None

    def facts(self, resource: Index | Artifact, load: Callable[[], Source]) -> Facts | None:
        """Of a project's page, a legacy document, and the metadata of a file."""
        from mainstay.ecosystems._facts_pypi import read_legacy, read_metadata, read_page

        if isinstance(resource, Artifact):
            is_metadata = resource.filename.endswith(_METADATA)
            return read_metadata(resource.version, load().body) if is_metadata else None
        source = load()
        listing = self.open(resource, source)
        return read_legacy(listing, source) if resource.form == _LEGACY else read_page(listing)


def negotiate(request: Request) -> str:
    """The representation to answer with: `JSON`, `HTML` or `TEXT`. `?format=` goes before Accept (PEP 691).

    A client that does not care is taken for a person with a browser.

    Raises:
        NotAcceptable: the client takes none of them.
    """
    wanted = parse_qs(request.query, max_num_fields=None).get("format", [""])[-1].replace(" ", "+")
    if wanted:
        form = _LATEST.get(wanted, wanted)
        if form not in (JSON, HTML, TEXT):
            raise _not_acceptable(wanted)
        return form
    accept = request.headers.get("accept", "").strip() or "*/*"
    ranges = [_parse_range(item) for item in accept.lower().split(",")]
    best = max((_weigh(form, ranges) for form in (JSON, HTML, TEXT)), key=lambda item: item[:3])
    if best[0] <= 0:
        raise _not_acceptable(accept)
    return best[3]


def _weigh(form: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int, int, str]:
    """(quality, how exactly it was named, our preference, form), by the most exact range (RFC 9110, section 12.5.1)."""
    quality, exactness = 0.0, 0
    for media, weight in ranges:
        rank = 3 if _LATEST.get(media, media) == form else 2 if media == form.partition("/")[0] + "/*" else 0
        rank = rank or (1 if media == "*/*" else 0)
        if rank > exactness or (rank == exactness and rank and weight > quality):
            quality, exactness = weight, rank
    preference = (JSON, HTML, TEXT) if exactness == 1 else (TEXT, HTML, JSON)
    return quality, exactness, preference.index(form), form


def _parse_range(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _project_page(name: str, request: Request) -> Resource:
    project = normalize(name)
    if request.path != f"simple/{project}/":
        return Redirect(f"simple/{project}/")
    return Index(project, f"{project}/", "simple", ACCEPT_UPSTREAM, negotiate(request))


def _file(path: str, segments: Sequence[str]) -> Artifact | Sidecar:
    """A file, in whatever folder: an index may keep its files anywhere, and its addresses map to ours by their base."""
    filename = segments[-1]
    suffix = next((suffix for suffix in _SIDECARS if filename.endswith(suffix)), "")
    filename = filename.removesuffix(suffix)
    if not is_filename(filename):
        raise _missing(path)
    project, version = _owner(segments, filename) or ("", "")
    if not project:
        raise _missing(path)
    role = segments[0] if len(segments) > 1 and segments[0] in ("simple", "files") else "root"
    below = path.removesuffix(suffix) if role == "root" else path.removesuffix(suffix).partition("/")[2]
    artifact = Artifact(project, version, filename, quote(below, safe="/+!~:@=,"), role)
    return Sidecar(artifact, suffix) if suffix else artifact


def _owner(segments: Sequence[str], filename: str) -> tuple[str, str] | None:
    """(project, version): the folder's name if the file is of that project, else what the file name says."""
    folders = segments[1:-1]
    if len(folders) == 2 and folders[1] == "-" and is_name(folders[0]):
        project = normalize(folders[0])
        return project, version_in(project, filename)
    if folders and is_name(folders[-1]):
        project = normalize(folders[-1])
        version = version_of(project, filename)
        if version is not None:
            return project, version
    return guess_release(filename)


def _metadata_member(names: Sequence[str], project: str) -> str | None:
    found = [name for name in names if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
    own = [name for name in found if normalize(name.partition("-")[0]) == project]
    return next(iter(own or found), None)


def _missing(path: str) -> NotFound:
    return NotFound(f"No such path: {path[:200]!r}.", hint="Projects are at simple/<name>/.")


def _not_acceptable(wanted: str) -> NotAcceptable:
    return NotAcceptable(f"No representation fits {wanted[:200]!r}.", hint=f"There are {JSON}, {HTML} and {TEXT}.")
