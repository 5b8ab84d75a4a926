"""What a browser is told with every reply: to run, load and show nothing but the site's own, and to keep no copy."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send

CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# Referrer-Policy is not the strictest: with `no-referrer` a browser says `Origin: null` of the site's own forms
# (Fetch standard, on the Origin header), which then could not be told from another site's.
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
TRUSTED_HEADERS = {"cross-origin-opener-policy": "same-origin"}
"""Only where the address is trustworthy to browsers (https, loopback): elsewhere they complain of it and do without."""
_OWN_SITES = ("same-origin", "none")


def with_headers(send: Send, *, is_trusted: bool) -> Send:
    """`send`, with HEADERS in every reply, and TRUSTED_HEADERS where they are of use. What a reply says itself stays: a
    file that never changes may be kept, and a page to print has a style sheet of its own."""
    wanted = HEADERS | (TRUSTED_HEADERS if is_trusted else {})
    raw = [(name.encode(), value.encode()) for name, value in wanted.items()]

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = {name.lower() for name, _ in message["headers"]}
            more = [header for header in raw if header[0] not in said]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_more


def is_from_own_site(scope: Scope) -> bool:
    """Whether a request that changes something comes from a page of this site, or from no browser.

    Browsers say it by themselves: `Sec-Fetch-Site` (W3C Fetch Metadata) where the address is trustworthy to them, else
    `Origin` (RFC 6454), which is compared with the gateway's own address as this client reaches it.
    """
    headers = Headers(scope=scope)
    if site := headers.get("sec-fetch-site"):
        return site in _OWN_SITES
    origin = headers.get("origin")
    if origin is None:
        return True
    own = {_place(scope.get("mainstay.base", "")), headers.get("host", "").lower()} - {""}
    return _place(origin) in own


def _place(url: str) -> str:
    """Host and port. Not the scheme, which a proxy in front may have changed; "" for `null` and all else without."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
