"""The Maven adapter over documents of a made-up repository."""

from __future__ import annotations

import hashlib
import io
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.ecosystems._maven_version import highest, order
from mainstay.ecosystems._maven_xml import parse_xml, recode, tags_of
from mainstay.ecosystems.maven import Maven
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import Artifact, File, Found, Index, Keep, Listing, Release, Request, Sidecar, Source, Upload

DATA = Path(__file__).parent / "data" / "maven"
WIDGET = "org/acme/widget/maven-metadata.xml"
JAR = "org/acme/widget/1.0/widget-1.0.jar"
BUILD = "org/acme/widget/3.0-SNAPSHOT/widget-3.0-20260402.101500-7.jar"
maven = Maven()


def everything(release: Release) -> bool:
    """A policy that drops nothing."""
    return True


def nothing(release: Release) -> bool:
    """A policy that drops everything."""
    return False


def without(*versions: str) -> Keep:
    """A policy that drops these."""
    return lambda release: release.version not in versions


def theirs(file: File) -> str:
    """A link that is left as it is."""
    return file.url


def route(path: str, method: str = "GET") -> Any:
    """The resource at a path as it stands in a request line."""
    return maven.route(Request(unquote(path), path, method))


def opened(body: bytes | str, path: str = WIDGET, media_type: str = "text/xml") -> Listing:
    """The listing in `body`, or in the recorded file of that name, as found at `path`."""
    raw = body if isinstance(body, bytes) else (DATA / body).read_bytes()
    return maven.open(route(path), Source(raw, media_type, f"https://registry.example/{path}"))


def rendered(listing: Listing, keep: Keep = everything, form: str = "xml") -> bytes:
    """What a client reads."""
    return listing.render(keep, theirs, form).body


def metadata(*versions: str, before: str = "", after: str = "") -> bytes:
    """Metadata that lists these versions, each on a line of its own."""
    lines = "".join(f"      <version>{version}</version>\n" for version in versions)
    listed = f"    <versions>\n{lines}    </versions>\n"
    return f"<metadata>\n{before}  <versioning>\n{after}{listed}  </versioning>\n</metadata>\n".encode()


def versions_of(listing: Listing) -> list[str]:
    """The versions listed."""
    return [release.version for release in listing.releases]


# Paths


@pytest.mark.parametrize(
    ("path", "project"),
    [
        (WIDGET, "org.acme/widget"),
        ("org/acme/maven-metadata.xml", "org/acme"),
        ("org/maven-metadata.xml", "org"),
        ("junit/junit/maven-metadata.xml", "junit/junit"),
        ("org/acme/widget-core_2.13/maven-metadata.xml", "org.acme/widget-core_2.13"),
        ("org/acme/widget/3.0-SNAPSHOT/maven-metadata.xml", "org.acme/widget"),
        ("org/acme/widget/SNAPSHOT/maven-metadata.xml", "org.acme/widget"),
    ],
)
def test_metadata_is_an_index_of_the_project_whose_folder_it_is_in(path: str, project: str) -> None:
    """A snapshot's folder belongs to the project above it; a group's reads as a project."""
    assert route(path) == Index(project, path, "repository", "*/*", "xml")


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
def test_a_checksum_of_metadata_is_a_form_of_the_same_document(algorithm: str) -> None:
    """So it is of the bytes that are served, whatever rules are in force."""
    assert route(f"{WIDGET}.{algorithm}") == Index("org.acme/widget", WIDGET, "repository", "*/*", algorithm)


