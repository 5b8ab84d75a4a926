"""What releases say of themselves, read from the documents of each ecosystem."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.ecosystems import ecosystems
from mainstay.ecosystems._facts import LONGEST_TEXT, index_at, plain_address
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import UnsupportedDocument
from mainstay.model import Artifact, Facts, Index, Request, Source

DATA = Path(__file__).parent / "data"
ABBREVIATED = "application/vnd.npm.install-v1+json"
SIMPLE = "application/vnd.pypi.simple.v1+json"
npm, pypi, cargo, maven, golang = (ecosystems()[name] for name in ("npm", "pypi", "cargo", "maven", "golang"))


def index(adapter: Ecosystem, path: str, **headers: str) -> Index:
    """The index at a path below the mount."""
    resource = adapter.route(Request(path, path, headers=headers))
    assert isinstance(resource, Index)
    return resource


def read(adapter: Ecosystem, resource: Index | Artifact, body: bytes | str, media_type: str = "") -> Facts | None:
    """The facts in a body."""
    raw = body if isinstance(body, bytes) else body.encode()
    return adapter.facts(resource, lambda: Source(raw, media_type, "https://registry.example/x"))


def manifest(media_type: str = "application/json", **fields: Any) -> Facts:
    """The facts of a packument with one release."""
    body = json.dumps({"name": "widget", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": fields}})
    facts = read(npm, index(npm, "widget"), body, media_type)
    assert facts is not None
    return facts


def metadata(*lines: str) -> Facts:
    """The facts of a METADATA file with these lines."""
    body = "\n".join(["Metadata-Version: 2.4", "Name: widget", "Version: 1.0", *lines, "", "License: in the text"])
    facts = read(pypi, METADATA, body)
    assert facts is not None
    return facts


def pom(inner: str) -> Facts:
    """The facts of a POM with these elements."""
    facts = read(maven, POM, f'<project xmlns="http://maven.example/POM/4.0.0">{inner}</project>')
    assert facts is not None
    return facts


METADATA = Artifact("widget", "1.0", "widget-1.0-py3-none-any.whl.metadata", "", "")
POM = Artifact("org.acme/widget", "1.0", "1.0/widget-1.0.pom", "", "")
PACKUMENT, PAGE = index(npm, "widget"), index(pypi, "simple/widget-tool/", accept=SIMPLE)
LEGACY, ENTRY = index(pypi, "pypi/widget-tool/json"), index(cargo, "wi/dg/widget")
READ: list[tuple[Ecosystem, Index | Artifact]] = [
    (npm, PACKUMENT),
    (pypi, PAGE),
    (pypi, LEGACY),
    (pypi, METADATA),
    (cargo, ENTRY),
    (maven, POM),
]


# npm


def test_a_full_packument_tells_of_the_latest_release() -> None:
    """Its fields, and the times of all releases, without those of the document itself."""
    body = {
        "dist-tags": {"latest": "1.0.0", "next": "2.0.0"},
        "versions": {
            "1.0.0": {
                "license": " MIT ",
                "repository": {"type": "git", "url": "git+https://forge.example/w.git"},
                "homepage": "https://w.example",
                "dist": {"tarball": "https://registry.example/w.tgz", "unpackedSize": 2811},
            },
            "2.0.0": {"license": "UNLICENSED"},
        },
        "time": {"created": "2020-01-01T00:00:00Z", "1.0.0": "2024-01-01T00:00:00Z", "2.0.0": "2024-02-01T00:00:00Z"},
    }
    assert read(npm, PACKUMENT, json.dumps(body), "application/json; charset=utf-8") == Facts(
        "1.0.0",
        licences=("MIT",),
        repository="git+https://forge.example/w.git",
        homepage="https://w.example",
        sizes_bytes=(2811,),
        published=(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)),
    )


@pytest.mark.parametrize(
    ("fields", "licences"),
    [
        ({"license": "SEE LICENSE IN EULA.txt"}, ("SEE LICENSE IN EULA.txt",)),
        ({"license": {"type": "BSD", "url": "https://w.example/l"}}, ("BSD",)),
        ({"license": {"url": "https://w.example/l"}}, ("https://w.example/l",)),
        ({"licenses": [{"type": "MIT"}, "Apache-2.0", 3]}, ("MIT", "Apache-2.0")),
        ({"license": ["MIT", {"type": "ISC"}]}, ("MIT", "ISC")),
        ({"license": 7, "licenses": "MIT"}, ("MIT",)),
        ({"license": ""}, ()),
        ({}, ()),
    ],
)
def test_npm_licences_are_read_in_every_form_that_packages_have(fields: dict[str, Any], licences: tuple[str]) -> None:
    """A text, an object, a list of both; () where there is none."""
    assert manifest(**fields).licences == licences


def test_an_abbreviated_packument_says_nothing_of_what_it_has_no_place_for() -> None:
    """No licence and no address: neither is missing."""
    facts = manifest(ABBREVIATED, dist={"unpackedSize": 10})
    assert facts == Facts("1.0.0", sizes_bytes=(10,))


@pytest.mark.parametrize("size", [True, "12", -1, 0, 1.5, None])
def test_a_size_that_is_none_is_not_said(size: object) -> None:
    """Only a whole number above 0 is one."""
    assert manifest(dist={"unpackedSize": size}).sizes_bytes is None


def test_without_a_latest_tag_the_highest_release_is_told_of() -> None:
    """And nothing is where no release is listed."""
    versions = {"1.0.0": {"license": "A"}, "1.10.0": {"license": "B"}, "2.0.0-rc.1": {"license": "C"}}
    facts = read(npm, PACKUMENT, json.dumps({"versions": versions}))
    assert facts is not None and (facts.version, facts.licences) == ("1.10.0", ("B",))
    assert read(npm, PACKUMENT, (DATA / "npm" / "gone-full.json").read_bytes().replace(b"gone", b"widget")) is None


# PyPI


def test_metadata_tells_of_licence_classifiers_and_addresses() -> None:
    """Core metadata 2.4; what stands below the headers is a description."""
    facts = metadata(
        "License-Expression: MIT OR Apache-2.0",
        "License-File: LICENSE",
        "Classifier: Private :: Do Not Upload",
        "Classifier: License :: OSI Approved :: MIT License",
        "Project-URL: Source Code, https://forge.example/w",
        "Project-URL: Home-Page, https://w.example",
    )
    assert facts == Facts(
        "1.0",
        licences=("MIT OR Apache-2.0",),
        licence_files=("LICENSE",),
        classifiers=("Private :: Do Not Upload", "License :: OSI Approved :: MIT License"),
        repository="https://forge.example/w",
        homepage="https://w.example",
    )


def test_older_metadata_has_a_text_for_a_licence_and_words_for_nothing() -> None:
    """A text over several lines is kept up to a bound; UNKNOWN is none."""
    long = "License: Copyright ACME\n" + "        All rights reserved, every one of them.\n" * 100
    (text,) = metadata(long.rstrip()).licences or ()
    assert text.startswith("Copyright ACME") and len(text) <= LONGEST_TEXT
    facts = metadata("License: UNKNOWN", "Home-page: https://w.example")
    assert (facts.licences, facts.homepage, facts.repository) == ((), "https://w.example", "")


def test_metadata_is_read_with_the_line_ends_of_windows_and_bytes_that_are_no_text() -> None:
    """A field that is not in UTF-8 is left out."""
    facts = read(pypi, METADATA, b"Name: widget\r\nLicense: \xff\xfe\r\nHome-page: https://w.example\r\n\r\nLicense: x")
    assert facts is not None
    assert (facts.licences, facts.homepage) == ((), "https://w.example")


def test_a_page_tells_of_the_newest_release_that_is_not_yanked() -> None:
    """Source, sizes of its files, and when the releases came out."""
    facts = read(pypi, PAGE, (DATA / "pypi" / "widget.json").read_bytes(), SIMPLE)
    assert facts is not None
    assert (facts.version, facts.has_source, facts.binary_only) == ("7.7.7", True, False)
    assert sorted(facts.sizes_bytes or ()) == [10300, 20600]
    assert datetime(2025, 7, 7, 7, 7, 7, 70707, tzinfo=UTC) in (facts.published or ())
    assert (facts.licences, facts.classifiers, facts.repository) == (None, None, None)


@pytest.mark.parametrize(
    ("names", "has_source", "binary_only"),
    [
        (["widget_tool-1.0-cp311-cp311-linux_x86_64.whl", "widget_tool-1.0-cp311-cp311-win_amd64.whl"], False, True),
        (["widget_tool-1.0-py3-none-any.whl"], False, False),
        (["widget_tool-1.0-cp311-cp311-linux_x86_64.whl", "widget_tool-1.0.tar.gz"], True, False),
        (["Widget.Tool-1.0-py2.7.egg"], False, False),
    ],
)
def test_a_page_tells_whether_there_is_only_what_is_built(
    names: list[str], has_source: bool, binary_only: bool
) -> None:
    """A wheel for any platform may hold its source, one for a single platform need not."""
    files = [{"filename": name, "url": f"https://files.example/{name}", "hashes": {}} for name in names]
    body = {"meta": {"api-version": "1.0"}, "name": "widget-tool", "files": files}
    facts = read(pypi, PAGE, json.dumps(body), SIMPLE)
    assert facts is not None
    assert (facts.has_source, facts.binary_only, facts.sizes_bytes, facts.published) == (
        has_source,
        binary_only,
        None,
        None,
    )


def test_a_page_without_files_says_nothing() -> None:
    """Nor does a list of projects."""
    assert read(pypi, PAGE, (DATA / "pypi" / "empty.html").read_bytes(), "text/html") is None
    assert read(pypi, index(pypi, "simple/"), (DATA / "pypi" / "list.json").read_bytes(), SIMPLE) is None


def test_a_legacy_document_tells_both() -> None:
    """What describes the release that it shows, and its files."""
    facts = read(pypi, LEGACY, (DATA / "pypi" / "legacy.json").read_bytes(), "application/json")
    assert facts is not None
    assert (facts.version, facts.licences, facts.repository) == ("7.7.7", (), "https://forge.example/widget")
    assert facts.classifiers == ("Programming Language :: Python :: 3",)
    assert facts.has_source is not None and facts.published


# cargo, Maven, Go


def test_a_crate_tells_only_when_it_was_published() -> None:
    """Nothing of a licence; a yanked release at the end is not the one that is told of."""
    facts = read(cargo, ENTRY, (DATA / "cargo" / "widget.index").read_bytes())
    assert facts is not None and facts.published
    assert facts == Facts(facts.version, published=facts.published)
    lines = [{"name": "widget", "vers": version, "yanked": version == "2.0.0"} for version in ("1.0.0", "2.0.0")]
    assert read(cargo, ENTRY, "\n".join(map(json.dumps, lines))) == Facts("1.0.0")
    assert read(cargo, index(cargo, "config.json"), (DATA / "cargo" / "config.json").read_bytes()) is None


def test_a_pom_tells_of_licences_and_addresses() -> None:
    """A licence by its name, else by its address; source control by its page, else by its connection."""
    facts = pom(
        "<licenses><license><name> EPL 2.0 </name><url>https://l.example</url></license>"
        "<license><url>https://gpl.example</url></license></licenses>"
        "<url>https://w.example</url><scm><connection>scm:git:https://forge.example/w</connection></scm>"
    )
    assert facts == Facts(
        "1.0",
        licences=("EPL 2.0", "https://gpl.example"),
        repository="scm:git:https://forge.example/w",
        homepage="https://w.example",
    )
    assert pom("<artifactId>widget</artifactId>") == Facts("1.0", licences=(), repository="", homepage="")


def test_what_a_parent_may_say_or_a_property_holds_is_not_said() -> None:
    """Neither is missing."""
    assert pom("<parent><artifactId>p</artifactId></parent>") == Facts("1.0")
    told = pom("<licenses><license><name>${l.name}</name></license></licenses><scm><url>${u}</url></scm>")
    assert (told.licences, told.repository) == (None, None)


def test_only_what_says_something_is_read() -> None:
    """A wheel, a jar, a module and Maven's metadata are not even opened."""

    def load() -> Source:
        raise AssertionError("opened")

    for adapter, resource in (
        (pypi, Artifact("widget", "1.0", "widget-1.0-py3-none-any.whl", "", "")),
        (npm, Artifact("widget", "1.0", "widget-1.0.tgz", "", "")),
        (maven, Artifact("org.acme/widget", "1.0", "1.0/widget-1.0.jar", "", "")),
        (maven, index(maven, "org/acme/widget/maven-metadata.xml")),
        (cargo, Artifact("widget", "1.0", "widget-1.0.crate", "", "")),
        (golang, index(golang, "mod.example/widget/@v/list")),
    ):
        assert adapter.facts(resource, load) is None


