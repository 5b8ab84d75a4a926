"""Errors as replies, in the words and the form that the ecosystem's client shows."""

from __future__ import annotations

import math

from mainstay.access.headers import PROBLEM_MEDIA_TYPE, QUOTA_EXCEEDED, render_problem
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import (
    AuthorizationRequired,
    MainstayError,
    MethodRefused,
    NotFound,
    PolicyRefused,
    QuotaExceeded,
)
from mainstay.gateway.reply import Bytes, Headers, Note
from mainstay.telemetry.log import get_logger

_log = get_logger(__name__)


def refusal(error: MainstayError, ecosystem: Ecosystem | None, note: Note) -> Bytes:
    """The reply for an error. What is not the client's doing is logged."""
    note.error = type(error).__name__
    note.outcome = _outcome(error)
    if error.level != "info":
        getattr(_log, error.level)(
            error.message, error=note.error, ecosystem=note.ecosystem, project=note.project, file=note.filename
        )
    headers: Headers = [("cache-control", "no-store"), ("cache-status", "mainstay; fwd=miss; detail=" + note.error)]
    if isinstance(error, AuthorizationRequired):
        headers.append(("www-authenticate", error.challenge or 'Basic realm="upstream registry"'))
    if isinstance(error, MethodRefused):
        headers.append(("allow", "GET, HEAD"))
    if isinstance(error, QuotaExceeded):
        headers += error.headers
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after_s)))))
    words = error.diagnostics()
    if ecosystem is None and isinstance(error, QuotaExceeded):
        body = render_problem(QUOTA_EXCEEDED, error.status, words, error.violated)
        return Bytes(error.status, [*headers, ("content-type", PROBLEM_MEDIA_TYPE)], body, note)
    if ecosystem is None:
        return Bytes(
            error.status, [*headers, ("content-type", "text/plain; charset=utf-8")], f"{words}\n".encode(), note
        )
    document = ecosystem.refusal(error.status, words)
    return Bytes(error.status, [*headers, ("content-type", document.media_type)], document.body, note)


def _outcome(error: MainstayError) -> str:
    if isinstance(error, NotFound):
        return "missing"
    is_refusal = isinstance(error, PolicyRefused | MethodRefused | AuthorizationRequired | QuotaExceeded)
    return "refused" if is_refusal else "error"
