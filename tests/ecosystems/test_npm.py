"""The npm adapter over recorded documents of a made-up registry."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.ecosystems._npm_packument import PIECE_BYTES, highest, parse_digests
from mainstay.ecosystems._semver import order
from mainstay.ecosystems.base import PrivateNames
from mainstay.ecosystems.npm import ABBREVIATED_ACCEPT, Npm
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import (
    Artifact,
    Document,
    File,
    Found,
    Generated,
    Index,
    Keep,
    Passthrough,
    Release,
    Request,
    Source,
    Upload,
)

DATA = Path(__file__).parent / "data" / "npm"
GATEWAY = "http://gateway.example/npm/"
ABBREVIATED = "application/vnd.npm.install-v1+json"
BULK = "-/npm/v1/security/advisories/bulk"
AUDIT = "-/npm/v1/security/audits/quick"
npm = Npm()


def ours(file: File) -> str:
    """A link to the gateway."""
    return GATEWAY + npm.path(file)


def theirs(file: File) -> str:
    """A link that is left as it is."""
    return file.url


def everything(release: Release) -> bool:
    """A policy that drops nothing."""
    return True


def without(*versions: str) -> Keep:
    """A policy that drops these."""
    return lambda release: release.version not in versions


def route(path: str, method: str = "GET", query: str = "", **headers: str) -> Any:
    """The resource at a path as it stands in a request line."""
    return npm.route(Request(unquote(path), path, method, query, headers))


def opened(body: bytes | str, project: str = "widget", media_type: str = "application/json") -> Any:
    """The listing in `body`, or in the recorded file of that name."""
    raw = body if isinstance(body, bytes) else (DATA / body).read_bytes()
    url = f"https://registry.example/{project}"
    return npm.open(Index(project, project, "registry", ABBREVIATED_ACCEPT, "full"), Source(raw, media_type, url))


def asked(project: str, filename: str) -> Artifact:
    """The artifact of that name, as a client asks for it."""
    resource = route(f"{project}/-/{filename}")
    assert isinstance(resource, Artifact)
    return resource


def rendered(document: Document) -> Any:
    """The document's JSON."""
    return json.loads(document.body)


@pytest.mark.parametrize("path", ["@acme%2fgauge", "@acme%2Fgauge", "@acme/gauge", "@acme/gauge/"])
def test_a_scoped_packument_has_one_upstream_path_in_every_spelling(path: str) -> None:
    """Clients spell the slash in three ways, and each must reach the same stored document."""
    assert route(path) == Index("@acme/gauge", "@acme%2fgauge", "registry", "application/json", "full")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (ABBREVIATED_ACCEPT, "abbreviated"),
        (ABBREVIATED, "abbreviated"),
        (f"{ABBREVIATED.upper()} ; Q=0.5, application/json;q=0.5", "abbreviated"),
        (f"{ABBREVIATED}; q=0.5, */*", "full"),
        (f"{ABBREVIATED};q=0", "full"),
        (f"{ABBREVIATED};q=nonsense", "full"),
        ("application/json", "full"),
        ("*/*", "full"),
        ("", "full"),
    ],
)
def test_the_form_follows_the_weights_of_the_accept_header(accept: str, form: str) -> None:
    """The abbreviated form is for those who prefer it, as RFC 9110 weighs."""
    index = route("widget", accept=accept)
    assert index.form == form
    assert index.accept == (ABBREVIATED_ACCEPT if form == "abbreviated" else "application/json")


def test_a_version_and_a_tag_are_forms_of_the_packument() -> None:
    """One stored document answers for all of a project's releases."""
    assert route("widget/1.0.0") == Index("widget", "widget", "registry", "application/json", "version:1.0.0")
    assert route("@acme/gauge/latest").form == "version:latest"
    assert route("widget/1.0.0+build.1").form == "version:1.0.0+build.1"
    assert route("-/package/@acme%2fgauge/dist-tags").form == "dist-tags"
    assert route("-/package/widget/dist-tags").project == "widget"


