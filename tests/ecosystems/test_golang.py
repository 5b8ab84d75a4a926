"""The Go adapter over recorded documents of a made-up module proxy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.ecosystems._golang_paths import (
    escape,
    is_canonical,
    is_database,
    is_module,
    is_query,
    is_tile,
    is_version,
    unescape,
)
from mainstay.ecosystems.base import PrivateNames
from mainstay.ecosystems.golang import Golang
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import Artifact, File, Found, Index, Keep, Release, Request, Source, Upload

WIDGET = "code.example/widget"
COMMAND = "go env GOPROXY"
TREE_HEAD = b"go.sum database tree\n7\nhash\n\n\xe2\x80\x94 sum.example signature\n"
golang = Golang()


def route(path: str, method: str = "GET") -> Any:
    """The resource at a path as it stands in a request line."""
    return golang.route(Request(unquote(path), path, method))


def opened(path: str, body: bytes) -> Any:
    """The listing in `body`, had from `path`."""
    return golang.open(route(path), Source(body, "text/plain", f"https://registry.example/{path}"))


def listed(body: bytes) -> Any:
    """The list of versions in `body`."""
    return opened(f"{WIDGET}/@v/list", body)


def everything(release: Release) -> bool:
    """A policy that drops nothing."""
    return True


def without(*versions: str) -> Keep:
    """A policy that drops these."""
    return lambda release: release.version not in versions


def rendered(listing: Any, keep: Keep = everything) -> bytes:
    """What clients read."""
    body: bytes = listing.render(keep, lambda file: file.url, "list").body
    return body


def versions_of(listing: Any) -> list[str]:
    """The versions listed."""
    return [release.version for release in listing.releases]


PLAIN = st.text(st.characters(codec="ascii", exclude_characters="!"))


@given(PLAIN)
def test_what_is_escaped_reads_as_before(text: str) -> None:
    """Two names that differ in case alone differ in their small letters too, and none is lost."""
    assert unescape(escape(text)) == text
    assert escape(text) == escape(text).lower()


@given(st.text())
def test_a_name_has_one_escaped_spelling(text: str) -> None:
    """What is not the escape of anything is no name: else two addresses would be one module."""
    assert unescape(text) == "" or escape(unescape(text)) == text


@pytest.mark.parametrize("text", ["Acme", "!", "!!acme", "acme!", "!Acme", "!1", "a!-b", "!é"])
def test_a_capital_or_a_lone_mark_is_no_escaped_name(text: str) -> None:
    """Clients never send them."""
    assert unescape(text) == ""


@pytest.mark.parametrize("path", ["code.example/!acme/!gauge/v2", "code.example/%21acme/%21gauge/v2"])
def test_a_module_has_one_upstream_path_in_every_spelling(path: str) -> None:
    """The go command encodes the mark, others do not, and each must reach the same stored document."""
    project = "code.example/Acme/Gauge/v2"
    escaped = "code.example/!acme/!gauge/v2"
    assert route(f"{path}/@v/list") == Index(project, f"{escaped}/@v/list", "proxy", "*/*", "list")
    assert route(f"{path}/@latest") == Index(project, f"{escaped}/@latest", "proxy", "*/*", "latest")
    for kind in ("info", "mod", "zip"):
        name = f"v2.0.0-!r!c.1.{kind}"
        expected = Artifact(project, "v2.0.0-RC.1", f"v2.0.0-RC.1.{kind}", f"{escaped}/@v/{name}", "proxy")
        assert route(f"{path}/@v/{name}") == expected


def test_a_release_without_a_go_mod_keeps_its_mark() -> None:
    """The plus sign is a part of the version, not a space."""
    artifact = route("code.example/docker/@v/v20.10.0+incompatible.zip")
    assert artifact.version == "v20.10.0+incompatible"
    assert artifact.path == "code.example/docker/@v/v20.10.0+incompatible.zip"


@pytest.mark.parametrize("word", ["main", "v1", "v1.2", "daa7c04131f5", "v1.0.0+meta", "!fix_1", "a@b", "v01.0.0"])
def test_what_is_no_release_can_only_be_asked_for_what_it_stands_for(word: str) -> None:
    """A branch moves, so that its answer is a document that may change; files it has none."""
    index = route(f"{WIDGET}/@v/{word}.info")
    assert index == Index(WIDGET, f"{WIDGET}/@v/{word}.info", "proxy", "*/*", "info")
    for kind in ("mod", "zip", "ziphash", ""):
        with pytest.raises(NotFound):
            route(f"{WIDGET}/@v/{word}.{kind}")


CANONICAL = """
v0.0.0 v1.2.3 v10.20.30 v1.2.3-0 v1.2.3-rc.1 v1.2.3-RC.1 v1.2.3--- v1.2.3-0a v1.2.3-a.0.b-c v2.0.0+incompatible
v2.0.0-rc.1+incompatible v0.0.0-20191109021931-daa7c04131f5 v1.2.4-0.20191109021931-daa7c04131f5
v2.0.1-0.20191109021931-daa7c04131f5+incompatible v0.0.1-go1.21.0.linux-amd64
""".split()
VALID = ["v1", "v1.2", "v1.2.3+meta", "v1.2.3-rc+meta.1", "v1.2.3+001", *CANONICAL]
INVALID = """
1.2.3 V1.2.3 v v1. v1.2. v1.2.3. v01.2.3 v1.02.3 v1.2.03 v1.2.3-01 v1.2.3-rc.01 v1.2.3- v1.2.3-rc. v1.2.3-rc..1 v1.2.3+
v1.2-rc v1-rc v1.2.3.4 v1.2.3-rc_1 v1.2.3+incompatible+incompatible v1.2.3+a..b v-1.2.3 v1.2.3-ü vv1.2.3 v1.x
""".split()


@pytest.mark.parametrize("version", sorted({*VALID, *INVALID, "", " v1.2.3", "v1.2.3\n", "v١.2.3"}))
def test_the_grammar_of_versions(version: str) -> None:
    """As the go command has it: three numbers make a release, and no build metadata but one."""
    assert is_canonical(version) == (version in CANONICAL)
    assert is_version(version) == (version in VALID)


@pytest.mark.parametrize(
    ("tile", "legal"),
    [
        ("tile/8/0/000", True),
        ("tile/8/0/x001/234", True),
        ("tile/8/63/x001/x234/067", True),
        ("tile/8/0/x001/x000/000", True),
        ("tile/8/data/x001/234", True),
        ("tile/8/1/867.p/186", True),
        ("tile/8/1/867.p/255", True),
        ("tile/1/0/000.p/1", True),
        ("tile/30/0/000", True),
        ("tile/8/1/867.p/256", False),
        ("tile/8/1/867.p/0", False),
        ("tile/8/1/867.p/01", False),
        ("tile/8/1/867.p", False),
        ("tile/8/1/867.p/1/", False),
        ("tile/1/0/000.p/2", False),
        ("tile/0/0/000", False),
        ("tile/31/0/000", False),
        ("tile/08/0/000", False),
        ("tile/8/00/000", False),
        ("tile/8/-1/000", False),
        ("tile/8/100/000", False),
        ("tile/8/0/0", False),
        ("tile/8/0/0000", False),
        ("tile/8/0/x000/001", False),
        ("tile/8/0/x01/001", False),
        ("tile/8/0/001/234", False),
        ("tile/8/0/x001/x234", False),
        ("tile/8/0/data/000", False),
        ("tile/8/0/" + "x001/" * 6 + "000", False),
        ("tile/8/0/٠٠٠", False),
        ("tile/8/0", False),
        ("tile", False),
    ],
)
def test_the_grammar_of_tiles(tile: str, legal: bool) -> None:
    """One spelling for each tile, and none that the database's log cannot have."""
    assert is_tile(tile) == legal
    if legal:
        assert route(f"sumdb/sum.example/{tile}") == Artifact(
            "", "", f"sumdb sum.example {tile}", f"sum.example/{tile}", "sumdb"
        )
    else:
        with pytest.raises(NotFound):
            route("sumdb/sum.example/" + quote(tile))


