"""One parse of a packument, kept as undecoded pieces, so that a large one is never built or copied whole.

Shape: https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md. `versions` maps a version to its
manifest, `dist-tags` a tag to a version, `time` (full form) a version to its publish time.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

import msgspec
from msgspec import Raw

from mainstay.ecosystems._npm_paths import attestations_path, is_selector, tarball_filename, tarball_path, version_in
from mainstay.ecosystems._semver import is_stable, order
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import Artifact, Document, File, Index, Keep, Link, Listing, Release, Source, Wanted

ABBREVIATED_TYPE = "application/vnd.npm.install-v1+json"
FULL_TYPE = "application/json"
VERSION_FORM = "version:"
TAGS_FORM = "dist-tags"

_VARY = (("Vary", "Accept"),)
PIECE_BYTES = 64 * 1024
_STORAGE = frozenset({"_attachments", "_distfiles"})
"""What registries built on CouchDB or like it tell of their own storage: the files of every release, with addresses."""
_HTTP_URL = re.compile(r"https?://[^\s/?#@]+/[!-~]*", re.IGNORECASE)
_HEX_SHA1 = re.compile(r"[0-9a-fA-F]{40}")
_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}


class _Dist(msgspec.Struct):
    tarball: Any = None
    integrity: Any = None
    shasum: Any = None


class _Manifest(msgspec.Struct):
    dist: _Dist = msgspec.field(default_factory=_Dist)


_manifest = msgspec.json.Decoder(_Manifest)
_object = msgspec.json.Decoder(dict[str, Raw])
_any_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class Packument:
    """A `Listing` over the bytes of one packument.

    Raises:
        UnsupportedDocument: the bytes are not a packument.
    """

    def __init__(self, index: Index, source: Source) -> None:
        self._index, self._project = index, index.project
        self._source = source
        self._top = _parse_object(source.body, f"The index of {index.project}")
        name = _value(self._top.get("name"))
        if name not in (None, index.project):
            raise UnsupportedDocument(f"The index of {index.project} is another's: it is named {str(name)[:80]!r}.")
        self.times = _fields(self._top.get("time"))
        listed = self._top.get("versions")
        if listed is None and "unpublished" not in self.times:
            raise UnsupportedDocument(f"The index of {index.project} has no versions: it is not a packument.")
        all_versions = _parse_object(listed, f"The versions of {index.project}") if listed is not None else {}
        self.versions = {
            version: manifest
            for version, manifest in all_versions.items()
            if is_selector(version) and bytes(memoryview(manifest)[:1]) == b"{"
        }
        self._all_sound = len(self.versions) == len(all_versions)

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Every release listed, in the packument's own order, with its publish time where the form has one."""
        return tuple(Release(version, self._published(version)) for version in self.versions)

    def find(self, artifact: Artifact) -> File | None:
        """The file that `artifact` names: by its version, else by the last part of the address an index lists."""
        version = version_in(self._project, artifact.filename)
        if version in self.versions:
            return self.file_of(version)
        suffix = f"/{artifact.filename}"
        found = [file for file in self.files() if file.url.partition("?")[0].endswith(suffix)]
        return found[0] if len({file.url for file in found}) == 1 else None

    def files(self) -> Iterator[File]:
        """The file of each release that has one at an http or https address."""
        for version in self.versions:
            if file := self.file_of(version):
                yield file

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The packument, or the part of it that `form` names: `version:<version or tag>`, `dist-tags`.

        Upstream's own bytes where every release is kept at its own address.
        """
        kept = dict.fromkeys(release.version for release in self.releases if keep(release))
        if form == TAGS_FORM:
            return Document(FULL_TYPE, (_encode(self._tags(kept)),))
        if form.startswith(VERSION_FORM):
            return Document(FULL_TYPE, (self._manifest(self._select(form.removeprefix(VERSION_FORM), kept), link),))
        if self._all_sound and len(kept) == len(self.versions) and not self._moves(link):
            return Document(self._media_type, _slices(self._source.body), _VARY)
        return Document(self._media_type, _gather(self._parts(kept, link)), _VARY)

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """With those versions of an older packument, of either form. `latest` is set where there is no tag at all."""
        if not isinstance(older, Packument):
            return self
        back = {
            version: manifest
            for version, manifest in older.versions.items()
            if version not in self.versions and (file := older.file_of(version)) is not None and wanted(file)
        }
        if not back:
            return self
        top = {**self._top, "versions": Raw(_encode(self.versions | back))}
        if "time" in top:
            times = {version: moment for version, moment in older.times.items() if version in back} | self.times
            times.pop("unpublished", None)
            top["time"] = Raw(_encode(times))
        if not _any_fields(top.get("dist-tags")):
            top["dist-tags"] = Raw(_encode({"latest": highest(back, "")}))
        source = Source(_encode(top), self._source.media_type, self._source.url)
        return Packument(self._index, source)

    @property
    def _media_type(self) -> str:
        """Upstream may answer with the full form where the abbreviated one was asked for: say which one it is."""
        return ABBREVIATED_TYPE if self._source.media_type.lower().startswith(ABBREVIATED_TYPE) else FULL_TYPE

    def _published(self, version: str) -> datetime | None:
        raw = self.times.get(version)
        try:
            text = msgspec.json.decode(raw, type=str) if raw is not None else ""
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (msgspec.MsgspecError, ValueError, OverflowError):
            return None

    def file_of(self, version: str) -> File | None:
        """The file of a release that is listed, if it has one that can be asked for."""
        try:
            dist = _manifest.decode(self.versions[version]).dist
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return None
        url = _absolute(self._source.url, dist.tarball)
        if url is None:
            return None
        return File(
            project=self._project,
            version=version,
            filename=tarball_filename(self._project, version),
            url=url,
            digests=parse_digests(dist.integrity, dist.shasum),
            published=self._published(version),
        )

    def _moves(self, link: Link) -> bool:
        return any(link(file) != file.url for file in self.files())

    def _select(self, wanted: str, kept: Collection[str]) -> str:
        version = wanted if wanted in kept else self._tags(kept).get(wanted)
        if version is None:
            raise NotFound(f"{self._project} has no version or tag {wanted}.")
        return version

    def _tags(self, kept: Collection[str]) -> dict[str, str]:
        """The tags, where `latest` moves to a kept release and another tag goes with its release."""
        tags: dict[str, str] = {}
        for tag, version in _any_fields(self._top.get("dist-tags")).items():
            if not isinstance(version, str):
                continue
            target = version if version in kept else highest(kept, version) if tag == "latest" else None
            if target is not None:
                tags[tag] = target
        return tags

    def _parts(self, kept: Collection[str], link: Link) -> Iterator[bytes | Raw]:
        opening = b"{"
        for key, value in self._top.items():
            if key in _STORAGE:
                continue
            yield opening + _encode(key) + b":"
            opening = b","
            if key == "versions":
                yield from self._version_parts(kept, link)
            elif key == "time":
                dropped = self.versions.keys() - kept
                yield _encode({name: moment for name, moment in self.times.items() if name not in dropped})
            elif key == "dist-tags":
                yield _encode(self._tags(kept))
            else:
                yield value
        yield b"}"

    def _version_parts(self, kept: Collection[str], link: Link) -> Iterator[bytes]:
        opening = b"{"
        for version in kept:
            yield opening + _encode(version) + b":"
            yield self._manifest(version, link)
            opening = b","
        yield b"}" if kept else b"{}"

    def _manifest(self, version: str, link: Link) -> bytes:
        """One version's manifest with the addresses in `dist` replaced, and every other byte of a value as it was."""
        raw, file = self.versions[version], self.file_of(version)
        url = link(file) if file else ""
        if file and url == file.url:
            return bytes(raw)
        manifest = _parse_object(raw, f"Version {version} of {self._project}")
        manifest.pop("_resolved", None)  # where its publisher had the file from
        dist = _fields(manifest.get("dist"))
        base = url.removesuffix(tarball_path(file.project, file.filename)) if file else url
        dist.pop("tarball", None)
        if url:
            dist["tarball"] = Raw(_encode(url))
        attestations = _fields(dist.pop("attestations", None))
        if attestations and base != url:
            attestations["url"] = Raw(_encode(base + attestations_path(self._project, version)))
            dist["attestations"] = Raw(_encode(attestations))
        if "dist" in manifest:
            manifest["dist"] = Raw(_encode(dist))
        return _encode(manifest)


