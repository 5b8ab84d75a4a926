"""What the program is built upon, and where."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from architecture.tree import constants, modules, page, third_party

ROW = re.compile(r"^\| ([a-z][a-z0-9-]+) \| (.+) \|$", re.MULTILINE)


@cache
def importers() -> dict[str, set[str]]:
    """The modules of the program that import each distribution, or look for its package by name."""
    distributions = packages_distributions()
    found: dict[str, set[str]] = {}
    for module in modules():
        looked_for = {value for _, value in constants(module.tree) if "_" in value and value in distributions}
        for package in third_party(module.tree) | looked_for:
            for name in distributions.get(package, [package]):
                found.setdefault(canonicalize_name(name), set()).add(module.name)
    return found


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of one table of docs/dependencies.md: the package and its other cells."""
    section = page("docs/dependencies.md").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {
        match[1]: [cell.strip() for cell in match[2].split("|")]
        for match in ROW.finditer(section)
        if match[1] != "package"
    }


def imported() -> dict[str, list[str]]:
    """The rows of what the program may import."""
    return rows("What runs") | rows("What runs where it is asked for")


def direct(*requirements: str) -> set[str]:
    """The names in requirement lines."""
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def test_every_dependency_has_a_row():
    """docs/dependencies.md has licence, place and reason of each direct dependency, and of nothing else."""
    project = tomllib.loads(page("pyproject.toml"))["project"]
    assert set(rows("What runs")) == direct(*project["dependencies"])
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    assert set(rows("What runs where it is asked for")) == direct(*extras)
    assert all(len(cells) == 3 and all(cells) for cells in imported().values())


def test_every_development_dependency_has_a_row():
    """So has each package that only builds or tests."""
    lines = [line for name in ("build", "dev") for line in page(f"requirements-{name}.in").splitlines()]
    wanted = direct(*(line for line in lines if line and not line.startswith(("#", "-"))))
    assert set(rows("What builds and tests")) == wanted
    assert all(len(cells) == 2 and all(cells) for cells in rows("What builds and tests").values())


def test_a_dependency_is_imported_where_its_row_says():
    """Each file that imports a package is in its row, and each place in its row imports it."""
    wrong = []
    for package, (_, cell, _) in imported().items():
        places = re.findall(r"`([^`]+)`", cell)
        found = importers().get(package, set())
        strays = [name for name in found if not any(covers(place, name) for place in places)]
        idle = [place for place in places if not any(covers(place, name) for name in found)]
        wrong += [f"{package}: {', '.join(strays)} not in its row"] * bool(strays)
        wrong += [f"{package}: not imported in {', '.join(idle)}"] * bool(idle)
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_that_is_not_a_dependency():
    """A package that comes along with another may go with it: what is imported is asked for."""
    assert set(importers()) <= set(imported())


def covers(place: str, name: str) -> bool:
    """Whether a place in a row, a file or a folder ending in a slash, holds a module."""
    return name.startswith(place) if place.endswith("/") else name == place
