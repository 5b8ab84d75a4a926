"""Addresses of registries as clients' configuration spells them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def clear_url(text: str) -> str:
    """`text` as a registry's base address ending in a slash, without credentials; "" where it is not plainly one."""
    text = text.strip()
    if "$" in text or not text.isascii() or not text.isprintable() or " " in text:
        return ""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        return ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path.rstrip("/") + "/", "", ""))
