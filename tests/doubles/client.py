"""A client that tells a whole reply from a broken one."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Received:
    """What a client got. `broken` says how the transfer ended where it did not end as announced; header names are
    lower case; `status` is 0 where no head arrived."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: str = ""

    @property
    def whole(self) -> bool:
        """Whether everything that was announced has arrived."""
        return not self.broken

    @property
    def cache(self) -> str:
        """The Cache-Status header (RFC 9211)."""
        return self.headers.get("cache-status", "")

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 15,
) -> Received:
    """One request on a connection of its own. Nothing is raised for what a server does wrong, but a time-out is."""
    try:
        with open_reply(url, method=method, headers=headers, body=body, timeout_s=timeout_s) as response:
            return drain(response)
    except (ConnectionError, http.client.HTTPException) as error:
        return Received(0, {}, b"", repr(error))


@contextmanager
def open_reply(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 15,
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and read the head, leaving the body to the caller. Leaving the block is a client that hangs up."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)) as connection:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        with connection.getresponse() as response:
            yield response


def drain(response: http.client.HTTPResponse) -> Received:
    """Read the rest of a reply."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    pieces: list[bytes] = []
    broken = ""
    try:
        while piece := response.read1(1 << 18):
            pieces.append(piece)
    except (ConnectionError, http.client.HTTPException) as error:
        broken = repr(error)
    missing = response.length  # what content-length announced and did not come
    if not broken and missing:
        broken = f"{missing} bytes short"
    return Received(response.status, headers, b"".join(pieces), broken)
