"""The cargo adapter over recorded documents of a made-up registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.ecosystems.cargo import Cargo
from mainstay.errors import NotFound, UnsupportedDocument
from mainstay.model import (
    Artifact,
    File,
    Found,
    Index,
    Keep,
    Listing,
    Passthrough,
    Release,
    Request,
    Source,
    Upload,
)

DATA = Path(__file__).parent / "data" / "cargo"
GATEWAY = "http://gateway.example/cargo/"
CONFIG = (DATA / "config.json").read_bytes()
PRIVATE = (DATA / "config-private.json").read_bytes()
WIDGET = (DATA / "widget.index").read_bytes()
CHECKSUM = "ab" * 32
cargo = Cargo()
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", fullmatch=True)
segments = st.text("ab1_-.", min_size=1, max_size=5)


def ours(file: File) -> str:
    """A link to the gateway."""
    return GATEWAY + cargo.path(file)


def theirs(file: File) -> str:
    """A link that is left as it is."""
    return file.url


def everything(release: Release) -> bool:
    """A policy that drops nothing."""
    return True


def without(*versions: str) -> Keep:
    """A policy that drops these."""
    return lambda release: release.version not in versions


def route(path: str, method: str = "GET", query: str = "") -> Any:
    """The resource at a path as it stands in a request line."""
    return cargo.route(Request(unquote(path), path, method, query))


def folder_of(name: str) -> str:
    """Where an index has a crate, told as the book tells it."""
    return {1: "1", 2: "2", 3: f"3/{name[:1]}"}.get(len(name), f"{name[0:2]}/{name[2:4]}")


def opened(body: bytes, project: str = "widget", description: bytes = CONFIG) -> Listing:
    """The listing in `body`."""
    index = route(f"{folder_of(project)}/{project}")
    return cargo.open(index, Source(body, "text/plain", f"https://registry.example/{index.path}", description))


def described(body: bytes, *, authorized: bool = False) -> Listing:
    """The listing of a registry's description."""
    source = Source(body, "application/json", "https://registry.example/config.json", b"", authorized)
    return cargo.open(route("config.json"), source)


def config(**fields: object) -> bytes:
    """A registry's description."""
    return json.dumps(fields).encode()


def line(version: str = "1.0.0", name: str = "widget", **fields: object) -> bytes:
    """One line of an index."""
    return json.dumps({"name": name, "vers": version, "deps": [], "cksum": CHECKSUM, **fields}).encode() + b"\n"


def only_file(listing: Listing) -> File:
    """The one file listed."""
    (file,) = listing.files()
    return file


@given(names)
def test_an_index_is_at_one_place_in_lower_case(name: str) -> None:
    """Whatever the crate's capitals, its file in the index is named without."""
    project = name.lower()
    path = f"{folder_of(project)}/{project}"
    assert route(path) == Index(project, path, "index", "text/plain", "index")
    assert route(f"{folder_of(name)}/{name}") == route(path)
    assert cargo.index_of(Artifact(project, "", "", "", "")) == route(path)


@given(names, segments, segments)
def test_an_index_in_another_crates_folder_is_no_path(name: str, first: str, second: str) -> None:
    """Else one crate would be had at many addresses, each stored for itself."""
    for path in (f"{first}/{second}/{name}", f"{first}/{name}", name):
        if path.lower() != f"{folder_of(name)}/{name}".lower():
            with pytest.raises(NotFound):
                route(path)