@pytest.mark.parametrize(
    ("path", "project", "version", "filename"),
    [
        ("widget/-/widget-1.0.0.tgz", "widget", "1.0.0", "widget-1.0.0.tgz"),
        ("widget/-/widget-2.0.0-rc.10.tgz", "widget", "2.0.0-rc.10", "widget-2.0.0-rc.10.tgz"),
        ("@acme/gauge/-/gauge-1.0.0.tgz", "@acme/gauge", "1.0.0", "gauge-1.0.0.tgz"),
        ("@acme%2fgauge/-/gauge-1.0.0.tgz", "@acme/gauge", "1.0.0", "gauge-1.0.0.tgz"),
        ("@acme/gauge/-/@acme/gauge-1.0.0.tgz", "@acme/gauge", "1.0.0", "gauge-1.0.0.tgz"),
        ("download/@acme/gauge/1.0.0/11f6ad8e", "@acme/gauge", "1.0.0", "gauge-1.0.0.tgz"),
        ("download/widget/1.0.0/11f6ad8e", "widget", "1.0.0", "widget-1.0.0.tgz"),
        ("download/-/download-1.0.0.tgz", "download", "1.0.0", "download-1.0.0.tgz"),
        ("widget/-/other-1.0.0.tgz", "widget", "", "other-1.0.0.tgz"),
        ("-/-/--0.0.1.tgz", "-", "0.0.1", "--0.0.1.tgz"),
    ],
)
def test_a_tarball_is_known_by_project_and_filename(path: str, project: str, version: str, filename: str) -> None:
    """Registries differ in the folders, and the identity is the same."""
    resource = route(path)
    assert isinstance(resource, Artifact)
    assert (resource.project, resource.version, resource.filename) == (project, version, filename)
    assert unquote(resource.path) == unquote(path)


@pytest.mark.parametrize(
    "name", ["JSONStream", "a", "-", "socket.io", "with~tilde", "it's", "@_acme/_thing", "x" * 214]
)
def test_legal_and_legacy_names_route(name: str) -> None:
    """Old packages have capitals and characters that new ones may not."""
    assert route(name).project == name


@pytest.mark.parametrize(
    "path",
    [
        "..", "a/..", "a/../b", "%2e%2e/b", "a/%2e%2e/b", "a/-/..%2f..%2fsecret", "a/-/..", "a//b", "/a", "a\\b", "a/-",
        "a/-/%252e%252e", "@acme", "@acme/", "@/x", "@acme/..", "@../x", "@acme/.hidden", ".hidden", "_private",
        "a b", "a%00b", "a%0d%0ab", "a/1.0.0%0d%0aX: y", "a?b", "ä", "node_modules", "favicon.ico", "x" * 215,
        "a/1.0.0/extra", "a/-/b/..", "a/-/%2e/x.tgz%3f", "-/all", "-/nothing", "-/v1", "-/v1/login", "-/package/a",
        "-/package/../dist-tags", "-/npm/v1/attestations/widget", "-/npm/v1/attestations/..@1", "-/npm/v1/user",
        "download/a/1.0.0/../x", "download/@acme/gauge/1.0.0", "download/a/..%2f/x/y", BULK,
    ],
)  # fmt: skip
def test_what_is_no_path_of_the_protocol_is_not_found(path: str) -> None:
    """Illegal names, traversal in every spelling and unknown calls never reach upstream."""
    with pytest.raises(NotFound):
        route(path)


