"""What the machine gives: the interpreter, file descriptors, network namespaces."""

from __future__ import annotations

import platform
import resource
import sys

from mainstay import __version__
from mainstay.doctor.finding import Finding, ok, warning
from mainstay.errors import MainstayError
from mainstay.intercept.sealed import open_sealed

FEW_DESCRIPTORS = 1024


def check_python() -> Finding:
    """Which program looks, and what runs it."""
    words = f"mainstay {__version__} on {platform.python_implementation()} {platform.python_version()}"
    return ok("python", sys.executable, words)


def check_descriptors() -> Finding:
    """How many files and connections a worker may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ok("descriptors", "", "no limit of open files")
    text = f"{soft} files and connections may be open at once in one worker (ulimit -n)"
    if soft >= FEW_DESCRIPTORS:
        return ok("descriptors", "", text)
    most = "any number" if hard == resource.RLIM_INFINITY else f"up to {hard}"
    hint = (
        f"Clients beyond that are refused. Raise it before the start: {most} is allowed here (LimitNOFILE in systemd)."
    )
    return warning("descriptors", "", text, hint)


async def check_sealed() -> Finding:
    """Whether this user may make the namespaces of `run --sealed`: nothing else needs them, so no is no fault."""
    try:
        sealed = await open_sealed()
    except MainstayError as error:
        return ok("sealed", "", error.message, error.hint)
    sealed.listener.close()
    await sealed.abandon()
    return ok("sealed", "", "`mainstay run --sealed` is possible here")