def highest(versions: Iterable[str], dropped: str) -> str | None:
    """The version that takes over `latest` from `dropped`.

    The highest stable one, first of those not above `dropped`: one above it was never meant to be the latest. Without
    a stable one, the highest pre-release.
    """
    candidates = sorted(versions, key=lambda version: (order(version), version))
    stable = [version for version in candidates if is_stable(version)]
    below = [version for version in stable if order(version) <= order(dropped)]
    best = below or stable or candidates
    return best[-1] if best else None


def parse_digests(integrity: object, shasum: object) -> dict[str, str]:
    """The digests in hex. `integrity` holds SRI hashes (https://www.w3.org/TR/SRI/), `shasum` a SHA-1 in hex.

    An algorithm with two different hashes is left out: SRI accepts either, and one name can hold only one.
    """
    found: dict[str, set[str]] = {}
    for item in integrity.split() if isinstance(integrity, str) else ():
        algorithm, _, value = item.partition("-")
        try:
            raw = a2b_base64(value.partition("?")[0].encode(), strict_mode=True)
        except (Base64Error, UnicodeError):
            continue
        if len(raw) == _DIGEST_BYTES.get(algorithm):
            found.setdefault(algorithm, set()).add(raw.hex())
    if isinstance(shasum, str) and _HEX_SHA1.fullmatch(shasum):
        found.setdefault("sha1", {shasum.lower()})
    return {algorithm: next(iter(values)) for algorithm, values in found.items() if len(values) == 1}


def _absolute(base: str, address: object) -> str | None:
    if not isinstance(address, str) or not address:
        return None
    try:
        url = address if _HTTP_URL.fullmatch(address) else urljoin(base, address)
    except ValueError:
        return None
    return url if _HTTP_URL.fullmatch(url) else None


def _parse_object(body: bytes | Raw, what: str) -> dict[str, Raw]:
    try:
        return _object.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        page = bytes(memoryview(body)[:64]).lstrip()[:1] == b"<"
        raise UnsupportedDocument(f"{what} is {'an HTML page' if page else f'not a JSON object: {error}'}.") from error


def _fields(raw: Raw | None) -> dict[str, Raw]:
    try:
        return _object.decode(raw) if raw is not None else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}


def _value(raw: Raw | None) -> object:
    """The decoded value; strings may be spelled with escapes. None where it is absent or cannot be read."""
    try:
        return msgspec.json.decode(raw) if raw is not None else None
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _any_fields(raw: Raw | None) -> dict[str, Any]:
    try:
        return _any_object.decode(raw) if raw is not None else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


def _gather(parts: Iterable[bytes | Raw]) -> Iterator[bytes]:
    """The parts joined into pieces of PIECE_BYTES; the last one may be shorter."""
    pending = bytearray()
    for part in parts:
        pending += memoryview(part)
        while len(pending) >= PIECE_BYTES:
            yield bytes(pending[:PIECE_BYTES])
            del pending[:PIECE_BYTES]
    if pending:
        yield bytes(pending)
