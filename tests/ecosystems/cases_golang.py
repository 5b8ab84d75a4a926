"""Recorded documents of a Go module proxy for the contract suite."""

from __future__ import annotations

from pathlib import Path

from contract.ecosystem_case import Case

_DATA = Path(__file__).parent / "data" / "golang"
_TEXT = "text/plain; charset=UTF-8"
_JSON = "application/json"


def _case(
    name: str, path: str, recorded: str, media_type: str = _TEXT, *, denied: str = "", single: bool = False
) -> Case:
    """A document at the path where upstream has it, too. None of them names an address."""
    body = (_DATA / recorded).read_bytes() if recorded else b""
    url = f"https://registry.example/{path}"
    return Case(name, path, body, media_type, url, denied=denied, single=single, linkless=True)


CASES = [
    _case("list", "code.example/widget/@v/list", "widget-list.txt", denied="v1.9.3"),
    _case(
        "list of releases without a go.mod", "pkg.example/w.v3/@v/list", "widget-list.txt", denied="v2.0.0+incompatible"
    ),
    _case(
        "list with one release, capitals, major suffix",
        "code.example/!acme/!gauge/v2/@v/list",
        "gauge-v2-list.txt",
        denied="v2.0.1",
    ),
    _case("list with times and a pseudo-version", "code.example/old/@v/list", "timed-list.txt", denied="v0.3.0"),
    _case("list without releases", "code.example/new/@v/list", ""),
    _case("latest", "code.example/!acme/!gauge/@latest", "gauge-latest.json", _JSON, denied="v1.10.0", single=True),
    _case(
        "branch",
        "code.example/widget/@v/main.info",
        "widget-main.json",
        _JSON,
        denied="v1.9.4-0.20210506070809-daa7c04131f5",
        single=True,
    ),
    _case("short version", "code.example/widget/@v/v1.info", "gauge-latest.json", _JSON, denied="v1.10.0", single=True),
    _case("database is served", "sumdb/sum.example/supported", ""),
    _case("head of the database", "sumdb/sum.example:8443/latest", "tree-head.txt"),
]
