"""Documents whose links carry the token that the client's own path carries.

A client that is given `/t/TOKEN/npm/` as its registry finds the files at the addresses that documents name, so these
must have the token too. But a document that is kept must not: it is rendered once for everybody, with a stand-in of the
same length, and the client's own token takes its place on the way out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from mainstay.gateway.call import STAND_IN
from mainstay.gateway.reply import Bytes, Reply, StoredFile, Streamed
from mainstay.gateway.sending import file_pieces
from mainstay.upstream.fill import Opened


def with_token(reply: Bytes | StoredFile, token: str) -> Reply:
    """The reply with `token` in place of the stand-in; nothing else of it changes, its length neither."""
    reply.fresh_s = 0.0
    if isinstance(reply, Bytes):
        reply.body = reply.body.replace(STAND_IN.encode(), token.encode())
        return reply
    pieces = _replaced(Opened(reply.descriptor), reply, token.encode())
    return Streamed(reply.status, reply.headers, pieces, reply.length, reply.note)


async def _replaced(held: Opened, reply: StoredFile, token: bytes) -> AsyncIterator[bytes]:
    """The file's pieces. What may be the beginning of a stand-in at the end of one waits for the next."""
    stand_in, rest = STAND_IN.encode(), b""
    async for piece in file_pieces(reply):
        whole = rest + bytes(piece)
        keep = _overlap(whole, stand_in)
        rest = whole[len(whole) - keep :]
        yield whole[: len(whole) - keep].replace(stand_in, token)
    yield rest
    del held


def _overlap(text: bytes, stand_in: bytes) -> int:
    """How many bytes at the end of `text` may be the beginning of a stand-in."""
    for size in range(min(len(text), len(stand_in) - 1), 0, -1):
        if stand_in.startswith(text[-size:]):
            return size
    return 0