@pytest.mark.parametrize("name", ["sum.example", "sum.example:8443", "127.0.0.1:80", "localhost"])
def test_a_database_is_named_by_its_host(name: str) -> None:
    """What it says of itself may change, and belongs to no module."""
    for what in ("supported", "latest"):
        assert route(f"sumdb/{name}/{what}") == Index("", f"{name}/{what}", "sumdb", "*/*", what)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", "-a", "a-", "a.", "a:", "a:b", "a:123456", "a_b", "a b", "é.example"]
)
def test_what_is_no_host_is_no_database(name: str) -> None:
    """The name is a part of the address that upstream is asked at."""
    assert not is_database(name)
    with pytest.raises(NotFound):
        route(f"sumdb/{quote(name)}/supported")


def test_a_lookup_belongs_to_its_module() -> None:
    """So a private module's name is never asked of the public database, by the rule that holds for its files."""
    lookup = route("sumdb/sum.example/lookup/corp.example/!secret@v1.2.3-!r!c1")
    assert lookup.project == "corp.example/Secret"
    assert lookup.project in PrivateNames(("corp.example/*",))
    assert lookup.version == "v1.2.3-RC1"
    assert (lookup.role, lookup.path) == ("sumdb", "sum.example/lookup/corp.example/!secret@v1.2.3-!r!c1")


