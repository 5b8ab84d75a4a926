"""Parsing and rendering of indexes: small ones in the event loop, large ones in a child process beside each worker.

A 40 MB document takes tens of milliseconds to parse and hundreds to render. In a child of low priority that costs other
requests nothing; a thread would hold the interpreter. What both do is the same code, below.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec
from isal import igzip

from mainstay.ecosystems import ecosystems
from mainstay.errors import UnsupportedDocument
from mainstay.model import Artifact, Document, File, Index, Keep, Link, Listing, Release, Source

SMALL_BYTES = 512 * 1024
_NO_INDEX = re.compile(r"\s*(?:image|audio|video|font|model)/|\s*application/(?:zip|gzip|pdf|x-tar)\b", re.IGNORECASE)


class Excerpt(msgspec.Struct, frozen=True):
    """What an older index said of one release: an index of its own, kept with the block that a person lifted since."""

    media_type: str
    url: str
    body: bytes
    version: str = ""
    filename: str = ""
    """The one file that is to come back, "" for all of the release."""

    def brings_back(self, file: File) -> bool:
        """Whether the file is one that the person wants."""
        return self.version == file.version and self.filename in ("", file.filename)


class Stored(msgspec.Struct, frozen=True):
    """Where the bytes of one index are, what upstream called them and where they came from. `excerpts` are what is to
    be listed though upstream dropped it; `description` is where the registry's description of itself is, if it has one;
    `authorized` that the gateway has a credential for it.
    """

    ecosystem: str
    index: Index
    path: str
    digest: str
    size_bytes: int
    media_type: str
    url: str
    excerpts: tuple[Excerpt, ...] = ()
    description: str = ""
    authorized: bool = False

    @property
    def small(self) -> bool:
        """Whether it is handled in the event loop."""
        return self.size_bytes <= SMALL_BYTES


class Gone(msgspec.Struct, frozen=True):
    """What an older index listed and a newer one does not: versions, and (version, filename) of versions that stay."""

    versions: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.versions or self.files)


class Summary(msgspec.Struct, frozen=True):
    """What is to be known of a new index: what it took away since its predecessor, what it added, and where its
    registry has which role, None standing for the learned one. What an index of another form lists does not count: it
    may be the older of the two."""

    gone: Gone
    added_versions: frozenset[str]
    added_filenames: frozenset[str]
    bases: dict[str, str | None]


class Plan(msgspec.Struct, frozen=True):
    """How to render: `base` is the address of the ecosystem's mount that links start with, None to leave addresses as
    upstream's; `denied` are versions that vanish; `gzip` compresses the result."""

    form: str
    base: str | None
    denied: frozenset[str] = frozenset()
    gzip: bool = False


class Rendered(msgspec.Struct, frozen=True):
    """The outcome. `body` is None where the bytes went to a file."""

    media_type: str
    etag: str
    size_bytes: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


