"""What the line of a log says, and what each format has to offer. Pure."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache, partial
from typing import ClassVar, NamedTuple

ABSENT = "-"
"""How most formats write a field that has no value."""
CLIENT_LEFT = 499
"""The status of a reply that broke off before it had one, in nginx's word: 0 means something else in the ledger."""
LONGEST_REMEMBERED = 4096
"""Characters of a field whose meaning is remembered: a log of endless ones would fill the memory."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MONTHS = {name: at for at, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_CLF_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{1,9})?", re.ASCII)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)
_STATUSES = {f"{number:03}": number or CLIENT_LEFT for number in range(1000)}
_UNITS_US = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
"""Below the first number a time is in seconds, below the next in milliseconds, below the last in microseconds."""


class Line(NamedTuple):
    """One request, as a log tells it; "" where it does not.

    `target` is what was asked for: a whole URL, a path, or `host:port` of a CONNECT. `origin` is the scheme and host
    that a path belongs to. `size_bytes` are those sent to the client. `outcome` is what a cache did, in our words.
    """

    time_us: int
    address: str = ""
    user: str = ""
    method: str = ""
    target: str = ""
    origin: str = ""
    status: int = 0
    size_bytes: int = 0
    user_agent: str = ""
    outcome: str = ""


new_line: Callable[[tuple[int, str, str, str, str, str, int, int, str, str]], Line] = partial(tuple.__new__, Line)
"""A line of all its fields in order, in a third of the time."""
NOTHING = Line(-1)
"""A line that is sound and tells of no request."""


class LogFormat(ABC):
    """One log being read, line by line. `expects` describes a line to people whose log does not parse."""

    name: ClassVar[str]
    expects: ClassVar[str]

    @abstractmethod
    def parse(self, text: str) -> Line | None:
        """What a line says (without its end, not empty); None where it is not of this format. Never raises."""

    def remark(self, text: str) -> None:  # noqa: B027 - most formats have none
        """Take note of a line that begins with `#`, which never tells of a request."""


@lru_cache(maxsize=4096)
def parse_clf_time(text: str) -> int | None:
    """Microseconds since 1970 of `21/Nov/2026:12:00:00 +0000`, the Common Log Format's; None where it is no time."""
    match = _CLF_TIME.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(int(year), _MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second), tzinfo=zone)
    except ValueError:
        return None
    return _microseconds(moment)


def parse_iso_time(text: str) -> int | None:
    """The same of ISO 8601, in UTC where it names no zone, which may be written `UTC` or `GMT`, too."""
    try:
        moment = datetime.fromisoformat(text.removesuffix("UTC").removesuffix("GMT").strip())
    except ValueError:
        return None
    return _microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def parse_epoch(text: str) -> int | None:
    """The same of a number of seconds, milliseconds or microseconds since 1970: which of them, its size tells."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return next((round(number * unit_us) for below, unit_us in _UNITS_US if number < below), None)


def parse_time(text: str) -> int | None:
    """The same of whatever spelling of these."""
    if text[:1].isdecimal() and "/" in text:
        return parse_clf_time(text)
    return parse_epoch(text) if _NUMBER.fullmatch(text) else parse_iso_time(text)


def parse_size(text: str) -> int:
    """Bytes; 0 where the log does not say."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 18 else 0


def parse_status(text: str) -> int | None:
    """A reply's status; None where it is no number of three digits."""
    return _STATUSES.get(text)


@lru_cache(maxsize=64)
def parse_method(text: str) -> str:
    """A request's method, "" for what is none."""
    return text if _METHOD.fullmatch(text) else ""


def split_request(text: str) -> tuple[str, str]:
    """Method and target of a request's first line; both "" where it is none, as of bytes that are not HTTP."""
    method, _, rest = text.partition(" ")
    if not parse_method(method):
        return "", ""
    target, blank, protocol = rest.rpartition(" ")
    return method, target if blank and protocol.startswith("HTTP/") else rest


def value_of(text: str) -> str:
    """The text of a field, "" where it stands for none."""
    return "" if text == ABSENT else text


def unescape(text: str) -> str:
    r"""A text in which quotes and other characters stand as `\"` or `\x22`, as Apache and nginx write them."""
    if "\\" not in text:
        return text
    return _unescape(text) if len(text) <= LONGEST_REMEMBERED else _unescape.__wrapped__(text)


@lru_cache(maxsize=4096)
def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)


def _microseconds(moment: datetime) -> int | None:
    since_us = (moment - _EPOCH) // _MICROSECOND
    return since_us if since_us >= 0 else None
