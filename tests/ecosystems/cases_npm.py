"""Recorded npm documents for the contract suite."""

from __future__ import annotations

from pathlib import Path

from contract.ecosystem_case import Case

_DATA = Path(__file__).parent / "data" / "npm"
_ABBREVIATED = "application/vnd.npm.install-v1+json"
_INSTALL = {"accept": f"{_ABBREVIATED}; q=1.0, application/json; q=0.8, */*"}
_WIDGET = "https://registry.example/widget"
_GAUGE = "https://registry.example/@acme%2fgauge"


def _recorded(name: str) -> bytes:
    return (_DATA / name).read_bytes()


CASES = [
    Case(
        "full packument",
        "widget",
        _recorded("widget-full.json"),
        "application/json",
        _WIDGET,
        denied="2.1.0",
    ),
    Case(
        "abbreviated packument",
        "widget",
        _recorded("widget-abbreviated.json"),
        _ABBREVIATED,
        _WIDGET,
        headers=_INSTALL,
        denied="2.0.0-rc.10",
    ),
    Case(
        "scoped packument with odd tarball addresses",
        "@acme/gauge",
        _recorded("gauge-abbreviated.json"),
        _ABBREVIATED,
        _GAUGE,
        headers=_INSTALL,
        denied="1.2.0",
    ),
    Case(
        "full form where the abbreviated one was asked for",
        "widget/",
        _recorded("widget-full.json"),
        "application/json; charset=utf-8",
        _WIDGET,
        headers=_INSTALL,
        denied="1.9.0",
    ),
    Case(
        "one version",
        "widget/2.1.0",
        _recorded("widget-full.json"),
        "application/json",
        _WIDGET,
        denied="2.1.0",
        single=True,
        partial=True,
    ),
    Case(
        "one tag",
        "@acme/gauge/latest",
        _recorded("gauge-abbreviated.json"),
        "application/json",
        _GAUGE,
        denied="1.2.0",
        partial=True,
    ),
    Case(
        "tags",
        "-/package/widget/dist-tags",
        _recorded("widget-abbreviated.json"),
        _ABBREVIATED,
        _WIDGET,
        denied="2.1.0",
        partial=True,
    ),
    Case(
        "full packument with what its registry stores",
        "crate",
        _recorded("crate-full.json"),
        "application/json",
        "https://registry.example/crate",
        denied="1.1.0",
    ),
    Case(
        "unpublished package", "gone", _recorded("gone-full.json"), "application/json", "https://registry.example/gone"
    ),
]
