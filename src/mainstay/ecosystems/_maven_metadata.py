"""The documents of a Maven repository that change: metadata, and files that are passed on as they are.

Shape of metadata: https://maven.apache.org/repositories/metadata.html. A project's own lists its releases in
`versioning/versions`, a snapshot's folder has one about that release, a group's lists plugins and no releases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from xml.sax.saxutils import escape

from mainstay.ecosystems._maven_paths import ALGORITHMS, is_segment
from mainstay.ecosystems._maven_version import highest, is_snapshot, order
from mainstay.ecosystems._maven_xml import Element, parse_xml, recode, tags_of
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import Artifact, Document, File, Keep, Link, Listing, Release, Source, Wanted

XML_TYPE = "application/xml"
_PIECE_BYTES = 64 * 1024
_BLANK = b" \t"
_LINE_ENDS = (b"\r\n", b"\n", b"\r")

Edit = tuple[int, int, bytes]
"""What stands from one offset to another, and what takes its place."""


class Verbatim:
    """A `Listing` over one file whose bytes are passed on as they are. `version` is the release that it is of, "" for
    a file of the whole repository.

    Raises:
        UnsupportedDocument: it is a page for people where a file should be.
    """

    def __init__(self, source: Source, version: str, *, page: bool = False) -> None:
        if not page and source.media_type.lower().lstrip().startswith("text/html"):
            raise UnsupportedDocument("upstream sent an HTML page where a file of a build should be.")
        self._source = source
        self._version = version

    @property
    def releases(self) -> tuple[Release, ...]:
        """The one release that the file is of, if any."""
        return (Release(self._version),) if self._version else ()

    def find(self, artifact: Artifact) -> File | None:
        """Nothing: files are had by their paths."""
        return None

    def files(self) -> Iterable[File]:
        """None are named."""
        return ()

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The file, or its checksum where `form` names an algorithm."""
        if not all(map(keep, self.releases)):
            raise NotFound(f"version {self._version} is not there.")
        return _document(self._source.body, form, self._source.media_type or "application/octet-stream")

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """Itself: it lists nothing."""
        return self


