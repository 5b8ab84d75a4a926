"""The JSON documents that came before PEP 691: one project, or one release of it, described for tools."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import msgspec
from packaging.version import Version

from mainstay.ecosystems._pypi_names import is_filename, read_version, spell_releases, version_in, version_key
from mainstay.ecosystems._pypi_read import absolute_url, parse_json
from mainstay.ecosystems._pypi_simple import digests, parse_time
from mainstay.errors import NotFound
from mainstay.model import Artifact, Document, File, Keep, Link, Listing, Release, Source, Wanted

Entry = dict[str, Any]
_OF_THE_PROJECT = frozenset({
    "author", "author_email", "home_page", "keywords", "license", "license_expression", "maintainer",
    "maintainer_email", "name", "package_url", "project_url", "project_urls", "summary",
})  # fmt: skip


class _Body(msgspec.Struct):
    info: Entry
    urls: list[Entry]
    releases: dict[str, list[Entry]] | None = None
    vulnerabilities: list[Entry] | None = None
    last_serial: int | None = None


class LegacyListing:
    """A legacy document. That of a single release has no `releases` and shows nothing where the release is dropped."""

    def __init__(self, project: str, source: Source) -> None:
        self._project = project
        self._source = source
        self._body = parse_json(source, _Body)
        self._top = parse_json(source, dict[str, msgspec.Raw])
        groups = self._body.releases
        if groups is None:
            groups = {self._shown_version: self._body.urls}
        self._groups = {version: list(self._usable(entries)) for version, entries in groups.items()}
        self._entries: dict[str, Entry] = {}
        for entry in chain.from_iterable(self._groups.values()):
            self._entries.setdefault(entry["filename"], entry)
        self._versions = {name: version_in(project, name) for name in self._entries}
        self._names = spell_releases(self._versions.values(), self._groups)

    @property
    def _shown_version(self) -> str:
        return str(self._body.info.get("version") or "")

    @cached_property
    def releases(self) -> Sequence[Release]:
        """Every release listed, with its first file's time."""
        groups: dict[str, list[Entry]] = {key: [] for key in self._names}
        for name, entry in self._entries.items():
            groups[version_key(self._versions[name])].append(entry)
        return tuple(_release(self._names[key], entries) for key, entries in groups.items())

    def find(self, artifact: Artifact) -> File | None:
        """The file of that name."""
        entry = self._entries.get(artifact.filename)
        return None if entry is None else self._as_file(entry)

    def files(self) -> Iterator[File]:
        """Every file listed."""
        return map(self._as_file, self._entries.values())

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The document again; where the release it shows is dropped, it shows the newest kept one.

        Raises:
            NotFound: a document of a single release that is not kept, or of a project without any kept one.
        """
        kept = {version_key(release.version) for release in self.releases if keep(release)}
        groups = dict(self._kept_groups(kept, link))
        offered = {version_key(version) for version in groups}
        shown, info = self._shown_version, self._body.info
        if self._groups and version_key(shown) not in offered:
            if self._body.releases is None or not groups:
                raise NotFound(f"{self._project} {shown[:100]!r} is not available here.")
            shown = newest(groups)
            info = _info_of(info, shown, groups[shown])
        urls = next((entries for version, entries in groups.items() if version_key(version) == version_key(shown)), [])
        untouched = self._untouched(groups)
        document = {
            "info": info if untouched else self._without_own_addresses(info),
            "urls": urls,
            "releases": None if self._body.releases is None else groups,
            "vulnerabilities": self._vulnerabilities(offered, shown),
        }
        unknown = self._unknown(untouched) if len(groups) == len(self._groups) else {}
        known = {key: document.get(key, value) for key, value in self._top.items() if key in _Body.__struct_fields__}
        return Document("application/json", (msgspec.json.encode({**known, **unknown}),))

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """The same: the simple index lists a project's files."""
        return self

    def _usable(self, entries: list[Entry]) -> Iterator[Entry]:
        for entry in entries:
            name, url = entry.get("filename"), entry.get("url")
            absolute = absolute_url(url, self._source.url) if isinstance(url, str) else None
            if isinstance(name, str) and is_filename(name) and absolute:
                yield {**entry, "url": absolute}

    def _kept_groups(self, kept: Collection[str], link: Link) -> Iterator[tuple[str, list[Entry]]]:
        for version, entries in self._groups.items():
            left = [entry for entry in entries if version_key(self._versions[entry["filename"]]) in kept]
            if version_key(version) in kept and (left or not entries):
                yield version, [{**entry, "url": link(self._as_file(entry))} for entry in left]

    def _untouched(self, groups: Mapping[str, list[Entry]]) -> bool:
        entries = [entry for group in groups.values() for entry in group]
        return bool(entries) and all(e["url"] == self._entries[e["filename"]]["url"] for e in entries)

    def _unknown(self, untouched: bool) -> dict[str, msgspec.Raw]:
        """What later versions of the document say besides; nothing that points at the registry where links do not."""
        host = (_host(self._source.url) or "").encode()
        unknown = {key: raw for key, raw in self._top.items() if key not in _Body.__struct_fields__}
        return {key: raw for key, raw in unknown.items() if untouched or host not in bytes(raw)}

    def _without_own_addresses(self, info: Entry) -> Entry:
        """`info` without the addresses of the registry's own pages: the reader was not sent there."""
        host = _host(self._source.url)
        clean = {key: None if isinstance(value, str) and _host(value) == host else value for key, value in info.items()}
        links = clean.get("project_urls")
        if isinstance(links, dict):
            clean["project_urls"] = {key: value for key, value in links.items() if _host(value) != host}
        return clean

    def _vulnerabilities(self, offered: set[str], shown: str) -> list[Entry] | None:
        """What is known of the release shown. Versions that are not kept are not offered as fixes."""
        known = self._body.vulnerabilities
        if known is None or version_key(shown) != version_key(self._shown_version):
            return None if known is None else []
        dropped = {version_key(version) for version in self._groups} - offered
        return [_without_fixes(entry, dropped) for entry in known]

    def _as_file(self, entry: Entry) -> File:
        hashes = entry.get("digests")
        size = entry.get("size")
        return File(
            project=self._project,
            version=self._names[version_key(self._versions[entry["filename"]])],
            filename=entry["filename"],
            url=entry["url"],
            digests=digests({k: v for k, v in hashes.items() if isinstance(v, str)})
            if isinstance(hashes, dict)
            else {},
            size_bytes=size if isinstance(size, int) else None,
            published=parse_time(_text(entry, "upload_time_iso_8601") or _text(entry, "upload_time")),
        )


