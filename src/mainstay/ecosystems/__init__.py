"""The adapters, found by listing this package and the entry points of group `mainstay.ecosystems`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from mainstay.ecosystems.base import Ecosystem


@cache
def ecosystems() -> dict[str, Ecosystem]:
    """Every adapter by its id (its purl type), in alphabetical order."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    classes = [_own(name) for name in names if name != "base" and not name.startswith("_")]
    classes += [entry.load() for entry in entry_points(group="mainstay.ecosystems")]
    return {cls.id: cls() for cls in sorted(classes, key=lambda cls: cls.id)}


def _own(name: str) -> type[Ecosystem]:
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Ecosystem) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one Ecosystem, found {len(found)}")
    return found[0]
