"""What the figures were taken on: the machine and the versions of everything measured."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from install import ATHENS, PYTHON_PEERS, TOOLS, command_path


def describe_machine() -> dict[str, str | int]:
    """Cores, memory, processor model, kernel, operating system."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    system = platform.freedesktop_os_release()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory[1]) // 1024 if memory else 0,
        "cpu": model[1] if model else platform.machine(),
        "kernel": platform.release(),
        "system": system.get("PRETTY_NAME", "unknown"),
    }


def load_average() -> float:
    """One-minute load: what else the machine was doing when the run began."""
    return round(os.getloadavg()[0], 2)


def describe_versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of Mainstay, what it runs on, the servers named and the load generator."""
    found = {name: _ours(name) for name in ("mainstay", "uvicorn", "httptools", "aiohttp", "msgspec", "isal", "uvloop")}
    found["python"] = platform.python_version()
    found["nginx"] = _said([command_path("nginx") or "nginx", "-v"], r"nginx/(\S+)")
    found["wrk"] = _said(["wrk", "-v"], r"wrk (?:debian/)?(\S+)")
    for name in names:
        found |= _describe_peer(name)
    return found


def _describe_peer(name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for requirement in PYTHON_PEERS.get(name, ()):
        found[requirement.partition("==")[0]] = requirement.partition("==")[2]
        found[f"{name} python"] = _said([str(TOOLS / name / "bin" / "python"), "-V"], r"Python (\S+)")
    if name == "verdaccio":
        manifest = TOOLS / name / "node_modules" / name / "package.json"
        found |= {"node": _said(["node", "--version"], r"v(\S+)"), name: json.loads(manifest.read_text())["version"]}
    if name == "athens":
        found |= {"go": _said(["go", "version"], r"go(\d\S*)"), name: ATHENS.rpartition("@v")[2]}
    return found


def commit() -> str:
    """The revision that is measured, with a plus where the tree has changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or "no revision"


def _ours(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _said(command: list[str], pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match else "unknown"
