"""Which Python indexes a machine's own configuration names: pip, uv, Poetry, PDM, requirements files."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from mainstay.model import Discovery, Found

PIP_COMMAND = ("pip", "config", "list")
DISCOVERY = Discovery(
    commands=(PIP_COMMAND,),
    env=(
        "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL",
        "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL",
    ),
    files=("~/.config/uv/uv.toml", "uv.toml", "pyproject.toml", "requirements.txt"),
)  # fmt: skip
_EXTRA_ENV = frozenset({"PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"})
_PIP_LINE = re.compile(r"^(?P<section>:?[\w-]+:?)\.(?P<extra>extra-)?index-url=(?P<value>.*)$", re.MULTILINE)
_REQUIREMENT_LINE = re.compile(
    r"^\s*(?:(?P<extra>--extra-index-url)|--index-url|-i)[=\s]\s*(?P<value>\S+)", re.MULTILINE
)
_UV_NAME = re.compile(r"[\w.-]+=(?=https?://)")


def find_indexes(found: Mapping[str, str], default_name: str) -> list[Found]:
    """The indexes named in `found`, environment first, each address once. `default_name` replaces PDM's default."""
    results: dict[str, Found] = {}
    for where in (*DISCOVERY.env, " ".join(PIP_COMMAND), *DISCOVERY.files):
        if text := found.get(where):
            for value, extra in _reader(where, default_name)(text):
                url = _index_url(value)
                if url:
                    results.setdefault(url, Found(url=url, extra=extra, why=where))
    return sorted(results.values(), key=lambda item: item.extra)


Reader = Callable[[str], Iterator[tuple[str, bool]]]


def _reader(where: str, default_name: str) -> Reader:
    if where in DISCOVERY.env:
        return lambda text: _parse_variable(text, where in _EXTRA_ENV)
    if where.endswith(".toml"):
        return lambda text: _parse_toml(text, default_name)
    return _parse_requirements if where.endswith(".txt") else _parse_pip


def _parse_variable(text: str, extra: bool) -> Iterator[tuple[str, bool]]:
    for word in text.split():
        yield _UV_NAME.sub("", word, count=1), extra


def _parse_pip(text: str) -> Iterator[tuple[str, bool]]:
    for match in _PIP_LINE.finditer(text):
        value = match["value"].strip()
        if value[:1] in ("'", '"'):
            try:
                value = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                continue
        for word in value.split():
            yield word, bool(match["extra"])


def _parse_requirements(text: str) -> Iterator[tuple[str, bool]]:
    for match in _REQUIREMENT_LINE.finditer(text):
        yield match["value"], bool(match["extra"])


def _parse_toml(text: str, default_name: str) -> Iterator[tuple[str, bool]]:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    tool = _table(tree.get("tool"))
    yield from _parse_uv(_table(tool.get("uv")))
    yield from _parse_uv(tree)
    for source in _tables(_table(tool.get("poetry")).get("source")):
        yield source.get("url", ""), source.get("priority") != "default" and source.get("default") is not True
    for source in _tables(_table(tool.get("pdm")).get("source")):
        yield source.get("url", ""), source.get("name") != default_name


def _parse_uv(table: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for index in _tables(table.get("index")):
        yield index.get("url", ""), index.get("default") is not True
    for settings in (table, _table(table.get("pip"))):
        yield settings.get("index-url", ""), False
        extra = settings.get("extra-index-url")
        for value in extra if isinstance(extra, list) else []:
            yield value, True


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _index_url(value: object) -> str:
    """`value` as an index's base ending in a slash, or "". Credentials that name a variable are left out."""
    if not isinstance(value, str):
        return ""
    try:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1:
            return ""
    except ValueError:
        return ""
    netloc = parts.netloc.rpartition("@")[2] if "$" in parts.netloc else parts.netloc
    if "$" in netloc + parts.path:
        return ""
    return parts._replace(netloc=netloc, path=parts.path.rstrip("/") + "/", query="", fragment="").geturl()