@pytest.mark.parametrize("adapter", ecosystems().values(), ids=ecosystems())
def test_every_recorded_index_says_something_or_nothing(adapter: Ecosystem) -> None:
    """In every form that a registry answers in; what is told is of a release that it lists."""
    for case in importlib.import_module(f"ecosystems.cases_{adapter.id}").CASES:
        resource = adapter.route(Request(case.path, case.path, headers=case.headers))
        if not isinstance(resource, Index):
            continue
        source = Source(case.body, case.media_type, case.url, case.description)
        facts = adapter.facts(resource, partial(lambda held: held, source))
        if facts is not None:
            assert facts.version in {release.version for release in adapter.open(resource, source).releases}


# Malformed documents


@pytest.mark.parametrize(("adapter", "resource"), READ)
@pytest.mark.parametrize(
    "body",
    [b"", b"<html><form>Sign in</form></html>", b'{"versions": {"1": {"a": ' + b"[" * 9999, b"\xff\xfe\x00", b"[]"],
)
def test_what_is_no_such_document_is_refused(adapter: Ecosystem, resource: Index | Artifact, body: bytes) -> None:
    """A login page, damage, another shape."""
    with pytest.raises(UnsupportedDocument):
        read(adapter, resource, body)


def test_a_pom_with_a_document_type_is_refused() -> None:
    """Entities have no place in one."""
    with pytest.raises(UnsupportedDocument):
        read(maven, POM, '<!DOCTYPE project [<!ENTITY a "b">]><project>&a;</project>')


