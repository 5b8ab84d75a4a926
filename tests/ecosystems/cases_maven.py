"""Recorded documents of a Maven repository for the contract suite."""

from __future__ import annotations

from pathlib import Path

from contract.ecosystem_case import Case

_DATA = Path(__file__).parent / "data" / "maven"
_BASE = "https://registry.example/repository/"
_XML = "application/xml"


def _recorded(name: str) -> bytes:
    return (_DATA / name).read_bytes()


CASES = [
    Case(
        "a project's metadata",
        "org/acme/widget/maven-metadata.xml",
        _recorded("widget.xml"),
        "text/xml",
        f"{_BASE}org/acme/widget/maven-metadata.xml",
        denied="2.10.0",
        linkless=True,
    ),
    Case(
        "metadata with a prefix, comments, line ends of two characters and a version listed twice",
        "org/acme/gauge.core_2.13/maven-metadata.xml",
        _recorded("gauge-odd.xml"),
        _XML,
        f"{_BASE}org/acme/gauge.core_2.13/maven-metadata.xml",
        denied="3.0-SNAPSHOT",
        linkless=True,
    ),
    Case(
        "a snapshot's metadata",
        "org/acme/widget/3.0-SNAPSHOT/maven-metadata.xml",
        _recorded("widget-snapshot.xml"),
        _XML,
        f"{_BASE}org/acme/widget/3.0-SNAPSHOT/maven-metadata.xml",
        denied="3.0-SNAPSHOT",
        single=True,
        linkless=True,
    ),
    Case(
        "a group's plugins",
        "org/acme/maven-metadata.xml",
        _recorded("plugins.xml"),
        "application/xml; charset=UTF-8",
        f"{_BASE}org/acme/maven-metadata.xml",
        linkless=True,
    ),
    Case(
        "a checksum of metadata",
        "org/acme/maven-metadata.xml.sha1",
        _recorded("plugins.xml"),
        _XML,
        f"{_BASE}org/acme/maven-metadata.xml",
        partial=True,
    ),
    Case(
        "a snapshot's file without the time of its build",
        "org/acme/widget/3.0-SNAPSHOT/widget-3.0-SNAPSHOT.pom",
        b"<project><artifactId>widget</artifactId><version>3.0-SNAPSHOT</version></project>\n",
        "text/xml",
        f"{_BASE}org/acme/widget/3.0-SNAPSHOT/widget-3.0-SNAPSHOT.pom",
        denied="3.0-SNAPSHOT",
        single=True,
        linkless=True,
    ),
    Case(
        "the catalog of archetypes",
        "archetype-catalog.xml",
        _recorded("archetypes.xml"),
        _XML,
        f"{_BASE}archetype-catalog.xml",
        linkless=True,
    ),
]
