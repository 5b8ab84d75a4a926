"""One Python index page, whatever it was read from, and its two renderings.

PEP 503, 592, 629, 658, 691, 700, 714, 740 and 792; packaging.python.org, simple repository API.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from urllib.parse import urlsplit

import msgspec

from mainstay.ecosystems._pypi_names import is_filename, normalize, spell_releases, version_in, version_key
from mainstay.model import Artifact, Document, File, Keep, Link, Listing, Release, Wanted

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html"
API_VERSION = "1.4"
QUARANTINED = "quarantined"
_VARY = (("Vary", "Accept"),)
_DIGESTS = ("sha512", "sha384", "sha256", "sha224", "sha1", "md5")
_HEX = frozenset("0123456789abcdefABCDEF")


class PageFile(msgspec.Struct, rename="kebab", omit_defaults=True, gc=False):
    """One file as PEP 691 and its successors write it. `url` is absolute once the page is read."""

    filename: str
    url: str
    hashes: dict[str, str]
    requires_python: str | None = None
    core_metadata: bool | dict[str, str] | None = None
    dist_info_metadata: bool | dict[str, str] | None = None
    yanked: bool | str | None = False
    gpg_sig: bool | None = None
    size: int | None = None
    upload_time: str | None = None
    provenance: str | None = None


class Status(msgspec.Struct, omit_defaults=True):
    """PEP 792: `active`, `archived`, `quarantined` or `deprecated`, and why."""

    status: str = "active"
    reason: str | None = None


class Meta(msgspec.Struct, rename="kebab", omit_defaults=True):
    """What the page says of itself. `tracks` is PEP 708's, passed through."""

    api_version: str
    tracks: list[str] | None = None


class Page(msgspec.Struct, rename="kebab", omit_defaults=True):
    """A project's page."""

    meta: Meta
    name: str
    files: list[PageFile]
    versions: list[str] | None = None
    project_status: Status | None = None
    alternate_locations: list[str] | None = None


class ProjectName(msgspec.Struct):
    """One line of the list of projects."""

    name: str


class ProjectList(msgspec.Struct):
    """The page that lists all projects."""

    meta: Meta
    projects: list[ProjectName]


