"""One request as the gateway sees it: what was asked, by whom, and how links to itself must look."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

from mainstay.access.tokens import TOKEN_LENGTH, TOKEN_PATH, TOKEN_PREFIX
from mainstay.errors import BodyTooLarge

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
STAND_IN = TOKEN_PREFIX + "0" * (TOKEN_LENGTH - len(TOKEN_PREFIX))
"""What stands for a client's token in documents that are kept."""
ORIGIN_KEY = "mainstay.origin"
"""ASGI scope key set by `run`: the registry's own origin that the client asked, links to be left as they are."""


@dataclass(frozen=True, slots=True)
class Call:
    """`raw_path` is percent-encoded and starts with a slash. `origin` is set where the client asked a registry's own
    address. `base` is the gateway's own address as this client reaches it, without a slash at the end."""

    method: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    base: str
    client: str = ""
    origin: str = ""
    body: AsyncIterator[bytes] | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    """The token of ours that stood in the path, which `raw_path` is without."""
    authorization: str = field(default="", repr=False)
    """The client's own credential for upstream, never logged."""

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def prefix(self) -> str:
        """What stands before every path of the gateway in this client's addresses, a stand-in in the token's place."""
        return f"{TOKEN_PATH}{STAND_IN}" if self.token else ""

    async def whole_body(self, max_bytes: int) -> bytes:
        """The body as it comes, compressed or not.

        Raises:
            BodyTooLarge: it is over the cap.
        """
        body = bytearray()
        if self.body is not None:
            async for chunk in self.body:
                body += chunk
                if len(body) > max_bytes:
                    raise BodyTooLarge(f"the body is larger than {max_bytes} bytes (server.max_body).")
        return bytes(body)

    @property
    def verbatim(self) -> bool:
        """Whether addresses in documents stay upstream's: the client asked upstream's own address."""
        return bool(self.origin) or self.headers.get("mainstay-links", "") == "upstream"


class Bases:
    """Builds the gateway's own address for a client. Forwarded headers count only from listed proxies."""

    def __init__(self, public_url: str, trusted_proxies: tuple[str, ...], fallback: str) -> None:
        self._public_url = public_url.rstrip("/")
        self._trusted = tuple(ip_network(text, strict=False) for text in trusted_proxies)
        self._fallback = fallback.rstrip("/")

    @property
    def fixed(self) -> bool:
        """Whether every client gets the same address."""
        return bool(self._public_url)

    def trusts(self, peer: str) -> bool:
        """Whether the peer is a listed proxy."""
        return bool(self._trusted) and _listed(peer, self._trusted)

    def base(self, scheme: str, headers: Mapping[str, str], peer: str) -> str:
        """The address to build links from: the configured one, a listed proxy's word, or the Host header."""
        if self._public_url:
            return self._public_url
        host, prefix = headers.get("host", ""), ""
        if self.trusts(peer):
            forwarded = _forwarded(headers.get("forwarded", ""))
            host = forwarded.get("host") or _last(headers.get("x-forwarded-host", "")) or host
            scheme = forwarded.get("proto") or _last(headers.get("x-forwarded-proto", "")) or scheme
            prefix = _last(headers.get("x-forwarded-prefix", "")).rstrip("/")
        if not _HOST.fullmatch(host) or scheme not in ("http", "https"):
            return self._fallback
        return f"{scheme}://{host}{prefix if _PREFIX.fullmatch(prefix) else ''}"

    def client(self, headers: Mapping[str, str], peer: str) -> str:
        """The client's address: the peer's, or what a listed proxy says of it."""
        if not self.trusts(peer):
            return peer
        return _forwarded(headers.get("forwarded", "")).get("for") or _last(headers.get("x-forwarded-for", "")) or peer


@lru_cache(maxsize=4096)
def _listed(peer: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _last(value: str) -> str:
    """The entry that the nearest proxy added: those before it came from outside."""
    return value.rpartition(",")[2].strip()


def _forwarded(value: str) -> dict[str, str]:
    """The last element of a Forwarded header (RFC 7239)."""
    pairs = (part.partition("=") for part in _last(value).split(";"))
    return {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs if text}