@pytest.mark.parametrize(
    ("path", "project", "version"),
    [
        (JAR, "org.acme/widget", "1.0"),
        ("org/acme/widget/1.0/widget-1.0-sources.jar", "org.acme/widget", "1.0"),
        ("org/acme/widget/1.0/widget-1.0.pom", "org.acme/widget", "1.0"),
        ("org/acme/widget/1.0/widget-1.0.module", "org.acme/widget", "1.0"),
        ("org/acme/widget/1.0/widget-1.0.jar.asc", "org.acme/widget", "1.0"),
        ("org/acme/widget/1.0/other_1.0.zip", "org.acme/widget", "1.0"),
        ("junit/junit/4.13/junit-4.13.jar", "junit/junit", "4.13"),
        ("org/acme/cats-core_2.13/1.0+4-ab/cats-core_2.13-1.0+4-ab.jar", "org.acme/cats-core_2.13", "1.0+4-ab"),
        (BUILD, "org.acme/widget", "3.0-SNAPSHOT"),
        (BUILD.replace(".jar", "-sources.jar.asc"), "org.acme/widget", "3.0-SNAPSHOT"),
    ],
)
def test_a_file_of_a_release_or_a_build_is_an_artifact(path: str, project: str, version: str) -> None:
    """Its version is its folder's, and it is had by its path."""
    filename = path.removeprefix(f"{project.replace('.', '/', project.partition('/')[0].count('.'))}/")
    artifact = Artifact(project, version, filename, path, "repository")
    assert route(path) == artifact
    assert maven.addressed(artifact)
    assert maven.path(File(project, version, filename, "")) == path
    assert maven.index_of(artifact).path == f"{path.rsplit('/', 2)[0]}/maven-metadata.xml"


def test_one_filename_in_two_folders_is_two_files() -> None:
    """`widget-1.0-jre.jar` is version 1.0 with a classifier, or version 1.0-jre."""
    one, other = route("org/acme/widget/1.0/widget-1.0-jre.jar"), route("org/acme/widget/1.0-jre/widget-1.0-jre.jar")
    assert (one.project, one.filename) != (other.project, other.filename)


def test_characters_that_clients_may_encode_reach_the_same_file() -> None:
    """A plus is a plus however it is spelt, and leaves in one spelling."""
    assert route("org/acme/widget/1.0%2B4/widget-1.0%2B4.jar") == route("org/acme/widget/1.0+4/widget-1.0+4.jar")


@pytest.mark.parametrize("suffix", [".sha1", ".md5", ".sha256", ".sha512"])
def test_a_checksum_of_a_file_is_its_sidecar(suffix: str) -> None:
    """It is derived from the file where need be; `.sha1` vouches for all but signatures."""
    assert route(JAR + suffix) == Sidecar(route(JAR), suffix)
    assert route(f"{JAR}.asc{suffix}") == Sidecar(route(f"{JAR}.asc"), suffix)
    assert maven.derivable(route(JAR), suffix)
    assert not maven.derivable(route(JAR), ".asc")
    assert maven.checksum_of(route(JAR)) == ".sha1"
    assert maven.checksum_of(route(f"{JAR}.asc")) == ""


@pytest.mark.parametrize(
    "path",
    [
        "org/acme/widget/3.0-SNAPSHOT/widget-3.0-SNAPSHOT.jar",
        "org/acme/widget/3.0-SNAPSHOT/widget-3.0-SNAPSHOT.jar.asc",
        "org/acme/widget/1.0/index.html",
    ],
)
def test_a_file_that_may_change_is_passed_on_as_it_is(path: str) -> None:
    """A snapshot without the time of its build, and a file that is not named after its release."""
    assert route(path) == Index("org.acme/widget", path, "repository", "*/*", "raw", opaque=True)
    assert route(f"{path}.sha1") == Index("org.acme/widget", path, "repository", "*/*", "sha1", opaque=True)
    assert versions_of(opened(b"any\xffthing", path, "application/octet-stream")) == [path.split("/")[3]]


