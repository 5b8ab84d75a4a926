"""The documents of the Python index: what is read from them, and what is written."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from pypi_simple import ProjectPage
from selectolax.lexbor import LexborHTMLParser

from mainstay.ecosystems import ecosystems
from mainstay.errors import UnsupportedDocument
from mainstay.model import Artifact, File, Index, Keep, Link, Listing, Release, Request, Source

DATA = Path(__file__).parent / "data" / "pypi"
ECOSYSTEM = ecosystems()["pypi"]
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html"
PAGE = "https://registry.example/simple/widget-tool/"
WHEEL = "widget_tool-7.7.7-py3-none-any.whl"


def keep_all(release: Release) -> bool:
    """No rule says no."""
    return True


def to_gateway(file: File) -> str:
    """The address as the gateway writes it into a page."""
    return "../../" + ECOSYSTEM.path(file)


def verbatim(file: File) -> str:
    """The address as upstream has it."""
    return file.url


def open_page(body: bytes | str, media_type: str = JSON) -> Listing:
    """A page of `widget-tool`."""
    index = ECOSYSTEM.route(Request("simple/widget-tool/"))
    assert isinstance(index, Index)
    content = body.encode() if isinstance(body, str) else body
    return ECOSYSTEM.open(index, Source(content, media_type, PAGE))


def open_data(name: str) -> Listing:
    """A recorded page of `widget-tool`."""
    return open_page((DATA / name).read_bytes(), TEXT if name.endswith("html") else JSON)


def page_json(**changes: object) -> bytes:
    """A JSON page of one wheel, changed at will."""
    file = {"filename": WHEEL, "url": f"https://files.example/{WHEEL}", "hashes": {}, "size": 1, "yanked": False}
    page = {"meta": {"api-version": "1.4"}, "name": "widget-tool", "versions": ["7.7.7"], "files": [file]}
    return json.dumps({**page, **changes}).encode()


def file_json(**changes: object) -> bytes:
    """The same page with the wheel's own entry changed."""
    page = json.loads(page_json())
    page["files"][0].update(changes)
    return json.dumps(page).encode()


def render_json(listing: Listing, link: Link = to_gateway) -> dict[str, object]:
    """The page as JSON, decoded."""
    document = listing.render(keep_all, link, JSON)
    assert document.media_type == JSON
    page: dict[str, object] = json.loads(document.body)
    return page


def first_file(listing: Listing, link: Link = to_gateway) -> dict[str, object]:
    """The first file of the page as JSON."""
    files = render_json(listing, link)["files"]
    assert isinstance(files, list)
    return dict(files[0])


def anchors(listing: Listing, link: Link = to_gateway) -> dict[str, dict[str, str | None]]:
    """The anchors of the page as HTML, by their text."""
    tree = LexborHTMLParser(listing.render(keep_all, link, TEXT).body)
    return {node.text(): node.attributes for node in tree.css("a")}


def test_json_page_is_read_whole() -> None:
    """Digests, sizes, times, yanks and metadata arrive in the neutral model; a foreign scheme is left out."""
    listing = open_data("widget.json")
    assert [release.version for release in listing.releases] == [
        "0.9",
        "1.0.0",
        "2.0.0rc1+cu118",
        "7.7.7",
        "weird",
        "8.0.0",
    ]
    first, second, *_ = (release for release in listing.releases if release.filenames)
    assert first.published == datetime(2009, 3, 14, 9, tzinfo=UTC)
    assert not second.yanked, "one of its two files is not yanked"
    assert second.filenames == ("widget-tool-1.0.tar.gz", "widget_tool-1.0.0-py3-none-any.whl")
    files = {file.filename: file for file in listing.files()}
    assert "widget_tool-8.0.0-py3-none-any.whl" not in files
    assert files["widget-tool-1.0.tar.gz"].version == "1.0.0"
    assert files["widget-tool-1.0.tar.gz"].digests["sha256"].startswith("1b4f0e98")
    assert files["Widget.Tool-0.9-py2.7.egg"].sidecars == {".asc": {}}
    wheel = files["widget_tool-1.0.0-py3-none-any.whl"]
    assert (wheel.size_bytes, wheel.sidecars[".metadata"]["sha256"][:4]) == (10240, "fd61")
    local = files["widget_tool-2.0.0rc1+cu118-cp311-cp311-linux_x86_64.whl"]
    assert local.url.startswith("https://registry.example/packages/3d/44/6c6f/")
    assert "#" not in local.url


