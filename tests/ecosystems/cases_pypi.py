"""The Python index's recorded documents, each as every kind of client asks for it."""

from __future__ import annotations

from pathlib import Path

from contract.ecosystem_case import Case

_DATA = Path(__file__).parent / "data" / "pypi"
_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = "application/vnd.pypi.simple.v1+html"
_PAGE = "https://registry.example/simple/widget-tool/"
_LIST = "https://registry.example/simple/"
_ACCEPTS = {"json": _JSON, "html": _HTML, "text": "text/html", "any": "*/*"}


def _cases(file: str, path: str, media_type: str, url: str, denied: str) -> list[Case]:
    body = (_DATA / file).read_bytes()
    return [
        Case(f"{file} as {word}", path, body, media_type, url, {"accept": accept}, denied=denied)
        for word, accept in _ACCEPTS.items()
    ]


CASES: list[Case] = [
    *_cases("widget.json", "simple/widget-tool/", _JSON, _PAGE, "7.7.7"),
    *_cases("widget.html", "simple/widget-tool/", "text/html; charset=utf-8", _PAGE, "7.7.7"),
    *_cases("bare.html", "simple/widget-tool/", "text/html", _PAGE, "7.7.7"),
    *_cases("empty.html", "simple/widget-tool/", "text/html", _PAGE, ""),
    *_cases("list.json", "simple/", _JSON, _LIST, ""),
    *_cases("list.html", "simple/", "text/html", _LIST, ""),
    Case(
        "legacy project",
        "pypi/Widget.Tool/json",
        (_DATA / "legacy.json").read_bytes(),
        "application/json",
        "https://registry.example/pypi/widget-tool/json",
        denied="7.7.7",
    ),
    Case(
        "legacy project with spellings from before PEP 440",
        "pypi/widget-tool/json",
        (_DATA / "legacy-old.json").read_bytes(),
        "application/json",
        "https://registry.example/pypi/widget-tool/json",
        denied="0.9.0",
    ),
    Case(
        "legacy release",
        "pypi/widget-tool/7.7.7/json",
        (_DATA / "legacy-release.json").read_bytes(),
        "application/json",
        "https://registry.example/pypi/widget-tool/7.7.7/json",
        denied="7.7.7",
        single=True,
    ),
]
