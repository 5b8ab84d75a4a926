"""Refusals of the JSON API: problem documents (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from mainstay.access.headers import PROBLEM_MEDIA_TYPE
from mainstay.errors import ConfigError, MainstayError

RETRY_AFTER = "retry-after"


def render_problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """`{"type": "about:blank", "title", "status", "detail"}`: the status says what kind of problem it is, `detail` what
    to do, in plain words."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(document), status, dict(headers or {}), PROBLEM_MEDIA_TYPE)


def render_error(error: MainstayError) -> Response:
    """The problem that an error is."""
    wait_s = error.retry_after_s
    headers = {} if wait_s is None else {RETRY_AFTER: str(max(1, math.ceil(wait_s)))}
    return render_problem(status_of(error), error.diagnostics(), headers)


def status_of(error: MainstayError) -> int:
    """The status to answer with: a value that is not allowed came with the request here, and not from the settings."""
    return 400 if isinstance(error, ConfigError) else error.status
