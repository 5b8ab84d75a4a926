"""What an address names, and which an upstream may lead to: the guard against server-side request forgery (SSRF)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from mainstay.errors import UpstreamRefused

_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")


def is_internal(address: str) -> bool:
    """Whether an IP address in text form is loopback, private, link-local or otherwise not on the public internet."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        parsed = _carried(parsed) or parsed
    return parsed.is_multicast or parsed in _LOCAL_NAT64 or not parsed.is_global


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address inside a mapped (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052) or compatible one."""
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def literal_address(host: str) -> str | None:
    """`host` itself where it is an IP address, else None."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


async def resolves_internally(host: str) -> bool | None:
    """Whether any address of `host` is internal; None where the name does not resolve just now."""
    if literal := literal_address(host):
        return is_internal(literal)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return any(is_internal(str(entry[4][0])) for entry in found)


def refused(host: str) -> UpstreamRefused:
    """The error for a public upstream that leads to an internal address."""
    return UpstreamRefused(
        f"a public upstream led to the internal address {host}, which is refused.",
        upstream_status=0,
        hint="If that host is yours, configure it as an upstream of its own.",
    )


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, without credentials, path or query: safe to log."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def host_and_port(url: str) -> tuple[str, int]:
    """Host and port of a URL, the scheme's default port filled in."""
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
