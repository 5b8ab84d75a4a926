"""What `.ci/run`, the Makefile and the client lane do on a machine that lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from architecture.tree import ROOT

BASICS = ("bash", "dirname", "id", "env", "sh", "sed", "mv")
PACKAGES = set(
    (
        "python3 python3-venv make git curl wget openssl nodejs npm mount util-linux default-jre-headless "
        "golang-go cargo maven gradle default-jdk-headless chromium"
    ).split()
)


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


def place(path: Path, script: str) -> None:
    """Put a program there that stands for the machine's."""
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o755)


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
    assert set(done.stderr.split()) >= PACKAGES


def test_ci_does_not_install_as_an_ordinary_user(bare_path, tmp_path):
    """With apt-get but without the right to use it, the packages are named as well."""
    place(bare_path / "id", "echo 1000")
    place(bare_path / "apt-get", f"echo asked > {tmp_path}/noted")
    done = run([str(bare_path / "bash"), ".ci/run"], bare_path)
    assert done.returncode == 1
    assert set(done.stderr.split()) >= PACKAGES
    assert not (tmp_path / "noted").exists()


def test_ci_installs_what_is_missing_as_root_and_goes_on(bare_path, tmp_path):
    """This apt-get notes what it is asked for, and then there is a make, which notes that too."""
    noted = tmp_path / "noted"
    place(bare_path / "id", "echo 0")
    place(tmp_path / "make", f'echo make "$@" >> {noted}')
    place(bare_path / "apt-get", f'echo "$@" >> {noted}; [ "$1" = update ] || mv {tmp_path}/make {bare_path}/make')
    done = run([str(bare_path / "bash"), ".ci/run"], bare_path)
    assert done.returncode == 0, done.stderr
    update, install, test = noted.read_text("utf-8").splitlines()
    assert update == "update -q"
    assert install.startswith("install -q -y --no-install-recommends ")
    assert set(install.split()) >= PACKAGES
    assert test == "make test"


def make(bare_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """This machine's make, which finds nothing else of it."""
    found = shutil.which("make")
    assert found
    return run([found, *arguments], bare_path)


def test_make_says_that_python_is_missing(bare_path):
    """Without the interpreter, make fails with what to install."""
    done = make(bare_path, "check-python", "PYTHON=python3")
    assert done.returncode == 2
    assert "install Python 3.11 or newer" in done.stderr


def test_make_says_that_python_is_too_old(bare_path):
    """With an older interpreter, make names its version and the one that is needed."""
    place(bare_path / "python3.9", '[ "$1" = -V ] && echo Python 3.9.2\nexit 1')
    done = make(bare_path, "check-python", "PYTHON=python3.9")
    assert done.returncode == 2
    assert "python3.9 is Python 3.9.2: Mainstay needs Python 3.11 or newer" in done.stderr


def test_make_says_that_the_venv_module_is_missing(bare_path):
    """Debian's interpreter without python3-venv gets the name of that package."""
    place(bare_path / "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    done = make(bare_path, "check-python", "PYTHON=python3")
    assert done.returncode == 2
    assert "python3-venv" in done.stderr


def test_make_test_says_first_that_namespaces_are_forbidden(bare_path):
    """A machine on which the sealed mode cannot be tested is no machine to pass on: said before anything is made."""
    place(bare_path / "unshare", "echo unshare failed: Operation not permitted >&2; exit 1")
    done = make(bare_path, "test", "PYTHON=no-python", "VENV=no-folder")
    assert done.returncode == 2
    assert "Operation not permitted" in done.stderr
    assert "may not make user, network and mount namespaces" in done.stderr
    assert "no-python" not in done.stderr


def test_the_client_lane_says_that_node_is_missing(bare_path):
    """And which is needed."""
    done = run([sys.executable, "tests/clients/tools.py"], bare_path)
    assert done.returncode == 1
    assert "node is not on PATH" in done.stderr
    assert "apt-get install nodejs" in done.stderr


def test_the_client_lane_says_that_node_is_too_old(bare_path):
    """Not by what the pinned clients then do on it."""
    place(bare_path / "node", "echo v18.11.9")
    for name in ("npm", "git"):
        place(bare_path / name, "exit 1")
    done = run([sys.executable, "tests/clients/tools.py"], bare_path)
    assert done.returncode == 1
    assert "is Node v18.11.9: the client tests need 18.12 or newer" in done.stderr
