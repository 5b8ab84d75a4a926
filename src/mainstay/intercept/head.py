"""The head of a request to a proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mainstay.errors import RequestError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_PER_HOP = frozenset({"connection", "proxy-connection", "keep-alive", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a client wants to reach. `host` is lower case, without brackets; `scheme` is what runs inside."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """`scheme://host`, with the port where it is not the scheme's own (RFC 6454 section 6.2)."""
        authority = self.authority
        usual = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{authority.rpartition(':')[0] if self.port == usual else authority}"


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed request head. `relay` is the head to send on to the origin itself, b"" for CONNECT."""

    target: Target
    is_connect: bool
    relay: bytes = b""
    relay_to_proxy: bytes = b""


def parse_head(head: bytes) -> Head:
    """A head (without the empty line) of a CONNECT, or of a plain http request in absolute form (RFC 9112 section 3.2).

    The relayed heads ask for one reply only (`Connection: close`), because the next request on a connection to a proxy
    may be for another host.

    Raises:
        RequestError: neither of them, or a host that cannot be one.
    """
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    # urlsplit drops tabs and line breaks without a word, so they must not get that far.
    clean = lines[0].isprintable() and not any("\n" in line or "\r" in line for line in lines)
    if not clean or len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise RequestError("This is not a request that a proxy understands.")
    method, uri, version = parts
    if method == "CONNECT":
        return Head(_target("https", f"//{uri}"), is_connect=True)
    if not uri.lower().startswith("http://"):
        raise RequestError("This is the proxy of a run: it answers CONNECT and plain http in absolute form only.")
    target = _target("http", uri[len("http:") :])
    split = urlsplit(uri)
    path = (split.path or "/") + (f"?{split.query}" if split.query else "")
    kept = [line for line in lines[1:] if line.partition(":")[0].strip().lower() not in _PER_HOP]
    return Head(
        target,
        is_connect=False,
        relay=_relay(method, path, version, kept),
        relay_to_proxy=_relay(method, uri, version, kept),
    )


def _relay(method: str, uri: str, version: str, fields: list[str]) -> bytes:
    return "\r\n".join([f"{method} {uri} {version}", *fields, "Connection: close", "", ""]).encode("latin-1")


def _target(scheme: str, text: str) -> Target:
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").rstrip(".")
        port = {"https": 443, "http": 80}[scheme] if parts.port is None else parts.port
    except ValueError:
        host, port = "", 0
    if not port or not (_NAME.fullmatch(host) or _ADDRESS.fullmatch(host)):
        raise RequestError("The address asked for has no usable host and port.")
    return Target(scheme, host, port)
