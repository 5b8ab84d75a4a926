"""The upstreams: which they are, why, whether they answer, and what time they say it is."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from socket import gaierror
from urllib.parse import urlsplit

from mainstay.doctor.finding import Finding, ok, problem, warning
from mainstay.errors import MainstayError, NotFound, UnsupportedDocument
from mainstay.model import Artifact, Index, Source
from mainstay.upstream.addresses import host_and_port, origin_of, resolves_internally
from mainstay.upstream.client import REACH_HINT, HttpClient, Reply
from mainstay.upstream.proxies import ProxySettings
from mainstay.upstream.registry import Registry, Upstream

PATIENCE_S = 10.0
SKEW_WARNING_S = 30.0
SKEW_PROBLEM_S = 300.0
MOST_READ_BYTES = 8 * 1024 * 1024
_CHECK = "upstream"
_TRUST_HINT = "Name the authority that vouches for it, as PEM: ca_file in [fetch], or the variable SSL_CERT_FILE."
_NAME_HINT = "Check the address and the name server; behind a proxy set HTTPS_PROXY."
_CREDENTIAL_HINT = (
    "Give the gateway a credential for it (token_env or username in mainstay.toml), or have each caller show one"
    " (private = true); where none is needed, a proxy or firewall in between refuses."
)
_WRONG_TIME = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request found, and by how many seconds this machine's clock is ahead of the upstream's, if it told."""

    finding: Finding
    ahead_s: float | None = None


def list_upstream(upstream: Upstream) -> Finding:
    """An upstream that is not asked."""
    return ok(_CHECK, upstream.ecosystem.id, f"{_name(upstream)}, not asked")


def missing(ecosystem: str) -> Finding:
    """An ecosystem without any."""
    hint = f"Set [ecosystems.{ecosystem}] upstream in mainstay.toml; until then it is answered with 503."
    return problem(_CHECK, ecosystem, "no upstream is known", hint)


async def ask_upstream(client: HttpClient, registry: Registry, upstream: Upstream) -> Asked:
    """One small request by the way that every fetch goes."""
    report = partial(problem, _CHECK, upstream.ecosystem.id)
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await _exchange(client, registry, upstream)
    except TimeoutError:
        text = f"{_name(upstream)} did not answer within {PATIENCE_S:.0f} s"
        return Asked(report(text, _by_proxy(upstream.url) or REACH_HINT))
    except UnsupportedDocument as error:
        text = f"{_name(upstream)} answers with something else than an index: {error.message}"
        return Asked(report(text, "Check the address. A login page, or a proxy's, is no registry."))
    except MainstayError as error:
        text, hint = _explain(error)
        return Asked(report(f"{_name(upstream)}: {text}", f"{hint} {_by_proxy(upstream.url)}".strip()))


def check_clock(asked: list[Asked]) -> list[Finding]:
    """By the upstream that agrees with this machine's clock best: one that is itself wrong must not alarm."""
    told = [entry.ahead_s for entry in asked if entry.ahead_s is not None]
    if not told:
        return []
    ahead_s = min(told, key=abs)
    text = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} what upstream says"
    hint = "Set the clock (NTP): certificates and the freshness of indexes are judged by it."
    if abs(ahead_s) > SKEW_PROBLEM_S:
        return [problem("clock", "", text, hint)]
    if abs(ahead_s) > SKEW_WARNING_S:
        return [warning("clock", "", text, hint)]
    return [ok("clock", "", "agrees with upstream")]


async def _exchange(client: HttpClient, registry: Registry, upstream: Upstream) -> Asked:
    index = _index(registry, upstream)
    url = upstream.url if index is None else registry.base(upstream, index.role) + index.path
    chosen = host_and_port(upstream.url)
    headers = {"accept": index.accept if index else "*/*"}
    if upstream.authorization and host_and_port(url) == chosen:
        headers["authorization"] = upstream.authorization
    guarded = not await resolves_internally(upstream.host)
    sent_at = time.time()
    async with client.stream("GET", url, headers, chosen=chosen, guarded=guarded, follow=index is not None) as reply:
        ahead_s = _ahead((sent_at + time.time()) / 2, reply.headers)
        if index is not None and reply.status == 200:
            await _check_document(index, upstream, reply)
    return Asked(_judge(upstream, reply), ahead_s)


