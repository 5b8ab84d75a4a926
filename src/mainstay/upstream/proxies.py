"""The proxy that the user already has, as the usual variables say: which hosts go through it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from mainstay.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """One HTTP proxy. `authorization` is the value of Proxy-Authorization, "" without credentials."""

    scheme: str
    host: str
    port: int
    authorization: str = ""

    @classmethod
    def parse(cls, text: str, name: str) -> ProxyAddress:
        """The proxy that variable `name` holds; without a scheme it is http, as curl reads it.

        Raises:
            ConfigError: not an address, or a kind of proxy that CONNECT cannot be chained to. Shows no credentials.
        """
        parts = urlsplit(text if "://" in text else f"http://{text}")
        try:
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            shown = text.rpartition("@")[2]
            raise ConfigError(f"{name} = {shown!r} is not allowed: an http:// or https:// proxy.")
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(pair.encode()).decode()
        return cls(parts.scheme, parts.hostname, port, authorization)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The user's proxies by the scheme of what is asked for, and the hosts that go direct."""

    by_scheme: Mapping[str, ProxyAddress]
    direct: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ProxySettings | None:
        """What the usual variables say, lower case first; None where there is no proxy.

        Raises:
            ConfigError: a variable holds no usable proxy.
        """
        found: dict[str, ProxyAddress] = {}
        for scheme in ("https", "http"):
            for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
                if environ.get(name):
                    found[scheme] = ProxyAddress.parse(environ[name], name)
                    break
        return cls(found, no_proxy_entries(environ)) if found else None

    def choose(self, scheme: str, host: str, port: int) -> ProxyAddress | None:
        """The proxy that the user's settings name for this host, None for a direct connection."""
        if is_loopback(host) or any(covers(entry, host, port) for entry in self.direct):
            return None
        return self.by_scheme.get(scheme)


def no_proxy_entries(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The entries of no_proxy and NO_PROXY, in order, each once."""
    texts = [environ.get("no_proxy", ""), environ.get("NO_PROXY", "")]
    return tuple(dict.fromkeys(entry for text in texts for entry in text.replace(",", " ").split()))


def covers(entry: str, host: str, port: int) -> bool:
    """Whether a no_proxy entry names `host`: `*`, a name (and all below it), `name:port`, an address or a network."""
    if entry == "*":
        return True
    name, separator, digits = entry.rpartition(":")
    if separator and digits.isdigit() and (":" not in name or name.endswith("]")):
        if int(digits) != port:
            return False
        entry = name
    name = entry.strip("[]").removeprefix("*").lstrip(".").lower()
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        return bool(name) and (host == name or host.endswith(f".{name}"))


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its name or address alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