class Opened:
    """Parsed listings, remembered by digest and index within a byte budget."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._held = 0
        self._listings: OrderedDict[tuple[str, str, str, str], tuple[Listing, int]] = OrderedDict()

    def listing(self, stored: Stored) -> Listing:
        """The listing of `stored`, parsed now or before.

        Raises:
            UnsupportedDocument: it does not parse, or its bytes are not those that were stored.
        """
        key = (stored.digest, stored.index.path, stored.url, stored.description)
        if (found := self._listings.get(key)) is not None:
            self._listings.move_to_end(key)
            return found[0]
        if not stored.index.opaque and _NO_INDEX.match(stored.media_type):
            raise UnsupportedDocument(f"upstream calls its index {stored.media_type!r}, which no index can be.")
        body = Path(stored.path).read_bytes()
        if "sha256:" + hashlib.sha256(body).hexdigest() != stored.digest:
            raise UnsupportedDocument("a stored index is damaged on disk.", hint="It is fetched again by itself.")
        source = Source(body, stored.media_type, stored.url, _description(stored), stored.authorized)
        listing = ecosystems()[stored.ecosystem].open(stored.index, source)
        self._listings[key] = (listing, len(body))
        self._held += len(body)
        while self._held > self._budget and len(self._listings) > 1:
            self._held -= self._listings.popitem(last=False)[1][1]
        return listing

    def summarise(self, new: Stored, old: Stored | None) -> Summary:
        """What changed from `old` to `new`. Raises as `listing`."""
        listing = self.listing(new)
        versions, filenames = _contents(listing.releases)
        bases = self._bases(new, listing)
        if old is None:
            return Summary(Gone(), frozenset(), frozenset(), bases)
        before = self._old_releases(old)
        old_versions, old_filenames = _contents(before)
        gone = _gone(before, versions, filenames, _essence(old) == _essence(new))
        return Summary(gone, versions - old_versions, filenames - old_filenames, bases)

    def excerpts(self, stored: Stored, versions: Sequence[str]) -> dict[str, Excerpt]:
        """What the index says of each of these releases. Raises as `listing`."""
        listing, form = self.listing(stored), _listed_by(stored).form
        found = {}
        for version in versions:
            document = listing.render(_only(version), _stay, form)
            found[version] = Excerpt(document.media_type, stored.url, document.body, version)
        return found

    def find(self, stored: Stored, artifact: Artifact) -> File | None:
        """The file that `artifact` names, its address absolute."""
        return self._whole(stored).find(artifact)

    def render(self, stored: Stored, plan: Plan, out: BinaryIO | None) -> Rendered:
        """Render to `out`, or to memory where it is None.

        Raises:
            NotFound: the form asks for one release, and it is not there.
        """
        ecosystem = ecosystems()[stored.ecosystem]
        link = _link(stored, plan)
        document = self._whole(stored).render(lambda release: release.version not in plan.denied, link, plan.form)
        if out is None:
            body = b"".join(document.pieces)
            etag = hashlib.sha256(body).hexdigest()[:32]
            body = igzip.compress(body, 1, mtime=0) if plan.gzip else body
            return Rendered(document.media_type, _etag(etag, plan), len(body), document.headers, body)
        return _write(document, plan, out, ecosystem.id)

    def _whole(self, stored: Stored) -> Listing:
        """The listing with what a person wants back in it; comparisons with upstream are made without."""
        listing = self.listing(stored)
        for excerpt in stored.excerpts:
            source = Source(excerpt.body, excerpt.media_type, excerpt.url, _description(stored))
            older = ecosystems()[stored.ecosystem].open(_listed_by(stored), source)
            listing = listing.restored(older, excerpt.brings_back)
        return listing

    def _bases(self, stored: Stored, listing: Listing) -> dict[str, str | None]:
        ecosystem = ecosystems()[stored.ecosystem]
        if ecosystem.description is not None and stored.index.path == ecosystem.description.path:
            source = Source(Path(stored.path).read_bytes(), stored.media_type, stored.url)
            return {base: role for role, base in ecosystem.bases_in(source).items()}
        return dict.fromkeys(_bases(listing.files())) if ecosystem.learned_role is not None else {}

    def _old_releases(self, old: Stored) -> Sequence[Release]:
        try:
            return self.listing(old).releases
        except (UnsupportedDocument, OSError):
            # Evicted or damaged since: then there is nothing to compare with, which is not a takedown.
            return ()


def _description(stored: Stored) -> bytes:
    return Path(stored.description).read_bytes() if stored.description else b""


def _write(document: Document, plan: Plan, out: BinaryIO, label: str) -> Rendered:
    running = hashlib.sha256()
    sink: Any = igzip.IGzipFile(label, "wb", 1, out, 0) if plan.gzip else out  # type: ignore[no-untyped-call]
    for piece in document.pieces:
        running.update(piece)
        sink.write(piece)
    if sink is not out:
        sink.close()
    out.flush()
    return Rendered(document.media_type, _etag(running.hexdigest()[:32], plan), out.tell(), document.headers)


def _etag(name: str, plan: Plan) -> str:
    return f'"{name}-gz"' if plan.gzip else f'"{name}"'


def _link(stored: Stored, plan: Plan) -> Link:
    if plan.base is None:
        return _stay
    ecosystem, base = ecosystems()[stored.ecosystem], plan.base
    return lambda file: base + ecosystem.path(file)


def _only(version: str) -> Keep:
    return lambda release: release.version == version


def _stay(file: File) -> str:
    return file.url


def _listed_by(stored: Stored) -> Index:
    """The index that lists the project's files, of which `stored` may be a part or another form."""
    return ecosystems()[stored.ecosystem].index_of(Artifact(stored.index.project, "", "", "", ""))


def _contents(releases: Iterable[Release]) -> tuple[frozenset[str], frozenset[str]]:
    versions: set[str] = set()
    filenames: set[str] = set()
    for release in releases:
        versions.add(release.version)
        filenames.update(release.filenames)
    return frozenset(versions), frozenset(filenames)


def _gone(old: Iterable[Release], versions: frozenset[str], filenames: frozenset[str], same_type: bool) -> Gone:
    """A representation may name versions without files (PEP 700) where another cannot: those count only when both
    documents are of one type."""
    lost_versions: list[str] = []
    lost_files: list[tuple[str, str]] = []
    for release in old:
        lost = [(release.version, name) for name in release.filenames if name not in filenames]
        # A release of which a file is left is there, though another file may spell its version otherwise now.
        if release.version in versions or len(lost) < len(release.filenames):
            lost_files += lost
        elif release.filenames or same_type:
            lost_versions.append(release.version)
    return Gone(tuple(lost_versions), tuple(lost_files))


def _essence(stored: Stored) -> str:
    """The media type without its parameters (RFC 9110, section 8.3.1)."""
    return stored.media_type.partition(";")[0].strip().lower()


def _bases(files: Iterable[File]) -> tuple[str, ...]:
    seen: dict[str, None] = {}
    for file in files:
        parts = urlsplit(file.url)
        seen.setdefault(f"{parts.scheme}://{parts.netloc}/")
    return tuple(seen)
