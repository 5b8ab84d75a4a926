"""Where a client looks for its own configuration on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mainstay.clients.marks import Refusal
from mainstay.model import ClientFile

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a client's own rules for finding its files depend on."""

    environ: Mapping[str, str]
    home: Path
    platform: str = "linux"

    @property
    def config_folder(self) -> str:
        """The platform's folder for configuration, as Go's and pip's libraries know it."""
        if self.platform == "darwin":
            return str(self.home / "Library/Application Support")
        return self.environ.get("XDG_CONFIG_HOME") or str(self.home / ".config")


def choose_place(file: ClientFile, machine: Machine) -> Path | Refusal:
    """The file that the client reads, or would read if it were there."""
    for pattern in file.places:
        path = _expand(pattern, machine)
        if path is None:
            continue
        if variable := _VARIABLE.fullmatch(pattern):
            if os.path.isabs(path):
                return Path(path)
            return Refusal(f"the variable {variable[1]} is set to {path!r}, which is not the path of a file")
        if os.path.isfile(path):
            return Path(path)
    return Path(_expand(file.places[-1], machine) or "")


def all_places(file: ClientFile, machine: Machine) -> list[Path]:
    """Every place where the client may have been told, those named by variables too."""
    found = [_expand(pattern, machine) for pattern in file.places]
    return [Path(path) for path in dict.fromkeys(found) if path and os.path.isabs(path)]


def _expand(pattern: str, machine: Machine) -> str | None:
    """The path that a pattern means, None where it names a variable that is not set."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = machine.environ.get(match[1]) or match[2]
        missing = missing or found is None
        return found or ""

    path = _VARIABLE.sub(value, pattern).replace("{config}", machine.config_folder)
    if path.startswith("~/"):
        path = str(machine.home / path[2:])
    return None if missing else path