def test_the_catalog_of_archetypes_belongs_to_no_project() -> None:
    """It is the one file at the root that builds ask for."""
    assert route("archetype-catalog.xml") == Index("", "archetype-catalog.xml", "repository", "*/*", "raw", opaque=True)
    listing = opened("archetypes.xml", "archetype-catalog.xml")
    assert listing.releases == ()
    assert rendered(listing, nothing, "raw") == (DATA / "archetypes.xml").read_bytes()
    assert (
        rendered(listing, nothing, "md5") == hashlib.md5(rendered(listing), usedforsecurity=False).hexdigest().encode()
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "org/",
        "org/acme/widget/",
        "org/acme/widget/1.0/",
        "robots.txt",
        "maven-metadata.xml",
        "org/acme/file.jar",
        "org.acme/widget/1.0/widget-1.0.jar",
        ".index/nexus-maven-repository-index.gz",
        ".meta/repository-metadata.xml",
        "org/.meta/widget/1.0/widget-1.0.jar",
        "org/acme/.nexus/1.0/widget-1.0.jar",
        "org/acme/widget/../widget-1.0.jar",
        "org/acme/widget/1.0/..",
        "org/acme/widget/1.0/.sha1",
        "org/acme/widget/1.0/widget-1.0.jar.sha1.md5",
        "org//widget/1.0/widget-1.0.jar",
        "org/acme/widget/1.0/widget%5C1.0.jar",
        "org/acme/widget/1.0/widget%0A1.0.jar",
        "org/acme/widget/1.0/widget%251.0.jar",
        "org/acme/widget/1.0/widget 1.0.jar",
        "org/acme/widget/1.0/widgét-1.0.jar",
        f"{WIDGET}.asc",
        f"{WIDGET}.sha1.asc",
        f"{WIDGET}.sha1.sha1",
        f"org/acme/widget/1.0/{'x' * 257}",
    ],
)
def test_what_is_no_path_of_the_layout_is_not_found(path: str) -> None:
    """Folders, hidden files, dots in a group's folders, checksums of checksums, steps up."""
    with pytest.raises(NotFound):
        route(path)


def test_a_write_is_a_deployment() -> None:
    """Whatever its path."""
    assert route(JAR, "PUT") == route("", "DELETE") == route("..", "POST") == Upload("deploy")


# Checksums


@pytest.mark.parametrize(
    ("suffix", "body"),
    [
        (".sha1", "{sha1}"),
        (".sha1", "{sha1}\n"),
        (".sha1", "\r\n{SHA1}\r\n"),
        (".sha1", "{sha1}  widget-1.0.jar\n"),
        (".sha1", "{sha1} *widget-1.0.jar"),
        (".sha1", "{sha1}\t/home/build/my files/widget-1.0.jar\nand more"),
        (".sha1", "SHA1(widget-1.0.jar)= {sha1}\n"),
        (".sha1", "SHA1 (target/widget (1).jar) = {SHA1}"),
        (".md5", "MD5(widget-1.0.jar)={md5}"),
        (".sha256", "{sha256}  widget-1.0.jar"),
        (".sha512", "{sha512}"),
    ],
)
def test_a_checksum_is_read_in_every_tools_way_of_writing(suffix: str, body: str) -> None:
    """Digits alone, with a filename behind, or with it before; in either case of letters."""
    digests = {name: hashlib.new(name, b"jar").hexdigest() for name in ("sha1", "md5", "sha256", "sha512")}
    text = body.format(**digests, SHA1=digests["sha1"].upper())
    algorithm = suffix.removeprefix(".")
    assert maven.parse_checksum(suffix, text.encode()) == {algorithm: digests[algorithm]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"<html>",
        b"\xff" * 40,
        b"a" * 39,
        b"a" * 41,
        b"a" * 64,
        b"g" * 40,
        b"a" * 40 + b"x",
        b"x " + b"a" * 40,
    ],
)
def test_what_is_no_checksum_vouches_for_nothing(body: bytes) -> None:
    """A page, half a digest, or one of another algorithm."""
    assert maven.parse_checksum(".sha1", body) == {}
    assert maven.parse_checksum(".asc", b"a" * 40) == {}


@pytest.mark.parametrize("suffix", [".sha1", ".md5", ".sha256", ".sha512"])
def test_a_derived_checksum_is_of_the_files_own_bytes(suffix: str) -> None:
    """And reads back as one."""
    body = b"jar" * 700_000
    made = maven.derive_sidecar(route(JAR), suffix, io.BytesIO(body))
    algorithm = suffix.removeprefix(".")
    assert made == hashlib.new(algorithm, body).hexdigest().encode()
    assert maven.parse_checksum(suffix, made)
    assert maven.derive_sidecar(route(JAR), ".asc", io.BytesIO(body)) is None


# Filtering