class SimpleListing:
    """A project's page. Files that could not be asked for (odd names, other schemes) are not in it."""

    def __init__(self, project: str, page: Page, url: str) -> None:
        self._project = project
        self._page = page
        self._url = url
        if page.project_status is not None and page.project_status.status == QUARANTINED:
            # PEP 792: nothing is offered. Its list of versions may go on naming what was there; no release is.
            page.files, page.versions = [], []
        self._files: dict[str, PageFile] = {}
        for file in page.files:
            if is_filename(file.filename):
                self._files.setdefault(file.filename, file)
        self._versions = {name: version_in(project, name) for name in self._files}

    @cached_property
    def _names(self) -> dict[str, str]:
        return spell_releases(self._versions.values(), self._page.versions or ())

    @cached_property
    def releases(self) -> Sequence[Release]:
        """Every release listed. `published` is its first file's time; it is yanked when all its files are."""
        groups: dict[str, list[PageFile]] = {key: [] for key in self._names}
        for name, file in self._files.items():
            groups[version_key(self._versions[name])].append(file)
        return tuple(_release(self._names[key], files) for key, files in groups.items())

    def find(self, artifact: Artifact) -> File | None:
        """The file of that name."""
        file = self._files.get(artifact.filename)
        return None if file is None else self._as_file(file)

    def files(self) -> Iterator[File]:
        """Every file listed."""
        return map(self._as_file, self._files.values())

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The page as `form`, one of `JSON`, `HTML` and `TEXT`."""
        kept = {version_key(release.version) for release in self.releases if keep(release)}
        files = [
            self._linked(file, link) for name, file in self._files.items() if version_key(self._versions[name]) in kept
        ]
        listed = {version_key(version): version for version in self._page.versions or ()}
        spellings = {**listed, **{key: listed.get(key, name) for key, name in self._names.items()}}
        versions = [spelling for key, spelling in spellings.items() if key in kept]
        page = self._linked_page(files, versions)
        if form == JSON:
            return Document(JSON, (msgspec.json.encode(page),), _VARY)
        return Document(_content_type(form), render_html(page), _VARY)

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """With those files of an older page, and the versions that it names for them."""
        if not isinstance(older, SimpleListing):
            return self
        back = [(version, entry) for version, entry in older.entries(wanted) if entry.filename not in self._files]
        if not back:
            return self
        versions = self._page.versions
        if versions is not None:
            here = set(map(version_key, versions))
            versions = [*versions, *dict.fromkeys(version for version, _ in back if version_key(version) not in here)]
        # A page under quarantine offers nothing (PEP 792); whoever has these files back does not want it to.
        page = msgspec.structs.replace(
            self._page,
            files=[*self._page.files, *(entry for _, entry in back)],
            versions=versions,
            project_status=self._status(),
        )
        return SimpleListing(self._project, page, self._url)

    def entries(self, wanted: Wanted) -> Iterator[tuple[str, PageFile]]:
        """The version and the page's own entry of each file that is wanted."""
        for entry in self._files.values():
            if wanted(file := self._as_file(entry)):
                yield file.version, entry

    def _status(self) -> Status | None:
        status = self._page.project_status
        return None if status is not None and status.status == QUARANTINED else status

    def _linked_page(self, files: list[PageFile], versions: list[str]) -> Page:
        page = self._page
        rewritten = not files or any(file.url != self._files[file.filename].url for file in files)
        # PEP 700 asks for every file's size from 1.1 on; a page read from HTML may not have it.
        complete = all(file.size is not None for file in files)
        return Page(
            meta=Meta(
                api_version=API_VERSION if complete else "1.0",
                tracks=_elsewhere(page.meta.tracks, self._url) if rewritten else page.meta.tracks,
            ),
            name=page.name,
            files=files,
            versions=versions,
            project_status=page.project_status,
            alternate_locations=_elsewhere(page.alternate_locations, self._url)
            if rewritten
            else page.alternate_locations,
        )

    def _linked(self, file: PageFile, link: Link) -> PageFile:
        url = link(self._as_file(file))
        metadata = file.core_metadata or file.dist_info_metadata
        provenance: str | None = file.provenance
        if url != file.url:
            # The gateway makes what upstream lacks from the wheel itself (PEP 658), and can offer no https address
            # of its own for provenance (PEP 740).
            metadata = metadata or (True if file.filename.endswith(".whl") else None)
            provenance = None
        return PageFile(
            filename=file.filename,
            url=url,
            hashes=file.hashes,
            requires_python=file.requires_python,
            core_metadata=metadata,
            yanked=True if file.yanked == "" else file.yanked or False,
            gpg_sig=file.gpg_sig,
            size=file.size,
            upload_time=file.upload_time,
            provenance=provenance,
        )

    def _as_file(self, file: PageFile) -> File:
        sidecars: dict[str, dict[str, str]] = {}
        metadata = file.core_metadata or file.dist_info_metadata
        if metadata:
            sidecars[".metadata"] = digests(metadata) if isinstance(metadata, dict) else {}
        if file.gpg_sig:
            sidecars[".asc"] = {}
        return File(
            project=self._project,
            version=self._names[version_key(self._versions[file.filename])],
            filename=file.filename,
            url=file.url,
            digests=digests(file.hashes),
            size_bytes=file.size,
            sidecars=sidecars,
            published=parse_time(file.upload_time),
        )


class ProjectListing:
    """The list of all projects. It names no release, so nothing in it can be kept or dropped."""

    releases: Sequence[Release] = ()

    def __init__(self, page: ProjectList) -> None:
        self._page = page

    def find(self, artifact: Artifact) -> File | None:
        """None: the list has no files."""
        return None

    def files(self) -> Iterable[File]:
        """Nothing."""
        return ()

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The list as `form`, with each project's page relative to it."""
        if form == JSON:
            page = ProjectList(Meta(API_VERSION), self._page.projects)
            return Document(JSON, (msgspec.json.encode(page),), _VARY)
        return Document(_content_type(form), self._render_html(), _VARY)

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """The same: it has no files."""
        return self

    def _render_html(self) -> Iterator[bytes]:
        yield _head("Simple index", []).encode()
        names = self._page.projects
        for start in range(0, len(names), 1000):
            lines = (
                f'<a href="{normalize(item.name)}/">{escape(item.name)}</a><br>\n'
                for item in names[start : start + 1000]
            )
            yield "".join(lines).encode()
        yield b"</body>\n</html>\n"


