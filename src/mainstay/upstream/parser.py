"""Where listings are handled: here for small ones, in the child for large ones. The rest sees one door."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mainstay.errors import MainstayError, NotFound, StoreError, StoreFull, UnsupportedDocument
from mainstay.model import Artifact, File
from mainstay.telemetry.log import get_logger
from mainstay.upstream.listing_child import Answer, Job
from mainstay.upstream.listings import Excerpt, Opened, Plan, Rendered, Stored, Summary

REMEMBERED_BYTES = 16 * 1024 * 1024
LINE_BYTES = 64 * 1024 * 1024
JOB_TIMEOUT_S = 120.0

T = TypeVar("T")
_Found: Any = File | None
_log = get_logger(__name__)


class Parser:
    """Parses, compares, finds and renders. Start it with the worker: a child started on first need stalls the loop."""

    def __init__(self) -> None:
        self._opened = Opened(REMEMBERED_BYTES)
        self._child: Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start the child."""
        self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mainstay.upstream.listing_child", stdin=PIPE, stdout=PIPE, limit=LINE_BYTES
        )

    async def close(self) -> None:
        """End the child."""
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        self._child = None

    async def summarise(self, new: Stored, old: Stored | None) -> Summary:
        """Validate `new`, and say what it took away since `old`.

        Raises:
            UnsupportedDocument: `new` is not such an index.
        """
        if new.small and (old is None or old.small):
            return self._opened.summarise(new, old)
        return await self._ask(Job("summarise", new, old=old), Summary)

    async def excerpts(self, stored: Stored, versions: tuple[str, ...]) -> dict[str, Excerpt]:
        """What the index says of each of these releases.

        Raises:
            UnsupportedDocument: its bytes are not there any more, or are damaged.
        """
        if stored.small:
            return self._opened.excerpts(stored, versions)
        return await self._ask(Job("excerpts", stored, versions=versions), dict[str, Excerpt])

    async def find(self, stored: Stored, artifact: Artifact) -> File | None:
        """The file that `artifact` names, or None."""
        if stored.small:
            return self._opened.find(stored, artifact)
        return await self._ask(Job("find", stored, artifact=artifact), _Found)

    async def render(self, stored: Stored, plan: Plan, out: Path) -> Rendered:
        """The index in the form that `plan` says: in memory where it is small, else in the file `out`."""
        if stored.small:
            return self._opened.render(stored, plan, None)
        return await self._ask(Job("render", stored, plan=plan, out=str(out)), Rendered)

    async def _ask(self, job: Job, kind: type[T]) -> T:
        async with self._turn:
            if self._child is None or self._child.returncode is not None:
                await self.start()
            try:
                line = await asyncio.wait_for(self._exchange(msgspec.json.encode(job) + b"\n"), JOB_TIMEOUT_S)
            except (TimeoutError, OSError, ValueError):
                line = b""
            except asyncio.CancelledError:
                # An answer that comes late would be taken for the next job's.
                await self.close()
                raise
            if not line:
                await self.close()
        if not line:
            _log.error("the process for large indexes ended in the middle of a job", call=job.call)
            raise MainstayError("the index could not be handled: its process ended.", hint="Try again.")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise _ERRORS.get(answer.error, MainstayError)(answer.message)
        return msgspec.json.decode(answer.value, type=kind)

    async def _exchange(self, line: bytes) -> bytes:
        child = self._child
        assert child is not None, "the child was just started"
        assert child.stdin is not None, "its input is a pipe"
        assert child.stdout is not None, "its output is a pipe"
        child.stdin.write(line)
        await child.stdin.drain()
        return await child.stdout.readline()


_ERRORS: dict[str, type[MainstayError]] = {
    "NotFound": NotFound,
    "UnsupportedDocument": UnsupportedDocument,
    "StoreFull": StoreFull,
    "OSError": StoreError,
}