@given(st.text(max_size=60), st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"]))
def test_arbitrary_paths_route_or_are_not_found(path: str, method: str) -> None:
    """Whatever a client sends, the answer is a resource or NotFound, and an upstream path is clean."""
    try:
        resource = npm.route(Request(path, path, method, path))
    except NotFound:
        return
    if isinstance(resource, Index | Artifact | Passthrough):
        assert resource.path.isascii()
        assert resource.path.isprintable()
        assert " " not in resource.path
        assert ".." not in resource.path.partition("?")[0].split("/")


def test_calls_that_are_not_documents_are_passed_on() -> None:
    """Search, keys, attestations and audits keep their place at upstream."""
    search = route("-/v1/search", query="text=a%20b&size=20\r\n")
    assert (search.path, search.ttl_s) == ("-/v1/search?text=a%20b&size=20%0D%0A", 60)
    assert route("-/npm/v1/keys").ttl_s > 0
    attestations = route("-/npm/v1/attestations/@acme%2fgauge@1.2.0")
    assert (attestations.project, attestations.path) == (
        "@acme/gauge",
        "-/npm/v1/attestations/@acme%2fgauge@1.2.0",
    )
    assert attestations.ttl_s > 0
    assert route("-/whoami") == Passthrough("-/whoami", "registry", accept="application/json")
    for path in (BULK, "-/npm/v1/security/audits", AUDIT):
        assert route(path, "POST") == Passthrough(path, "registry", accept="application/json")


def test_ping_and_the_root_are_answered_here() -> None:
    """Neither needs upstream."""
    assert (route("-/ping"), route("")) == (Generated("ping"), Generated("root"))
    assert rendered(npm.generate("ping")) == rendered(npm.generate("root")) == {}


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("PUT", "widget", "publish"),
        ("PUT", "@acme%2fgauge", "publish"),
        ("DELETE", "widget/-rev/12", "unpublish"),
        ("PUT", "widget/-rev/12", "unpublish"),
        ("PUT", "-/package/widget/dist-tags/beta", "tag"),
        ("POST", "-/package/widget/access", "access"),
        ("PUT", "-/user/org.couchdb.user:ann", "login"),
        ("POST", "-/v1/login", "login"),
        ("POST", "-/npm/v1/tokens", "login"),
        ("POST", "-/npm/v1/hooks/hook", "change"),
        ("PUT", "-/-rev/12", "unpublish"),
        ("POST", "", "publish"),
    ],
)
def test_writes_are_uploads(method: str, path: str, what: str) -> None:
    """The gateway says which write it refuses."""
    assert route(path, method) == Upload(what)


def test_releases_carry_their_publish_times() -> None:
    """Times are aware UTC, in the order of the index; unpublished versions are no releases."""
    releases = opened("widget-full.json").releases
    assert [release.version for release in releases[:3]] == ["0.9.0", "1.0.0", "1.10.0"]
    assert releases[0].published == datetime(2011, 2, 3, 4, 5, 6, 789000, UTC)
    assert "0.8.0" not in {release.version for release in releases}
    assert {release.published for release in opened("widget-abbreviated.json").releases} == {None}


def test_a_time_that_is_no_time_is_absent() -> None:
    """Malformed, naive and extreme times neither fail nor become local."""
    times = {"1.0.0": "yesterday", "1.0.1": "2020-01-01T00:00:00", "1.0.2": 5, "1.0.3": "0001-01-01T00:00:00+23:00"}
    body = json.dumps({"versions": {version: {} for version in times}, "time": times}).encode()
    published = [release.published for release in opened(body).releases]
    assert published == [None, datetime(2020, 1, 1, tzinfo=UTC), None, None]


def test_an_unpublished_package_has_no_releases() -> None:
    """The registry keeps a packument without versions for it: that is legal."""
    listing = opened("gone-full.json", "gone")
    assert listing.releases == ()
    assert listing.render(everything, ours, "full").body == (DATA / "gone-full.json").read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<!doctype html><title>Sign in</title>", b"null", b"[]", b'{"error":"not_found"}', b'{"versions":[]}',
        b'{"name":"widget","versions":{"1.0.0":{', b'{"versions":null}', b"\xff\xfe", b'{"versions":' + b"[" * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"versions":"1.0.0"}',
    ],
)  # fmt: skip
def test_what_is_no_packument_is_refused(body: bytes) -> None:
    """A login page, a cut document and other JSON must not look like a project without releases."""
    with pytest.raises(UnsupportedDocument):
        opened(body)


@given(st.binary(max_size=80) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["versions", "time", "dist-tags", "dist", "tarball", "attestations", "latest", "1.0.0"]), inner
    ),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_arbitrary_documents_raise_only_our_errors(body: bytes) -> None:
    """Any bytes either parse and render to JSON, or are refused as unsupported."""
    try:
        listing = opened(body)
        for form in ("full", "abbreviated", "dist-tags"):
            json.loads(listing.render(without("1.0.0"), ours, form).body)
            json.loads(listing.render(everything, ours, form).body)
        list(listing.files())
        listing.find(asked("widget", "odd.tgz"))
        listing.render(everything, ours, "version:1.0.0")
    except (UnsupportedDocument, NotFound):
        return