def render_html(page: Page) -> tuple[bytes, ...]:
    """PEP 503's page. Upload times and sizes have no place in it (PEP 833)."""
    metas = [("pypi:tracks", url) for url in page.meta.tracks or ()]
    metas += [("pypi:alternate-locations", url) for url in page.alternate_locations or ()]
    if page.project_status is not None:
        metas.append(("pypi:project-status", page.project_status.status))
        if page.project_status.reason:
            metas.append(("pypi:project-status-reason", page.project_status.reason))
    title = f"Links for {page.name}"
    lines = [_head(title, metas), f"<h1>{escape(title)}</h1>\n", *map(_anchor, page.files), "</body>\n</html>\n"]
    return ("".join(lines).encode(),)


def digests(hashes: dict[str, str]) -> dict[str, str]:
    """The digests that can be checked, strongest first, in lower case; malformed ones are left out."""
    return {name: hashes[name].lower() for name in _DIGESTS if name in hashes and _is_hex(hashes[name])}


def parse_time(text: str | None) -> datetime | None:
    """An upload time (RFC 3339) as aware UTC, or None where there is none to be read."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _release(version: str, files: list[PageFile]) -> Release:
    times = [moment for file in files if (moment := parse_time(file.upload_time))]
    return Release(
        version=version,
        published=min(times, default=None),
        yanked=bool(files) and all(file.yanked not in (False, None) for file in files),
        filenames=tuple(file.filename for file in files),
    )


def _anchor(file: PageFile) -> str:
    attributes = ""
    if file.requires_python:
        attributes += f' data-requires-python="{escape(file.requires_python)}"'
    metadata = file.core_metadata
    if metadata:
        value = _first_digest(metadata, "=") or "true" if isinstance(metadata, dict) else "true"
        attributes += f' data-core-metadata="{value}" data-dist-info-metadata="{value}"'
    if file.yanked:
        attributes += f' data-yanked="{escape(file.yanked) if isinstance(file.yanked, str) else ""}"'
    if file.gpg_sig is not None:
        attributes += f' data-gpg-sig="{"true" if file.gpg_sig else "false"}"'
    if file.provenance:
        attributes += f' data-provenance="{escape(file.provenance)}"'
    digest = _first_digest(file.hashes, "=")
    fragment = f"#{digest}" if digest else ""
    return f'<a href="{escape(file.url)}{fragment}"{attributes}>{escape(file.filename)}</a><br>\n'


def _first_digest(hashes: dict[str, str], joint: str) -> str:
    """The digest to show where there is room for one: sha256, which every client knows, before others."""
    for name in ("sha256", *_DIGESTS):
        if _is_hex(hashes.get(name, "")):
            return f"{name}{joint}{hashes[name]}"
    return ""


def _is_hex(text: str) -> bool:
    return bool(text) and len(text) <= 128 and _HEX.issuperset(text)


def _head(title: str, metas: list[tuple[str, str]]) -> str:
    extra = "".join(f'<meta name="{name}" content="{escape(value)}">\n' for name, value in metas)
    return (
        f'<!DOCTYPE html>\n<html>\n<head>\n<meta name="pypi:repository-version" content="{API_VERSION}">\n'
        f"{extra}<title>{escape(title)}</title>\n</head>\n<body>\n"
    )


def _elsewhere(urls: list[str] | None, source_url: str) -> list[str] | None:
    """Those of `urls` that are not at the registry which the page came from."""
    if urls is None:
        return None
    try:
        host = urlsplit(source_url).netloc.rpartition("@")[2]
        return [url for url in urls if urlsplit(url).netloc.rpartition("@")[2] != host] or None
    except ValueError:
        return None


def _content_type(form: str) -> str:
    return f"{HTML if form == HTML else TEXT}; charset=utf-8"
