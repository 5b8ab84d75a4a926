"""The locks pin bytes, and name no place to get them from."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from architecture.tree import page

LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")
ENTRY = re.compile(
    r"(?P<name>[a-z0-9.-]+)==(?P<version>[^\s;]+)(?P<marker> ; [^\\\n]+)?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)


def entries(lock: str) -> list[re.Match[str]]:
    """Each pinned package of a lock."""
    return list(ENTRY.finditer(page(lock)))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_only_pins_with_hashes(lock):
    """Every line belongs to a pin with its hashes: no option, no address, no loose requirement."""
    assert entries(lock)
    assert ENTRY.sub("", page(lock)) == ""


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_address(lock):
    """Where packages come from is the user's choice."""
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", page(lock))


def test_every_requirement_is_locked():
    """What pyproject.toml and the .in files ask for is pinned, at a version that they allow."""
    wanted = {
        "requirements.lock": tomllib.loads(page("pyproject.toml"))["project"]["dependencies"],
        "requirements-build.lock": asked("requirements-build.in"),
        "requirements-dev.lock": asked("requirements-dev.in"),
    }
    for lock, requirements in wanted.items():
        pins = {canonicalize_name(match["name"]): match["version"] for match in entries(lock)}
        for requirement in map(Requirement, requirements):
            assert pins.get(canonicalize_name(requirement.name), "") in requirement.specifier, (lock, requirement)


def test_the_development_lock_agrees_with_the_one_that_runs():
    """A package that both locks pin is the same version in both, so that tests run what users run."""
    running = {match["name"]: match["version"] for match in entries("requirements.lock")}
    for match in entries("requirements-dev.lock"):
        assert running.get(match["name"], match["version"]) == match["version"], match["name"]


def asked(name: str) -> list[str]:
    """The requirements of a .in file."""
    return [line for line in page(name).splitlines() if line and not line.startswith(("#", "-"))]
