"""Paths of a Maven repository, below its base (repository layout "default"), and the names they are made from.

A project is named `group.id/artifactId`, as in a package URL. A file is named `version/filename` within it, because
the same filename may stand in two versions' folders ("a-1-b.jar" is version 1 with classifier b, or version 1-b).
"""

from __future__ import annotations

import re
from urllib.parse import quote

from mainstay.ecosystems._maven_version import is_snapshot

METADATA = "maven-metadata.xml"
ARCHETYPES = "archetype-catalog.xml"
ALGORITHMS = ("sha1", "md5", "sha256", "sha512")
CHECKSUMS = tuple(f".{algorithm}" for algorithm in ALGORITHMS)
_SAFE = "/+!$&'(),;=@"
"""Characters of versions and filenames that clients do not encode, besides those that nobody does."""
_GROUP = re.compile(r"[A-Za-z0-9_~+-]{1,256}")
_ARTIFACT = re.compile(r"(?!\.)[A-Za-z0-9_~+.-]{1,256}")
_SEGMENT = re.compile(r"(?!\.)[A-Za-z0-9_~+!$&'(),;=@^.-]{1,256}")
_TIMESTAMP = re.compile(r"-[0-9]{8}\.[0-9]{6}-[0-9]+[.-]")


def are_folders(names: list[str]) -> bool:
    """Whether these can be the folders of a group, or of a group and an artifact."""
    return bool(names) and all(map(_GROUP.fullmatch, names[:-1])) and bool(_ARTIFACT.fullmatch(names[-1]))


def is_segment(name: str) -> bool:
    """Whether `name` can be a version or a filename: ASCII that keeps its meaning as one segment of a path."""
    return bool(_SEGMENT.fullmatch(name))


def project_of(folders: list[str]) -> str:
    """The project whose folder it is. A group's own folder reads the same: only its metadata can tell."""
    return "/".join(filter(None, (".".join(folders[:-1]), folders[-1])))


def folder_of(project: str) -> str:
    """The project's folder, percent-encoded."""
    group, _, artifact = project.rpartition("/")
    return quoted("/".join(filter(None, (group.replace(".", "/"), artifact))))


def quoted(path: str) -> str:
    """The path, percent-encoded as clients do it."""
    return quote(path, safe=_SAFE)


def split_checksum(path: str) -> tuple[str, str]:
    """The path of the file that a checksum is of, and the algorithm; the path itself and "" where it is none."""
    stem, _, ending = path.rpartition(".")
    return (stem, ending) if ending in ALGORITHMS else (path, "")


def is_immutable(version: str, filename: str) -> bool:
    """Whether a file keeps its bytes for ever: a release's file, or a snapshot's with the time of its build.

    A file that is named without its version ("index.html") may be anything.
    """
    return bool(_TIMESTAMP.search(filename)) if is_snapshot(version) else version in filename
