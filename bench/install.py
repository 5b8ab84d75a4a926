"""Installs the peers: Python ones in a virtual environment each, Verdaccio by npm, Athens by go, the rest by Debian."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools" / "bench"
PYTHON_PEERS = {
    "devpi": ("devpi-server==6.20.3",),
    "proxpi": ("proxpi==1.3.1", "gunicorn==27.0.1"),
    "simple-repository-server": ("simple-repository-server==0.10.0",),
}
# Verdaccio asks for node-fetch by a tag that the registry no longer has; it wants the last CommonJS line.
VERDACCIO = {"private": True, "dependencies": {"verdaccio": "5.33.0"}, "overrides": {"node-fetch": "2.7.0"}}
ATHENS = "github.com/gomods/athens/cmd/proxy@v0.19.1"
DEBIAN = {"nginx": "nginx-light", "wrk": "wrk", "curl": "curl"}


def install_all(names: Sequence[str]) -> dict[str, str]:
    """Install what these servers need and is not there yet. Returns the peers that cannot be had here, and why.

    Raises:
        CalledProcessError, SystemExit: something that every run needs is missing, with what to do.
    """
    install_debian()
    for name in names:
        if name in PYTHON_PEERS:
            install_python(name, PYTHON_PEERS[name])
    if "verdaccio" in names:
        install_verdaccio()
    reason = install_athens() if "athens" in names else ""
    return {"athens": reason} if reason else {}


def install_debian() -> None:
    """Install nginx, wrk and curl; needs root, and says which packages are missing otherwise."""
    missing = [package for command, package in DEBIAN.items() if not command_path(command)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise SystemExit(f"bench needs Debian packages: sudo apt-get install {' '.join(missing)}")
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL
    )


def command_path(command: str) -> str | None:
    """Where a program is; Debian keeps nginx where only root looks."""
    return shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def install_python(name: str, requirements: tuple[str, ...]) -> None:
    """Make `.tools/bench/NAME` hold exactly these requirements."""
    folder, stamp = TOOLS / name, TOOLS / name / "installed.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == list(requirements):
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", *requirements], check=True)
    stamp.write_text(json.dumps(requirements))


def install_verdaccio() -> None:
    """Make `.tools/bench/verdaccio` hold the pinned Verdaccio."""
    folder = TOOLS / "verdaccio"
    manifest, wanted = folder / "package.json", json.dumps(VERDACCIO)
    if manifest.is_file() and manifest.read_text() == wanted and (folder / "node_modules" / "verdaccio").is_dir():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest.write_text(wanted)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)


def install_athens() -> str:
    """Make `.tools/bench/athens` hold the pinned Athens. Returns why it cannot, "" where it does."""
    folder, stamp = TOOLS / "athens", TOOLS / "athens" / "installed.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == ATHENS:
        return ""
    if not command_path("go"):
        return "there is no go to build it with"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if subprocess.run(["go", "install", ATHENS], env={**os.environ, "GOBIN": str(folder)}, check=False).returncode != 0:
        return f"go install {ATHENS} fails"  # what it says stands above, and names addresses that no file may
    stamp.write_text(json.dumps(ATHENS))
    return ""
