"""TOML configuration: uv, cargo, PDM (TOML 1.0).

A text is cut into statements by letting the parser of Python's own library say where each one is whole, so strings and
arrays of several lines are cut rightly. What is ours goes to the end, where a table can begin without taking in what
follows, or below the header of the table that is there already.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstay.clients.marks import Plan, Refusal, without
from mainstay.clients.wanted import Wanted

COMMENT = "#"
Tree = dict[str, Any]


@dataclass(slots=True)
class _Statement:
    """A header or a setting in lines `first` to `last`. `tree` is what it says by itself."""

    first: int
    last: int
    tree: Tree


@dataclass(slots=True)
class _Table:
    """A header with the settings below it. `path` is () for what stands before the first header."""

    path: tuple[str, ...] = ()
    listed: bool = False
    header: _Statement | None = None
    settings: list[_Statement] = field(default_factory=list)

    def statements(self) -> Iterator[_Statement]:
        """The header and the settings."""
        if self.header is not None:
            yield self.header
        yield from self.settings


def plan(lines: Sequence[str], wanted: Wanted) -> Plan | Refusal:
    """Put the tables at the end, or the settings into their table, and what they replace out of force."""
    if isinstance(parsed := _parse("".join(lines)), Refusal):
        return parsed
    tables = _cut(lines)
    replaced = list(_replaced(tables, wanted.replaces))
    kept = frozenset(number for item in replaced for number in range(item.first, item.last + 1))
    block = wanted.lines
    if not wanted.under:
        return Plan(tuple(block), len(lines), kept)
    own = next((table.header for table in tables if table.path == wanted.under and table.header), None)
    if own is not None and own.first not in kept:
        return Plan(tuple(block), own.last + 1, kept)
    return Plan((f"[{'.'.join(wanted.under)}]", *block), len(lines), kept)


def check(lines: Sequence[str], planned: Plan, after: str, wanted: Wanted) -> str:
    """What is wrong with the text that a plan led to, "" for nothing."""
    own = "\n".join(planned.block)
    if wanted.under and not own.startswith("["):
        own = f"[{'.'.join(wanted.under)}]\n{own}"
    trees = [_parse(text) for text in ("".join(lines), "".join(without(lines, planned.kept, COMMENT)), own, after)]
    if any(isinstance(tree, Refusal) for tree in trees):
        return "what is to be written does not fit with what is there"
    before, left, block, found = (tree for tree in trees if not isinstance(tree, Refusal))
    if any(_says(left, path) for path in wanted.replaces):
        return "a setting of the same name stands where it cannot be put out of force"
    same = _pruned(left, wanted.replaces) == _pruned(before, wanted.replaces)
    return "" if same and found == _merged(left, block) else "another setting would change with it"


def _parse(text: str) -> Tree | Refusal:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Refusal(f"it is not valid TOML ({str(error)[:200]})")


def _cut(lines: Sequence[str]) -> list[_Table]:
    tables = [_Table()]
    number = 0
    while number < len(lines):
        text = lines[number].strip()
        if not text or text.startswith("#"):
            number += 1
            continue
        statement = _statement(lines, number)
        if text.startswith("["):
            path, listed = _header_path(statement.tree)
            tables.append(_Table(path, listed, statement))
        else:
            tables[-1].settings.append(statement)
        number = statement.last + 1
    return tables


def _statement(lines: Sequence[str], first: int) -> _Statement:
    """The statement that begins there: as many lines as it takes to be whole. The text as a whole is valid."""
    for last in range(first, len(lines)):
        tree = _parse("".join(lines[first : last + 1]))
        if not isinstance(tree, Refusal):
            return _Statement(first, last, tree)
    return _Statement(first, len(lines) - 1, {})


def _header_path(tree: Tree) -> tuple[tuple[str, ...], bool]:
    path: list[str] = []
    node: object = tree
    while isinstance(node, dict) and node:
        key, node = next(iter(node.items()))
        path.append(key)
    return tuple(path), isinstance(node, list)


def _replaced(tables: Sequence[_Table], paths: Sequence[tuple[str, ...]]) -> Iterator[_Statement]:
    """Whole tables that are replaced, or list items that say what is replaced, with the tables below them; else the
    single settings."""
    inside: tuple[str, ...] | None = None
    for table in tables:
        if inside is not None and len(table.path) > len(inside) and table.path[: len(inside)] == inside:
            yield from table.statements()
            continue
        below = [path[len(table.path) :] for path in paths if path[: len(table.path)] == table.path]
        whole = any(path == table.path[: len(path)] for path in paths)
        found = [item for item in table.settings if any(_says(item.tree, path) for path in below if path)]
        inside = table.path if table.header is not None and (whole or (table.listed and found)) else None
        yield from table.statements() if inside is not None else found


def _says(node: object, path: Sequence[str]) -> bool:
    """Whether something stands at `path`, in any item of a list. `false` counts as nothing."""
    if isinstance(node, list):
        return any(_says(item, path) for item in node)
    if not path:
        return node is not False
    return isinstance(node, dict) and path[0] in node and _says(node[path[0]], path[1:])


def _pruned(tree: Tree, paths: Sequence[tuple[str, ...]]) -> Tree:
    """The tree without what stands at `paths`, without list items that say such a thing, without empty tables."""
    for path in paths:
        tree = _without_path(tree, path)
    return tree


def _without_path(tree: Tree, path: Sequence[str]) -> Tree:
    key, *rest = path
    found = {name: value for name, value in tree.items() if name != key}
    value = tree.get(key)
    if rest and isinstance(value, list):
        found[key] = [item for item in value if not _says(item, rest)]
    elif rest and isinstance(value, dict):
        found[key] = _without_path(value, rest)
    return {name: value for name, value in found.items() if value not in ({}, [])}


def _merged(left: Tree, own: Tree) -> Tree:
    found = dict(left)
    for key, value in own.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            found[key] = _merged(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            found[key] = [*old, *value]
        else:
            found[key] = value
    return found