@pytest.mark.parametrize("name", [b'"@acme\\/gauge"', b'"@acme\\u002fg\\u0061uge"', b"null"])
def test_a_name_may_be_spelled_with_escapes(name: bytes) -> None:
    """JSON writers differ; the packument of another package is refused all the same."""
    assert opened(b'{"name":%b,"versions":{"1.0.0":{}}}' % name, "@acme/gauge").releases
    for other in (b'"@acme/other"', b'"@acme/Gauge"', b"7", b"[]"):
        with pytest.raises(UnsupportedDocument):
            opened(b'{"name":%b,"versions":{"1.0.0":{}}}' % other, "@acme/gauge")


def test_what_a_registry_tells_of_its_storage_is_not_passed_on() -> None:
    """Attachments and their like name the files of every release and where upstream has them."""
    listing = opened("crate-full.json", "crate")
    document = rendered(listing.render(everything, ours, "full"))
    assert document.keys() == {"_id", "_rev", "name", "dist-tags", "versions", "time", "_uplinks"}
    assert "_resolved" not in document["versions"]["1.1.0"] and "_from" in document["versions"]["1.1.0"]
    assert listing.render(everything, theirs, "full").body == (DATA / "crate-full.json").read_bytes()


def test_untouched_documents_are_upstreams_own_bytes() -> None:
    """Under `run` the addresses stay, and so must every byte: locks are compared byte for byte."""
    for name in ("widget-full.json", "widget-abbreviated.json"):
        document = opened(name).render(everything, theirs, "full")
        assert document.body == (DATA / name).read_bytes()


def test_rewriting_touches_only_the_addresses_in_dist() -> None:
    """Integrity, signatures and everything that is not an address come out as they came in."""
    for name in ("widget-full.json", "widget-abbreviated.json"):
        expected = json.loads((DATA / name).read_bytes())
        for version, manifest in expected["versions"].items():
            manifest["dist"]["tarball"] = f"{GATEWAY}widget/-/widget-{version}.tgz"
            if "attestations" in manifest["dist"]:
                manifest["dist"]["attestations"]["url"] = f"{GATEWAY}-/npm/v1/attestations/widget@{version}"
        body = opened(name).render(everything, ours, "full").body
        assert json.loads(body) == expected
        assert opened(body).releases == opened(name).releases


def test_no_upstream_address_remains_in_a_rewritten_document() -> None:
    """Scoped names, hashes as file names, escaped slashes and attestations included."""
    for name, project in (("widget-full.json", "widget"), ("gauge-abbreviated.json", "@acme/gauge")):
        body = opened(name, project).render(everything, ours, "full").body
        assert b"registry.example" not in body
        assert b"files.example" not in body
    gauge = json.loads(body)["versions"]
    assert gauge["1.0.0"]["dist"]["tarball"] == f"{GATEWAY}@acme/gauge/-/gauge-1.0.0.tgz"
    assert gauge["1.2.0"]["dist"]["attestations"]["url"] == f"{GATEWAY}-/npm/v1/attestations/@acme%2fgauge@1.2.0"


def test_attestations_go_where_our_base_is_not_known() -> None:
    """A link of another shape does not say where our attestations are, and upstream's address must not stay."""
    document = opened("widget-full.json").render(everything, lambda file: "http://cdn.example/x", "version:2.1.0")
    assert "attestations" not in rendered(document)["dist"]


def test_every_link_routes_back_to_its_file() -> None:
    """What an index lists can be fetched through the gateway, with the same digests."""
    for name, project in (("widget-full.json", "widget"), ("gauge-abbreviated.json", "@acme/gauge")):
        listing = opened(name, project)
        files = list(listing.files())
        assert len(files) == len(listing.releases)
        for file in files:
            artifact = route(npm.path(file))
            assert (artifact.project, artifact.version, artifact.filename) == (project, file.version, file.filename)
            assert listing.find(artifact) == file
            assert listing.find(route(file.url.split("/", 3)[3])) == file


