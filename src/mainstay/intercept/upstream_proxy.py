"""The proxy that the user already had: which hosts go through it, and how to dial through it."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from mainstay.errors import ConfigError, UpstreamError, UpstreamTimeout, UpstreamUnavailable

DIAL_TIMEOUT_S = 30.0
MAX_HEAD_BYTES = 16 * 1024
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


class _ConnectReply(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT. What follows the head is kept for the tunnel."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = b""

    @property
    def rest(self) -> bytes:
        return self._received.partition(b"\r\n\r\n")[2]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if self.head.done():
            return
        if end:
            self.head.set_result(head)
        elif len(self._received) > MAX_HEAD_BYTES:
            self.head.set_exception(UpstreamError("The proxy's answer to CONNECT is too long."))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(UpstreamError("The proxy closed the connection without an answer to CONNECT."))


async def dial(
    host: str, port: int, proxy: ProxyAddress | None, pipe: asyncio.Protocol, *, connect: bool = True
) -> tuple[asyncio.Transport, bytes]:
    """Connect to `host:port`, through `proxy` if there is one, and put `pipe` on the connection.

    With `connect` False the proxy gets no CONNECT (it is asked for plain http in absolute form). Returns the transport,
    paused, and the bytes that arrived already.

    Raises:
        UpstreamUnavailable: unreachable, or the proxy says no. UpstreamTimeout: no answer in time.
    """
    target = proxy.host if proxy else host
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            if proxy is None or not connect:
                return await _open(target, proxy.port if proxy else port, proxy, pipe), b""
            return await _open_through(proxy, host, port, pipe)
    except TimeoutError:
        raise UpstreamTimeout(f"{target} did not answer within {DIAL_TIMEOUT_S:.0f} seconds.") from None
    except OSError as error:
        raise UpstreamUnavailable(f"{target} cannot be reached: {error.strerror or error}.") from error


async def _open(host: str, port: int, proxy: ProxyAddress | None, protocol: asyncio.Protocol) -> asyncio.Transport:
    context = ssl.create_default_context() if proxy and proxy.scheme == "https" else None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(
        lambda: protocol, host, port, ssl=context, happy_eyeballs_delay=0.25, interleave=1
    )
    transport.pause_reading()
    return transport


async def _open_through(
    proxy: ProxyAddress, host: str, port: int, pipe: asyncio.Protocol
) -> tuple[asyncio.Transport, bytes]:
    reply = _ConnectReply()
    transport = await _open(proxy.host, proxy.port, proxy, reply)
    try:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
        if proxy.authorization:
            request += f"Proxy-Authorization: {proxy.authorization}\r\n"
        transport.write(f"{request}\r\n".encode("ascii"))
        transport.resume_reading()
        status = (await reply.head).split(b"\r\n", 1)[0].decode("latin-1")
        if status.split(" ")[1:2] != ["200"]:
            raise UpstreamUnavailable(f"The proxy {proxy.host}:{proxy.port} refused {authority}: {status}.")
    except BaseException:
        transport.abort()
        raise
    transport.pause_reading()
    transport.set_protocol(pipe)
    return transport, reply.rest
