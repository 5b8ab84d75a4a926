"""Which module proxies a machine's own configuration names: the go command's settings.

GOPROXY is a list in which `,` and `|` say when the next one is asked; `direct` and `off` are no proxies
(https://go.dev/ref/mod#environment-variables).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from mainstay.model import Discovery, Found

_SETTING = "GOPROXY"
DISCOVERY = Discovery(
    commands=(("go", "env", _SETTING),),
    # The command would else fetch the toolchain that the folder's go.mod file asks for, and count itself at home.
    environ=(("GOTOOLCHAIN", "local"), ("TEST_TELEMETRY_DIR", "/dev/null")),
    env=(_SETTING,),
    files=("~/.config/go/env", "~/Library/Application Support/go/env"),
)


def find_proxies(found: Mapping[str, str]) -> list[Found]:
    """The proxies named in `found`, what the go command itself says first, each address once."""
    results: dict[str, Found] = {}
    for where, entries in _lists(found):
        for entry in entries:
            if url := _proxy_url(entry):
                results.setdefault(url, Found(url, extra=bool(results), why=where))
    return list(results.values())


def find_fallbacks(found: Mapping[str, str]) -> list[Found]:
    """What the go command asks after the first proxy, by the setting in force; `direct` is each module's origin."""
    where, entries = next(_lists(found), ("", []))
    return [Found(_proxy_url(entry) or entry, extra=True, why=where) for entry in entries[1:] if entry != "off"]


def _lists(found: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Where the setting was found and its entries, the one in force first."""
    for where in (*map(" ".join, DISCOVERY.commands), *DISCOVERY.env, *DISCOVERY.files):
        text = found.get(where, "")
        entries = re.split(r"[,|]", _value_in(text) if where in DISCOVERY.files else text)
        if given := [entry.strip() for entry in entries if entry.strip()]:
            yield where, given


def _value_in(text: str) -> str:
    """The setting in the file that `go env -w` writes: lines of `KEY=VALUE` as they are, the last one counts."""
    values = [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{_SETTING}=")]
    return values[-1] if values else ""


def _proxy_url(text: str) -> str:
    """`text` as a proxy's base ending in a slash, or ""."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        return ""
    if not plain or parts.query or parts.fragment or not (text.isascii() and text.isprintable()) or " " in text:
        return ""
    return parts._replace(path=parts.path.rstrip("/") + "/").geturl()
