"""The checkout as the architecture tests see it: its files and the syntax trees of its modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "mainstay"


@dataclass(frozen=True)
class Module:
    """One Python file of the program; `name` is its path below src/mainstay."""

    name: str
    path: Path
    text: str
    tree: ast.Module


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the program."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        found.append(Module(path.relative_to(SOURCE).as_posix(), path, text, ast.parse(text)))
    return tuple(found)


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project: what git tracks or would track."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    names = sorted(name for name in listed.stdout.split("\0") if name)
    return tuple(path for name in names if (path := ROOT / name).is_file())


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Every file of the project that is text, as (path from the root, text)."""
    found = []
    for path in files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue  # a recorded body or an image: the checks are about what people write
    return tuple(found)


@cache
def pages() -> tuple[tuple[str, str], ...]:
    """The documentation, as (path from the root, text)."""
    return tuple((name, text) for name, text in texts() if re.fullmatch(r"(docs/|bench/)?[^/]+\.md", name))


def page(name: str) -> str:
    """The text of one page of the documentation."""
    return (ROOT / name).read_text("utf-8")


def constants(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string in the code that is not a docstring, with its line."""
    prose = {
        id(body[0].value)
        for node in ast.walk(tree)
        if (body := getattr(node, "body", None)) and isinstance(body, list) and isinstance(body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted name of every module that is imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def third_party(tree: ast.AST) -> set[str]:
    """The top-level packages imported that are neither Python's own nor ours."""
    tops = {name.partition(".")[0] for name in imports(tree)}
    return tops - sys.stdlib_module_names - {"mainstay", "__future__"}