def test_metadata_of_which_all_is_kept_is_upstreams_own_bytes() -> None:
    """Its upstream's checksum is right then, too."""
    body = (DATA / "gauge-odd.xml").read_bytes()
    document = opened(body).render(everything, theirs, "xml")
    assert document.headers == (("x-checksum-sha1", hashlib.sha1(body, usedforsecurity=False).hexdigest()),)
    assert document.body == body


@pytest.mark.parametrize("keep", [everything, without("2.10.0"), without("1.0", "2.9.0"), nothing])
@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
def test_a_checksum_of_metadata_is_of_what_is_served(keep: Keep, algorithm: str) -> None:
    """Else the client would say that the download is damaged."""
    listing = opened("widget.xml")
    document = listing.render(keep, theirs, algorithm)
    assert document.body == hashlib.new(algorithm, rendered(listing, keep)).hexdigest().encode()
    assert document.media_type == "text/plain"


def test_a_version_goes_with_its_line_and_nothing_else_changes() -> None:
    """What points to others stays, byte for byte."""
    body = (DATA / "widget.xml").read_bytes()
    expected = body.replace(b"      <version>1.1</version>\n", b"")
    assert len(expected) < len(body)
    assert rendered(opened(body), without("1.1")) == expected


def test_a_version_is_found_however_it_is_written() -> None:
    """Twice, over three lines, as CDATA, beside others on a line, under a prefix, after a byte order mark."""
    body = (DATA / "gauge-odd.xml").read_bytes()
    listing = opened(body)
    assert versions_of(listing) == ["1.0", "2.0", "3.0-SNAPSHOT"]
    expected = (
        body.replace(b"\t\t\t<m:version>\r\n\t\t\t\t3.0-SNAPSHOT\r\n\t\t\t</m:version>\r\n", b"")
        .replace(b"\t\t\t<m:version><![CDATA[3.0-SNAPSHOT]]></m:version>\r\n", b"")
        .replace(b"<m:latest>\r\n\t\t\t3.0-SNAPSHOT\r\n\t\t</m:latest>", b"<m:latest>2.0</m:latest>")
        .replace(b"<m:version> 3.0-SNAPSHOT </m:version>", b"<m:version>2.0</m:version>")
    )
    assert rendered(listing, without("3.0-SNAPSHOT")) == expected
    assert rendered(listing, without("1.0")) == body.replace(b"<m:version>1.0</m:version>", b"")


def test_pointers_move_to_the_highest_version_that_is_kept() -> None:
    """By Maven's order, not by place or letters; `release` to no snapshot and no pointer to nothing."""
    after = "    <latest>3.0-SNAPSHOT</latest>\n    <release>2.10</release>\n"
    body = metadata("2.10", "1.0", "2.9", "2.10-rc1", "3.0-SNAPSHOT", "2.11-SNAPSHOT", after=after)
    kept = rendered(opened(body), without("3.0-SNAPSHOT", "2.10"))
    assert b"<latest>2.11-SNAPSHOT</latest>\n    <release>2.10-rc1</release>" in kept
    kept = rendered(opened(body), lambda release: release.version.endswith("SNAPSHOT"))
    assert b"<latest>3.0-SNAPSHOT</latest>\n    <versions>" in kept
    assert rendered(opened(body), nothing) == metadata()


def test_a_pointer_to_what_upstream_lists_no_more_moves_too() -> None:
    """A repository that took a release down may go on pointing to it."""
    after = "    <latest>2.0</latest>\n    <release>2.0</release>\n"
    body = metadata("1.0", "1.1", after=after, before="  <version>2.0</version>\n")
    assert rendered(opened(body)) == body
    assert rendered(opened(body), without("2.0")) == body.replace(b">2.0<", b">1.1<")