def _index(registry: Registry, upstream: Upstream) -> Index | None:
    """What to ask for: the registry's description of itself or the index of a small project, where this upstream may be
    asked for that. Else the address itself."""
    ecosystem = upstream.ecosystem
    index = ecosystem.description
    may = ecosystem.probe and upstream in registry.for_project(ecosystem.id, ecosystem.probe)
    if index is None and may:
        index = ecosystem.index_of(Artifact(ecosystem.probe, "", "", "", ""))
    try:
        if index is not None:
            registry.base(upstream, index.role)
    except NotFound:
        return None
    return index


async def _check_document(index: Index, upstream: Upstream, reply: Reply) -> None:
    """Raises UnsupportedDocument where the body is not what it should be. One that is packed or long is left alone."""
    if reply.headers.get("content-encoding", "identity") != "identity":
        return
    body = bytearray()
    async for chunk in reply.chunks():
        body += chunk
        if len(body) > MOST_READ_BYTES:
            return
    source = Source(bytes(body), reply.headers.get("content-type", ""), reply.url)
    ecosystem = upstream.ecosystem
    if index == ecosystem.description:
        ecosystem.bases_in(source)
    else:
        await asyncio.to_thread(ecosystem.open, index, source)


def _judge(upstream: Upstream, reply: Reply) -> Finding:
    ecosystem, status, name = upstream.ecosystem.id, reply.status, _name(upstream)
    if status < 400 or status in (404, 410):
        return ok(_CHECK, ecosystem, f"{name} answers")
    if status in (401, 403):
        if upstream.private:
            return ok(_CHECK, ecosystem, f"{name} answers, and wants each caller's own credential")
        whose = "refuses the gateway's credential" if upstream.authorization else "refuses, or wants a credential"
        return problem(_CHECK, ecosystem, f"{name} {whose} ({status})", _CREDENTIAL_HINT)
    if status == 407:
        hint = f"Put the proxy's user and password into the variable that names it. {_by_proxy(upstream.url)}".strip()
        return problem(_CHECK, ecosystem, f"{name}: the proxy on the way wants a credential ({status})", hint)
    if status == 429 or (status == 503 and "retry-after" in reply.headers):
        hint = "It passes; the gateway waits as long as it is asked to."
        return warning(_CHECK, ecosystem, f"{name} asks for a pause ({status})", hint)
    hint = f"Look how the registry, or the proxy before it, is doing. {_by_proxy(upstream.url)}".strip()
    return problem(_CHECK, ecosystem, f"{name} answers {status}", f"{hint} What is cached is served meanwhile.")


def _ahead(now: float, headers: Mapping[str, str]) -> float | None:
    """How far `now` is ahead of a reply's Date, of whose age a cache on the way tells (RFC 9110, RFC 9111)."""
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    age = headers.get("age", "0")
    return now - date.timestamp() - (int(age) if age.isdecimal() else 0)


def _explain(error: MainstayError) -> tuple[str, str]:
    """What went wrong and what to do, by the cause below our own error."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_message"):
            hint = f"It is {time.strftime('%Y-%m-%d %H:%M')} by this machine's clock: is that right?"
            return (
                f"its certificate is not trusted: {cause.verify_message}",
                hint if cause.verify_code in _WRONG_TIME else _TRUST_HINT,
            )
        if isinstance(cause, gaierror):
            return f"the name does not resolve: {cause.strerror or cause}", _NAME_HINT
    return error.message, error.hint or REACH_HINT


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        inner = getattr(error, "os_error", None)
        yield from (inner, error) if isinstance(inner, BaseException) else (error,)
        error = error.__cause__


def _by_proxy(url: str) -> str:
    settings = ProxySettings.from_environ(os.environ)
    address = settings.choose(urlsplit(url).scheme, *host_and_port(url)) if settings else None
    return f"It is asked by way of the proxy {address.host}:{address.port}." if address else ""


def _name(upstream: Upstream) -> str:
    private = ", private" if upstream.private else ""
    return f"{origin_of(upstream.url)}{urlsplit(upstream.url).path} ({upstream.why}{private})"