def test_a_file_is_found_by_the_name_that_upstream_gives_it() -> None:
    """Old tarballs have names that do not follow from the version."""
    listing = opened("widget-full.json")
    file = listing.find(asked("widget", "widget-0.9.tgz"))
    assert (file.version, file.url) == ("0.9.0", "https://registry.example/widget/-/widget-0.9.tgz")
    assert listing.find(asked("widget", "widget-9.9.9.tgz")) is None
    assert listing.find(asked("widget", "other-1.0.0.tgz")) is None


def test_a_name_that_several_releases_share_is_not_guessed() -> None:
    """Two releases whose files are both `package.tgz` stay reachable by their versions only."""
    versions = {v: {"dist": {"tarball": f"https://files.example/{v}/package.tgz"}} for v in ("1.0.0", "2.0.0")}
    listing = opened(json.dumps({"versions": versions}).encode())
    assert listing.find(asked("widget", "package.tgz")) is None
    assert listing.find(asked("widget", "widget-2.0.0.tgz")).url == "https://files.example/2.0.0/package.tgz"


def test_digests_are_hex_from_sri_and_shasum() -> None:
    """`integrity` is base64 with an algorithm, `shasum` is SHA-1 in hex."""
    file = opened("widget-full.json").find(asked("widget", "widget-1.0.0.tgz"))
    digest = hashlib.sha512(b"widget1.0.0").hexdigest()
    assert file.digests == {"sha512": digest, "sha1": hashlib.sha1(b"widget1.0.0").hexdigest()}


def test_sri_with_several_hashes() -> None:
    """Options are passed over, unreadable hashes too, and two hashes of one algorithm are no digest."""

    def sri(algorithm: str, data: bytes) -> str:
        return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"

    both = f"{sri('sha512', b'a')}?x=y {sri('sha384', b'a')} md5-AAAA sha256-!! sha512"
    assert parse_digests(both, None) == {
        "sha512": hashlib.sha512(b"a").hexdigest(),
        "sha384": hashlib.sha384(b"a").hexdigest(),
    }
    assert parse_digests(f"{sri('sha512', b'a')} {sri('sha512', b'b')}", "A" * 40) == {"sha1": "a" * 40}
    assert parse_digests(7, "not hex") == {}


@pytest.mark.parametrize("form", ["full", "dist-tags"])
def test_a_dropped_release_vanishes_from_every_field(form: str) -> None:
    """Versions, times and tags: nothing points at it any more."""
    body = opened("widget-full.json").render(without("2.1.0", "2.0.0-rc.10"), ours, form).body
    assert b"2.1.0" not in body
    assert b"rc.10" not in body
    tags = json.loads(body).get("dist-tags", json.loads(body))
    assert tags == {"latest": "1.10.0", "legacy": "1.10.0"}


def test_dropping_releases_keeps_the_other_times() -> None:
    """`created`, `modified` and the times of what upstream itself withdrew stay."""
    document = rendered(opened("widget-full.json").render(without("2.1.0"), theirs, "full"))
    assert document["time"].keys() >= {"created", "modified", "0.8.0", "1.0.0"}
    assert document["versions"]["1.0.0"] == json.loads((DATA / "widget-full.json").read_bytes())["versions"]["1.0.0"]


def test_dropping_every_release_leaves_an_empty_packument() -> None:
    """It stays JSON that clients understand as a project without releases."""
    document = rendered(opened("widget-full.json").render(lambda release: False, ours, "full"))
    assert (document["versions"], document["dist-tags"], document["name"]) == ({}, {}, "widget")


@pytest.mark.parametrize(
    ("kept", "dropped", "expected"),
    [
        (["1.9.0", "1.10.0", "2.0.0-rc.1"], "1.11.0", "1.10.0"),
        (["1.9.0", "3.0.0"], "2.0.0", "1.9.0"),
        (["3.0.0", "4.0.0"], "2.0.0", "4.0.0"),
        (["2.0.0-rc.2", "2.0.0-rc.10"], "2.0.0", "2.0.0-rc.10"),
        (["nonsense", "0.0.1"], "1.0.0", "0.0.1"),
        ([], "1.0.0", None),
    ],
)
def test_latest_moves_to_the_highest_stable_release(kept: list[str], dropped: str, expected: str | None) -> None:
    """First one that is not above what `latest` was, then any stable one, then a pre-release."""
    assert highest(kept, dropped) == expected