class Metadata:
    """A `Listing` over the bytes of one maven-metadata.xml. `snapshot` is the release whose folder it is in, or "".

    Raises:
        UnsupportedDocument: the bytes are not metadata.
    """

    def __init__(self, source: Source, snapshot: str) -> None:
        self._source = source
        self._snapshot = snapshot
        self._utf8, self._encoding = recode(source.body)
        self._root = parse_xml(self._utf8)
        if self._root.name != "metadata":
            raise UnsupportedDocument(
                f"upstream's metadata is something else: it begins with <{self._root.name[:40]}>."
            )

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Every release listed, in the metadata's own order."""
        if self._snapshot:
            return (Release(self._snapshot),)
        return tuple(Release(version) for version in self.listed)

    @cached_property
    def listed(self) -> dict[str, list[Element]]:
        """The elements that list each version. A text that no path can have is nothing that could be asked for."""
        listed: dict[str, list[Element]] = {}
        for element in self._root.named("versioning", "versions", "version"):
            if is_segment(version := element.text.strip()):
                listed.setdefault(version, []).append(element)
        return listed

    def find(self, artifact: Artifact) -> File | None:
        """Nothing: files are had by their paths."""
        return None

    def files(self) -> Iterable[File]:
        """None are named."""
        return ()

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The metadata, or its checksum where `form` names an algorithm: upstream's own bytes where all is kept.

        Else without the lines of what is not kept, and with what pointed there pointing to the highest that is.
        """
        if self._snapshot and not keep(Release(self._snapshot)):
            raise NotFound(f"version {self._snapshot} is not there.")
        edits = [] if self._snapshot else [*self._removals(keep), *self._moves(keep)]
        body = self.edited(edits) if edits else self._source.body
        return _document(body, form, XML_TYPE)

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """With those versions of older metadata; where it points to stays."""
        if self._snapshot or not isinstance(older, Metadata):
            return self
        metadata = self
        for version in older.listed:
            if version not in self.listed and wanted(File("", version, "", "")):
                body = metadata.edited([metadata.insertion(version)])
                metadata = Metadata(Source(body, self._source.media_type, self._source.url), "")
        return metadata

    def _removals(self, keep: Keep) -> Iterator[Edit]:
        for version, elements in self.listed.items():
            if not keep(Release(version)):
                for element in elements:
                    yield self._removal(element)

    def _removal(self, element: Element) -> Edit:
        start, _, _, end = tags_of(self._utf8, element)
        return (*_line(self._utf8, start, end), b"")

    def _moves(self, keep: Keep) -> Iterator[Edit]:
        """Where `latest`, `release` and the `version` that old repositories write go to. One that names what upstream
        lists no more is a pointer to that all the same."""
        pointers = [*self._root.named("version"), *self._root.named("versioning", "latest")]
        pointers += self._root.named("versioning", "release")
        named = [(element, element.text.strip()) for element in pointers]
        moving = [element for element, version in named if is_segment(version) and not keep(Release(version))]
        targets = self._targets(keep) if moving else {}
        for element in moving:
            target = targets[element.name]
            if target is None:
                yield self._removal(element)
            else:
                _, start, end, _ = tags_of(self._utf8, element)
                yield start, end, escape(target).encode()

    def _targets(self, keep: Keep) -> dict[str, str | None]:
        kept = [version for version in self.listed if keep(Release(version))]
        latest, release = highest(kept), highest(version for version in kept if not is_snapshot(version))
        return {"latest": latest, "release": release, "version": release or latest}

    def insertion(self, version: str) -> Edit:
        """Before the first version above it, else after the last, in the way that its neighbour is written."""
        elements = [element for listed in self.listed.values() for element in listed]
        elements.sort(key=lambda element: element.start)
        if not elements:
            return self._first(version)
        above = (element for element in elements if order(element.text.strip()) > order(version))
        neighbour = next(above, None)
        start, _, _, end = tags_of(self._utf8, neighbour or elements[-1])
        first, last = _line(self._utf8, start, end)
        tag = (neighbour or elements[-1]).tag
        text = f"<{tag}>{escape(version)}</{tag}>".encode()
        if (first, last) != (start, end):
            text = self._utf8[first:start] + text + self._utf8[end:last]
        at = first if neighbour else last
        return at, at, text

    def _first(self, version: str) -> Edit:
        """As the only version, in the innermost element that is there to hold it."""
        prefix = self._root.tag.removesuffix(self._root.name)
        text = f"<{prefix}version>{escape(version)}</{prefix}version>".encode()
        holder, missing = self._root, ["versioning", "versions"]
        while missing and (inner := next(holder.named(missing[0]), None)) is not None:
            holder = inner
            missing.pop(0)
        for name in reversed(missing):
            text = b"<%b>%b</%b>" % (tag := f"{prefix}{name}".encode(), text, tag)
        start, after, last, end = tags_of(self._utf8, holder)
        if last == start:
            return start, end, b"%b>%b</%b>" % (self._utf8[start : after - 2], text, holder.tag.encode())
        return last, last, text

    def edited(self, edits: Collection[Edit]) -> bytes:
        """The document with these changes, in its own encoding."""
        pieces, position = [], 0
        for start, end, text in sorted(edits):
            pieces += [self._utf8[position:start], text]
            position = end
        utf8 = b"".join([*pieces, self._utf8[position:]])
        return utf8 if self._encoding == "utf-8" else utf8.decode().encode(self._encoding, "xmlcharrefreplace")


def _document(body: bytes, form: str, media_type: str) -> Document:
    """The bytes, or their checksum as repositories write it: the digits alone. Maven's resolver takes the checksum
    from the header and does not ask for it (https://maven.apache.org/resolver/expected-checksums.html)."""
    if form in ALGORITHMS:
        return Document("text/plain", (hashlib.new(form, body, usedforsecurity=False).hexdigest().encode(),))
    sha1 = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    return Document(media_type, _slices(body), (("x-checksum-sha1", sha1),))


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


def _line(utf8: bytes, start: int, end: int) -> tuple[int, int]:
    """The whole lines, with their end, of an element that shares them with white space alone; else the element."""
    first, last = start, end
    while first and utf8[first - 1] in _BLANK:
        first -= 1
    while utf8[last] in _BLANK:
        last += 1
    line_end = next((line_end for line_end in _LINE_ENDS if utf8.startswith(line_end, last)), None)
    if line_end is None or utf8[first - 1 : first] not in (b"\r", b"\n"):
        return start, end
    return first, last + len(line_end)
