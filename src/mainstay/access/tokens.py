"""Tokens by which consumers identify themselves: how one looks, where in a request it is, what is kept of it.

A token is `mst_`, 32 random characters and 6 of a checksum, all of base62. The checksum tells a slip of the hand from a
token that was never given out. The random part has 190 bits; above 112 the OWASP ASVS (4.0.3, 2.6.2) wants neither salt
nor slow hash for a look-up secret, as nobody can try them all: SHA-256 of the whole is what is stored.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from base64 import b64decode
from collections.abc import Mapping

TOKEN_PREFIX = "mst_"  # noqa: S105 - how one begins, not one
TOKEN_LENGTH = 42
TOKEN_PATH = "/t/"  # noqa: S105 - where one stands, not one
"""What stands before the token in a path that carries one: `/t/<token>/...`."""
HINT_LENGTH = 8
"""How much of a token is kept in the clear, for people to tell theirs apart."""

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH, _CHECKSUM_LENGTH = 32, 6
_FORM = re.compile(rf"{TOKEN_PREFIX}[0-9A-Za-z]{{{TOKEN_LENGTH - len(TOKEN_PREFIX)}}}")
_HINT = re.compile(rf"{TOKEN_PREFIX}[0-9A-Za-z]{{{HINT_LENGTH - len(TOKEN_PREFIX)}}}")


def make_token() -> str:
    """A new token."""
    body = TOKEN_PREFIX + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def hash_token(text: str) -> bytes:
    """By what a token is stored and found: SHA-256, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def hint_of(text: str) -> str:
    """As much of a token as may be shown, "" where it does not begin as one."""
    match = _HINT.match(text)
    return match[0] if match else ""


def is_whole(text: str) -> bool:
    """Whether it has a token's form and its checksum is right. Any one wrong character, and any two neighbours that
    changed places in the random part, make it wrong (CRC-32 finds every error that is not longer than 32 bits)."""
    return _FORM.fullmatch(text) is not None and _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def find_token(headers: Mapping[str, str]) -> str | None:
    """The token that a request's headers (names in lower case) show, None for none.

    `Mainstay-Token` holds nothing else, so whatever is in it counts. `Authorization` may as well hold a credential for
    upstream, so there only what begins as a token does: as `Bearer`, by itself as cargo sends it, or as either part of
    `Basic` (RFC 7617), where npm's `_auth` and the user part of an address come to stand.
    """
    if own := headers.get("mainstay-token"):
        return own.strip() or None
    if authorization := headers.get("authorization"):
        return _find_in_authorization(authorization)
    return None


def split_path(raw_path: str) -> tuple[str, str]:
    """(token, the path without it) of `/t/<token>/...`; ("", the path) where it carries none. Percent-encoded or not: a
    token has no character that would be."""
    if not raw_path.startswith(TOKEN_PATH + TOKEN_PREFIX):
        return "", raw_path
    token, _, rest = raw_path.removeprefix(TOKEN_PATH).partition("/")
    return token, f"/{rest}"


def _find_in_authorization(value: str) -> str | None:
    scheme, _, rest = value.strip().partition(" ")
    if not rest:
        return scheme if scheme.startswith(TOKEN_PREFIX) else None
    kind, rest = scheme.lower(), rest.strip()
    if kind == "bearer":
        return rest if rest.startswith(TOKEN_PREFIX) else None
    if kind != "basic":
        return None
    try:
        user, _, password = b64decode(rest).decode("latin-1").partition(":")
    except ValueError:  # not base64, or not ASCII
        return None
    return next((part for part in (password, user) if part.startswith(TOKEN_PREFIX)), None)


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