def test_release_is_called_the_same_in_either_representation() -> None:
    """A registry that turns from JSON to HTML takes nothing down: spellings of the list of versions do not count."""
    listing = open_page(page_json(versions=["7.7.7.0", "8.0-beta.1"]))
    assert [release.version for release in listing.releases] == ["7.7.7", "8.0b1"]
    assert render_json(listing)["versions"] == ["7.7.7.0", "8.0-beta.1"]
    from_html = open_page(listing.render(keep_all, to_gateway, TEXT).body, TEXT)
    assert [release.version for release in from_html.releases] == ["7.7.7"]


def test_html_page_is_read_whole() -> None:
    """Base address, relative links, entities, any digest, and the attributes of later PEPs."""
    listing = open_data("widget.html")
    files = {file.filename: file for file in listing.files()}
    assert set(files) == {"widget-tool-1.0.zip", "widget_tool-1.0-py3-none-any.whl", WHEEL}
    wheel = files["widget_tool-1.0-py3-none-any.whl"]
    assert wheel.url == "https://files.example/packages/2c/widget_tool-1.0-py3-none-any.whl?sig=a&b=c"
    assert (wheel.size_bytes, wheel.published) == (10240, datetime(2024, 2, 3, 4, 6, 6, tzinfo=UTC))
    assert wheel.sidecars[".metadata"]["sha256"].startswith("fd61")
    assert files[WHEEL].url == f"https://files.example/3d/{WHEEL}"
    assert files["widget-tool-1.0.zip"].digests == {"md5": "0cc175b9c0f1b6a831c399e269772661"}
    assert list(files[WHEEL].digests) == ["sha384"]
    page = render_json(listing)
    assert page["project-status"] == {"status": "archived", "reason": "No time & no money."}
    assert page["meta"] == {"api-version": "1.0"}, "PEP 700 asks for sizes that an HTML page does not give"
    yanks = {file["filename"]: file.get("yanked", False) for file in page["files"]}  # type: ignore[attr-defined]
    assert yanks == {"widget-tool-1.0.zip": False, "widget_tool-1.0-py3-none-any.whl": 'bad "build"', WHEEL: True}


def test_html_rendering_escapes_and_carries_what_html_can() -> None:
    """Text from upstream stays text, and each attribute of the PEPs is there under both its names."""
    listing = open_data("widget.json")
    shown = anchors(listing)
    assert shown["widget-tool-1.0.tar.gz"]["data-yanked"] == 'breaks "quotes" & <tags>'
    assert shown["widget-tool-1.0.tar.gz"]["data-requires-python"] == ">=3.8,<4"
    wheel = shown["widget_tool-1.0.0-py3-none-any.whl"]
    assert wheel["data-core-metadata"] == wheel["data-dist-info-metadata"]
    assert str(wheel["data-core-metadata"]).startswith("sha256=fd61")
    assert str(wheel["href"]).endswith("#sha256=60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752")
    assert shown["Widget.Tool-0.9-py2.7.egg"]["data-gpg-sig"] == "true"
    assert str(shown["weird.zip"]["href"]).startswith("../../files/widget-tool/-/weird.zip#sha512=")
    text = listing.render(keep_all, to_gateway, HTML)
    assert text.media_type == f"{HTML}; charset=utf-8"
    assert ("Vary", "Accept") in text.headers
    assert b'content="Use &lt;gadget&gt; &amp; friends."' in text.body


def test_both_renderings_say_the_same_to_another_reader() -> None:
    """pypi-simple, which knows nothing of us, reads the same files out of our JSON and our HTML."""
    listing = open_data("widget.json")
    from_json = ProjectPage.from_json_data(render_json(listing), PAGE)
    text = listing.render(keep_all, to_gateway, TEXT).body.decode()
    from_html = ProjectPage.from_html("widget-tool", text, PAGE)

    def facts(page: ProjectPage) -> list[tuple[object, ...]]:
        return [
            (p.filename, p.url, p.requires_python, p.is_yanked, p.yanked_reason, p.has_metadata, p.has_sig)
            for p in page.packages
        ]

    assert len(from_json.packages) == 7
    assert facts(from_json) == facts(from_html)
    assert from_json.repository_version == from_html.repository_version == "1.4"


def test_metadata_is_announced_for_every_wheel_that_the_gateway_serves() -> None:
    """Where upstream has no PEP 658 file, ours is made from the wheel; nothing of it is said for other files."""
    rewritten = {file["filename"]: file for file in render_json(open_data("widget.json"))["files"]}  # type: ignore[attr-defined]
    local = rewritten["widget_tool-2.0.0rc1+cu118-cp311-cp311-linux_x86_64.whl"]
    assert local["core-metadata"] is True
    assert "dist-info-metadata" not in local  # pip 22.3 to 23.0 crash on it (PEP 714)
    assert "core-metadata" not in rewritten["widget-tool-1.0.tar.gz"]
    assert rewritten["widget_tool-1.0.0-py3-none-any.whl"]["core-metadata"]["sha256"].startswith("fd61")