@pytest.mark.parametrize(
    ("path", "project", "version"),
    [
        ("crates/widget/1.0.0/download", "widget", "1.0.0"),
        ("crates/Widget/1.0.0+abi.7/download", "widget", "1.0.0+abi.7"),
        ("crates/widget/1.0.0%2Babi.7/download", "widget", "1.0.0+abi.7"),
        ("crates/widget/2.0.0-rc.1+x-1/download", "widget", "2.0.0-rc.1+x-1"),
        ("crates/some/folders/widget/1.0.0/download", "widget", "1.0.0"),
        ("crates/widget/widget-1.0.0.crate", "widget", "1.0.0"),
        ("crates/toy-1-2.0.0.crate", "toy-1", "2.0.0"),
        ("crates/to/y-/toy-1-2.0.0-3.0.0+4-5.crate", "toy-1", "2.0.0-3.0.0+4-5"),
        ("crates/_7-zip_-0.1.2.crate", "_7-zip_", "0.1.2"),
        ("crates/download/1.0.0/download", "download", "1.0.0"),
        ("api/v1/crates/widget/1.0.0/download", "widget", "1.0.0"),
        ("api/widget/1.0.0/download", "widget", "1.0.0"),
        ("files/Widget-1.0.0.crate", "widget", "1.0.0"),
    ],
)
def test_a_file_is_known_by_crate_and_version(path: str, project: str, version: str) -> None:
    """Registries differ in the folders and the case, and the identity is the same: a blocked file stays blocked."""
    artifact = route(path)
    assert artifact == Artifact(
        project, version, f"{project}-{version}.crate", f"{project}/{version}/download", "crates"
    )
    assert route(path, "HEAD") == artifact


@pytest.mark.parametrize(
    "path",
    [
        "", "crates", "crates/", "crates/widget", "crates/widget/1.0.0", "crates/widget/1.0/download",
        "crates/widget/1.0.0/download/", "crates/widget/1.0.0/other", "crates/widget/latest/download",
        "crates/-widget/1.0.0/download", "crates/wid.get/1.0.0/download", "crates/widget-1.0.crate",
        "crates/../widget/1.0.0/download", "crates/./widget-1.0.0.crate", "crates//widget-1.0.0.crate",
        "crates/%2e%2e/widget-1.0.0.crate", "crates/%252e%252e/widget-1.0.0.crate",
        "crates/a%0d%0ab/widget-1.0.0.crate",
        "crates/a b/widget-1.0.0.crate", "crates/widget/1.0.0%00/download", "/config.json", "config.json/",
        "x/config.json",
        "widget-1.0.0.crate", "1/", "1/ab", "2/a", "3/b/abc", "3/a/ab", "wi/dg/widget/", "/wi/dg/widget",
        "wi/dg/wi dget",
        "wi/dg/wid%c3%a9", "wi/dg/widget.json", "..%2f/2/ab", "api", "api/v1", "api/v1/crates/", "api/v1/cratesx",
        "api/v1/crates/../x", "api/v1/crates/a//b", "api/v1/crates/a/..%2fb", "api/v1/me", "api/v2/crates", "me", "é/é",
        "1/" + "a" * 129, "aa/aa/" + "a" * 129,
    ],
)  # fmt: skip
def test_what_is_no_path_of_the_protocol_is_not_found(path: str) -> None:
    """Names that cargo does not know, traversal in every spelling and unknown calls never reach upstream."""
    with pytest.raises(NotFound):
        route(path)


def test_a_search_is_passed_on_and_says_what_it_may_mean() -> None:
    """A word of it may be a private name, with hyphens or underscores: registries take those for the same."""
    search = route("api/v1/crates", query="q=Acme_core+json&per_page=10\r\n")
    assert (search.path, search.role) == ("v1/crates?q=Acme_core+json&per_page=10%0D%0A", "api")
    assert (search.project, search.mentions, search.ttl_s) == ("", ("acme_core", "acme-core", "json"), 60)
    assert route("api/v1/crates", query="ids[]=acme-core").mentions == ("acme-core", "acme_core")


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("api/v1/crates/Widget", "", "v1/crates/Widget"),
        ("api/v1/crates/Widget/1.0.0/dependencies", "", "v1/crates/Widget/1.0.0/dependencies"),
        ("api/v1/crates/widget/versions", "page=2&x= ", "v1/crates/widget/versions?page=2&x=%20"),
        ("api/v1/crates/widget/owners", "", "v1/crates/widget/owners"),
    ],
)  # fmt: skip
def test_what_is_known_of_a_crate_is_passed_on_under_its_name(path: str, query: str, asked: str) -> None:
    """So that a private crate is asked of its own registry alone."""
    assert route(path, query=query) == Passthrough(asked, "api", "widget", 60.0, "application/json")


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("PUT", "new", "publish"),
        ("DELETE", "widget/1.0.0/yank", "yank"),
        ("PUT", "widget/1.0.0/unyank", "unyank"),
        ("PUT", "widget/owners", "a change of owners"),
        ("DELETE", "widget/owners", "a change of owners"),
    ],
)
def test_writes_are_named(method: str, path: str, what: str) -> None:
    """The refusal says what is refused."""
    assert route(f"api/v1/crates/{path}", method) == Upload(what)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "config.json"),
        ("POST", "wi/dg/widget"),
        ("POST", "api/v1/crates/new"),
        ("PUT", "new"),
        ("PUT", "crates/widget/1.0.0/download"),
        ("DELETE", "api/v1/crates/widget/1.0.0/unyank"),
    ],
)
def test_other_writes_are_not_found(method: str, path: str) -> None:
    """No client of the protocol sends them."""
    with pytest.raises(NotFound):
        route(path, method)


