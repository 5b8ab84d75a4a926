"""What the lane says of a machine that lacks a package manager, or has an old one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clients.tools import MACHINE, ToolMissing, find_machine_tools

SAYS = {"node": "v22.1.0", "go": "go version go1.22.0 linux/amd64", "cargo": "cargo 1.96.0 (abc 2026-01-01)"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a program onto a PATH that has nothing else; it prints a text."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name: str, says: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
        return path

    return make


def test_the_programs_of_the_machine_are_found_on_path(place: Callable[[str, str], Path]) -> None:
    """Each by its name; the compiler of Java is wanted, but nobody calls it."""
    paths = {name: place(name, SAYS.get(name, "")) for name in MACHINE}
    del paths["javac"]
    assert find_machine_tools() == paths


@pytest.mark.parametrize("name", MACHINE)
def test_a_program_that_is_not_there_is_named_with_its_debian_package(
    place: Callable[[str, str], Path], name: str
) -> None:
    """And only that one."""
    for other in MACHINE.keys() - {name}:
        place(other, SAYS.get(other, ""))
    with pytest.raises(ToolMissing) as error:
        find_machine_tools()
    lines = [line for line in str(error.value).splitlines() if "is not on PATH" in line]
    assert len(lines) == 1
    assert lines[0].strip().startswith(f"{name} is not on PATH: install ")
    assert f"apt-get install {MACHINE[name][1]}" in lines[0]


@pytest.mark.parametrize(
    ("name", "says", "words"),
    [
        ("node", "v18.11.9", "is Node v18.11.9: the client tests need 18.12 or newer"),
        ("go", "go version go1.18.10 linux/amd64", "is Go 1.18.10: the client tests need 1.19 or newer"),
        ("cargo", "cargo 1.63.0", "is cargo 1.63.0: the client tests need 1.68 or newer"),
        ("cargo", "what?", "is cargo 'what?': the client tests need 1.68 or newer"),
    ],
)
def test_a_program_that_is_too_old_is_named_with_the_version_that_is_needed(
    place: Callable[[str, str], Path], name: str, says: str, words: str
) -> None:
    """Before any test has failed by it."""
    for other in MACHINE:
        place(other, SAYS.get(other, ""))
    place(name, says)
    with pytest.raises(ToolMissing, match="on Debian") as error:
        find_machine_tools()
    assert words in str(error.value)


def test_the_cargo_of_the_toolchain_is_taken_and_not_a_stand_in(
    place: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """A stand-in would look for its toolchain in the home folder, which is empty in a run."""
    for name in MACHINE:
        place(name, SAYS.get(name, ""))
    inner = tmp_path / "toolchain/bin/cargo"
    inner.parent.mkdir(parents=True)
    inner.write_text("")
    place("rustc", str(tmp_path / "toolchain"))
    assert find_machine_tools()["cargo"] == inner