def test_untouched_links_leave_the_document_saying_what_upstream_says() -> None:
    """At the registry's own addresses nothing is promised beyond upstream, and provenance stays."""
    listing = open_data("widget.json")
    files = {file["filename"]: file for file in render_json(listing, verbatim)["files"]}  # type: ignore[attr-defined]
    assert not files["widget_tool-2.0.0rc1+cu118-cp311-cp311-linux_x86_64.whl"].get("core-metadata")
    assert files["widget_tool-1.0.0-py3-none-any.whl"]["provenance"].startswith("https://registry.example/integrity/")
    assert len(render_json(listing, verbatim)["alternate-locations"]) == 2  # type: ignore[arg-type]
    rewritten = {file["filename"]: file for file in render_json(listing)["files"]}  # type: ignore[attr-defined]
    assert "provenance" not in rewritten["widget_tool-1.0.0-py3-none-any.whl"]
    assert render_json(listing)["alternate-locations"] == ["https://elsewhere.example/simple/widget-tool/"]


def test_quarantined_project_offers_no_files() -> None:
    """PEP 792: the status and its reason are shown, and no file can be found."""
    listing = open_page(page_json(**{"project-status": {"status": "quarantined", "reason": "malware"}}))
    page = render_json(listing)
    assert page["files"] == []
    assert listing.releases == (), "a version that is still named, as in the PEP's example, is no release on offer"
    assert page["project-status"] == {"status": "quarantined", "reason": "malware"}
    assert listing.find(Artifact("widget-tool", "7.7.7", WHEEL, "", "files")) is None


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ((DATA / "login.html").read_text(), TEXT),
        ((DATA / "login.html").read_text(), JSON),
        ("<html><body>It works!</body></html>", TEXT),
        ("", TEXT),
        ("", JSON),
        ('{"message": "ok"}', JSON),
        ("%PDF-1.7", "application/octet-stream"),
        (page_json().decode()[:-9], JSON),
        (page_json(meta={"api-version": "2.0"}).decode(), JSON),
        ('<meta name="pypi:repository-version" content="2.0"><a href="a-1.0.zip">a</a>', TEXT),
    ],
)
def test_what_is_no_index_is_refused(body: str, media_type: str) -> None:
    """A login page, an error with status 200, truncated JSON and an unknown major version are never a project page."""
    with pytest.raises(UnsupportedDocument):
        open_page(body, media_type)


def test_login_page_is_no_list_of_projects() -> None:
    """A page full of links is told from a list of projects by its form."""
    index = ECOSYSTEM.route(Request("simple/"))
    assert isinstance(index, Index)
    with pytest.raises(UnsupportedDocument):
        ECOSYSTEM.open(index, Source((DATA / "login.html").read_bytes(), TEXT, "https://registry.example/simple/"))


def test_list_of_projects_links_to_normalised_names() -> None:
    """Names are shown as they are, and illegal ones are left out."""
    index = ECOSYSTEM.route(Request("simple/", headers={"accept": JSON}))
    assert isinstance(index, Index)
    listing = ECOSYSTEM.open(index, Source((DATA / "list.json").read_bytes(), JSON, "https://registry.example/simple/"))
    page = json.loads(listing.render(keep_all, to_gateway, JSON).body)
    assert page == {"meta": {"api-version": "1.4"}, "projects": [{"name": "Widget.Tool"}, {"name": "gadget"}]}
    assert b'<a href="widget-tool/">Widget.Tool</a>' in listing.render(keep_all, to_gateway, TEXT).body


def test_page_without_files_does_not_point_at_upstream() -> None:
    """Where no link tells whether addresses are rewritten, the registry's own ones are left out."""
    listing = open_page(page_json(files=[], **{"alternate-locations": [PAGE, "https://elsewhere.example/w/"]}))
    assert render_json(listing)["alternate-locations"] == ["https://elsewhere.example/w/"]