def test_a_text_that_no_path_can_have_is_no_release() -> None:
    """It could not be asked for, and stays where it is."""
    body = metadata("1.0", "", "a b", "../x", "a&#10;b", "&lt;")
    assert versions_of(opened(body)) == ["1.0"]
    assert rendered(opened(body), nothing) == body.replace(b"      <version>1.0</version>\n", b"")


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252", "utf-16-le", "utf-16-be", "us-ascii", "utf-8"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_metadata_stays_in_its_own_encoding(encoding: str, mark: str) -> None:
    """What is not touched keeps its bytes."""
    mark = mark if encoding.startswith("utf") else ""
    name = "utf-16" if "16" in encoding else encoding
    author = "" if encoding == "us-ascii" else "\xe9"
    text = f'{mark}<?xml version="1.0" encoding="{name}"?>\n<!-- {author} -->\n{metadata("1.0", "2.0").decode()}'
    kept = rendered(opened(text.encode(encoding)), without("2.0"))
    assert kept == text.replace("      <version>2.0</version>\n", "").encode(encoding)


def test_a_snapshots_metadata_is_about_that_release_alone() -> None:
    """Its builds are not releases."""
    path = "org/acme/widget/3.0-SNAPSHOT/maven-metadata.xml"
    listing = opened("widget-snapshot.xml", path)
    assert versions_of(listing) == ["3.0-SNAPSHOT"]
    assert rendered(listing, without("3.0")) == (DATA / "widget-snapshot.xml").read_bytes()
    for form in ("xml", "sha1"):
        with pytest.raises(NotFound):
            listing.render(without("3.0-SNAPSHOT"), theirs, form)


def test_a_page_for_people_is_no_file_of_a_build() -> None:
    """A login page in a snapshot's place is not handed on; where a page was asked for it is one."""
    snapshot = "org/acme/widget/3.0-SNAPSHOT/widget-3.0-SNAPSHOT.jar"
    with pytest.raises(UnsupportedDocument):
        opened(b"<html>", snapshot, "Text/HTML; charset=utf-8")
    listing = opened(b"<html>", "org/acme/widget/1.0/index.html", "text/html")
    assert listing.render(everything, theirs, "raw").media_type == "text/html"
    assert opened(b"", snapshot, "").render(everything, theirs, "raw").media_type == "application/octet-stream"


# Putting back


@pytest.mark.parametrize(
    ("newer", "expected"),
    [
        (metadata("1.0", "3.0"), metadata("1.0", "2.0", "3.0")),
        (metadata("1.0", "1.9"), metadata("1.0", "1.9", "2.0")),
        (metadata("1.0", "3.0").replace(b"\n", b"\r\n"), metadata("1.0", "2.0", "3.0").replace(b"\n", b"\r\n")),
        (metadata(), metadata().replace(b"</versions>", b"<version>2.0</version></versions>")),
        (
            b"<metadata><versioning><versions><version>1</version><version>3</version></versions></versioning></metadata>",
            metadata("1", "2.0", "3").replace(b"\n", b"").replace(b" ", b""),
        ),
        (
            b'<metadata><versioning><versions a="/>" /></versioning></metadata>',
            b'<metadata><versioning><versions a="/>" ><version>2.0</version></versions></versioning></metadata>',
        ),
        (
            b"<metadata><versioning/></metadata>",
            b"<metadata><versioning><versions><version>2.0</version></versions></versioning></metadata>",
        ),
        (
            b'<m:metadata xmlns:m="x"></m:metadata>',
            b'<m:metadata xmlns:m="x">%b</m:metadata>'
            % b"<m:versioning><m:versions><m:version>2.0</m:version></m:versions></m:versioning>",
        ),
    ],
)
def test_a_version_comes_back_in_its_order_and_in_the_documents_own_style(newer: bytes, expected: bytes) -> None:
    """As its neighbour is written; where there is none, in the innermost element that there is."""
    restored = opened(newer).restored(opened(metadata("2.0")), lambda file: file.version == "2.0")
    assert rendered(restored) == expected
    assert "2.0" in versions_of(restored)


def test_pointers_stay_when_a_version_comes_back() -> None:
    """Upstream took it away: nobody gets it who does not ask for it."""
    after = "    <latest>1.0</latest>\n    <release>1.0</release>\n"
    restored = opened(metadata("1.0", after=after)).restored(opened(metadata("2.0", "3.0")), lambda file: True)
    assert rendered(restored) == metadata("1.0", "2.0", "3.0", after=after)


