"""Names, versions and file names of Python distributions (PEP 427, 440, 491, 503, 625, and what came before them)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

EXTENSIONS = (
    ".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar", ".tgz",
    ".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg",
)  # fmt: skip
_LONGEST = 255
_SEPARATORS = re.compile(r"[-_.]+")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_FILENAME = re.compile(r"[A-Za-z0-9_][ !#-$&-.0-;=@-\[\]^_a-z{}~]*")
_PLATFORM = re.compile(
    r"[.-](?:py[23]|linux|macosx|win32|win-|win_|mingw|cygwin|solaris|sunos|freebsd|openbsd|netbsd|aix|hp-ux|darwin|osf1"
    r"|irix|noarch|src|i[3-6]86|x86_64|amd64|any)\S*$",
    re.IGNORECASE,
)
_RPM_RELEASE = re.compile(r"-\d+$")


def is_name(text: str) -> bool:
    """Whether `text` is a legal project name (PEP 508)."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


@lru_cache(maxsize=8192)
def normalize(name: str) -> str:
    """The one spelling of a project name (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


def is_filename(text: str) -> bool:
    """Whether `text` can be a distribution: a known extension, printable ASCII, nothing that a path or URL reads."""
    return text.endswith(EXTENSIONS) and len(text) <= _LONGEST and _FILENAME.fullmatch(text) is not None


@lru_cache(maxsize=16384)
def version_key(version: str) -> str:
    """What makes two spellings of a version the same release: "1.0" and "1.0.0" give the same (PEP 440)."""
    known = read_version(version)
    return version if known is None else canonicalize_version(known)


@lru_cache(maxsize=16384)
def parse_version(text: str) -> str | None:
    """The version in PEP 440's normal form, or None where it is none."""
    version = read_version(text)
    return None if version is None else str(version)


def read_version(text: str) -> Version | None:
    """The version, or None where it is none of PEP 440 or longer than a file's name can be."""
    try:
        return Version(text) if len(text) <= _LONGEST else None
    except InvalidVersion:
        return None


def spell_releases(of_files: Iterable[str], listed: Iterable[str]) -> dict[str, str]:
    """Each release's key and the one spelling that stands for it, the same in every document of a project.

    It is the longest in the names of its files, and that of a list of versions, which HTML lacks, only where it has no
    files.
    """
    names: dict[str, str] = {}
    for version in of_files:
        key = version_key(version)
        names[key] = max(names.get(key, ""), version, key=lambda text: (len(text), text))
    for version in listed:
        names.setdefault(version_key(version), parse_version(version) or version)
    return names


def version_of(project: str, filename: str) -> str | None:
    """The version of `filename` if it is plainly a file of the normalised name `project`, else None.

    A version that PEP 440 does not know is given as it is written, as long as it starts with a digit.
    """
    if filename.endswith(".whl"):
        parts = filename.split("-", 2)
        if len(parts) == 3 and normalize(parts[0]) == project:
            return parse_version(parts[1]) or parts[1]
    first = project.partition("-")[0]
    # Before a pattern is made: names in the addresses of logs are many, and most fit no file.
    if filename[: len(first)].lower() != first:
        return None
    match = _after_name(project).match(_stem(filename))
    if match is None:
        return None
    plain = _plain_version(filename, match[1])
    return parse_version(plain) or (plain if plain[0].isdigit() else None)


def version_in(project: str, filename: str) -> str:
    """The version of a file that the index of `project` lists; the bare file name where none can be told."""
    version = version_of(project, filename)
    if version is None:
        guess = guess_release(filename)
        version = guess[1] if guess else _stem(filename)
    return version


def guess_release(filename: str) -> tuple[str, str] | None:
    """(normalised project, version) from a file name alone, or None. Ambiguous for names that end in a number."""
    stem = _stem(filename)
    if filename.endswith(".whl"):
        parts = filename.split("-")
        if len(parts) < 5 or not is_name(parts[0]):
            return None
        return normalize(parts[0]), parse_version(parts[1]) or parts[1]
    at = stem.find("-")
    while at > 0:
        name, rest = stem[:at], stem[at + 1 :]
        if rest[:1].isdigit() and is_name(name):
            version = parse_version(_plain_version(filename, rest))
            if version is not None:
                return normalize(name), version
        at = stem.find("-", at + 1)
    name, dash, rest = stem.rpartition("-")
    return (normalize(name), _plain_version(filename, rest)) if dash and rest and is_name(name) else None


def _plain_version(filename: str, rest: str) -> str:
    """`rest` without the platform and Python tags that eggs, installers and dumb archives carry after the version."""
    if parse_version(rest) is not None:
        return rest
    plain = _PLATFORM.sub("", rest) or rest
    if filename.endswith(".rpm"):
        plain = _RPM_RELEASE.sub("", plain) or plain
    return plain


def _stem(filename: str) -> str:
    for extension in EXTENSIONS:
        if filename.endswith(extension):
            return filename.removesuffix(extension)
    return filename


@lru_cache(maxsize=1024)
def _after_name(project: str) -> re.Pattern[str]:
    words = "[-_.]+".join(re.escape(word) for word in project.split("-"))
    return re.compile(rf"{words}-(\S+)", re.IGNORECASE)
