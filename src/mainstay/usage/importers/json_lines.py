"""Logs of one JSON object a line. Everybody names the fields as they like: here are the names that are in use, and what
caches call what they did.

Sources: nginx.org, ngx_http_upstream_module, `$upstream_cache_status`; fastly.com/documentation, the VCL variable
`fastly_info.state`. No word means two things.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.usage.importers.base import (
    Line,
    parse_method,
    parse_size,
    parse_status,
    parse_time,
    split_request,
    value_of,
)

# Of several that a line has, the first counts: the end of a request before its beginning, a body before all bytes.
NAMES: dict[str, list[str]] = {
    "time": (
        "time_end time_iso8601 msec time_local @timestamp timestamp time end_time time_start start_time time_start_sec "
        "start date datetime ts"
    ).split(),
    "address": "remote_addr client_ip clientip fastly_client_ip remote_ip remote_host client_addr client ip".split(),
    "user": "remote_user auth_user user username".split(),
    "method": "request_method method http_method req_method verb".split(),
    "request": "request request_line".split(),
    "target": "request_uri url req_url request_url uri path request_path".split(),
    "host": "http_host host request_host req_host fastly_orig_host vhost server_name".split(),
    "scheme": "scheme request_scheme proto_scheme".split(),
    "status": "status response_status status_code resp_status http_status httpstatus response_code code".split(),
    "size": (
        "body_bytes_sent response_body_size resp_body_size resp_body_bytes_written response_body_bytes body_bytes "
        "body_size response_bytes_body bytes_sent response_size resp_bytes_written bytes_written byteswritten "
        "response_bytes bytes size"
    ).split(),
    "user_agent": (
        "http_user_agent user_agent useragent request_user_agent req_user_agent req_http_user_agent agent ua"
    ).split(),
    "outcome": (
        "upstream_cache_status cache_status fastly_info_state fastly_state fastlystate response_state cache state"
    ).split(),
}
_NEEDED = {"time", "status"}
_TELLING = {"target", "request"}
_OUTCOMES = {
    "HIT": "hit",
    "MISS": "miss",
    "PASS": "miss",
    "HITPASS": "miss",
    "BYPASS": "miss",
    "EXPIRED": "miss",
    "STALE": "stale",
    "UPDATING": "stale",
    "REVALIDATED": "revalidated",
    "ERROR": "error",
}
_UNSET = frozenset({"-", "(null)", "null", "none"})
_REMEMBERED = 64

Chosen = dict[str, str]
"""The name in a line of each field that it has."""


class JsonLines:
    """Reads lines that may all name their fields alike, which are therefore looked for once."""

    def __init__(self, *, required: frozenset[str] = frozenset()) -> None:
        """A line needs one name of `required`, if there are any."""
        self._required = required
        self._chosen: dict[tuple[str, ...], Chosen | None] = {}

    def parse(self, text: str) -> Line | None:
        """See `LogFormat.parse`."""
        try:
            said = msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if not isinstance(said, dict):
            return None
        names = tuple(said)
        if names not in self._chosen:
            if len(self._chosen) >= _REMEMBERED:
                self._chosen.clear()
            self._chosen[names] = self._choose(names)
        chosen = self._chosen[names]
        return self._line({field: _text(said[name]) for field, name in chosen.items()}) if chosen else None

    def _choose(self, names: tuple[str, ...]) -> Chosen | None:
        known = {name.lower().replace("-", "_").replace(".", "_"): name for name in reversed(names)}
        if self._required and not self._required & known.keys():
            return None
        found = {field: next((known[word] for word in words if word in known), None) for field, words in NAMES.items()}
        chosen = {field: name for field, name in found.items() if name is not None}
        return chosen if chosen.keys() >= _NEEDED and chosen.keys() & _TELLING else None

    def _line(self, said: dict[str, str]) -> Line | None:
        time_us, status = parse_time(said["time"]), parse_status(said["status"])
        if time_us is None or status is None:
            return None
        method, target = split_request(said.get("request", ""))
        # Some log the method alone under that name.
        method = parse_method(said.get("method", "")) or method
        target = said.get("target", "") or target
        host = said.get("host", "")
        scheme = "http" if said.get("scheme", "").lower() == "http" else "https"
        return Line(
            time_us,
            said.get("address", ""),
            said.get("user", ""),
            method,
            target,
            f"{scheme}://{host}" if host else "",
            status,
            parse_size(said.get("size", "")),
            said.get("user_agent", ""),
            outcome_of(said.get("outcome", "")),
        )


def outcome_of(state: str) -> str:
    """Our word for a state such as `EXPIRED` or `HIT-STALE-CLUSTER`, whose suffixes say how it came about."""
    first, *suffixes = state.upper().split("-")
    if "SYNTH" in suffixes:
        # The edge wrote the answer itself.
        return ""
    return "stale" if first == "HIT" and "STALE" in suffixes else _OUTCOMES.get(first, "")


def _text(value: Any) -> str:
    """A value as text, "" where it is none that a field can have."""
    if isinstance(value, str):
        return "" if value.lower() in _UNSET else value_of(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
