"""Taking in one index: decompressed, capped, small ones in memory, large ones to a file of the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from io import FileIO
from typing import Any

from isal import isal_zlib

from mainstay.errors import StoreFull, TooLarge, UnsupportedDocument
from mainstay.store.local import LocalStore
from mainstay.upstream.client import Reply

MEMORY_BYTES = 1024 * 1024
INFLATE_BYTES = 256 * 1024
_GZIP = 31
_DAMAGED: Any = isal_zlib.error  # no subclass of zlib's; its stub calls it an instance
_MORE = "something follows upstream's compressed index, which may be a part of it."


class Spool:
    """One document on its way into the store. `large` admits those that outgrow memory, a few at a time."""

    def __init__(self, store: LocalStore, max_bytes: int, large: asyncio.Semaphore) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._large = large
        self._buffer = bytearray()
        self._size = 0

    async def take(self, reply: Reply) -> tuple[str, int]:
        """Read the whole body; returns digest and size in bytes of what it decompresses to.

        Raises:
            TooLarge: over the cap, decompressed. UnsupportedDocument: a wrong or unknown content coding.
            UpstreamError: the body broke off. StoreFull: no space.
        """
        inflate = _Inflate(reply.headers.get("content-encoding", ""))
        path = self._store.temporary()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(path.unlink, missing_ok=True)
            file: FileIO | None = None
            async for chunk in reply.chunks():
                for piece in inflate.pieces(chunk):
                    self._add(piece)
                    if len(self._buffer) > MEMORY_BYTES:
                        if file is None:
                            await stack.enter_async_context(self._large)
                            with _storing():
                                file = stack.enter_context(path.open("wb", buffering=0))
                        await self._spill(file)
            inflate.check_end()
            if file is None:
                return await asyncio.to_thread(self._store.save, bytes(self._buffer)), self._size
            await self._spill(file)
            return await asyncio.to_thread(self._store.adopt, path)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise TooLarge(f"upstream sends an index of more than {self._max_bytes} bytes (cache.max_document).")
        self._buffer += piece

    async def _spill(self, file: FileIO) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        with _storing():
            await asyncio.to_thread(_write, file, data)


def _write(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """Turn a disk's errors into ours."""
    try:
        yield
    except OSError as error:
        raise StoreFull(f"the data folder cannot take more: {error.strerror or error}.") from error


class _Inflate:
    """Undoes the content coding in bounded pieces, so that a small body cannot become a huge one in memory."""

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower()
        if self._coding not in ("", "identity", "gzip", "x-gzip"):
            raise UnsupportedDocument(f"upstream compressed an index with {self._coding!r}, which was not asked for.")
        self._stream = isal_zlib.decompressobj(_GZIP) if "gzip" in self._coding else None

    def pieces(self, chunk: bytes) -> list[bytes] | _Pieces:
        """The decompressed bytes of the next chunk, a bounded piece at a time."""
        if self._stream is None:
            return [chunk]
        if self._stream.eof and chunk:
            raise UnsupportedDocument(_MORE)
        return _Pieces(self._stream, chunk)

    def check_end(self) -> None:
        """The compressed stream must have ended."""
        if self._stream is not None and not self._stream.eof:
            raise UnsupportedDocument("upstream's compressed index is cut short.")
        if self._stream is not None and self._stream.unused_data:
            raise UnsupportedDocument(_MORE)


class _Pieces:
    def __init__(self, stream: isal_zlib._Decompress, chunk: bytes) -> None:  # type: ignore[name-defined]
        self._stream = stream
        self._chunk = chunk
        self._more = True

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> bytes:
        if not self._more or self._stream.eof:
            raise StopIteration
        try:
            piece: bytes = self._stream.decompress(self._chunk, INFLATE_BYTES)
        except _DAMAGED as error:
            raise UnsupportedDocument(f"upstream's compressed index is damaged: {error}.") from error
        self._chunk = self._stream.unconsumed_tail
        self._more = bool(self._chunk) or len(piece) == INFLATE_BYTES
        return piece
