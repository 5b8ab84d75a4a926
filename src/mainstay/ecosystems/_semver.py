"""Precedence of Semantic Versions (https://semver.org, version 2.0.0, clause 11)."""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"[v=\s]*([0-9]{1,256})\.([0-9]{1,256})\.([0-9]{1,256})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+[0-9A-Za-z.-]*)?\s*"
)
_LONGEST = 256

Identifier = tuple[int, int, str]
Order = tuple[bool, tuple[int, int, int], bool, tuple[Identifier, ...]]

_LOWEST: Order = (False, (0, 0, 0), False, ())


def order(version: str) -> Order:
    """A sort key by precedence. Build metadata does not count; a text that is no version sorts below all versions."""
    match = _VERSION.fullmatch(version) if len(version) <= _LONGEST else None
    if match is None:
        return _LOWEST
    major, minor, patch, prerelease = match.groups()
    identifiers = tuple(_identifier(text) for text in prerelease.split(".")) if prerelease else ()
    return True, (int(major), int(minor), int(patch)), not prerelease, identifiers


def is_stable(version: str) -> bool:
    """Whether `version` is a version without a pre-release part."""
    valid, _, release, _ = order(version)
    return valid and release


def _identifier(text: str) -> Identifier:
    """Numeric identifiers compare as numbers and are lower than the others, which compare as ASCII."""
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
