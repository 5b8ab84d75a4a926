"""A registry's own description: `config.json` at the root of its index.

Source: https://doc.rust-lang.org/cargo/reference/registry-index.html, "Index Configuration". Keys: `dl`, the address of
files, with markers or without; `api`, the base of the web API; `auth-required`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mainstay.ecosystems._cargo_paths import crate_path, prefix_of
from mainstay.errors import UnsupportedDocument
from mainstay.model import Artifact, Document, File, Keep, Link, Listing, Release, Source, Wanted

CONFIG_TYPE = "application/json"
_AUTH_REQUIRED = "auth-required"
_MARKER = re.compile(r"\{(?:crate|version|prefix|lowerprefix|sha256-checksum)\}")
_ADDRESS = re.compile(
    r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[!$-\[\]-~]*)?", re.IGNORECASE
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TEMPLATE = ("{crate}", "{version}")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a registry has its parts. `dl` and `api` are addresses without a default port; `api` may be ""."""

    fields: Mapping[str, Any]
    dl: str
    api: str

    @property
    def bases(self) -> dict[str, str]:
        """The base URL of the files, up to where they differ, and of the web API's paths."""
        found = _MARKER.search(self.dl)
        head = self.dl[: found.start()] if found else f"{self.dl}/"
        head = head.partition("?")[0]
        bases = {"crates": head[: head.rindex("/") + 1]}
        return {**bases, "api": f"{self.api}/api/"} if self.api else bases

    def url(self, name: str, version: str, checksum: str) -> str:
        """The address of one release's file."""
        if not _MARKER.search(self.dl):
            return f"{self.dl}/{name}/{version}/download"
        values = {
            "{crate}": name,
            "{version}": version,
            "{prefix}": prefix_of(name),
            "{lowerprefix}": prefix_of(name).lower(),
            "{sha256-checksum}": checksum,
        }
        return _MARKER.sub(lambda found: values[found[0]], self.dl)


class Configuration:
    """A `Listing` of no releases: the registry's description, rendered so that it leads to the gateway.

    Raises:
        UnsupportedDocument: the bytes are no such description.
    """

    releases: tuple[Release, ...] = ()

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fields = dict(parse_layout(source.body).fields)

    def find(self, artifact: Artifact) -> File | None:
        """Nothing: no file is listed here."""
        return None

    def files(self) -> Iterable[File]:
        """Nothing, likewise."""
        return ()

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The description with the gateway's address for the registry's. Upstream's own bytes where nothing changes."""
        fields = self._linked(link)
        if self._source.authorized:
            fields.pop(_AUTH_REQUIRED, None)
        body = self._source.body if fields == self._fields else msgspec.json.encode(fields)
        return Document(CONFIG_TYPE, (body,))

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """As it is: it lists no releases."""
        return self

    def _linked(self, link: Link) -> dict[str, Any]:
        dl = link(File(*_TEMPLATE, "", self._fields["dl"]))
        if dl == self._fields["dl"]:
            return dict(self._fields)
        mount = dl.removesuffix(crate_path(*_TEMPLATE)).rstrip("/")
        fields = {name: value for name, value in self._fields.items() if not _leads_away(value)}
        fields["dl"] = dl
        if self._fields.get("api"):
            fields["api"] = mount
        return fields


def parse_layout(body: bytes) -> Layout:
    """The layout that a `config.json` tells.

    Raises:
        UnsupportedDocument: it is no JSON object, or an address in it is none of http or https.
    """
    try:
        fields = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        page = body[:64].lstrip()[:1] == b"<"
        what = "an HTML page" if page else f"not a JSON object: {error}"
        raise UnsupportedDocument(f"The registry's config.json is {what}.") from error
    api = fields.get("api")
    return Layout(fields, _address(fields, "dl"), _address(fields, "api").rstrip("/") if api else "")


def clear_address(text: str) -> str:
    """`text` with its scheme and host in lower case and without a default port; "" where it is not plainly an http or
    https address: one with a password in it is none."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return ""
    scheme, host, port, path = found[1].lower(), found[2].lower(), int(found[3] or 0), found[4] or ""
    shown = "" if port in (0, _DEFAULT_PORTS[scheme]) else f":{port}"
    return f"{scheme}://{host}{shown}{path}" if port < 65536 else ""


def _address(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    address = clear_address(value) if isinstance(value, str) else ""
    if not address:
        raise UnsupportedDocument(f"The registry's config.json has no usable address as {name!r}: {str(value)[:80]!a}.")
    return address


def _leads_away(value: Any) -> bool:
    return b"//" in msgspec.json.encode(value)
