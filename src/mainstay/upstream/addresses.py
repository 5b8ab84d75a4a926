"""Which addresses an upstream may lead to: the guard against server-side request forgery (SSRF)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from mainstay.errors import UpstreamRefused


def is_internal(address: str) -> bool:
    """Whether an IP address in text form is loopback, private, link-local or otherwise not on the public internet."""
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return not (mapped or parsed).is_global


def literal_address(host: str) -> str | None:
    """`host` itself where it is an IP address, else None."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


async def resolves_internally(host: str) -> bool:
    """Whether any address of `host` is internal. A name that does not resolve counts as public: it is guarded then."""
    if literal := literal_address(host):
        return is_internal(literal)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(is_internal(str(entry[4][0])) for entry in found)


def refused(host: str) -> UpstreamRefused:
    """The error for a public upstream that leads to an internal address."""
    return UpstreamRefused(
        f"a public upstream led to the internal address {host}, which is refused.",
        upstream_status=0,
        hint="If that host is yours, configure it as an upstream of its own.",
    )
