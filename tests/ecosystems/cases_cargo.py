"""Recorded documents of a cargo registry for the contract suite."""

from __future__ import annotations

from pathlib import Path

from contract.ecosystem_case import Case

_DATA = Path(__file__).parent / "data" / "cargo"
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"


def _recorded(name: str) -> bytes:
    return (_DATA / name).read_bytes()


def _crate(name: str, path: str, file: str, denied: str, description: str = "config.json") -> Case:
    return Case(
        name,
        path,
        _recorded(file),
        _TEXT,
        f"https://registry.example/{path}",
        denied=denied,
        linkless=True,
        description=_recorded(description),
    )


CASES = [
    _crate("crate with yanked releases, without times", "wi/dg/widget", "widget.index", "0.2.0-rc.1"),
    _crate("crate whose versions differ in build metadata", "wi/dg/widget", "widget.index", "1.0.0+abi.8"),
    _crate("registry with a template of its own", "wi/dg/widget", "widget.index", "0.1.0", "config-private.json"),
    _crate("hyphen, empty line, no newline at the end", "ga/ug/gauge-needle", "gauge-needle.index", "1.1.0"),
    _crate("name of one letter", "1/a", "a.index", "3.4.5"),
    _crate("name of two letters", "2/ab", "ab.index", "0.0.1"),
    _crate("name of three letters", "3/a/abc", "abc.index", "3.4.5"),
    Case(
        "description of a registry",
        "config.json",
        _recorded("config.json"),
        _JSON,
        "https://registry.example/config.json",
        template=True,
    ),
    Case(
        "description of a registry that asks for a credential",
        "config.json",
        _recorded("config-private.json"),
        _JSON,
        "https://registry.example/config.json",
        template=True,
    ),
]
