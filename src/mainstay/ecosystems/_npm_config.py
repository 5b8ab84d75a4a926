"""Reads the registries that npm, pnpm and yarn are configured to use out of their own settings.

Formats: `npm config list --json`; .npmrc (ini); .yarnrc (yarn 1); .yarnrc.yml (yarn 4); pnpm-workspace.yaml. Only what
is plain is taken: a value with a `${VARIABLE}` in it, an anchor or a flow mapping is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

Setting = tuple[str, str]
"""A scope ("@acme", or "" for the registry of everything else) and the address it is given."""

_LINE = re.compile(r"""\s*["']?(?:(@[A-Za-z0-9._~-]+):)?registry["']?(?:\s*=\s*|\s+)["']?([^"'\s]+)["']?\s*""")
_YAML_LINE = re.compile(r"""( *)["']?([A-Za-z0-9@._~-]+)["']?:(?:\s+["']?([^"'\s#]+)["']?)?\s*(?:#.*)?""")


def parse_settings(name: str, text: str) -> Iterator[Setting]:
    """The settings in `text`, whose format its name tells: a file's path, a command or a variable."""
    if name.endswith((".yml", ".yaml")):
        return _from_yaml(text)
    if name.endswith("rc"):
        return _from_lines(text)
    if text.lstrip().startswith("{"):
        return _from_json(text)
    return iter([("", text)])


def _from_json(text: str) -> Iterator[Setting]:
    try:
        settings = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return
    for key, value in settings.items():
        scope, _, name = key.rpartition(":")
        if name == "registry" and isinstance(value, str) and (not scope or scope.startswith("@")):
            yield scope, value


def _from_lines(text: str) -> Iterator[Setting]:
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            yield match[1] or "", match[2]


def _from_yaml(text: str) -> Iterator[Setting]:
    """Block mappings of plain scalars, by their indentation: all that these settings need."""
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _YAML_LINE.fullmatch(line)
        if match is None:
            continue
        indent, key, value = len(match[1]), match[2], match[3]
        while parents and parents[-1][0] >= indent:
            parents.pop()
        parents.append((indent, key))
        if value:
            yield from _setting(tuple(name for _, name in parents), value)


def _setting(keys: tuple[str, ...], value: str) -> Iterator[Setting]:
    match keys:
        case ("npmRegistryServer",) | ("registry",) | ("registries", "default"):
            yield "", value
        case ("npmScopes", scope, "npmRegistryServer"):
            yield "@" + scope.removeprefix("@"), value
        case ("registries", scope) if scope.startswith("@"):
            yield scope, value