def test_a_version_document_is_that_versions_manifest() -> None:
    """By version and by tag; what is not kept or never was is not found."""
    listing = opened("widget-full.json")
    manifest = rendered(listing.render(everything, ours, "version:legacy"))
    assert manifest["version"] == "1.10.0"
    assert manifest["dist"]["tarball"] == f"{GATEWAY}widget/-/widget-1.10.0.tgz"
    assert rendered(listing.render(without("2.1.0"), ours, "version:latest"))["version"] == "1.10.0"
    for wanted in ("2.1.0", "9.9.9", "nothing"):
        with pytest.raises(NotFound):
            listing.render(without("2.1.0"), ours, f"version:{wanted}")


def test_the_media_type_says_which_form_upstream_sent() -> None:
    """Some registries answer with the full form where the abbreviated one was asked for."""
    sent = opened("widget-abbreviated.json", media_type=f"{ABBREVIATED}; charset=utf-8\r\nX: y")
    assert sent.render(everything, ours, "abbreviated").media_type == ABBREVIATED
    assert opened("widget-full.json").render(everything, ours, "abbreviated").media_type == "application/json"


def test_only_the_negotiated_documents_vary() -> None:
    """Caches in between must keep the two forms apart (RFC 9110, section 12.5.5)."""
    listing = opened("widget-full.json")
    for link in (ours, theirs):
        assert listing.render(everything, link, "abbreviated").headers == (("Vary", "Accept"),)
    assert listing.render(everything, ours, "dist-tags").headers == ()
    assert listing.render(everything, ours, "version:latest").headers == ()


def test_versions_that_cannot_be_a_path_are_not_listed() -> None:
    """A hostile version neither becomes a path nor survives in a document."""
    bad = ["../../x", "1.0.0\r\nX: y", "", "a/b", "%2e%2e", ".", "x" * 300, "1.0.0 "]
    tarball = {"dist": {"tarball": "https://registry.example/widget/-/x.tgz"}}
    body = json.dumps({"versions": dict.fromkeys([*bad, "1.0.0"], tarball) | {"2.0.0": None}}).encode()
    listing = opened(body)
    assert [release.version for release in listing.releases] == ["1.0.0"]
    assert list(rendered(listing.render(everything, theirs, "full"))["versions"]) == ["1.0.0"]


@pytest.mark.parametrize(
    "tarball", [None, 5, "", "ftp://up.example/x.tgz", "file:///etc/passwd", "https://u@h.example/x", "http://h\r\nX/y"]
)
def test_a_release_without_a_usable_address_has_no_file(tarball: object) -> None:
    """It stays listed, and the address does not come out."""
    dist = {"shasum": "a" * 40, "tarball": tarball}
    versions = {"1.0.0": {"dist": dist}, "1.1.0": {"dist": {"tarball": "/widget/-/widget-1.1.0.tgz"}}}
    listing = opened(json.dumps({"versions": versions}).encode())
    assert [file.url for file in listing.files()] == ["https://registry.example/widget/-/widget-1.1.0.tgz"]
    assert rendered(listing.render(everything, ours, "full"))["versions"]["1.0.0"]["dist"] == {"shasum": "a" * 40}


def test_the_index_of_an_artifact_is_what_an_install_asks_for() -> None:
    """So that the stored document is shared, in whichever form the client wanted it."""
    abbreviated, full = route("@acme%2fgauge", accept=ABBREVIATED_ACCEPT), route("@acme%2fgauge")
    assert npm.index_of(asked("@acme/gauge", "gauge-1.0.0.tgz")) == abbreviated
    assert npm.alternatives_to(abbreviated) == (full,)
    assert npm.alternatives_to(full) == npm.alternatives_to(route("@acme/gauge/latest")) == (abbreviated,)