@settings(max_examples=150, deadline=None)
@given(
    case=st.sampled_from(READ),
    body=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda text: f"Name: {text}\nLicense: {text}\nProject-URL: {text}".encode()),
        st.dictionaries(st.sampled_from(["info", "versions", "files", "name", "vers"]), st.text()).map(
            lambda value: json.dumps(value).encode()
        ),
    ),
)
def test_no_bytes_make_a_reader_fail_in_another_way(case: tuple[Ecosystem, Index | Artifact], body: bytes) -> None:
    """There are facts, or none, or the document is not supported."""
    try:
        facts = read(*case, body)
    except UnsupportedDocument:
        return
    assert facts is None or isinstance(facts, Facts)


# What a stored document was asked for as


@pytest.mark.parametrize(
    ("adapter", "path", "upstream"),
    [
        (npm, "@acme/gauge", "https://registry.example/npm/"),
        (pypi, "simple/widget-tool/", "https://registry.example/simple/"),
        (pypi, "pypi/widget-tool/json", "https://registry.example/simple/"),
        (cargo, "wi/dg/widget", "https://registry.example/index/"),
        (maven, "org/acme/widget/maven-metadata.xml", "https://registry.example/repository/"),
    ],
)
def test_a_stored_document_is_known_by_its_address(adapter: Ecosystem, path: str, upstream: str) -> None:
    """It is the index that a client had asked for; another project's is not."""
    asked = index(adapter, path)
    url = adapter.bases(upstream)[asked.role] + asked.path
    found = index_at(adapter, asked.project, upstream, url, asked.accept)
    assert found is not None and (found.project, found.path, found.role) == (asked.project, asked.path, asked.role)
    assert index_at(adapter, "another", upstream, url, asked.accept) is None


def test_a_document_that_another_address_answered_is_known_by_its_header() -> None:
    """Where it is that of the index that lists files; no other is guessed at."""
    upstream, url = "https://registry.example/simple/", "https://elsewhere.example/w"
    found = index_at(pypi, "widget-tool", upstream, url, PAGE.accept)
    assert found is not None and found.path == PAGE.path
    assert index_at(pypi, "widget-tool", upstream, url, "application/json") is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@registry.example/@acme/w?sig=1#x", "https://registry.example/@acme/w"),
        ("https://registry.example/", "https://registry.example"),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    """Neither credentials nor a signed query."""
    assert plain_address(url) == shown
