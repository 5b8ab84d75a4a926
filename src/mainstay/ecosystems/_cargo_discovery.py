"""Which registries a machine's own cargo configuration names.

Source: https://doc.rust-lang.org/cargo/reference/source-replacement.html and `[registries]` in config.html beside it.
Registries that are git repositories (no `sparse+`) are none that can be stood in for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from mainstay.ecosystems._cargo_config import clear_address
from mainstay.model import Discovery, Found

# Of two in one folder, cargo takes the older name, without an ending.
DISCOVERY = Discovery(
    files=(
        ".cargo/config", ".cargo/config.toml", "$CARGO_HOME/config", "$CARGO_HOME/config.toml",
        "~/.cargo/config", "~/.cargo/config.toml",
    ),
)  # fmt: skip
SPARSE = "sparse+"
_PUBLIC = "crates-io"
_ADDRESS_KEYS = {"source": "registry", "registries": "index"}

Tables = dict[str, dict[str, tuple[str, str]]]
"""What a name is told of: each key's value, and the file it is from."""


def find_registries(found: Mapping[str, str]) -> list[Found]:
    """The registry that stands in for the public one, then the others, each address once."""
    trees = [(pattern, _parse(found[pattern])) for pattern in DISCOVERY.files if pattern in found]
    sources, registries = _merge(trees, "source"), _merge(trees, "registries")
    main = _resolve(_PUBLIC, sources, registries)
    others = [_resolve(name, sources, registries) for name in registries]
    results: dict[str, Found] = {}
    for number, (url, why) in enumerate([main, *others]):
        if url:
            results.setdefault(url, Found(url, extra=number > 0, why=why))
    return list(results.values())


def _resolve(name: str, sources: Tables, registries: Tables) -> tuple[str, str]:
    """The address at the end of the replacements of `name`, and where it is from; empty where there is none, and where
    the public registry is not replaced."""
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = sources.get(name, {}).get("replace-with", (name, ""))[0]
    if name != seen[-1] or name == _PUBLIC:
        return "", ""
    address, why = sources.get(name, {}).get("registry") or registries.get(name, {}).get("index") or ("", "")
    return sparse_address(address), why


def sparse_address(text: str) -> str:
    """The base of a sparse index ending in a slash, or "" where it is another kind of registry."""
    url = clear_address(text.removeprefix(SPARSE)) if text.startswith(SPARSE) else ""
    return f"{url.rstrip('/')}/" if url and "?" not in url else ""


def _merge(trees: list[tuple[str, Mapping[str, Any]]], kind: str) -> Tables:
    """The tables of one kind from all files. The nearest file that has a key decides, as for cargo."""
    merged: Tables = {}
    for pattern, tree in trees:
        for name, table in _table(tree.get(kind)).items():
            for key in ("replace-with", _ADDRESS_KEYS[kind]):
                value = _table(table).get(key)
                if isinstance(value, str):
                    merged.setdefault(name, {}).setdefault(key, (value, pattern))
    return merged


def _parse(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
