"""Names and paths of the npm registry, below its base."""

from __future__ import annotations

import re
from urllib.parse import quote

PATH_SAFE = "@!*()+'"
"""Characters of names, versions and files that clients do not encode, besides those that nobody does."""
_SELECTOR = re.compile(r"""(?!\.)[!-~]{1,256}""")
_UNSAFE = re.compile(r"""[\\/?#%"<>]""")


def is_selector(text: str) -> bool:
    """Whether `text` can be a version or a tag: printable ASCII that keeps its meaning as one segment of a path."""
    return bool(_SELECTOR.fullmatch(text)) and not _UNSAFE.search(text)


def tarball_filename(project: str, version: str) -> str:
    """The name that the registry gives a release's file, whatever the address that an index lists for it."""
    return f"{project.rpartition('/')[2]}-{version}.tgz"


def version_in(project: str, filename: str) -> str:
    """The version in a file's name as `tarball_filename` makes it, or ""."""
    stem, ending = tarball_filename(project, "\n").split("\n")
    fits = filename.startswith(stem) and filename.endswith(ending)
    return filename[len(stem) : -len(ending)] if fits else ""


def packument_path(project: str) -> str:
    """The path of a packument in the spelling that clients send (`@scope%2fname`): some registries know no other."""
    return quote(project, safe=PATH_SAFE).replace("%2F", "%2f")


def tarball_path(project: str, filename: str) -> str:
    """The path of a file, below the registry's base."""
    return f"{quote(project, safe='/' + PATH_SAFE)}/-/{quote(filename, safe=PATH_SAFE)}"


def attestations_path(project: str, version: str) -> str:
    """The path of a release's attestations, below the registry's base."""
    return f"-/npm/v1/attestations/{packument_path(project)}@{quote(version, safe=PATH_SAFE)}"
