"""Finds private names in what clients send besides paths: takes them out of audit calls, tells of those in a search.

`advisories/bulk`: {name: [versions]}. `audits` and `audits/quick`: the shape of a lock file, that is "name", "requires"
{name: range}, "dependencies" {name: {"version", "requires", "dependencies"}}, "install" and "remove" ["name@range"].
A body that cannot be read leaves as an empty object: what it names is not known.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from mainstay.ecosystems.base import PrivateNames

_ALIAS = "npm:"


def strip_bulk(body: bytes, private: PrivateNames) -> bytes:
    """The body of a bulk advisory call without the private projects."""
    return msgspec.json.encode({name: listed for name, listed in _parse(body).items() if name not in private})


def strip_audit(body: bytes, private: PrivateNames) -> bytes:
    """The body of an audit call without the private projects and what only they bring in."""
    tree = _parse(body)
    if tree.get("name") in private:
        del tree["name"]
    for key in ("install", "remove"):
        if isinstance(tree.get(key), list):
            tree[key] = [item for item in tree[key] if not _is_private(_name(item), None, private)]
    _strip_nodes(tree, private)
    return msgspec.json.encode(tree)


def searched_names(query: str) -> tuple[str, ...]:
    """The words of a search that may be names, a whole scope as `@scope/`."""
    words = " ".join(parse_qs(query).get("text", [])).split()
    return tuple(f"@{word.removeprefix('scope:')}/" if word.startswith("scope:") else word for word in words)


def _strip_nodes(root: dict[str, Any], private: PrivateNames) -> None:
    nodes = [root]
    while nodes:
        node = nodes.pop()
        for key in ("requires", "dependencies"):
            if isinstance(node.get(key), dict):
                node[key] = {name: value for name, value in node[key].items() if not _is_private(name, value, private)}
                nodes += [value for value in node[key].values() if isinstance(value, dict)]


def _is_private(name: str, value: Any, private: PrivateNames) -> bool:
    """Whether an entry names a private project, by its key or by the alias in its range or version."""
    target = value.get("version") if isinstance(value, dict) else value
    alias = target.removeprefix(_ALIAS) if isinstance(target, str) and target.startswith(_ALIAS) else ""
    return name in private or _name(alias) in private


def _name(specifier: object) -> str:
    """The name in `name@range`."""
    text = str(specifier).removeprefix(_ALIAS)
    return text[:1] + text[1:].partition("@")[0]


def _parse(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}