def test_lookups_and_files_of_a_release_are_kept_apart() -> None:
    """An artifact is identified by its project and file name; the answers of two databases differ, too."""
    paths = [f"sumdb/{name}/lookup/{WIDGET}@v1.0.0" for name in ("sum.example", "other.example")]
    paths += [f"{WIDGET}/@v/v1.0.0.{kind}" for kind in ("info", "mod", "zip")]
    artifacts = [route(path) for path in paths]
    assert {artifact.project for artifact in artifacts} == {WIDGET}
    assert len({artifact.filename for artifact in artifacts}) == len(artifacts)
    assert all(map(golang.addressed, artifacts))


@pytest.mark.parametrize(
    "rest",
    [
        f"lookup/{WIDGET}",
        f"lookup/{WIDGET}@",
        f"lookup/{WIDGET}@main",
        f"lookup/{WIDGET}@v1",
        f"lookup/{WIDGET}@v1.0.0@v1.0.0",
        f"lookup/{WIDGET}@v1.0.0/go.mod",
        "lookup/code.example/Widget@v1.0.0",
        "lookup/widget@v1.0.0",
        "lookup/@v1.0.0",
        "lookup",
        "supported/",
        "latest/x",
        "",
        "tile/",
    ],
)
def test_a_database_has_no_other_paths(rest: str) -> None:
    """Upstream is asked for nothing that the protocol does not have."""
    with pytest.raises(NotFound):
        route(f"sumdb/sum.example/{rest}")


def test_a_module_is_listed_by_its_versions_and_a_tile_by_its_database() -> None:
    """Which of several upstreams has a tile is told by which of them serves the database."""
    listing = route(f"{WIDGET}/@v/list")
    assert golang.index_of(route(f"{WIDGET}/@v/v1.0.0.mod")) == listing
    assert golang.index_of(route(f"sumdb/sum.example/lookup/{WIDGET}@v1.0.0")) == listing
    assert golang.index_of(route("sumdb/sum.example/tile/8/0/000")) == route("sumdb/sum.example/supported")
    assert golang.index_of(Artifact("", "", "", "", "")).project == ""