def test_semantic_versions_sort_by_precedence() -> None:
    """The order of clause 11 of the specification, with texts that are no versions below."""
    ascending = [
        "0.0.1-alpha", "0.0.1", "0.9.9", "0.10.0", "1.0.0-0", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1",
        "1.0.0-alpha.1.0", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0",
        "v1.0.1", "1.2.3", "1.10.0", "2.0.0", "10000000000000000000000.0.0",
    ]  # fmt: skip
    shuffled = random.Random(1).sample(ascending, len(ascending))
    assert sorted(shuffled, key=order) == ascending
    assert order("1.0.0+a") == order("1.0.0+b")
    for text in ("", "1.0", "1.0.0-", "1.0.0-a..b", "x", "1.0.0 beta", "1" * 300 + ".0.0", "\u0661.0.0"):
        assert order(text) < order("0.0.0-0")


def test_private_names_do_not_leave_in_a_bulk_advisory_call() -> None:
    """{name: [versions]} without the private ones; what cannot be read leaves as an empty object."""
    private = PrivateNames(("@acme/*", "secret"))
    body = b'{"@acme/gauge":["1.0.0"],"secret":["1.0.0"],"widget":["1.0.0","2.0.0"]}'
    assert json.loads(npm.outgoing(BULK, body, private)) == {"widget": ["1.0.0", "2.0.0"]}
    for unread in (b'{"secret":', b"[]", b"\xff", b"[" * 100_000):
        assert npm.outgoing(BULK, unread, private) == npm.outgoing(AUDIT, unread, private) == b"{}"
    assert npm.outgoing("-/v1/search", body, private) == body


def test_private_names_do_not_leave_in_an_audit_call() -> None:
    """At any depth of the tree, under an alias, and as the project's own name."""
    private = PrivateNames(("@acme/*", "secret"))
    tree = {
        "name": "secret",
        "version": "1.0.0",
        "requires": {"widget": "^1.0.0", "secret": "*", "alias": "npm:@acme/gauge@^1.0.0", "other": "npm:widget@1"},
        "install": ["secret@1.0.0", "@acme/gauge@1", "widget@1.0.0"],
        "dependencies": {
            "@acme/gauge": {"version": "1.0.0", "requires": {"left": "1"}},
            "gauge": {"version": "npm:@acme/gauge@1.0.0"},
            "widget": {
                "version": "1.0.0",
                "requires": {"secret": "1", "left": "3"},
                "dependencies": {"left": {"version": "3.0.0"}, "secret": {"version": "1.0.0"}},
            },
        },
    }
    assert json.loads(npm.outgoing(AUDIT, json.dumps(tree).encode(), private)) == {
        "version": "1.0.0",
        "requires": {"widget": "^1.0.0", "other": "npm:widget@1"},
        "install": ["widget@1.0.0"],
        "dependencies": {
            "widget": {"version": "1.0.0", "requires": {"left": "3"}, "dependencies": {"left": {"version": "3.0.0"}}}
        },
    }


AUDIT_WORDS = st.sampled_from(["name", "install", "remove", "requires", "dependencies", "version", "left", "secret"])


@given(st.binary(max_size=80) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["secret@1", "npm:@acme/x@1", "@", "npm:", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AUDIT_WORDS, inner),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode()), st.sampled_from([BULK, AUDIT]))  # fmt: skip
def test_any_audit_body_leaves_as_an_object_without_private_keys(body: bytes, path: str) -> None:
    """Whatever the client posts, nothing is raised, and no private project is a key in it where names are keys."""
    out = json.loads(npm.outgoing(path, body, PrivateNames(("@acme/*", "secret"))))
    assert isinstance(out, dict)
    nodes = [out]
    while nodes:
        node = nodes.pop()
        for names in [node] if path == BULK else [node.get("requires"), node.get("dependencies")]:
            assert not isinstance(names, dict) or "secret" not in names
        children = node.get("dependencies") if path != BULK else None
        nodes += [child for child in children.values() if isinstance(child, dict)] if isinstance(children, dict) else []


