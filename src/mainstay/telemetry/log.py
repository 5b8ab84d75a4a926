"""Program logs: structlog and the standard library's loggers by one path to standard error, without credentials."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

HIDDEN = "[hidden]"

_SECRET_KEY = re.compile(r"authorization|token|passw|cookie|secret|api[-_]?key|credential", re.IGNORECASE)
_SECRET_TEXT = (
    # A token of ours, wherever it is; how it begins may be shown.
    (re.compile(r"\b(mst_[0-9A-Za-z]{4})[0-9A-Za-z]+"), r"\1[hidden]"),
    # What stands before the @ of a URL's authority, which may itself hold an @.
    (re.compile(r"(?<=://)[^/\s?#\"'<>]*(?=@)"), HIDDEN),
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer|digest)\s+)?[^\s\"',]+"),
        r"\1[hidden]",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{6,}"), r"\1[hidden]"),
    (re.compile(r"(?i)\b((?:set-)?cookie[\"']?\s*:\s*[\"']?)[^\r\n\"']+"), r"\1[hidden]"),
    (
        re.compile(r"(?i)([\w-]*(?:token|passw\w*|secret|api[-_]?key|signature)[\"']?=[\"']?)[^\s\"'&,;]+"),
        r"\1[hidden]",
    ),
)


def configure_logging(level: str, json: bool | None = None) -> None:
    """Log from `level` (debug, info, warning, error) on to standard error; lines of JSON where it is no terminal.

    `json` overrides what standard error suggests. Can be called again. Other libraries' records go the same way, from
    warning on unless `level` is debug.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, hide_secrets, _renderer(as_json)],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number if number <= logging.DEBUG else max(number, logging.WARNING))
    logging.getLogger("mainstay").setLevel(number)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str = "mainstay") -> FilteringBoundLogger:
    """A logger that takes an event and fields: `log.warning("upstream rests", upstream=url, until=when)`.

    `name` is "mainstay" or begins with "mainstay.".
    """
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace credentials in fields, nested values and texts: by the field's name, and by what a text looks like."""
    return {key: HIDDEN if _names_secret(key) else _hide(value) for key, value in event.items()}


def hide_in_text(text: str) -> str:
    """`text` without userinfo in URLs, authorisation values, cookies and tokens."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _hide(value: Any) -> Any:
    if isinstance(value, str):
        return hide_in_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return hide_in_text(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {_hide(key): HIDDEN if _names_secret(key) else _hide(item) for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and _names_secret(value[0]):
        # A header as HTTP libraries hold it.
        return (_hide(value[0]), HIDDEN)
    if isinstance(value, list | tuple | set | frozenset):
        return [_hide(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return hide_in_text(str(value))


def _names_secret(key: object) -> bool:
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    return isinstance(key, str) and _SECRET_KEY.search(key) is not None


def _renderer(as_json: bool) -> Processor:
    if as_json:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"), exception_formatter=structlog.dev.plain_traceback
    )