def test_the_index_is_the_one_configured_part() -> None:
    """Its address may be written as cargo writes it."""
    for address in ("https://registry.example/index", "sparse+https://registry.example/index/"):
        assert cargo.bases(address) == {"index": "https://registry.example/index/"}
    assert cargo.description == cargo.index_of(Artifact("", "", "", "", "")) == route("config.json")
    assert cargo.default_upstream().startswith("https://index.")


FILES = "https://files.example"


@pytest.mark.parametrize(
    ("dl", "base", "url"),
    [
        (f"{FILES}/crates", f"{FILES}/crates/", f"{FILES}/crates/Wid-Get/1.0.0+a/download"),
        (f"{FILES}:443/crates/", f"{FILES}/crates//", f"{FILES}/crates//Wid-Get/1.0.0+a/download"),
        ("HTTP://Files.Example:80", "http://files.example/", "http://files.example/Wid-Get/1.0.0+a/download"),
        (f"{FILES}:8443/{{crate}}.crate", f"{FILES}:8443/", f"{FILES}:8443/Wid-Get.crate"),
        (f"{FILES}/x/c-{{crate}}-{{version}}", f"{FILES}/x/", f"{FILES}/x/c-Wid-Get-1.0.0+a"),
        (f"{FILES}/{{prefix}}/{{lowerprefix}}/f", f"{FILES}/", f"{FILES}/Wi/d-/wi/d-/f"),
        (f"{FILES}/x?of={{sha256-checksum}}", f"{FILES}/", f"{FILES}/x?of={CHECKSUM}"),
        (f"{FILES}/x?of=a/{{crate}}", f"{FILES}/", f"{FILES}/x?of=a/Wid-Get"),
        (f"{FILES}/x/{{other}}", f"{FILES}/x/{{other}}/", f"{FILES}/x/{{other}}/Wid-Get/1.0.0+a/download"),
        ("http://[::1]:8000/dl", "http://[::1]:8000/dl/", "http://[::1]:8000/dl/Wid-Get/1.0.0+a/download"),
    ],
)
def test_files_are_where_the_description_says(dl: str, base: str, url: str) -> None:
    """With cargo's markers or without, in the crate's own spelling; the base is what all files have in common."""
    description = config(dl=dl)
    listing = opened(line("1.0.0+a", "Wid-Get"), "wid-get", description)
    assert cargo.bases_in(Source(description, "", "")) == {"crates": base}
    assert only_file(listing).url == url
    assert url.startswith(base)


def test_the_web_api_is_below_the_address_that_the_description_gives() -> None:
    """An upstream URL maps to our path by its base alone: `<api>/api/v1/crates` is `api/v1/crates` here."""
    assert cargo.bases_in(Source(CONFIG, "", "")) == {
        "crates": "https://files.example/crates/",
        "api": "https://registry.example/api/",
    }
    assert cargo.bases_in(Source(PRIVATE, "", ""))["api"] == "http://registry.example/cargo/api/"