def test_a_refusal_is_json_with_an_error_text() -> None:
    """The clients print that text."""
    document = npm.refusal(403, 'Denied: "widget" is too young')
    assert (document.media_type, rendered(document)) == (
        "application/json",
        {"error": 'Denied: "widget" is too young'},
    )


def test_the_default_upstream_is_a_base_address() -> None:
    """It comes from the purl library, and everything is below it."""
    upstream = npm.default_upstream()
    assert upstream.startswith("https://")
    assert upstream.count("/") == 3
    assert npm.bases(upstream) == npm.bases(upstream.rstrip("/")) == {"registry": upstream}


def test_upstreams_are_found_in_the_clients_own_settings() -> None:
    """The first general one is the default; others and the ones of single scopes stand beside it."""
    found = npm.find_upstreams(
        {
            "npm config list --json": json.dumps(
                {"registry": "https://Registry.example", "@acme:registry": "https://npm.acme.example/x/", "depth": 1}
            ),
            "YARN_REGISTRY": "https://yarn.example/",
            "~/.npmrc": "; comment\nregistry = https://registry.example/\n@beta:registry=https://npm.acme.example/x\n"
            "@same:registry=https://registry.example/\n@later:registry=https://${HOST}/\n//h/:_authToken=t\n",
            ".yarnrc": 'registry "https://yarn.example"\n"@gamma:registry" "http://user:pw@[::1]:4873/"\n',
            ".yarnrc.yml": "npmScopes:\n  delta:\n    npmAlwaysAuth: true\n"
            '    npmRegistryServer: "https://delta.example"\n# end\nnpmRegistryServer: https://yarn4.example\n',
            "pnpm-workspace.yaml": "packages:\n  - a\nregistries:\n  default: https://pnpm.example/\n"
            "  '@eps': https://delta.example/ # note\n",
        }
    )
    assert [(item.url, item.extra, item.namespaces) for item in found] == [
        ("https://registry.example/", False, ()),
        ("https://yarn.example/", True, ()),
        ("https://yarn4.example/", True, ()),
        ("https://pnpm.example/", True, ()),
        ("https://npm.acme.example/x/", True, ("@acme/*", "@beta/*")),
        ("https://delta.example/", True, ("@delta/*", "@eps/*")),
        ("http://[::1]:4873/", True, ("@gamma/*",)),
    ]
    assert found[0].why == "npm config list --json"


@given(st.sampled_from(["npm config list --json", "YARN_REGISTRY", *Npm.discovery.files]), st.text(max_size=80))
def test_malformed_settings_are_passed_over(name: str, text: str) -> None:
    """Any text in any place gives clean addresses or none."""
    for item in npm.find_upstreams({name: text}):
        assert isinstance(item, Found)
        assert item.url.startswith(("http://", "https://"))
        assert item.url.endswith("/")


def test_a_large_packument_is_rendered_in_pieces() -> None:
    """40 MB with 8,000 versions: besides upstream's bytes, a rendering holds far less than a second copy."""
    filler = "x" * 4600
    body = json.dumps(
        {
            "name": "widget",
            "dist-tags": {"latest": "1.7999.0"},
            "versions": {
                f"1.{number}.0": {
                    "version": f"1.{number}.0",
                    "readme": filler,
                    "dist": {
                        "tarball": f"https://registry.example/widget/-/widget-1.{number}.0.tgz",
                        "integrity": f"sha512-{'A' * 86}==",
                        "shasum": "0" * 40,
                    },
                }
                for number in range(8000)
            },
            "time": {f"1.{number}.0": "2024-01-01T00:00:00.000Z" for number in range(8000)},
        }
    ).encode()
    assert len(body) > 38_000_000
    tracemalloc.start()
    try:
        listing = opened(body)
        document = listing.render(without("1.7999.0"), ours, "full")
        sizes, tail = [], b""
        for piece in document.pieces:
            sizes.append(len(piece))
            tail = (tail + piece)[-400:]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tail.endswith(b"}}")
    assert b"1.7999.0" not in tail
    assert set(sizes[:-1]) == {PIECE_BYTES}
    assert sum(sizes) > 38_000_000
    assert peak < 16_000_000