def test_what_lists_no_releases_of_a_project_stays_as_it_is() -> None:
    """A snapshot's metadata and a file."""
    older = opened(metadata("2.0"))
    snapshot = opened("widget-snapshot.xml", "org/acme/widget/3.0-SNAPSHOT/maven-metadata.xml")
    file = opened(b"x", "org/acme/widget/3.0-SNAPSHOT/widget-3.0-SNAPSHOT.jar")
    assert snapshot.restored(older, lambda file: True) is snapshot
    assert file.restored(older, lambda file: True) is file
    assert older.restored(file, lambda file: True) is older


# Hostile documents


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><body>Log in</body></html>",
        b"<!DOCTYPE html><html/>",
        b"<metadata>",
        b"<metadata/><metadata/>",
        b"<metadata>&nbsp;</metadata>",
        b'{"versions": []}',
        b"<!DOCTYPE metadata><metadata/>",
        b'<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><metadata>&b;</metadata>',
        b'<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]><metadata>&x;</metadata>',
        b'<!DOCTYPE m SYSTEM "https://files.example/m.dtd"><metadata/>',
        b"<metadata>" + b"<a>" * 100 + b"</a>" * 100 + b"</metadata>",
        b"<metadata>" + b"<a>" * 200_000,
        b'<?xml version="1.0" encoding="utf-7"?><metadata/>',
        b'<?xml version="1.0" encoding="zlib"?><metadata/>',
        b'<?xml version="1.0" encoding="iso-8859-99"?><metadata/>',
        b"<metadata>\xff</metadata>",
        b"\xff\xfe<\0m",
    ],
)
def test_what_is_no_metadata_is_refused(body: bytes) -> None:
    """A page, half a document, a document type with or without entities, deep nesting, unknown encodings."""
    with pytest.raises(UnsupportedDocument):
        opened(body)


def test_a_large_document_costs_time_in_proportion() -> None:
    """Five megabytes of versions are read, filtered and written within seconds."""
    versions = [f"{number // 100}.{number % 100}" for number in range(30_000)]
    comment = f"<!-- {'x' * 4_500_000} -->"
    begun = time.process_time()
    kept = rendered(opened(metadata(*versions, after=comment)), lambda release: release.version.endswith("7"))
    assert kept == metadata(*(version for version in versions if version.endswith("7")), after=comment)
    assert time.process_time() - begun < 60
    assert parse_xml(b"<a>" + b"text" * 1_200_000 + b"</a>").text.startswith("text")


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (b"<a><b>x</b></a>", (3, 6, 7, 11)),
        (b"<a><b/></a>", (3, 7, 3, 7)),
        (b"<b><b/></b>", (3, 7, 3, 7)),
        (b"""<a><b c="/>" d='">' >x</b ></a>""", (3, 21, 22, 27)),
        (b"<a><b></b></a>", (3, 6, 6, 10)),
    ],
)
def test_an_elements_place_is_known_to_the_byte(text: bytes, tags: tuple[int, ...]) -> None:
    """Whatever stands in its attributes, and however it is closed."""
    assert tags_of(text, parse_xml(text).children[0]) == tags


@given(st.binary(max_size=60))
def test_any_bytes_are_recoded_without_a_difference_or_refused(body: bytes) -> None:
    """What is written back is what was read."""
    try:
        utf8, encoding = recode(body)
    except UnsupportedDocument:
        return
    assert utf8.decode().encode(encoding) == body


# Versions

WORDS = "alpha a beta b milestone m rc cr snapshot ga final release sp foo jre é".split()
SEGMENT = st.sampled_from(["", "0", "1", "00", "01", "2", "10", "9" * 5000, *WORDS])
VERSIONS = st.lists(st.tuples(st.sampled_from(["", ".", "-"]), SEGMENT), max_size=6).map(
    lambda parts: "".join(map("".join, parts))
)


