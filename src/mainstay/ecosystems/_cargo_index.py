"""One parse of a crate's index: lines of JSON, one for each release, of which nothing but what is needed is decoded.

Source: https://doc.rust-lang.org/cargo/reference/registry-index.html, "Index files". Lines are never written anew: they
stay byte for byte, or go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec

from mainstay.ecosystems._cargo_config import Layout, parse_layout
from mainstay.ecosystems._cargo_paths import crate_filename, is_name, is_version
from mainstay.errors import UnsupportedDocument
from mainstay.model import Artifact, Document, File, Index, Keep, Link, Listing, Release, Source, Wanted

INDEX_TYPE = "text/plain"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class _Line(msgspec.Struct):
    name: str
    vers: str
    cksum: Any = None
    yanked: Any = False
    pubtime: Any = None


_decode = msgspec.json.Decoder(_Line).decode


class CrateIndex:
    """A `Listing` over the lines of one crate's index.

    Raises:
        UnsupportedDocument: the bytes are no such index, or the registry's description is none.
    """

    def __init__(self, index: Index, source: Source) -> None:
        self._index, self._source = index, source
        self._layout: Layout | None = parse_layout(source.description) if source.description else None
        self.lines = [self._parse(raw) for raw in source.body.split(b"\n") if raw.strip()]
        if not self.lines:
            raise UnsupportedDocument(f"The index of {index.project} is empty.")
        # Where a version has two lines, cargo takes the last one.
        self._by_version = {line.vers: line for _, line in self.lines}

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Every release listed, in the index's own order."""
        return tuple(
            Release(version, _moment(line.pubtime), line.yanked is True, (self._filename(version),))
            for version, line in self._by_version.items()
        )

    def find(self, artifact: Artifact) -> File | None:
        """The file of the release that `artifact` names."""
        fits = artifact.filename == self._filename(artifact.version)
        line = self._by_version.get(artifact.version) if fits else None
        return self._file(line) if line else None

    def files(self) -> Iterator[File]:
        """The file of each release."""
        for line in self._by_version.values():
            if file := self._file(line):
                yield file

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The lines of the releases that are kept. No line holds an address of a file, so none is linked."""
        kept = {release.version for release in self.releases if keep(release)}
        if len(kept) == len(self._by_version):
            return Document(INDEX_TYPE, (self._source.body,))
        return Document(INDEX_TYPE, (_join(raw for raw, line in self.lines if line.vers in kept),))

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """With the lines of those versions of an older index."""
        if not isinstance(older, CrateIndex):
            return self
        back = {file.version for file in older.files() if file.version not in self._by_version and wanted(file)}
        if not back:
            return self
        lines = [raw for raw, _ in self.lines] + [raw for raw, line in older.lines if line.vers in back]
        source = self._source
        whole = Source(_join(lines), source.media_type, source.url, source.description, source.authorized)
        return CrateIndex(self._index, whole)

    def _parse(self, raw: bytes) -> tuple[bytes, _Line]:
        try:
            line = _decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            what = "is an HTML page" if raw.lstrip()[:1] == b"<" else f"has a line that is no release: {error}"
            raise UnsupportedDocument(f"The index of {self._index.project} {what}.") from error
        if _plain(line.name) != _plain(self._index.project):
            raise UnsupportedDocument(f"The index of {self._index.project} is another's: it names {line.name[:80]!a}.")
        return raw, line

    def _file(self, line: _Line) -> File | None:
        """Its file, if the line tells of one that can be asked for; cargo itself passes over such lines."""
        checksum = line.cksum if isinstance(line.cksum, str) and _SHA256.fullmatch(line.cksum) else ""
        if self._layout is None or not checksum or not is_version(line.vers) or not is_name(line.name):
            return None
        return File(
            project=self._index.project,
            version=line.vers,
            filename=self._filename(line.vers),
            url=self._layout.url(line.name, line.vers, checksum),
            digests={"sha256": checksum.lower()},
            published=_moment(line.pubtime),
        )

    def _filename(self, version: str) -> str:
        return crate_filename(self._index.project, version)


def _plain(name: str) -> str:
    """A name as registries compare names: hyphen and underscore are one, and so are capitals and small letters."""
    return name.lower().replace("-", "_")


def _moment(value: Any) -> datetime | None:
    """A publish time. Older lines have none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _join(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
