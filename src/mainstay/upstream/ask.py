"""One polite exchange with an upstream: budget, rest, credentials, address check, and a verdict on the status."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from mainstay.errors import (
    AuthorizationRequired,
    IntegrityError,
    NotFound,
    TooLarge,
    UnsupportedDocument,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from mainstay.telemetry.log import get_logger
from mainstay.telemetry.metrics import Metrics
from mainstay.upstream.addresses import host_and_port, origin_of, resolves_internally
from mainstay.upstream.client import HttpClient, Reply
from mainstay.upstream.cost import Cost, current_cost
from mainstay.upstream.politeness import Breaker, Rests, parse_retry_after
from mainstay.upstream.registry import Upstream

INTERNAL_MEMORY_S = 600.0

_log = get_logger(__name__)


class Turns(Protocol):
    """Who may ask which upstream when."""

    def turn(self, upstream: Upstream) -> AbstractAsyncContextManager[Callable[[int], None]]:
        """Wait for a turn, and hold it for the length of the request; the bytes that came are told at its end."""


class Asker:
    """Asks upstreams. One for each worker process."""

    def __init__(
        self,
        client: HttpClient,
        rests: Rests,
        metrics: Metrics,
        turns: Turns,
        on_late: Callable[[Upstream, str, int, Cost | None], None],
    ) -> None:
        """`on_late` is told of an exchange (upstream, kind, bytes) that no reply is to be charged with: it ended after
        that reply, whose cost is the last argument, or belongs to none."""
        self._client = client
        self._rests = rests
        self._metrics = metrics
        self._turns = turns
        self._on_late = on_late
        self._breakers: dict[str, Breaker] = {}
        self._internal: dict[str, tuple[float, bool]] = {}

    @asynccontextmanager
    async def ask(
        self,
        upstream: Upstream,
        url: str,
        headers: Mapping[str, str],
        *,
        kind: str,
        authorization: str = "",
        method: str = "GET",
        body: bytes | None = None,
        passing: bool = False,
    ) -> AsyncIterator[Reply]:
        """One request. Yields replies with a status below 400, and 416; with `passing` every 4xx but 429: what
        upstream says is then for the client to read.

        `authorization` is the caller's own; the upstream's configured credential is used where there is none. Either
        goes to the upstream's own host only, never to another one that its index names.

        Raises:
            NotFound: 404 or 410. AuthorizationRequired: 401 or 403. UpstreamUnavailable: resting, 429, unreachable.
            UpstreamRefused: any other status, or no address.
        """
        breaker = self._breaker(_origin(url))
        breaker.check()
        sent = dict(headers)
        credential = (authorization or upstream.authorization) if _same_host(url, upstream) else ""
        if credential:
            sent["authorization"] = credential
        guarded = not await self._is_internal(upstream)
        outcome = "error"
        reply: Reply | None = None
        async with self._turns.turn(upstream) as charge:
            # Asked again: those who queued here while upstream asked for rest must not follow.
            breaker.admit()
            try:
                async with self._client.stream(
                    method, url, sent, body=body, chosen=host_and_port(upstream.url), guarded=guarded
                ) as reply:
                    if not passing or reply.status >= 500 or reply.status == 429:
                        self._raise_for(reply, breaker)
                    breaker.answered()
                    outcome = "revalidated" if reply.status == 304 else "ok"
                    yield reply
                    breaker.succeeded()
            except (NotFound, AuthorizationRequired):
                outcome = "missing"
                raise
            except (UpstreamRefused, TooLarge, UnsupportedDocument, IntegrityError):
                outcome = "error"
                raise
            except UpstreamError as error:
                outcome = "error"
                if error.retry_after_s is None:
                    breaker.failed()
                raise
            finally:
                charge(reply.received if reply is not None else 0)
                self._count(upstream, kind, outcome, reply)
                _log.debug("asked upstream", upstream=origin_of(url), kind=kind, method=method, outcome=outcome)

    @asynccontextmanager
    async def pass_on(
        self,
        upstream: Upstream,
        url: str,
        headers: Mapping[str, str],
        *,
        method: str,
        body: AsyncIterator[bytes] | None,
    ) -> AsyncIterator[Reply]:
        """One request as a client made it, its reply with whatever status it has and redirects left to the client.

        The caller's own headers go along, credentials included: it is the client that asks, by way of us.
        """
        outcome = "error"
        reply: Reply | None = None
        guarded = not await self._is_internal(upstream)
        chosen = host_and_port(upstream.url)
        sends = body if method not in ("GET", "HEAD") else None
        try:
            async with (
                self._turns.turn(upstream) as charge,
                self._client.stream(
                    method, url, headers, body=sends, chosen=chosen, guarded=guarded, follow=False
                ) as reply,
            ):
                outcome = "ok"
                try:
                    yield reply
                finally:
                    charge(reply.received)
        except UpstreamError:
            outcome = "error"
            raise
        finally:
            self._count(upstream, "passthrough", outcome, reply)

    def resting(self, upstream: Upstream) -> bool:
        """Whether the upstream's own host is being left alone just now."""
        return self._rests.rest_until(origin_of(upstream.url)) > time.time()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _raise_for(self, reply: Reply, breaker: Breaker) -> None:
        status, origin = reply.status, origin_of(reply.url)
        if status < 400 or status == 416:
            return
        retry_after_s = parse_retry_after(reply.headers, time.time())
        if status == 429 or (status == 503 and retry_after_s is not None):
            breaker.failed(retry_after_s, overloaded=True)
            wait_s = max(1.0, breaker.rest_s)
            hint = f"Try again in {round(wait_s)} s."
            raise UpstreamUnavailable(f"{origin} asks for a pause ({status}).", hint=hint, retry_after_s=wait_s)
        if status >= 500:
            breaker.failed(retry_after_s)
            raise UpstreamRefused(f"{origin} answers {status}.", upstream_status=status)
        breaker.succeeded()
        if status in (404, 410, 451):
            raise NotFound(f"{origin} has no such thing ({status}).")
        if status in (401, 403):
            raise AuthorizationRequired(
                f"{origin} wants authorisation ({status}).",
                hint="Give the client a credential for it, or give the gateway one in mainstay.toml.",
                challenge=reply.headers.get("www-authenticate", ""),
            )
        raise UpstreamRefused(f"{origin} answers {status}.", upstream_status=status)

    def _count(self, upstream: Upstream, kind: str, outcome: str, reply: Reply | None) -> None:
        received = reply.received if reply is not None else 0
        self._metrics.count_upstream(upstream.ecosystem.id, kind, outcome, received)
        cost = current_cost()
        if cost is None or cost.is_closed:
            self._on_late(upstream, kind, received, cost)
        else:
            cost.requests += 1
            cost.size_bytes += received

    def _breaker(self, origin: str) -> Breaker:
        if origin not in self._breakers:
            self._breakers[origin] = Breaker(origin, self._rests)
        return self._breakers[origin]

    async def _is_internal(self, upstream: Upstream) -> bool:
        at, internal = self._internal.get(upstream.id, (0.0, False))
        if time.monotonic() - at > INTERNAL_MEMORY_S or not at:
            resolved = await resolves_internally(upstream.host)
            if resolved is None:
                return False
            internal = resolved
            self._internal[upstream.id] = (time.monotonic(), internal)
        return internal


def _origin(url: str) -> str:
    try:
        return origin_of(url)
    except ValueError as error:
        raise UpstreamRefused(f"upstream names an address that is none: {error}.", upstream_status=0) from error


def _same_host(url: str, upstream: Upstream) -> bool:
    return host_and_port(url) == host_and_port(upstream.url)
