"""HTTP to upstream: the only file that imports aiohttp's client."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from mainstay import __version__
from mainstay.config import Fetch
from mainstay.errors import ConfigError, UpstreamError, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable
from mainstay.upstream.addresses import host_and_port, is_internal, literal_address, origin_of, refused
from mainstay.upstream.proxies import ProxySettings

MAX_REDIRECTS = 5
REACH_HINT = "Check the network, the proxy variables and the upstream address."
CHUNK_BYTES = 64 * 1024
PROJECT_URL = "https://mainstay.example/operators"


@dataclass(slots=True)
class Reply:
    """What upstream answered. `headers` has lower-case names; `url` is the address after redirects."""

    status: int
    headers: Mapping[str, str]
    url: str
    _response: aiohttp.ClientResponse
    received: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it was sent (not decompressed), in pieces of at most 64 KiB.

        Raises:
            UpstreamTimeout: silence for longer than the read time-out.
            UpstreamError: the body broke off.
        """
        with translated(self.url):
            async for piece in self._response.content.iter_chunked(CHUNK_BYTES):
                self.received += len(piece)
                yield piece


class HttpClient:
    """Sends requests, follows redirects by itself and checks each hop's address."""

    def __init__(self, settings: Fetch, trusted: bytes = b"") -> None:
        """`trusted` holds certificates (PEM) of authorities to trust beside the usual ones."""
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout_s, sock_read=settings.read_timeout_s
        )
        self._ssl = trust_context(settings.ca_file, trusted)
        self._agent = user_agent(settings.contact)
        self._proxies = ProxySettings.from_environ(os.environ)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | AsyncIterator[bytes] | None = None,
        chosen: tuple[str, int] | None = None,
        guarded: bool = True,
        follow: bool = True,
    ) -> AsyncIterator[Reply]:
        """One exchange. `guarded` refuses internal addresses on every hop, except `chosen`: the host and port that the
        operator configured.

        Credentials in `headers` go to the first hop's origin only.

        Raises:
            UpstreamUnavailable: no connection. UpstreamTimeout: none in time.
            UpstreamRefused: a redirect that may not be followed.
        """
        sent = {"user-agent": self._agent, **headers}
        for _ in range(MAX_REDIRECTS + 1):
            with translated(url):
                guard = guarded and host_and_port(url) != chosen
                _check(url, guard)
                proxy, extra = self._proxy_for(url)
                response = await self._session(guard).request(
                    method, URL(url, encoded=True), headers=sent | extra, data=body, allow_redirects=False, **proxy
                )
            async with response:
                location = response.headers.get("location") if response.status in (301, 302, 303, 307, 308) else None
                if location is None or not follow:
                    names = {name.lower(): value for name, value in response.headers.items()}
                    yield Reply(response.status, names, url, response)
                    return
            with translated(url):
                target = urljoin(url, location)
                sent = _headers_for(target, url, sent)
            url = target
        raise UpstreamRefused(f"{origin_of(url)} redirects in circles.", upstream_status=310)

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()

    def _proxy_for(self, url: str) -> tuple[dict[str, Any], dict[str, str]]:
        """What aiohttp must be told of the user's proxy, and headers that an unencrypted request needs for it.

        aiohttp would read the variables by itself (`trust_env`), and with them the user's .netrc, whose passwords are
        not ours to send.
        """
        host, port = host_and_port(url)
        address = self._proxies.choose(urlsplit(url).scheme, host, port) if self._proxies else None
        if address is None:
            return {}, {}
        own = {"proxy-authorization": address.authorization} if address.authorization else {}
        shown = f"[{address.host}]" if ":" in address.host else address.host
        proxy = URL(f"{address.scheme}://{shown}:{address.port}")
        if url.startswith("https:"):
            return {"proxy": proxy, "proxy_headers": own}, {}
        return {"proxy": proxy}, own

    def _proxy_hosts(self) -> set[str]:
        """A configured proxy may well be internal: it is the operator's choice, not upstream's."""
        return {address.host for address in self._proxies.by_scheme.values()} if self._proxies else set()

    def _session(self, guarded: bool) -> aiohttp.ClientSession:
        if guarded not in self._sessions:
            resolver = GuardedResolver(self._proxy_hosts()) if guarded else None
            connector = aiohttp.TCPConnector(
                limit=0, ssl=self._ssl, resolver=resolver, keepalive_timeout=30, use_dns_cache=not guarded
            )
            self._sessions[guarded] = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
                read_bufsize=2 * CHUNK_BYTES,
            )
            # Retries are counted where they are decided, not made here unseen.
            self._sessions[guarded]._retry_connection = False  # noqa: SLF001 - no public switch
        return self._sessions[guarded]


class GuardedResolver(AbstractResolver):
    """Resolves names to public addresses only, at connection time, so that a changed DNS answer cannot slip through."""

    def __init__(self, exempt: Collection[str]) -> None:
        self._inner = ThreadedResolver()
        self._exempt = frozenset(exempt)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of `host`.

        Raises:
            UpstreamRefused: the name leads to an internal address.
        """
        found = await self._inner.resolve(host, port, family)
        if host not in self._exempt and any(is_internal(entry["host"]) for entry in found):
            raise refused(host)
        return found

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()


def user_agent(contact: str) -> str:
    """Who asks, and where a registry operator can turn to (the practice of large proxies)."""
    return f"mainstay/{__version__} (+{contact or PROJECT_URL})"


def trust_context(ca_file: str, trusted: bytes = b"") -> ssl.SSLContext:
    """The system's trust store (SSL_CERT_FILE included), else certifi's, plus `ca_file` and `trusted`.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        context.load_verify_locations(certifi.where())
    if trusted:
        context.load_verify_locations(cadata=trusted.decode("ascii", "replace"))
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"fetch.ca_file = {ca_file!r} cannot be used: {error}.") from error
    return context


def _check(url: str, guarded: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UpstreamRefused(f"upstream leads to {parts.scheme or 'no'} address, which is refused.", upstream_status=0)
    literal = literal_address(parts.hostname)
    if guarded and literal and is_internal(literal):
        raise refused(literal)


def _headers_for(target: str, url: str, headers: dict[str, str]) -> dict[str, str]:
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise UpstreamRefused(f"{origin_of(url)} redirects to an unencrypted address.", upstream_status=0)
    if origin_of(target) == origin_of(url):
        return headers
    return {name: value for name, value in headers.items() if name != "authorization"}


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn aiohttp's errors into ours."""
    origin = origin_of(url)
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeout(f"{origin} did not answer in time.") from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError) as error:
        raise UpstreamUnavailable(f"{origin} cannot be reached: {_reason(error)}.", hint=REACH_HINT) from error
    except aiohttp.ClientHttpProxyError as error:
        raise UpstreamUnavailable(f"the proxy on the way to {origin} answers {error.status}.") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise UpstreamError(f"{origin} broke off or sent no valid HTTP: {_reason(error)}.") from error
    except OSError as error:
        raise UpstreamUnavailable(f"{origin} cannot be reached: {_reason(error)}.", hint=REACH_HINT) from error


def _reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or error
    # aiohttp's own texts hold the whole address, whose query may be a signature.
    told = getattr(inner, "strerror", None) or getattr(inner, "message", None)
    return str(told or inner or type(error).__name__).strip().rstrip(".")
