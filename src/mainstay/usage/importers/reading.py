"""A log as lines: plain or compressed, a file or standard input, of any size in the same memory."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import cast

from mainstay.errors import ConfigError

STANDARD_INPUT = "-"
LONGEST_LINE = 65_536
"""Characters of a line; what is longer is no line of a log."""
_CHUNK_BYTES = 256 * 1024
_GZIP = b"\x1f\x8b"


class LogLines:
    """A log being read. `digest` (SHA-256 in hex) is of its bytes as they are when unpacked, as far as they were read:
    a log that was compressed since is the same log."""

    def __init__(self, file: BufferedIOBase, name: str) -> None:
        self._file, self._name = file, name
        self._sum = sha256()

    @property
    def digest(self) -> str:
        """Of what was read."""
        return self._sum.hexdigest()

    def chunks(self) -> Iterator[list[str]]:
        """The lines without their ends, some thousands at a time; bytes that are not UTF-8 are replaced.

        Of a line that is longer than LONGEST_LINE as many characters come and one more.

        Raises:
            ConfigError: the log cannot be read to its end.
        """
        rest = b""
        while chunk := self._read():
            block = rest + chunk
            end = block.rfind(b"\n") + 1
            if end:
                yield _split(block[: end - 1])
            rest = block[end:][: LONGEST_LINE + 1]
        if rest:
            yield _split(rest)

    def _read(self) -> bytes:
        try:
            chunk = self._file.read(_CHUNK_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{self._name} cannot be read to its end: {error}.") from error
        self._sum.update(chunk)
        return chunk


@contextmanager
def open_log(source: str) -> Iterator[LogLines]:
    """The lines of a file, or of standard input as `-`. What is gzip by its first bytes is unpacked.

    Raises:
        ConfigError: there is no such file, or it cannot be opened.
    """
    with ExitStack() as stack:
        if source == STANDARD_INPUT:
            raw, name = cast("BufferedReader", sys.stdin.buffer), "Standard input"
        else:
            raw, name = stack.enter_context(_open(source)), source
        # A look at the first bytes, which leaves them to be read.
        is_packed = raw.peek(len(_GZIP)).startswith(_GZIP)
        yield LogLines(stack.enter_context(gzip.GzipFile(fileobj=raw)) if is_packed else raw, name)


def _open(source: str) -> BufferedReader:
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror or error}.") from error


def _split(block: bytes) -> list[str]:
    return block.removesuffix(b"\r").replace(b"\r\n", b"\n").decode("utf-8", "replace").split("\n")
