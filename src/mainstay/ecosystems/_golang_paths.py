"""Names and paths of Go modules and of their checksum database, below a module proxy's base.

Grammar: https://go.dev/ref/mod#module-path for names, #versions for versions, #goproxy-protocol for the escapes, and
https://go.dev/design/25530-sumdb for the database's paths.
"""

from __future__ import annotations

import re
from urllib.parse import quote

_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:[0-9]*[A-Za-z-][0-9A-Za-z-]*|{_NUMBER})"
_PRERELEASE = rf"(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?"
_CANONICAL = re.compile(rf"v{_NUMBER}\.{_NUMBER}\.{_NUMBER}{_PRERELEASE}(?:\+incompatible)?")
_VERSION = re.compile(
    rf"v{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}{_PRERELEASE}(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)
_QUERY = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.,+=@#$&(){}-]*[A-Za-z0-9_,+=@#$&(){}-])?")
"""A branch, a tag or a commit, as far as a path of this protocol can name one: they cannot have a slash."""
_HOST = re.compile(r"[a-z0-9](?=[a-z0-9-]*\.)[a-z0-9.-]*(?<!\.)")
_ELEMENT = re.compile(r"(?!\.)[A-Za-z0-9._~-]+(?<!\.)")
_DATABASE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_TILE = re.compile(
    r"tile/(?P<height>[1-9]|[12][0-9]|30)/(?:data|0|[1-9][0-9]?)"
    r"/(?:x(?!000)[0-9]{3}/(?:x[0-9]{3}/){0,4})?[0-9]{3}(?:\.p/(?P<width>[1-9][0-9]{0,9}))?"
)
_LONGEST_QUERY = 256
_ESCAPED = re.compile(r"!([a-z])")
_PATH_SAFE = "/!~+=@,$&()"


def escape(text: str) -> str:
    """`text` with each capital as `!` and its small letter, so that paths differ where case does not count."""
    return re.sub(r"[A-Z]", lambda match: "!" + match[0].lower(), text)


def unescape(text: str) -> str:
    """The text that `escape` makes `text` of; "" where there is none."""
    plain = _ESCAPED.sub(lambda match: match[1].upper(), text)
    return plain if escape(plain) == text and "!" not in plain else ""


def quote_path(path: str) -> str:
    """`path` percent-encoded, as upstream is asked."""
    return quote(path, safe=_PATH_SAFE)


def is_module(text: str) -> bool:
    """Whether `text` can be a module's path: a host with a dot, then elements that no file system takes amiss."""
    host, *elements = text.split("/")
    return bool(_HOST.fullmatch(host)) and all(map(_ELEMENT.fullmatch, elements))


def is_canonical(text: str) -> bool:
    """Whether `text` names one release for ever. Build metadata would not, but for the mark of a module without a
    go.mod file."""
    return bool(_CANONICAL.fullmatch(text))


def is_version(text: str) -> bool:
    """Whether `text` is a version at all: `v1` and `v1.2` are, too."""
    return bool(_VERSION.fullmatch(text))


def is_query(text: str) -> bool:
    """Whether `text` can be asked for as a version, to learn which one it stands for."""
    return len(text) <= _LONGEST_QUERY and bool(_QUERY.fullmatch(text))


def is_database(text: str) -> bool:
    """Whether `text` can be a checksum database's name: a host, perhaps with a port."""
    return bool(_DATABASE.fullmatch(text)) and ".." not in text


def is_tile(text: str) -> bool:
    """Whether `text` is a tile's path: `tile/HEIGHT/LEVEL/NUMBER`, with `.p/WIDTH` where the tile is not full."""
    match = _TILE.fullmatch(text)
    return match is not None and int(match["width"] or 1) < 1 << int(match["height"])


def file_path(project: str, filename: str) -> str:
    """The path of a release's file, `filename` being its version with `.info`, `.mod` or `.zip`."""
    return quote_path(f"{escape(project)}/@v/{escape(filename)}")