@pytest.mark.parametrize(
    "path",
    [
        "",
        "@latest",
        "@v/list",
        "/@v/list",
        "widget/@v/list",
        "code.example//widget/@v/list",
        "/code.example/widget/@v/list",
        "code.example/widget//@v/list",
        "code.example/Widget/@v/list",
        "Code.example/widget/@v/list",
        "!code.example/widget/@v/list",
        "-code.example/widget/@v/list",
        ".example/widget/@v/list",
        "code./widget/@v/list",
        "code.example/.git/@v/list",
        "code.example/widget./@v/list",
        "code.example/wid get/@v/list",
        "code.example/widget%252f/@v/list",
        "code.example/wid%0aget/@v/list",
        "code.example/wid%5cget/@v/list",
        "code.example/w%C3%AFdget/@v/list",
        "code.example/widget/@v/list/",
        "code.example/widget/@v/",
        "code.example/widget/@v",
        "code.example/widget/@latest/",
        "code.example/widget/@latest/@v/list",
        "code.example/widget/@v/V1.0.0.zip",
        "code.example/widget/@v/v1.0.0",
        "code.example/widget/@v/v1.0.0.ziphash",
        "code.example/widget/@v/v1.0.0.zip.asc",
        "code.example/widget/@v/.info",
        "code.example/widget/@v/..info",
        "code.example/widget/@v/-x.info",
        "code.example/widget/@v/feature/x.info",
        "code.example/widget/@v/feature%2fx.info",
        "code.example/widget/@v/%252e%252e.info",
        "code.example/widget/@v/a%20b.info",
        "code.example/widget/@v/a%0ab.info",
        "code.example/widget/@v/" + "a" * 257 + ".info",
        "sumdb",
        "sumdb/",
        "sumdb/@v/list",
    ],
)
def test_what_the_protocol_does_not_have_is_not_found(path: str) -> None:
    """No hostile or illegal name reaches upstream."""
    with pytest.raises(NotFound):
        route(path)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_writes_are_uploads(method: str) -> None:
    """The protocol has none, but some registries take modules at the very paths."""
    assert route(f"{WIDGET}/@v/v1.0.0.zip", method) == Upload("publish")


def test_heads_are_reads() -> None:
    """Some tools look before they fetch."""
    assert route(f"{WIDGET}/@v/v1.0.0.zip", "HEAD") == route(f"{WIDGET}/@v/v1.0.0.zip")


@given(st.from_regex(r"[a-z]{1,4}\.example(/[A-Za-z0-9~_][A-Za-z0-9~_.-]{0,6}[A-Za-z0-9]){0,3}", fullmatch=True))
def test_any_module_is_asked_for_at_its_escaped_path(project: str) -> None:
    """From a file back to its path and to the file, whatever the capitals."""
    assert is_module(project)
    file = File(project, "v1.0.0-RC", "v1.0.0-RC.zip", "")
    artifact = route(golang.path(file))
    assert (artifact.project, artifact.version, artifact.filename) == (project, "v1.0.0-RC", "v1.0.0-RC.zip")
    assert artifact.path == golang.path(file) == artifact.path.lower()


@given(st.text(max_size=12))
def test_a_query_keeps_its_meaning_as_one_segment_of_a_path(text: str) -> None:
    """Whatever is let through cannot step out of the module."""
    if is_query(text):
        assert not set("/\\%?\0\r\n ").intersection(text)
        assert text.strip(".")


def test_a_list_is_served_as_it_is_less_what_is_refused() -> None:
    """Line ends, times and blank lines stay."""
    body = b"v1.0.0\r\n\nv1.1.0 2020-02-03T04:05:06+02:00\n  v1.2.0 \nv1.0.0\nv3"
    listing = listed(body)
    assert versions_of(listing) == ["v1.0.0", "v1.1.0", "v1.2.0", "v3"]
    assert rendered(listing) == body
    assert rendered(listing, without("v1.0.0", "v3")) == b"\nv1.1.0 2020-02-03T04:05:06+02:00\n  v1.2.0 \n"
    assert listing.releases[1].published == datetime(2020, 2, 3, 2, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><title>Sign in</title>",
        b"\n  <html>",
        b'{"error": "not found"}',
        b"v1.0.0\nlatest\n",
        b"v1.0.0, v1.1.0\n",
        b"v1.0.0 and more\n",
        b"1.0.0\n",
        b"v1.0.0\0\n",
        "v1.0.0\n\u2028".encode(),
        b"\xff\xfe",
    ],
)
def test_what_is_no_list_of_versions_is_refused(body: bytes) -> None:
    """A sign-in page with status 200 must not pass for a module without releases, which would be a takedown of all."""
    with pytest.raises(UnsupportedDocument, match="HTML page" if b"<" in body else "has the line"):
        listed(body)


