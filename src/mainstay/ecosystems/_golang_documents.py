"""What a module proxy tells of a module: the list of its versions, and which version a word stands for.

Source: https://go.dev/ref/mod#goproxy-protocol. No document names an address, so all are served as upstream has them,
less the versions that are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import urljoin

import msgspec

from mainstay.ecosystems._golang_paths import escape, is_canonical, is_version, quote_path
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import Artifact, Document, File, Index, Keep, Link, Listing, Release, Source, Wanted

TEXT_TYPE = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"
_SUFFIXES = (".zip", ".mod", ".info")
_LINE = re.compile(r"[ \t]*(?:(?P<version>[!-~]+)(?:[ \t]+(?P<time>[0-9TZ:.+-]+))?)?[ \t]*\r?\n?")
_TREE_HEAD = b"go.sum database tree\n"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a list with its end. `release` is None where it is blank."""

    text: str
    release: Release | None


class VersionList:
    """`@v/list`: a version on each line, in no order. Proxies of old put the release's time behind it."""

    def __init__(self, index: Index, source: Source, lines: Sequence[_Line] | None = None) -> None:
        """Parse the body, unless its lines are given.

        Raises:
            UnsupportedDocument: a line is no version.
        """
        self._index, self._source = index, source
        self.lines = _parse_lines(index, source.body) if lines is None else lines
        self._releases = {line.release.version: line.release for line in self.lines if line.release}

    @property
    def releases(self) -> Sequence[Release]:
        """Every version listed, once."""
        return tuple(self._releases.values())

    def find(self, artifact: Artifact) -> File | None:
        """Any of the files that each version has."""
        version, filename = artifact.version, artifact.filename
        listed = version in self._releases and is_canonical(version)
        return self.file_of(version, filename) if listed and filename in _filenames(version) else None

    def files(self) -> Iterable[File]:
        """Each version's archive: the list names no file, and every version has one."""
        return (self.file_of(version, _filenames(version)[0]) for version in self._releases if is_canonical(version))

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The kept lines as they are. A list without any is the protocol's word for a module without releases."""
        kept = (line.text for line in self.lines if line.release is None or keep(line.release))
        return Document(TEXT_TYPE, ("".join(kept).encode(),))

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """The list with the wanted versions of an older one at its end."""
        if not isinstance(older, VersionList):
            return self
        missing = {release.version for release in older.releases} - self._releases.keys()
        lost = {version for version in missing if wanted(older.file_of(version, _filenames(version)[0]))}
        if not lost:
            return self
        back = [line for line in older.lines if line.release and line.release.version in lost]
        lines = [_Line(line.text.removesuffix("\n") + "\n", line.release) for line in (*self.lines, *back)]
        return VersionList(self._index, self._source, lines)

    def file_of(self, version: str, filename: str) -> File:
        """A file of a version that is listed."""
        url = urljoin(self._source.url, quote_path(escape(filename)))
        return File(self._index.project, version, filename, url, published=self._releases[version].published)


@dataclass(frozen=True, slots=True)
class Note:
    """A document about one release, or about none, that is served whole or not at all: what a word stands for, what a
    checksum database says of itself."""

    path: str
    media_type: str
    body: bytes
    release: Release | None = None

    @property
    def releases(self) -> Sequence[Release]:
        """The one release, if any."""
        return (self.release,) if self.release else ()

    def find(self, artifact: Artifact) -> File | None:
        """Nothing: the list of versions is what lists files."""
        return None

    def files(self) -> Iterable[File]:
        """None, as in `find`."""
        return ()

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The bytes as they are, if the release is kept."""
        if self.release and not keep(self.release):
            raise NotFound(f"{self.path} stands for {self.release.version}, which is refused.")
        return Document(self.media_type, (self.body,))

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """This document: it is not what lists a project's files."""
        return self


class _Info(msgspec.Struct, frozen=True):
    version: str = msgspec.field(name="Version")
    time: object = msgspec.field(name="Time", default=None)


_info = msgspec.json.Decoder(_Info)


def parse_info(index: Index, body: bytes) -> Note:
    """`@latest`, or `@v/<word>.info` where the word is a branch or the like: the one release that it stands for.

    Raises:
        UnsupportedDocument: it is no JSON object that names a release.
    """
    try:
        told = _info.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        _refuse(index, body, f"not what tells of a version: {error}")
    if not is_canonical(told.version):
        _refuse(index, body, f"of no release: {told.version[:100]!a}")
    return Note(index.path, JSON_TYPE, body, Release(told.version, parse_time(told.time)))


def parse_database_note(index: Index, body: bytes) -> Note:
    """That a checksum database is served here, or the head of its tree, whose signature is for the client to check.

    Raises:
        UnsupportedDocument: it is a page, or no tree head where one is due.
    """
    if _is_page(body) or (index.form == "latest" and not body.startswith(_TREE_HEAD)):
        _refuse(index, body, "not from a checksum database")
    return Note(index.path, TEXT_TYPE, body)


def parse_time(text: object) -> datetime | None:
    """A moment of RFC 3339 in UTC; None where it is none, or the zero of Go's clock."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return moment.astimezone(UTC) if moment and moment.tzinfo and moment.year > 1 else None
    except (ValueError, OverflowError):
        return None


def _parse_lines(index: Index, body: bytes) -> list[_Line]:
    return [_parse_line(index, line) for line in body.splitlines(keepends=True)]


def _parse_line(index: Index, line: bytes) -> _Line:
    text = line.decode("ascii", "replace")
    match = _LINE.fullmatch(text)
    version = match["version"] if match else None
    if match is None or not (version is None or is_version(version)):
        _refuse(index, line, f"no list of versions: it has the line {text[:100]!a}")
    return _Line(text, Release(version, parse_time(match["time"])) if version else None)


def _filenames(version: str) -> tuple[str, ...]:
    return tuple(version + suffix for suffix in _SUFFIXES)


def _is_page(body: bytes) -> bool:
    return body[:64].lstrip()[:1] == b"<"


def _refuse(index: Index, body: bytes, what: str) -> NoReturn:
    raise UnsupportedDocument(f"{index.path} is {'an HTML page' if _is_page(body) else what}.")
