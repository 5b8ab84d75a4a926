"""How long modules and functions are."""

from __future__ import annotations

import ast
from functools import cache
from statistics import median

from architecture.tree import modules

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60


@cache
def module_lines() -> dict[str, int]:
    """Lines of each module, longest first."""
    found = {module.name: len(module.text.splitlines()) for module in modules()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@cache
def function_lines() -> dict[str, int]:
    """Lines of each function from `def` to its end, nested ones counted in their outer one too, longest first."""
    found = {
        f"{module.name}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def render_sizes(count: int) -> list[str]:
    """The median and the `count` longest of both, as lines for a person."""
    lines = []
    for what, sizes in (("modules", module_lines()), ("functions", function_lines())):
        longest = ", ".join(f"{name} {size}" for name, size in list(sizes.items())[:count])
        lines.append(f"{what}: {len(sizes)}, median {median(sizes.values()):g} lines; longest: {longest}")
    return lines