def newest(versions: Mapping[str, object]) -> str:
    """The newest of `versions`: a final release before a pre-release, anything of PEP 440 before what is not."""

    def rank(text: str) -> tuple[int, Version]:
        version = read_version(text)
        if version is None:
            return 0, Version("0")
        return (1 if version.is_prerelease else 2), version

    return max(versions, key=rank)


def _info_of(info: Entry, version: str, entries: list[Entry]) -> Entry:
    """What `info` may still say when it is about another release than the one that it was written for."""
    requires = next((text for entry in entries if (text := _text(entry, "requires_python"))), None)
    kept = {key: value if key in _OF_THE_PROJECT else None for key, value in info.items()}
    yanked = bool(entries) and all(entry.get("yanked") is True for entry in entries)
    return {**kept, "version": version, "requires_python": requires, "yanked": yanked}


def _release(version: str, entries: list[Entry]) -> Release:
    times = [
        moment
        for entry in entries
        if (moment := parse_time(_text(entry, "upload_time_iso_8601") or _text(entry, "upload_time")))
    ]
    return Release(
        version=version,
        published=min(times, default=None),
        yanked=bool(entries) and all(entry.get("yanked") is True for entry in entries),
        filenames=tuple(entry["filename"] for entry in entries),
    )


def _without_fixes(entry: Entry, dropped: set[str]) -> Entry:
    fixes = entry.get("fixed_in")
    if not isinstance(fixes, list):
        return entry
    return {
        **entry,
        "fixed_in": [item for item in fixes if not isinstance(item, str) or version_key(item) not in dropped],
    }


def _text(entry: Entry, key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) else None


def _host(url: object) -> str | None:
    try:
        return urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return None
