"""What a client is told of its limits: RateLimit fields, Retry-After, and the body of a refusal.

Fields and problem types are those of draft-ietf-httpapi-ratelimit-headers-10, written as structured fields (RFC 9651);
the body is a problem document (RFC 9457). Everything here is text in, text out.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence

import msgspec

from mainstay.access.limits import Standing
from mainstay.access.tiers import CONCURRENT_REQUESTS, REQUESTS, Limit, Tier

PROBLEM_MEDIA_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
ABNORMAL_USAGE = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
_TITLES = {
    QUOTA_EXCEEDED: "The quota is used up",
    REDUCED_CAPACITY: "There is less capacity for the moment",
    ABNORMAL_USAGE: "The pattern of requests is out of the ordinary",
}
_LARGEST = 999_999_999_999_999
"""Of an integer in a structured field (RFC 9651 section 3.3.1)."""


class Problem(msgspec.Struct, frozen=True, rename={"violated_policies": "violated-policies"}):
    """A problem document. `violated_policies` are names that stand in the RateLimit fields."""

    type: str
    title: str
    status: int
    detail: str
    violated_policies: tuple[str, ...]


def render_policies(limits: Iterable[Limit], concurrency: tuple[str, int] | None = None, key: str = "") -> str:
    """RateLimit-Policy: what is allowed, the same in every reply; "" where nothing is limited.

    `concurrency` is the name and number of a limit on requests under way; `key` says whose quota it is (pk).
    """
    items = [
        f"{_string(limit.name)};q={_integer(limit.quota)}{_unit(limit.unit)};w={_integer(limit.window_s)}{_partition(key)}"
        for limit in limits
    ]
    if concurrency is not None:
        name, number = concurrency
        items.append(f"{_string(name)};q={_integer(number)}{_unit(CONCURRENT_REQUESTS)}{_partition(key)}")
    return ", ".join(items)


def render_standings(standings: Iterable[Standing], key: str = "") -> str:
    """RateLimit: what is left of each limit, and in how many seconds there is more."""
    return ", ".join(
        f"{_string(standing.limit.name)};r={_integer(standing.remaining)};t={_seconds(standing.reset_s)}{_partition(key)}"
        for standing in standings
    )


def render_retry_after(standings: Sequence[Standing], wait_s: float = 0.0) -> str:
    """Retry-After in seconds, at least 1: not before `wait_s`, and not before any `t` that `render_standings` gives."""
    return str(max([1, _seconds(wait_s), *(_seconds(max(item.wait_s, item.reset_s)) for item in standings)]))


def concurrency_of(tier: Tier) -> tuple[str, int] | None:
    """The tier's limit on requests under way, as `render_policies` takes it."""
    return None if tier.concurrency is None else (f"{tier.name}-{CONCURRENT_REQUESTS}", tier.concurrency)


def render_problem(kind: str, status: int, detail: str, violated: Iterable[str]) -> bytes:
    """The problem document of one of the three types above, as JSON. `detail` says what to do, in plain words."""
    return msgspec.json.encode(Problem(kind, _TITLES[kind], status, detail, tuple(violated)))


def _unit(unit: str) -> str:
    """The parameter qu, left out for requests, which it stands for by itself."""
    return "" if unit == REQUESTS else f";qu={_string(unit)}"


def _partition(key: str) -> str:
    """The parameter pk, a byte sequence."""
    return f";pk=:{base64.b64encode(key.encode()).decode()}:" if key else ""


def _seconds(seconds: float) -> int:
    """Whole seconds, never too few."""
    return _integer(math.ceil(seconds - 1e-6))


def _integer(number: int) -> int:
    return min(max(number, 0), _LARGEST)


def _string(text: str) -> str:
    """A string of a structured field.

    Raises:
        ValueError: not printable ASCII, which is all that one can hold.
    """
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{text!r} cannot stand in a structured field")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