@pytest.mark.parametrize(
    "versions",
    [
        ("1", "1.1"),
        ("1-snapshot", "1", "1-sp"),
        ("1-foo2", "1-foo10"),
        ("1-foo", "1-1", "1.1"),
        ("1-ga", "1-sp"),
        ("1-ga.1", "1-sp.1"),
        ("1-sp-1", "1-ga-1"),
        ("1.K", "1.7"),
        ("5.aardvark", "5.zebra"),
        ("1.b", "1.α"),
        ("1-alpha", "1-beta", "1-milestone", "1-rc", "1-snapshot", "1", "1-sp", "1-anything", "1-1", "1.1"),
        ("2.0-rc1", "2.0"),
        ("1.0-alpha-9", "1.0-alpha-10", "1.0-alpha-10-stable-1", "1.0-beta-1"),
        ("2.9.0", "2.10.0"),
        ("1.0-SNAPSHOT", "1.0", "1.0-1", "1.0.1-SNAPSHOT"),
        ("9" * 4999, "9" * 5000),
        ("1.2.b01", "1.2.b2", "1.2.b11", "1.2"),
        ("1.0.RC2", "1.0-RC3", "1.0.1"),
    ],
)
def test_versions_are_in_the_order_of_the_specification(versions: tuple[str, ...]) -> None:
    """Its own examples, and what repositories are full of."""
    keys = [order(version) for version in versions]
    assert all(low < high for low, high in pairwise(keys))
    assert highest(versions) == versions[-1]


@pytest.mark.parametrize(
    "versions",
    [
        ("1", "1.0", "1.0.0", "1.", "1-", "1-0", "1.ga", "1-ga", "1.final", "1-RELEASE", "01"),
        ("1.0.0-foo.0.0", "1-foo", "1.foo", "1.0.foo", "1-FOO"),
        ("1.0.0-0.0.0", "1"),
        ("1-a1", "1-alpha-1", "1alpha1"),
        ("1.0-rc1", "1.0-CR1"),
        ("1-1.foo-bar1baz-.1", "1-1-foo-bar-1-baz-0.1"),
        ("", "0", "0.0-ga"),
    ],
)
def test_versions_that_the_specification_calls_equal_are(versions: tuple[str, ...]) -> None:
    """Trailing nulls, aliases, the two separators before a qualifier, letters of either case."""
    assert len({order(version) for version in versions}) == 1


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_of_versions_is_total(one: str, two: str, three: str) -> None:
    """Any two can be compared, without circles, and one that is longer by nulls is equal."""
    low, middle, high = sorted([one, two, three], key=order)
    assert order(low) <= order(middle) <= order(high)
    assert order(low) <= order(high)
    assert order(f"{one}.0") == order(f"{one}-0") == order(f"{one}-ga")
    if one[-1:].isascii():
        assert order(one) == order(one.upper())


@given(st.text(max_size=40))
def test_any_text_has_a_place_in_the_order(version: str) -> None:
    """And nothing that it holds is an error."""
    assert order(version) == order(version)
    assert highest([version]) == version
    assert highest([]) is None


# Discovery

SETTINGS = "~/.m2/settings.xml"


def settings(*mirrors: tuple[str, str], more: str = "") -> str:
    """Maven's settings with these mirrors: what each is of, and its address."""
    listed = "".join(f"<mirror><mirrorOf>{of}</mirrorOf><url>{url}</url></mirror>" for of, url in mirrors)
    return f'<settings xmlns="http://maven.example/SETTINGS"><mirrors>{listed}</mirrors>{more}</settings>'


@pytest.mark.parametrize(
    ("mirror_of", "main"),
    [
        ("*", True),
        (" central ", True),
        ("external:*", True),
        ("one, central", True),
        ("*,!one", True),
        ("*,!central", False),
        ("!central,*", False),
        ("external:http:*", False),
        ("one,two", False),
        ("", False),
    ],
)
def test_a_mirror_of_the_default_replaces_it(mirror_of: str, main: bool) -> None:
    """Others are repositories of their own."""
    found = maven.find_upstreams({SETTINGS: settings((mirror_of, "https://registry.example/maven2"))})
    assert found == [Found("https://registry.example/maven2/", extra=not main, why=SETTINGS)]


