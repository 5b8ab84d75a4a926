"""Names, versions and paths of a cargo registry, below the bases of its parts.

Source: https://doc.rust-lang.org/cargo/reference/registry-index.html, "Index files".
"""

from __future__ import annotations

import re

CRATES = "crates/"
"""Where the gateway has the files of crates."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}"
_VERSION = r"[0-9]{1,20}\.[0-9]{1,20}\.[0-9]{1,20}(?:-[0-9A-Za-z.-]{1,200})?(?:\+[0-9A-Za-z.-]{1,200})?"
_IS_NAME = re.compile(_NAME)
_IS_VERSION = re.compile(_VERSION)
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~+=@,:-]{1,256}")
# A crate's name has no dots, so its end is the last hyphen before the first dot: "toy-1-2.0.0" is 2.0.0 of "toy-1".
_CRATE_FILE = re.compile(rf"({_NAME})-({_VERSION})\.crate")


def is_name(text: str) -> bool:
    """Whether `text` can be a crate's name. cargo itself sets no limit to its length; here it is 128 characters."""
    return bool(_IS_NAME.fullmatch(text))


def is_version(text: str) -> bool:
    """Whether `text` is a Semantic Version that is safe in a path."""
    return bool(_IS_VERSION.fullmatch(text))


def is_segment(text: str) -> bool:
    """Whether `text` keeps its meaning as one segment of a path."""
    return bool(_SEGMENT.fullmatch(text))


def prefix_of(name: str) -> str:
    """The folders in which the index has a crate."""
    match len(name):
        case 1 | 2:
            return str(len(name))
        case 3:
            return f"3/{name[0]}"
    return f"{name[:2]}/{name[2:4]}"


def index_path(project: str) -> str:
    """The path of a crate's index. Its file is named in lower case whatever the crate is."""
    return f"{prefix_of(project)}/{project}"


def project_in(path: str) -> str:
    """The project whose index is at `path`, or ""."""
    name = path.rpartition("/")[2]
    project = name.lower()
    return project if is_name(name) and index_path(project) == path.lower() else ""


def crate_filename(project: str, version: str) -> str:
    """The name of a release's file, by which it is known here whatever address a registry gives it."""
    return f"{project}-{version}.crate"


def crate_path(project: str, version: str) -> str:
    """The path of a release's file below the gateway's mount, in the form that clients make without a template."""
    return f"{CRATES}{project}/{version}/download"


def release_in(path: str) -> tuple[str, str]:
    """The project and version of the file at `path`, in either form that registries use and below whatever folders:
    `<crate>/<version>/download`, `<crate>-<version>.crate`. Two empty texts where it is neither."""
    segments = path.split("/")
    if len(segments) < 2 or not all(map(is_segment, segments)):
        return "", ""
    match segments:
        case [*_, name, version, "download"] if is_name(name) and is_version(version):
            return name.lower(), version
    found = _CRATE_FILE.fullmatch(segments[-1])
    return (found[1].lower(), found[2]) if found else ("", "")
