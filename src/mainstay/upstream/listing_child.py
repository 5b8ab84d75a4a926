"""The child process for large indexes: one JSON line in, one out (`python -m mainstay.upstream.listing_child`)."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Any, BinaryIO

import msgspec

from mainstay.errors import MainstayError, NotFound
from mainstay.model import Artifact
from mainstay.upstream.listings import Opened, Plan, Stored

NICENESS = 15
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ONE_AT_A_TIME = 1


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call. `call` is a method of `Opened`; `out` is where a rendering goes."""

    call: str
    stored: Stored
    old: Stored | None = None
    artifact: Artifact | None = None
    plan: Plan | None = None
    out: str = ""
    versions: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it: a value, or an error by its class's name."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    message: str = ""


def main(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer jobs until the other end closes."""
    os.nice(NICENESS)
    opened = Opened(ONE_AT_A_TIME)
    trim = _trimmer()
    decoder = msgspec.json.Decoder(Job)
    for line in incoming:
        outgoing.write(msgspec.json.encode(answer(opened, decoder.decode(line))) + b"\n")
        outgoing.flush()
        trim()


def answer(opened: Opened, job: Job) -> Answer:
    """Do one job. Our own errors travel by name; anything else ends the child, and its job fails with it."""
    try:
        return Answer(msgspec.Raw(msgspec.json.encode(_call(opened, job))))
    except MainstayError as error:
        return Answer(error="NotFound" if isinstance(error, NotFound) else type(error).__name__, message=error.message)
    except OSError as error:
        kind = "StoreFull" if error.errno in NO_SPACE else "OSError"
        return Answer(error=kind, message=f"{error.strerror or error}.")


def _call(opened: Opened, job: Job) -> Any:
    match job.call:
        case "summarise":
            return opened.summarise(job.stored, job.old)
        case "excerpts":
            return opened.excerpts(job.stored, job.versions)
        case "find" if job.artifact is not None:
            return opened.find(job.stored, job.artifact)
        case "render" if job.plan is not None:
            with open(job.out, "wb") as out:
                return opened.render(job.stored, job.plan, out)
    raise ValueError(f"no such call: {job.call}")


def _trimmer() -> Any:
    """glibc keeps freed memory; after a 40 MB document it should go back."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        return lambda: libc.malloc_trim(0)
    except OSError:
        return lambda: None


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