def test_all_that_a_machine_names_is_found_once_and_the_mirror_first() -> None:
    """Settings, the project file and the scripts of Gradle."""
    profile = (
        "<profiles><profile><repositories><repository><url>http://a.example</url></repository></repositories>"
        "<pluginRepositories><pluginRepository><url>https://b.example/p/</url></pluginRepository></pluginRepositories>"
        "</profile></profiles>"
    )
    pom = (
        '<project xmlns="http://maven.example/POM"><repositories><repository><url>https://c.example/${x}</url>'
        "</repository><repository><url> https://d.example/r </url></repository></repositories><pluginRepositories>"
        f"<pluginRepository><url>https://registry.example/all</url></pluginRepository></pluginRepositories>{profile}</project>"
    )
    gradle = """
        repositories {
            maven { url "https://e.example/one" }
            maven { name = 'x'; url = uri('https://f.example:8443/two/') }
            // maven { url "https://no.example/" }
            /* maven { url "https://no.example/" }
               maven { url "https://no.example/" } */
            include "**/*.java"
            maven { credentials { username "u" } ; url "https://j.example/" }
            maven { name "none" } ; url "https://no.example/"
            exclude "**/*.kt"
            maven { url "$base/x" }
            mavenCentral()
        }
    """
    found = maven.find_upstreams(
        {
            SETTINGS: settings(("central", "https://registry.example/all"), more=profile),
            "/etc/maven/settings.xml": settings(("other", "https://g.example/")),
            "pom.xml": pom,
            "build.gradle": gradle,
            "settings.gradle.kts": 'maven("https://h.example/") \n maven(url = "https://i.example/")',
        }
    )
    assert [(item.url, item.extra) for item in found] == [
        ("https://registry.example/all/", False),
        ("http://a.example/", True),
        ("https://b.example/p/", True),
        ("https://g.example/", True),
        ("https://d.example/r/", True),
        ("https://h.example/", True),
        ("https://i.example/", True),
        ("https://e.example/one/", True),
        ("https://f.example:8443/two/", True),
        ("https://j.example/", True),
    ]
    assert {item.why for item in found} <= set(maven.discovery.files)


def test_an_address_that_is_extra_first_and_the_mirror_later_is_the_mirror() -> None:
    """What replaces the default is known wherever it stands."""
    both = settings(("one", "https://registry.example/"), ("*", "https://registry.example"))
    assert maven.find_upstreams({SETTINGS: both}) == [Found("https://registry.example/", why=SETTINGS)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<settings>",
        "<project/>",
        '<!DOCTYPE s [<!ENTITY a "https://registry.example/">]>' + settings(("*", "&a;")),
        settings(("*", "${env.MIRROR}")),
        settings(("*", "https://[::1")),
        settings(("*", "file:///srv/maven")),
        settings(("*", "https://registry.example/?a=b")),
        settings(("*", "https://registry.example/a b")),
        settings(("*", "")),
        "<settings><mirrors><mirror><mirrorOf>*</mirrorOf></mirror></mirrors></settings>",
        settings(("*", "http://0.0.0.0/")).replace("</url>", "</url><blocked>true</blocked>"),
        "\udc80",
    ],
)
def test_what_is_not_plainly_an_address_is_passed_over(text: str) -> None:
    """Half documents, entities, variables, mirrors that only block."""
    assert maven.find_upstreams(dict.fromkeys(maven.discovery.files, text)) == []


@pytest.mark.parametrize("text", ["/*\n", "\n", "maven {", "maven { url ", "maven {{", "maven { {} ", "url '"])
def test_a_script_of_any_kind_is_read_in_a_moment(text: str) -> None:
    """As long as a configuration file may be; a checkout may hold anything."""
    begun = time.process_time()
    assert maven.find_upstreams({"build.gradle": text * (256 * 1024 // len(text))}) == []
    assert time.process_time() - begun < 60


def test_an_address_is_taken_without_its_credential() -> None:
    """It belongs into the gateway's settings."""
    found = maven.find_upstreams({SETTINGS: settings(("*", "https://user:secret@[::1]:8443/m"))})
    assert found == [Found("https://[::1]:8443/m/", why=SETTINGS)]


def test_the_default_upstream_is_a_base() -> None:
    """As the library gives it, without the file's own path."""
    upstream = maven.default_upstream()
    assert upstream.startswith("https://")
    assert upstream.endswith("/")
    assert maven.bases(upstream) == maven.bases(upstream.rstrip("/")) == {"repository": upstream}