HOSTILE = [
    config(dl="javascript:alert(1)"),
    config(dl="file:///etc"),
    config(dl="//files.example/x"),
    config(dl="/x"),
    config(dl="https://"),
    config(dl="https://user:secret@files.example/x"),
    config(dl="https://{crate}.files.example/x"),
    config(dl="https://files.example?x"),
    config(dl="https://files.example:70000/x"),
    config(dl="https://files.example:0x50/x"),
    config(dl="https://files.example/a b"),
    config(dl="https://files.example/a\r\nb"),
    config(dl="https://files.example/a\\b"),
    config(dl="https://files.example/é"),
    config(dl="https://files.example/a#b"),
    config(dl=["https://files.example"]),
    config(dl=None),
    config(api="https://registry.example"),
    config(dl="https://files.example/x", api="javascript:alert(1)"),
    config(dl="https://files.example/x", api=7),
    b"<html>Log in</html>",
    b"[]",
    b"",
    b'{"dl": "https://files.exam',
    b'{"dl": "\xff"}',
    b'{"a":' * 5000,
]


@pytest.mark.parametrize("body", HOSTILE)
def test_a_description_without_plain_addresses_is_none(body: bytes) -> None:
    """Neither the registry nor any crate of it is read by such a one."""
    with pytest.raises(UnsupportedDocument):
        described(body)
    with pytest.raises(UnsupportedDocument):
        cargo.bases_in(Source(body, "", ""))
    with pytest.raises(UnsupportedDocument):
        opened(WIDGET, description=body or b" ")


def test_a_rewritten_description_leads_to_the_gateway() -> None:
    """For files by cargo's own markers, for the web API by the mount; what else leads away is left out."""
    plain = described(CONFIG).render(everything, ours, "config")
    assert plain.media_type == "application/json"
    assert json.loads(plain.body) == {"dl": f"{GATEWAY}crates/{{crate}}/{{version}}/download", "api": GATEWAY[:-1]}
    private = json.loads(described(PRIVATE).render(everything, ours, "config").body)
    assert private.keys() == {"dl", "api", "auth-required", "flavour"}
    assert (private["auth-required"], private["flavour"]) == (True, {"level": 2})


def test_a_registry_without_a_web_api_gets_none() -> None:
    """cargo then says so itself."""
    for fields in ({}, {"api": None}):
        document = described(config(dl=f"{FILES}/x", **fields)).render(everything, ours, "config")
        assert not json.loads(document.body).get("api")


@pytest.mark.parametrize("link", [ours, theirs])
def test_a_client_needs_no_credential_where_the_gateway_has_one(link: Any) -> None:
    """cargo would else ask the person for one before it asks us for anything."""
    fields = json.loads(described(PRIVATE, authorized=True).render(everything, link, "config").body)
    assert "auth-required" not in fields
    assert fields["dl"] == (ours(File("{crate}", "{version}", "", "")) if link is ours else json.loads(PRIVATE)["dl"])


@pytest.mark.parametrize("body", [CONFIG, PRIVATE])
def test_a_description_at_its_own_address_is_left_alone(body: bytes) -> None:
    """Byte for byte, whatever its spacing."""
    assert described(body).render(everything, theirs, "config").body == body


def test_releases_are_what_the_lines_say() -> None:
    """Older lines have no time; build metadata makes another release."""
    assert opened(WIDGET).releases == (
        Release("0.1.0", None, False, ("widget-0.1.0.crate",)),
        Release("0.2.0-rc.1", None, True, ("widget-0.2.0-rc.1.crate",)),
        Release("0.2.0", datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC), False, ("widget-0.2.0.crate",)),
        Release("1.0.0+abi.7", datetime(2023, 11, 12, 13, 14, 15, tzinfo=UTC), False, ("widget-1.0.0+abi.7.crate",)),
        Release("1.0.0+abi.8", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), True, ("widget-1.0.0+abi.8.crate",)),
    )