def test_an_empty_list_is_legal() -> None:
    """A module whose repository has no tags has only pseudo-versions, which are not listed."""
    assert versions_of(listed(b"")) == []
    assert rendered(listed(b"")) == b""


def test_each_listed_release_has_its_three_files() -> None:
    """And no other; a version that is no release has none."""
    listing = listed(b"v1.0.0-RC\nv1\n")
    for kind in ("info", "mod", "zip"):
        file = listing.find(route(f"{WIDGET}/@v/v1.0.0-!r!c.{kind}"))
        assert file.url == f"https://registry.example/{WIDGET}/@v/v1.0.0-!r!c.{kind}"
    assert listing.find(route(f"{WIDGET}/@v/v1.0.1.zip")) is None
    assert listing.find(route(f"sumdb/sum.example/lookup/{WIDGET}@v1.0.0-!r!c")) is None
    assert listing.find(Artifact(WIDGET, "v1", "v1.zip", "", "proxy")) is None
    assert [file.filename for file in listing.files()] == ["v1.0.0-RC.zip"]


def test_a_release_put_back_stands_at_the_end_on_a_line_of_its_own() -> None:
    """Even where the last line has no end, and for what is no release."""
    new, old = listed(b"v1.1.0"), listed(b"v1.0.0 2020-02-03T04:05:06Z\nv1\nv1.1.0\nv0.9.0\n")
    whole = new.restored(old, lambda file: file.version in ("v1.0.0", "v1"))
    assert rendered(whole) == b"v1.1.0\nv1.0.0 2020-02-03T04:05:06Z\nv1\n"
    assert versions_of(whole) == ["v1.1.0", "v1.0.0", "v1"]
    assert whole.restored(old, lambda file: file.version == "v1.1.0") is whole
    info = opened(f"{WIDGET}/@latest", b'{"Version":"v1.0.0"}')
    assert new.restored(info, lambda file: True) is new
    assert info.restored(new, lambda file: True) is info


@pytest.mark.parametrize(
    ("time", "published"),
    [
        ("2020-02-03T04:05:06Z", datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2020-02-03T04:05:06.123456789+02:00", datetime(2020, 2, 3, 2, 5, 6, 123456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("2020-02-03T04:05:06", None),
        ("yesterday", None),
        (7, None),
        (None, None),
    ],
)
def test_a_version_tells_its_time_where_it_can(time: object, published: datetime | None) -> None:
    """The field is optional, and Go's clock has a zero of its own."""
    body = json.dumps({"Version": "v1.0.0", "Time": time}).encode()
    assert opened(f"{WIDGET}/@latest", body).releases == (Release("v1.0.0", published),)


def test_what_stands_for_a_refused_release_is_not_found() -> None:
    """The go command then picks from the list; the bytes of the rest are upstream's own."""
    body = b'{"Time":null, "Version":"v1.0.0", "Origin":{"VCS":"git"}}\n'
    for path in (f"{WIDGET}/@latest", f"{WIDGET}/@v/main.info"):
        listing = opened(path, body)
        assert rendered(listing) == body
        assert list(listing.files()) == []
        assert listing.find(route(f"{WIDGET}/@v/v1.0.0.zip")) is None
        with pytest.raises(NotFound, match=r"stands for v1\.0\.0"):
            rendered(listing, without("v1.0.0"))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"v1.0.0", b"[]", b"{}", b'{"Version":"main"}', b'{"Version":1}', b'{"Version":"v1"}']
)
def test_what_tells_of_no_release_is_refused(body: bytes) -> None:
    """The version must be one that stays."""
    with pytest.raises(UnsupportedDocument):
        opened(f"{WIDGET}/@v/main.info", body)


