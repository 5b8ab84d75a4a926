"""Sessions of the pages: a signed cookie that a token began, and that holds for as long as the token is in force.

The cookie has an expiry, a random number and the beginning of the token's hash, by which the database is asked at each
use; the rest is a code (HMAC-SHA256, RFC 2104) under a key made of the data folder's secret. So nothing is stored of a
session, unless it is ended before its time.
"""

from __future__ import annotations

import hmac
import secrets
import struct
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass

SESSION_COOKIE = "mainstay_session"
LIFE_S = 12 * 3600
_HEAD = struct.Struct(">Q16s16s")
"""Expiry in seconds since 1970, random number, beginning of the token's hash."""
_CODE_BYTES = 32
_ALTERNATIVE = b"-_"


@dataclass(frozen=True, slots=True)
class Session:
    """`number` tells it from all others, `token_prefix` is how the token's hash begins, both in hex; `content` is what
    the code is over."""

    expires_at: int
    number: str
    token_prefix: str
    content: bytes


class Sessions:
    """Begins sessions and reads them again."""

    def __init__(self, secret: bytes) -> None:
        # A key for each purpose, so that a code made for one means nothing to the other (RFC 5869, section 3.2).
        self._key = hmac.digest(secret, b"mainstay session", "sha256")
        self._form_key = hmac.digest(secret, b"mainstay form", "sha256")

    def begin(self, token_hash: bytes) -> str:
        """The cookie's value for a new session of who showed the token."""
        content = _HEAD.pack(int(time.time()) + LIFE_S, secrets.token_bytes(16), token_hash[:16])
        return b64encode(content + hmac.digest(self._key, content, "sha256"), _ALTERNATIVE).decode()

    def load(self, text: str) -> Session | None:
        """The session of a cookie, None where it is not ours or has expired. It may have been ended since."""
        try:
            value = b64decode(text, _ALTERNATIVE, validate=True)
        except ValueError:
            return None
        content, code = value[: _HEAD.size], value[_HEAD.size :]
        if len(code) != _CODE_BYTES or not hmac.compare_digest(code, hmac.digest(self._key, content, "sha256")):
            return None
        expires_at, number, prefix = _HEAD.unpack(content)
        return Session(expires_at, number.hex(), prefix.hex(), content) if expires_at > time.time() else None

    def form_code(self, session: Session) -> str:
        """What a form of this session must bring along: another site cannot know it."""
        return hmac.digest(self._form_key, session.content, "sha256").hex()


def render_cookie(value: str, *, is_secure: bool) -> str:
    """Set-Cookie for a session; an empty value takes it away (RFC 6265bis)."""
    parts = [f"{SESSION_COOKIE}={value}", "Path=/", f"Max-Age={LIFE_S if value else 0}", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*parts, "Secure"] if is_secure else parts)