def test_a_version_of_thousands_of_digits_is_one_name_among_others() -> None:
    """Python makes no number of it; the other versions of the page and of the legacy document are served on."""
    long = "9" * 5000
    listing = open_page(page_json(versions=["7.7.7", long]))
    assert [release.version for release in listing.releases] == ["7.7.7", long]
    assert render_json(listing)["versions"] == ["7.7.7", long]
    body = {"info": {"version": long}, "urls": [], "releases": {"1.0": [], long: []}}
    legacy = open_legacy(json.dumps(body | {"vulnerabilities": [{"fixed_in": [long]}]}).encode())
    for kept in (keep_all, without("1.0"), without(long)):
        assert json.loads(legacy.render(kept, to_absolute, "legacy").body)["releases"]


@pytest.mark.parametrize("media_type", ["application/octet-stream", "", "text/plain"])
def test_body_is_looked_at_where_its_type_says_nothing(media_type: str) -> None:
    """A static file server may not know the types."""
    assert [release.version for release in open_page(page_json(), media_type).releases] == ["7.7.7"]
    assert [release.version for release in open_page((DATA / "bare.html").read_bytes(), media_type).releases]


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "../../etc/passwd.whl"},
        {"filename": "a\\b-1.0.zip"},
        {"filename": "a\r\nb-1.0.zip"},
        {"filename": "widget.exe.txt"},
        {"url": "javascript:alert(1)"},
        {"url": "https://[bad/x.whl"},
        {"url": "https://files.example:99999/x.whl"},
        {"url": "file:///etc/passwd"},
    ],
)
def test_file_that_cannot_be_asked_for_is_left_out(changes: dict[str, object]) -> None:
    """An odd name or address costs that file, not the page."""
    listing = open_page(file_json(**changes))
    assert list(listing.files()) == []
    assert render_json(listing)["files"] == []


def test_digest_that_is_no_hex_is_not_relied_on() -> None:
    """A malformed digest is neither checked nor written into an address."""
    listing = open_page(file_json(hashes={"sha256": '"><script>'}))
    assert next(iter(listing.files())).digests == {}
    assert anchors(listing)[WHEEL]["href"] == f"../../files/widget-tool/{WHEEL}"


def test_upload_times_pass_through_unchanged() -> None:
    """Clients compare them with a date, so not a digit is lost (P1 of the research notes)."""
    assert first_file(open_page(file_json(**{"upload-time": "2025-07-07T07:07:07.070707Z"})))["upload-time"] == (
        "2025-07-07T07:07:07.070707Z"
    )
    listing = open_page(file_json(**{"upload-time": "last week"}))
    assert next(iter(listing.releases)).published is None


def test_release_whose_only_file_is_dropped_is_not_in_versions() -> None:
    """The list of versions holds exactly what is kept, in the spelling of the page."""
    listing = open_data("widget.json")
    document = listing.render(lambda release: release.version in ("0.9", "1.0.0"), to_gateway, JSON)
    assert json.loads(document.body)["versions"] == ["0.9", "1.0.0"]


def open_legacy(body: bytes | None = None) -> Listing:
    """The recorded legacy document of the project, or another one."""
    index = ECOSYSTEM.route(Request("pypi/widget-tool/json"))
    assert isinstance(index, Index)
    content = body if body is not None else (DATA / "legacy.json").read_bytes()
    return ECOSYSTEM.open(index, Source(content, "application/json", "https://registry.example/pypi/widget-tool/json"))


def to_absolute(file: File) -> str:
    """The address as the gateway writes it into a legacy document."""
    return "https://gateway.example/pypi/" + ECOSYSTEM.path(file)


def test_legacy_document_moves_to_the_newest_release_that_is_kept() -> None:
    """Where the shown release is dropped, so is all that is said of it, as a fix of a flaw too."""
    body = open_legacy().render(lambda release: release.version != "7.7.7", to_absolute, "legacy").body
    document = json.loads(body)
    assert document["info"]["version"] == "1.0"
    assert document["info"]["requires_python"] == ">=3.8"
    assert document["info"]["description"] is None
    assert document["info"]["requires_dist"] is None
    assert list(document["releases"]) == ["0.1", "1.0", "2.0rc1"]
    assert [entry["url"] for entry in document["urls"]] == [
        "https://gateway.example/pypi/files/widget-tool/widget-tool-1.0.tar.gz"
    ]
    assert document["vulnerabilities"] == []


def test_legacy_document_keeps_what_it_says_where_nothing_is_dropped() -> None:
    """Only the addresses change, and the registry's own pages are not pointed at."""
    document = json.loads(open_legacy().render(keep_all, to_absolute, "legacy").body)
    assert document["info"]["description"] == "New in 7.7.7: everything."
    assert document["info"]["package_url"] is None
    assert document["info"]["project_urls"] == {"Source": "https://forge.example/widget"}
    assert document["vulnerabilities"][0]["fixed_in"] == ["7.7.7", "9.0"]
    original = json.loads((DATA / "legacy.json").read_bytes())
    assert json.loads(open_legacy().render(keep_all, verbatim, "legacy").body) == original


