"""Which repositories a machine's own configuration names: Maven's settings and project, Gradle's build scripts.

Formats: https://maven.apache.org/settings.html, https://maven.apache.org/guides/mini/guide-mirror-settings.html. Only
what is plain is taken: an address with a `${property}` in it is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from mainstay.ecosystems._addresses import clear_url
from mainstay.ecosystems._maven_xml import Element, parse_xml, recode
from mainstay.errors import UnsupportedDocument
from mainstay.model import Discovery, Found

_SETTINGS = ("~/.m2/settings.xml", "/etc/maven/settings.xml")
_PROJECT = ("pom.xml",)
_SCRIPTS = ("settings.gradle", "settings.gradle.kts", "build.gradle", "build.gradle.kts")
DISCOVERY = Discovery(files=(*_SETTINGS, *_PROJECT, *_SCRIPTS))
_CENTRAL = "central"
"""The id under which Maven itself knows the repository that it uses by default."""
_EVERYTHING = ("*", "external:*")
_KINDS = (("repositories", "repository"), ("pluginRepositories", "pluginRepository"))
_COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*.*?(?:\*/|\Z))", re.DOTALL | re.MULTILINE)
"""One that begins a line: elsewhere the same characters may be part of an address or a pattern of filenames."""
_GRADLE = re.compile(
    r"""\bmaven\s*(?:\(\s*(?:url\s*=\s*)?|\{(?:[^{}]|\{[^{}]*\}){0,2000}?\burl\b[^{}"'\n]*)["'](https?://[^"'\s]+)["']"""
)

Named = tuple[str, bool]
"""An address, and whether it replaces the default."""


def find_repositories(found: Mapping[str, str]) -> list[Found]:
    """The repositories named in `found`, each address once, those that replace the default first."""
    results: dict[str, Found] = {}
    for names, read in ((_SETTINGS, _read_settings), (_PROJECT, _read_project), (_SCRIPTS, _read_script)):
        for name in names:
            for address, main in read(found.get(name, "")):
                url = clear_url(address)
                if url and (url not in results or (main and results[url].extra)):
                    results[url] = Found(url, extra=not main, why=name)
    return sorted(results.values(), key=lambda item: item.extra)


def find_fallbacks(found: Mapping[str, str]) -> list[Found]:
    """The repositories that are asked beside the one that replaces the default. Maven does not ask those that a mirror
    stands in for; Gradle knows no mirrors."""
    spared = set(_mirrored(found))
    extras = [entry for entry in find_repositories(found) if entry.extra]
    return [entry for entry in extras if entry.why in _SCRIPTS or entry.url not in spared]


def _mirrored(found: Mapping[str, str]) -> Iterator[str]:
    settings = [root for name in _SETTINGS if (root := _parse(found.get(name, ""), "settings"))]
    projects = [root for name in _PROJECT if (root := _parse(found.get(name, ""), "project"))]
    patterns = [mirror.value("mirrorOf") for root in settings for mirror in root.named("mirrors", "mirror")]
    for root in (*settings, *projects):
        for outer, inner in _KINDS:
            for repository in (*root.named(outer, inner), *root.named("profiles", "profile", outer, inner)):
                if any(_stands_for(repository.value("id"), pattern) for pattern in patterns):
                    yield clear_url(repository.value("url"))


Reader = Callable[[str], Iterator[Named]]


def _read_settings(text: str) -> Iterator[Named]:
    root = _parse(text, "settings")
    if root is None:
        return
    for mirror in root.named("mirrors", "mirror"):
        if mirror.value("blocked") != "true":
            yield mirror.value("url"), _stands_for(_CENTRAL, mirror.value("mirrorOf"))
    for outer, inner in _KINDS:
        for repository in root.named("profiles", "profile", outer, inner):
            yield repository.value("url"), False


def _read_project(text: str) -> Iterator[Named]:
    root = _parse(text, "project")
    if root is None:
        return
    for outer, inner in _KINDS:
        for repository in (*root.named(outer, inner), *root.named("profiles", "profile", outer, inner)):
            yield repository.value("url"), False


def _read_script(text: str) -> Iterator[Named]:
    for match in _GRADLE.finditer(_COMMENT.sub("", text)):
        yield match[1], False


def _stands_for(repository: str, mirror_of: str) -> bool:
    """Whether a mirror of these is asked in place of the repository of this id."""
    names = [name.strip() for name in mirror_of.split(",")]
    return f"!{repository}" not in names and any(name in (repository, *_EVERYTHING) for name in names)


def _parse(text: str, name: str) -> Element | None:
    try:
        root = parse_xml(recode(text.encode(errors="replace"))[0])
    except UnsupportedDocument:
        return None
    return root if root.name == name else None