def test_a_file_is_found_by_its_whole_version() -> None:
    """Also a yanked one: lock files may name it."""
    listing = opened(WIDGET)
    file = listing.find(route("crates/Widget/1.0.0+abi.8/download"))
    assert file == File(
        "widget",
        "1.0.0+abi.8",
        "widget-1.0.0+abi.8.crate",
        "https://files.example/crates/Widget/1.0.0+abi.8/download",
        {"sha256": "156a2e60dbda7bf6fb8f72e200f68c0a9ad4f181aa98fc66e08e11a9993b65ab"},
        published=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    assert listing.find(route("crates/widget/1.0.0/download")) is None
    assert listing.find(Artifact("widget", "0.1.0", "other-0.1.0.crate", "", "")) is None


def test_lines_stay_byte_for_byte_or_go() -> None:
    """cargo's own fields, their order and their spacing are none of our business."""
    body = (
        b'{"vers" : "1.0.0", "name":"widget","x":[1e3],\t"cksum":"00"}\r\n\n \t\n' + line("1.1.0") + line("1.2.0")[:-1]
    )
    listing = opened(body)
    assert listing.render(everything, ours, "index").body == body
    rendered = listing.render(without("1.1.0"), ours, "index")
    assert rendered.media_type == "text/plain"
    assert rendered.body == body.split(b"\n")[0] + b"\n" + line("1.2.0")
    assert listing.render(without("1.0.0", "1.1.0", "1.2.0"), ours, "index").body == b""


def test_a_version_that_is_spelled_with_escapes_is_dropped_all_the_same() -> None:
    """What cargo would read is what counts."""
    body = line("1.0.0") + line("1.0.1").replace(b"1.0.1", rb"1\u002e0.1")
    assert opened(body).render(without("1.0.1"), ours, "index").body == line("1.0.0")


def test_of_two_lines_for_one_version_the_last_counts_and_both_go() -> None:
    """As cargo reads them."""
    listing = opened(line(cksum="cd" * 32) + line(yanked=True) + line("2.0.0"))
    assert [(release.version, release.yanked) for release in listing.releases] == [("1.0.0", True), ("2.0.0", False)]
    file = listing.find(route("crates/widget/1.0.0/download"))
    assert file is not None
    assert file.digests == {"sha256": CHECKSUM}
    assert listing.render(without("1.0.0"), ours, "index").body == line("2.0.0")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\n \n", b"<html>\n<title>Log in</title>", b"[]", b"{}", b'{"errors":[{"detail":"no"}]}', b"null",
        line()[:-9], line() + b"x", line() + line("1.1.0")[:20], line(name="other"), line() + line("1.1.0", "widgets"),
        line(name=""), line().replace(b'"1.0.0"', b"1"), b"\xff\xfe", b'{"a":' * 5000, WIDGET.replace(b"\n", b""),
    ],
)  # fmt: skip
def test_what_is_no_index_is_refused(body: bytes) -> None:
    """A login page, an error, a truncated or another crate's index must not count as releases that are gone."""
    with pytest.raises(UnsupportedDocument):
        opened(body)


@pytest.mark.parametrize(
    "fields",
    [
        {"cksum": None}, {"cksum": "../../etc"}, {"cksum": "ab"}, {"cksum": [CHECKSUM]}, {"version": "1"},
        {"version": "../../1.0.0"}, {"version": "1.0.0/x"}, {"version": "1.0.0+\r\n"}, {"version": "1.0.0-{crate}"},
    ],
)  # fmt: skip
def test_a_line_that_cargo_passes_over_has_no_file(fields: dict[str, Any]) -> None:
    """It is listed, so that it can be dropped, and stops nobody from having the others."""
    odd = line(**{"version": "1.0.0", **fields})
    listing = opened(odd + line("3.0.0"))
    assert [file.version for file in listing.files()] == ["3.0.0"]
    version = str(fields.get("version", "1.0.0"))
    assert listing.find(Artifact("widget", version, f"widget-{version}.crate", "", "")) is None
    assert listing.render(everything, ours, "index").body == odd + line("3.0.0")
    assert listing.render(without(version), ours, "index").body == line("3.0.0")