def test_legacy_document_says_what_is_not_known_here_as_long_as_it_may() -> None:
    """Keys of later versions pass through, but not where they point at upstream or may speak of a dropped release."""
    original = json.loads((DATA / "legacy-old.json").read_bytes())
    listing = open_legacy((DATA / "legacy-old.json").read_bytes())
    assert json.loads(listing.render(keep_all, verbatim, "legacy").body) == original
    rewritten = json.loads(listing.render(keep_all, to_absolute, "legacy").body)
    assert rewritten["ownership"] == original["ownership"]
    assert "mirrors" not in rewritten
    assert "ownership" not in json.loads(listing.render(without("2"), to_absolute, "legacy").body)


def without(*versions: str) -> Keep:
    """A policy that drops these."""
    return lambda release: release.version not in versions


def test_legacy_document_drops_a_release_whatever_its_spelling_there() -> None:
    """A block found in the simple index names the release as that index does."""
    listing = open_legacy((DATA / "legacy-old.json").read_bytes())
    names = [release.version for release in listing.releases]
    assert names == ["1.0b1", "0.9.0", "weird", "2"]
    document = json.loads(listing.render(without("1.0b1"), to_absolute, "legacy").body)
    assert list(document["releases"]) == ["0.9", "2"]
    document = json.loads(listing.render(without("weird", "2"), to_absolute, "legacy").body)
    assert [entry["filename"] for entry in document["releases"]["0.9"]] == ["widget-tool-0.9.0.tar.gz"]
    assert document["info"]["version"] == "0.9"


SPELLINGS = st.sampled_from(
    ["1.0", "1.0.0", "1.0-1", "1.0b1", "1.0-beta.1", "01.0", "2024.01.05", "2024.1.5", "1.0+local.1", "v1.0", "1!1.0"]
)


@given(
    st.lists(
        st.tuples(SPELLINGS, st.sampled_from([".tar.gz", ".zip", ".tar.bz2", "-py3-none-any.whl"])),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_a_release_has_one_name_in_every_document(files: list[tuple[str, str]]) -> None:
    """The simple index in JSON and in HTML and the legacy document call each release and each file's release the same,
    so that what is blocked by one is blocked in all."""
    names = [
        f"widget_tool-{Version(version) if ending.endswith('.whl') else version}{ending}" for version, ending in files
    ]
    listed = [{"filename": name, "url": f"https://files.example/{name}", "hashes": {}} for name in names]
    simple = open_page(page_json(files=listed, versions=[version for version, _ in files]))
    from_html = open_page("Links for" + "".join(f'<a href="/{name}">{name}</a>' for name in names), TEXT)
    groups: dict[str, list[object]] = {version: [] for version, _ in files}
    for (version, _), entry in zip(files, listed, strict=True):
        groups[version].append(entry)
    legacy = open_legacy(json.dumps({"info": {"version": files[0][0]}, "urls": [], "releases": groups}).encode())
    expected = {name: release.version for release in simple.releases for name in release.filenames}
    assert expected.keys() == set(names)
    for listing in (simple, from_html, legacy):
        releases = [(release.version, set(release.filenames)) for release in listing.releases]
        assert sorted(version for version, _ in releases) == sorted(set(expected.values()))
        assert {name: version for version, filenames in releases for name in filenames} == expected
        assert {file.filename: file.version for file in listing.files()} == expected


def test_large_page_takes_tens_of_milliseconds() -> None:
    """4,000 files are read and rendered in a fraction of a second of processor time."""
    names = [f"widget_tool-{number}.0-cp311-cp311-manylinux_2_17_x86_64.whl" for number in range(4000)]
    files = [
        {
            "filename": name,
            "url": f"https://files.example/packages/aa/bb/{name}",
            "hashes": {"sha256": f"{number:064x}"},
            "size": number,
            "upload-time": "2025-07-07T07:07:07.070707Z",
        }
        for number, name in enumerate(names)
    ]
    body = msgspec.json.encode({"meta": {"api-version": "1.1"}, "name": "widget-tool", "files": files})
    start_s = time.process_time()
    rendered = open_page(body).render(keep_all, to_gateway, JSON).body
    assert time.process_time() - start_s < 0.5
    assert rendered.count(b"../../files/widget-tool/") == 4000
