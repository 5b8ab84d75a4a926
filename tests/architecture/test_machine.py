"""What `.ci/run` and the Makefile say on a machine that lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from architecture.tree import ROOT

BASICS = ("bash", "dirname", "id", "env", "sh", "sed")


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH with a shell and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in BASICS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def run(command: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    """A command with that PATH, no terminal and no input."""
    environ = {"PATH": str(path), "HOME": os.devnull, "CI": "true"}
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )


def test_ci_names_what_is_missing_where_it_may_not_install(bare_path):
    """Without apt-get, .ci/run fails with the Debian packages to install."""
    done = run([str(bare_path / "bash"), ".ci/run"], bare_path)
    assert done.returncode == 1
    assert {"python3", "python3-venv", "make", "git", "nodejs", "npm"} <= set(done.stderr.split())


def make(bare_path: Path, python: str) -> subprocess.CompletedProcess[str]:
    """`make check-python` with that interpreter."""
    found = shutil.which("make")
    assert found
    return run([found, "check-python", f"PYTHON={python}"], bare_path)


def test_make_says_that_python_is_missing(bare_path):
    """Without the interpreter, make fails with what to install."""
    done = make(bare_path, "python3")
    assert done.returncode == 2
    assert "install Python 3.11 or newer" in done.stderr


def test_make_says_that_python_is_too_old(bare_path):
    """With an older interpreter, make names its version and the one that is needed."""
    old = bare_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n', "utf-8")
    old.chmod(0o755)
    done = make(bare_path, "python3.9")
    assert done.returncode == 2
    assert "python3.9 is Python 3.9.2: Mainstay needs Python 3.11 or newer" in done.stderr


def test_make_says_that_the_venv_module_is_missing(bare_path):
    """Debian's interpreter without python3-venv gets the name of that package."""
    stripped = bare_path / "python3"
    stripped.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n', "utf-8")
    stripped.chmod(0o755)
    done = make(bare_path, "python3")
    assert done.returncode == 2
    assert "python3-venv" in done.stderr