@pytest.mark.parametrize(
    ("pubtime", "published"),
    [
        ("2024-05-06T07:08:09Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:08:09+02:00", datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)),
        ("2024-05-06T07:08:09", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (1715000000, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_time_that_cannot_be_read_is_none(pubtime: object, published: datetime | None) -> None:
    """Times are aware, whatever the registry writes."""
    assert opened(line(pubtime=pubtime)).releases[0].published == published
    assert only_file(opened(line(pubtime=pubtime))).published == published


def test_only_true_is_yanked() -> None:
    """A registry that leaves the field out, or writes nonsense, yanks nothing."""
    for value, yanked in ((True, True), (False, False), (None, False), ("false", False)):
        assert opened(line(yanked=value)).releases[0].yanked is yanked


def test_digests_are_in_small_letters() -> None:
    """However a registry writes them; in an address they stay as it has them."""
    file = only_file(opened(line(cksum="AB" * 32), description=config(dl=f"{FILES}/{{sha256-checksum}}")))
    assert file.digests == {"sha256": CHECKSUM}
    assert file.url == f"{FILES}/{'AB' * 32}"


def test_a_name_that_only_looks_like_the_crates_has_no_file() -> None:
    """The Kelvin sign is a k in small letters, and no letter of a crate's name."""
    assert not list(opened(line(name="\N{KELVIN SIGN}ey"), "key").files())


def test_hyphens_and_underscores_are_one_name_to_a_registry() -> None:
    """Some answer for either spelling with the crate's own; files are asked for by the latter."""
    file = only_file(opened(line(name="Gauge_Needle"), "gauge-needle"))
    assert (file.project, file.filename) == ("gauge-needle", "gauge-needle-1.0.0.crate")
    assert file.url == "https://files.example/crates/Gauge_Needle/1.0.0/download"


def test_without_a_description_no_file_has_an_address() -> None:
    """The releases are known all the same."""
    listing = opened(WIDGET, description=b"")
    assert len(listing.releases) == 5
    assert not list(listing.files())


def test_lines_that_are_put_back_are_upstreams_own() -> None:
    """They follow what is there now; a line that is there now stays as it is."""
    old = opened(line("1.0.0", x=1) + line("1.1.0", x=1) + line("1.2.0", cksum=None))
    new = opened(line("1.1.0", x=2)[:-1])
    whole = new.restored(old, lambda file: True)
    assert whole.render(everything, ours, "index").body == line("1.1.0", x=2) + line("1.0.0", x=1)
    assert new.restored(old, lambda file: file.version == "1.1.0") is new
    assert new.restored(described(CONFIG), lambda file: True) is new
    assert described(CONFIG).restored(old, lambda file: True).releases == ()


odd_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.lists(st.integers(), max_size=2),
    st.sampled_from(["../../x", "a\r\nb", "https://[", "{crate}", "1.0.0", "9" * 5000, "0.2.0", CHECKSUM]),
)  # fmt: skip


@given(st.integers(0, 4), st.sampled_from(["name", "vers", "cksum", "yanked", "pubtime", "deps"]), odd_values)
def test_any_value_in_a_line_is_read_or_refused(number: int, key: str, value: object) -> None:
    """Whatever a line says, its files have clean addresses, are found again, and go with their release."""
    rows = [json.loads(row) for row in WIDGET.splitlines()]
    rows[number][key] = value
    try:
        listing = opened(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    except UnsupportedDocument:
        return
    files = {file.version: file for file in listing.files()}
    for version, file in files.items():
        assert file.url.startswith("https://files.example/crates/Widget/")
        assert file.url.isascii()
        assert file.url.isprintable()
        assert listing.find(route(cargo.path(file))) == file
        kept = listing.render(without(version), ours, "index").body
        left = {other.version for other in opened(kept).files()} if kept else set()
        assert left == files.keys() - {version}


def found_in(*texts: tuple[str, str]) -> list[tuple[str, bool, str]]:
    """What is found in the client's configuration files."""
    return [(item.url, item.extra, item.why) for item in cargo.find_upstreams(dict(texts))]


def test_the_replacement_of_the_public_registry_is_the_main_one() -> None:
    """Through a chain of sources, over several files, the nearest deciding; the rest stands beside it."""
    near = """
    [source.crates-io]
    registry = "https://git.example/index"
    replace-with = "near"
    [source.near]
    replace-with = "Far"
    registry = "sparse+https://near.example/"
    [registries]
    acme = { index = "sparse+HTTPS://Acme.example:443/api/cargo", token = "secret" }
    """
    far = """
    [source.crates-io]
    replace-with = "acme"
    [source.Far]
    registry = "sparse+https://far.example/index/"
    [source.unused]
    registry = "sparse+https://unused.example/"
    [registries.acme]
    index = "sparse+https://old.example/"
    [registries.same]
    index = "sparse+https://far.example/index"
    [registries.git]
    index = "https://git.example/index"
    """
    assert found_in((".cargo/config.toml", near), ("~/.cargo/config.toml", far)) == [
        ("https://far.example/index/", False, "~/.cargo/config.toml"),
        ("https://acme.example/api/cargo/", True, ".cargo/config.toml"),
    ]


def test_a_registry_can_be_the_replacement() -> None:
    """Its name is then one of `[registries]`."""
    text = '[source.crates-io]\nreplace-with = "m"\n[registries.m]\nindex = "sparse+http://127.0.0.1:8000/"\n'
    assert found_in(("~/.cargo/config", text)) == [("http://127.0.0.1:8000/", False, "~/.cargo/config")]


def test_of_two_files_in_a_folder_the_one_without_an_ending_decides() -> None:
    """As for cargo."""
    texts = [f'[registries.m]\nindex = "sparse+https://{name}.example/"\n' for name in ("old", "new")]
    found = found_in((".cargo/config.toml", texts[1]), (".cargo/config", texts[0]))
    assert found == [("https://old.example/", True, ".cargo/config")]


@pytest.mark.parametrize(
    "text",
    [
        '[source.crates-io]\nreplace-with = "a"\n[source.a]\nreplace-with = "crates-io"\n',
        '[source.crates-io]\nreplace-with = "a"\n[source.a]\nreplace-with = "a"\n',
        '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "vendor"\n',
        '[source.crates-io]\nreplace-with = "git"\n[source.git]\nregistry = "https://git.example/index"\n',
        '[source.crates-io]\nreplace-with = "nowhere"\n',
        '[source.crates-io]\nregistry = "sparse+https://own.example/"\n',
        '[registries.a]\nindex = "sparse+https://user:secret@acme.example/"\n',
        '[registries.a]\nindex = "sparse+https://acme.example/?x"\n',
        '[registries.a]\nindex = "sparse+file:///srv/index/"\n',
        '[registries.a]\nindex = 7\n[source]\ncrates-io = 3\n',
        'registries = "x"\nsource = [1]\n',
        "[source",
    ],
)  # fmt: skip
def test_what_is_no_sparse_registry_is_passed_over(text: str) -> None:
    """Vendored folders, git repositories, circles and nonsense."""
    assert found_in((".cargo/config.toml", text)) == []


@given(st.sampled_from(Cargo.discovery.files), st.text(max_size=80))
def test_malformed_settings_are_passed_over(name: str, text: str) -> None:
    """Any text in any place gives clean addresses or none."""
    for value in (
        text,
        f'[registries.a]\nindex = "sparse+{text}"',
        f'[registries.a]\nindex = "sparse+https://a/{text}"',
    ):
        for item in cargo.find_upstreams({name: value}):
            assert isinstance(item, Found)
            assert item.url.startswith(("http://", "https://"))
            assert item.url.endswith("/")
            assert item.url.isprintable()


def thousand_lines() -> Iterator[bytes]:
    """A large index."""
    for number in range(3000):
        yield line(f"1.{number}.0", features={"filler": ["x" * 600]}, pubtime="2024-01-02T03:04:05Z")


def test_a_large_index_is_read_whole() -> None:
    """2 MB and 3,000 releases."""
    body = b"".join(thousand_lines())
    listing = opened(body)
    assert len(listing.releases) == 3000
    assert len(listing.render(without("1.7.0"), ours, "index").body.splitlines()) == 2999
