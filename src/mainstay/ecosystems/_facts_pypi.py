"""What an index page, a METADATA file or a legacy document says of a Python release.

Sources: core metadata 2.4 and PEP 639 (licences), PEP 700 (sizes, upload times), PEP 753 (labels of addresses).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from email.errors import MessageError
from typing import Any

import msgspec
from packaging.metadata import parse_email

from mainstay.ecosystems._facts import plain_text, plain_texts, times_of
from mainstay.ecosystems._pypi_legacy import newest
from mainstay.ecosystems._pypi_read import parse_json
from mainstay.errors import UnsupportedDocument
from mainstay.model import Facts, Listing, Source

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_SOURCE_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar", ".tgz")
_ANYWHERE = re.compile(r".+-any\.whl|.+-py\d(?:\.\d+)?\.egg")
_REPOSITORY_LABELS = frozenset({"source", "repository", "sourcecode", "github", "repo", "code", "git", "gitlab"})
_NO_LETTER = re.compile(r"[^a-z0-9]+")
_BLANK = frozenset({"unknown", "none", "null"})
"""What old tools write where nothing is set."""


class _Legacy(msgspec.Struct):
    info: dict[str, Any]


def read_page(listing: Listing) -> Facts | None:
    """The facts of the newest release of a page that lists files; None where it lists none."""
    offered = {release.version: release for release in listing.releases if release.filenames and not release.yanked}
    if not offered:
        return None
    version = newest(offered)
    names = offered[version].filenames
    has_source = any(map(_is_source, names))
    sizes = tuple(file.size_bytes for file in listing.files() if file.version == version and file.size_bytes)
    return Facts(
        version,
        has_source=has_source,
        binary_only=not has_source and not any(map(_ANYWHERE.fullmatch, names)),
        sizes_bytes=sizes or None,
        published=times_of(listing.releases),
    )


def read_legacy(listing: Listing, source: Source) -> Facts:
    """The same with what the document tells of the release that it shows.

    Raises:
        UnsupportedDocument: it is no such document.
    """
    info = parse_json(source, _Legacy).info
    described = _described(plain_text(info.get("version")), info)
    page = read_page(listing)
    if page is None:
        return described
    files = {name: getattr(page, name) for name in ("sizes_bytes", "has_source", "binary_only")}
    return replace(described, **(files if page.version == described.version else {}), published=page.published)


def read_metadata(version: str, body: bytes) -> Facts:
    """The facts of a METADATA file.

    Raises:
        UnsupportedDocument: it is none.
    """
    try:
        fields, _ = parse_email(_END_OF_HEADERS.split(body, maxsplit=1)[0])
    except (ValueError, LookupError, MessageError) as error:
        raise UnsupportedDocument(f"The metadata of version {version} cannot be read: {error}.") from error
    if "name" not in fields and "metadata_version" not in fields:
        raise UnsupportedDocument(f"The metadata of version {version} has no field of such metadata.")
    return _described(version, fields)


def _described(version: str, fields: Mapping[str, Any]) -> Facts:
    licence = _set(fields.get("license_expression")) or _set(fields.get("license"))
    links = _links(fields.get("project_urls"))
    return Facts(
        version,
        licences=(licence,) if licence else (),
        licence_files=plain_texts(fields.get("license_files")),
        classifiers=plain_texts(fields.get("classifiers")),
        repository=_first(links, _REPOSITORY_LABELS),
        homepage=_set(fields.get("home_page")) or _first(links, {"homepage"}),
    )


def _links(value: object) -> dict[str, str]:
    """Addresses by label, spelled as labels are compared (PEP 753)."""
    links = value.items() if isinstance(value, dict) else ()
    return {_NO_LETTER.sub("", str(label).lower()): _set(address) for label, address in links}


def _first(links: Mapping[str, str], labels: Iterable[str]) -> str:
    return next((links[label] for label in sorted(labels) if links.get(label)), "")


def _set(value: object) -> str:
    text = plain_text(value)
    return "" if text.lower() in _BLANK else text


def _is_source(filename: str) -> bool:
    return filename.endswith(_SOURCE_ENDINGS)