def test_notes_of_a_database_are_served_byte_by_byte() -> None:
    """Clients check the signature."""
    assert rendered(opened("sumdb/sum.example/latest", TREE_HEAD)) == TREE_HEAD
    for body in (b"", b"ok\n"):
        assert rendered(opened("sumdb/sum.example/supported", body)) == body


@pytest.mark.parametrize(
    ("what", "body"), [("supported", b" <!doctype html>"), ("latest", b"<html>"), ("latest", b""), ("latest", b"{}")]
)
def test_a_page_is_no_note_of_a_database(what: str, body: bytes) -> None:
    """Else clients would be told that a database is served where a sign-in page is."""
    with pytest.raises(UnsupportedDocument):
        opened(f"sumdb/sum.example/{what}", body)


def test_the_default_upstream_is_known_and_has_both_roles() -> None:
    """The library's address is a base once the file's path is off it."""
    url = golang.default_upstream()
    assert urlsplit(url).scheme == "https"
    assert urlsplit(url).path == "/"
    for base in ("https://registry.example/goproxy", "https://registry.example/goproxy/"):
        assert golang.bases(base) == {
            "proxy": "https://registry.example/goproxy/",
            "sumdb": "https://registry.example/goproxy/sumdb/",
        }


FIRST, SECOND = "https://one.example/go/", "https://two.example/"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, []),
        ({COMMAND: "https://one.example/go,direct\n"}, [Found(FIRST, False, (), COMMAND)]),
        (
            {COMMAND: "https://one.example/go/|https://two.example,https://one.example/go,off\n"},
            [Found(FIRST, False, (), COMMAND), Found(SECOND, True, (), COMMAND)],
        ),
        (
            {"GOPROXY": "https://two.example", COMMAND: "https://one.example/go"},
            [Found(FIRST, False, (), COMMAND), Found(SECOND, True, (), "GOPROXY")],
        ),
        ({"GOPROXY": " http://127.0.0.1:8080 , direct"}, [Found("http://127.0.0.1:8080/", False, (), "GOPROXY")]),
        ({"GOPROXY": "direct"}, []),
        ({"GOPROXY": "off|none,,"}, []),
        ({"GOPROXY": "file:///srv/modules,ftp://one.example,https://,https://[,https://one.example:99999999/"}, []),
        ({"GOPROXY": "https://one.example/?x,https://one.example/#x,https://öne.example,https://a b.example"}, []),
        (
            {"GOPROXY": "https://user:word@one.example/go"},
            [Found("https://user:word@one.example/go/", False, (), "GOPROXY")],
        ),
        (
            {"~/.config/go/env": "# GOPROXY=https://no.example\nGOSUMDB=off\nGOPROXY=https://two.example/,direct\r\n"},
            [Found(SECOND, False, (), "~/.config/go/env")],
        ),
        ({"~/.config/go/env": "GOPROXY=https://no.example\nGOPROXY=\nXGOPROXY=https://no.example\n"}, []),
        ({"~/.config/go/env": "https://no.example\n\0\n="}, []),
    ],
)
def test_proxies_are_found_where_the_go_command_is_told_of_them(found: dict[str, str], expected: list[Found]) -> None:
    """In its order; what is no web address is passed over."""
    assert golang.find_upstreams(found) == expected


def test_the_command_that_is_asked_for_settings_leaves_nothing_behind() -> None:
    """It would count itself in the home folder, and fetch the toolchain that a go.mod file asks for."""
    assert golang.discovery.commands == (("go", "env", "GOPROXY"),)
    environ = dict(golang.discovery.environ)
    assert environ["GOTOOLCHAIN"] == "local"
    assert environ["TEST_TELEMETRY_DIR"] == "/dev/null"
