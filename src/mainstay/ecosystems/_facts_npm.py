"""What a packument says of its latest release. The abbreviated form has no place for licences and addresses.

Source: https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md; the fields are those of
package.json, of which older ones have `licenses`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mainstay.ecosystems._facts import plain_text, times_of
from mainstay.ecosystems._npm_packument import ABBREVIATED_TYPE, TAGS_FORM, Packument, highest
from mainstay.errors import UnsupportedDocument
from mainstay.model import Facts, Index, Source


def read_packument(index: Index, source: Source) -> Facts | None:
    """The facts of the release that `latest` names, else of the highest; None where no release is listed.

    Raises:
        UnsupportedDocument: the bytes are not a packument.
    """
    packument = Packument(index, source)
    version = _latest(packument)
    if not version:
        return None
    manifest = _decode(packument.versions[version], index.project)
    size = _fields(manifest.get("dist")).get("unpackedSize")
    sizes = (size,) if type(size) is int and size > 0 else None
    published = times_of(packument.releases)
    if source.media_type.lower().startswith(ABBREVIATED_TYPE):
        return Facts(version, sizes_bytes=sizes, published=published)
    return Facts(
        version,
        licences=tuple(_licences(manifest)),
        repository=_address(manifest.get("repository")),
        homepage=plain_text(manifest.get("homepage")),
        sizes_bytes=sizes,
        published=published,
    )


def _latest(packument: Packument) -> str:
    tags = packument.render(lambda _: True, lambda file: file.url, TAGS_FORM).body
    latest = msgspec.json.decode(tags, type=dict[str, str]).get("latest", "")
    return latest or highest(packument.versions, "") or ""


def _licences(manifest: dict[str, Any]) -> Iterator[str]:
    """`license` is a text, or as in older packages an object; those have also lists of such."""
    for declared in (manifest.get("license"), manifest.get("licenses")):
        for entry in declared if isinstance(declared, list) else [declared]:
            if text := plain_text(entry) or plain_text(_fields(entry).get("type") or _fields(entry).get("url")):
                yield text


def _address(repository: object) -> str:
    return plain_text(repository) or plain_text(_fields(repository).get("url"))


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decode(manifest: msgspec.Raw, project: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(manifest, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise UnsupportedDocument(f"A release of {project} cannot be read: {error}.") from error
