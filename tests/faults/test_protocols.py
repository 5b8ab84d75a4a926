"""What pip and npm are given, call by call: their protocols as they look from outside the gateway."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from pypi_simple import ProjectPage

from doubles.claims import assert_refused, assert_right
from doubles.client import Received
from doubles.faults import Answer
from doubles.gateway import Gateway, Serve
from doubles.registry import JSON_INDEX, content, sha256
from doubles.stand import NpmStand, Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS: dict[str, Any] = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 0}, "fetch": {"attempts": 1}}
HTML_INDEX = "application/vnd.pypi.simple.v1+html"
ABBREVIATED = "application/vnd.npm.install-v1+json"
INSTALL = {"accept": f"{ABBREVIATED}; q=1.0, application/json; q=0.8, */*"}
BULK = "/-/npm/v1/security/advisories/bulk"
AUDITS = ("/-/npm/v1/security/audits", "/-/npm/v1/security/audits/quick")
METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: other>=2\n"
PROVENANCE = "application/vnd.pypi.integrity.v1+json"


@dataclass(frozen=True)
class Wheel:
    """A wheel of 1.0 that the stand's project has released beside a source archive, with upstream's page of both."""

    stand: Stand
    filename: str
    body: bytes

    @property
    def path(self) -> str:
        """Where the gateway has it."""
        return f"/pypi/files/{self.stand.name}/{self.filename}"

    def page(self, **wheel: object) -> dict[str, Any]:
        """Upstream's page as JSON, with these keys in the wheel's entry."""
        page: dict[str, Any] = json.loads(self.stand.upstream.project(self.stand.name).index(JSON_INDEX).body)
        next(file for file in page["files"] if file["filename"] == self.filename).update(wheel)
        return page

    def tell(self, page: dict[str, Any]) -> None:
        """From now on upstream answers with `page`."""
        self.stand.on_index().fault(Answer(json.dumps(page).encode(), JSON_INDEX))


@pytest.fixture
def wheel(stand: Stand) -> Wheel:
    """A project with a wheel."""
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        archive.writestr(f"{stand.name}-1.0.dist-info/METADATA", METADATA)
    own = Wheel(stand, f"{stand.name}-1.0-py3-none-any.whl", blob.getvalue())
    stand.upstream.project(stand.name).release(
        "1.0", {own.filename: own.body, f"{stand.name}-1.0.tar.gz": content(1000)}
    )
    return own


@pytest.fixture
def npm(shared_upstream: Upstream, shared_gateway: Gateway) -> Iterator[NpmStand]:
    """A package of the test's own."""
    own = NpmStand(shared_upstream, shared_gateway)
    yield own
    own.heal()


def as_json(got: Received) -> dict[str, Any]:
    """The reply's document."""
    assert got.status == 200, got
    document: dict[str, Any] = json.loads(got.body)
    return document


def upstream_is_named(stand: Stand, got: Received) -> bool:
    """Whether the document holds an address of upstream's, of either of its hosts."""
    addresses = (*stand.upstream.urls.values(), stand.upstream.files_url)
    return any(urlsplit(address).netloc in got.text for address in addresses)


def test_a_project_page_says_the_same_in_every_representation(wheel: Wheel) -> None:
    """JSON and HTML of either name, read by a library that knows nothing of us; times and digests as upstream has them
    (PEP 503, 592, 629, 658, 691, 700, 714)."""
    stand = wheel.stand
    yank = {"yanked": 'broken "build"', "requires-python": ">=3.8,<4", "gpg-sig": True}
    digest = sha256(METADATA)
    page = wheel.page(**yank, **{"core-metadata": {"sha256": digest}, "upload-time": "2025-01-01T00:00:00.000123Z"})
    wheel.tell(page)
    facts = []
    for accept in (JSON_INDEX, "application/vnd.pypi.simple.latest+json", HTML_INDEX, "text/html", "*/*"):
        got = stand.fetch(stand.index, headers={"accept": accept})
        assert got.status == 200 and "accept" in got.headers["vary"].lower().split(", ")
        assert not upstream_is_named(stand, got)
        own_url = stand.gateway.url + stand.index
        if "json" in accept:
            assert got.headers["content-type"] == JSON_INDEX
            document = as_json(got)
            assert document["versions"] == page["versions"]
            assert [file["upload-time"] for file in document["files"]] == [f["upload-time"] for f in page["files"]]
            assert [file["size"] for file in document["files"]] == [file["size"] for file in page["files"]]
            read = ProjectPage.from_json_data(document, own_url)
        else:
            media_type = HTML_INDEX if accept == HTML_INDEX else "text/html"
            assert got.headers["content-type"] == f"{media_type}; charset=utf-8"
            read = ProjectPage.from_html(stand.name, got.text, own_url)
        assert read.repository_version == "1.4"
        facts.append([
            (p.filename, p.url, p.digests, p.requires_python, p.yanked_reason, p.metadata_digests, p.has_sig)
            for p in read.packages
        ])  # fmt: skip
    first, second = facts[0]
    files = f"{stand.gateway.url}/pypi/files/{stand.name}/"
    assert first == (
        wheel.filename, files + wheel.filename, {"sha256": sha256(wheel.body)},
        yank["requires-python"], yank["yanked"], {"sha256": digest}, True,
    )  # fmt: skip
    assert second[:3] == (
        f"{stand.name}-1.0.tar.gz",
        f"{files}{stand.name}-1.0.tar.gz",
        {"sha256": sha256(content(1000))},
    )
    assert all(other == facts[0] for other in facts)


def test_a_yank_can_be_taken_back(wheel: Wheel) -> None:
    """PEP 592: it goes both ways, and the gateway follows; a yanked file is served on."""
    stand = wheel.stand
    for yanked in ("bad", False, True):
        wheel.tell(wheel.page(yanked=yanked))

        def shown(yanked: object = yanked) -> bool:
            page = as_json(stand.fetch(stand.index, headers={"accept": JSON_INDEX}))
            return bool(page["files"][0].get("yanked", False) == yanked)

        wait_until(shown, f"yanked: {yanked}")
        stand.heal()
    assert_right(stand.fetch(wheel.path), wheel.body)


def test_every_spelling_of_a_project_is_sent_to_its_one_address(stand: Stand) -> None:
    """PEP 503: by name and by slash, with the query kept; and a representation that does not exist is 406."""
    stand.release()
    for spelling in (f"{stand.name.upper()}/", stand.name, stand.name.capitalize()):
        got = stand.fetch(f"/pypi/simple/{spelling}?format=x")
        assert (got.status, got.headers["location"]) == (301, f"{stand.index}?format=x")
    assert stand.fetch("/pypi/simple").headers["location"] == "/pypi/simple/"
    assert stand.fetch(stand.index + "?format=" + quote(JSON_INDEX)).headers["content-type"] == JSON_INDEX
    refused = stand.fetch(stand.index, headers={"accept": "image/png"})
    assert refused.status == 406 and JSON_INDEX in refused.text


def test_the_list_of_projects_is_passed_on_in_both_forms(stand: Stand) -> None:
    """Names as upstream spells them, linked to their pages here."""
    names = {"meta": {"api-version": "1.4"}, "projects": [{"name": stand.name}, {"name": "Other.Name"}]}
    script = stand.upstream.on("/simple/").fault(Answer(json.dumps(names).encode(), JSON_INDEX))
    shown = as_json(stand.fetch("/pypi/simple/", headers={"accept": JSON_INDEX}))
    assert shown["projects"] == names["projects"]
    assert '<a href="other-name/">Other.Name</a>' in stand.fetch("/pypi/simple/").text
    script.heal()


def test_an_upstream_that_only_speaks_html_is_read_and_shown_as_json(wheel: Wheel, serve: Serve) -> None:
    """Digests arrive, metadata comes from the wheel, nothing that HTML cannot say is made up, and the wheel is fetched
    once for the metadata and for itself."""
    name = wheel.stand.name
    with Upstream(html_only=True) as double:
        double.project(name).release("1.0", {wheel.filename: wheel.body, f"{name}-1.0.tar.gz": content(1000)})
        gateway: Gateway = serve(pypi=double.simple_url)
        page = as_json(gateway.fetch(f"/pypi/simple/{name}/", headers={"accept": JSON_INDEX}))
        assert page["meta"]["api-version"] == "1.0", "PEP 700 asks for sizes from 1.1 on"
        assert page["versions"] == ["1.0"]
        first, second = page["files"]
        assert first["hashes"] == {"sha256": sha256(wheel.body)}
        assert first["core-metadata"] is True and "dist-info-metadata" not in first
        assert "core-metadata" not in second and "upload-time" not in first and "size" not in first
        assert_right(gateway.fetch(wheel.path + ".metadata"), METADATA)
        assert_right(gateway.fetch(wheel.path + ".metadata"), METADATA)
        assert_right(gateway.fetch(wheel.path), wheel.body)
        assert gateway.fetch(f"/pypi/files/{name}/{name}-1.0.tar.gz.metadata").status == 404
        assert len(double.seen("*.whl")) == 1 and double.seen("*.whl.metadata") == []


def test_upstreams_own_metadata_is_passed_on_and_checked(wheel: Wheel) -> None:
    """PEP 658: where the index gives its digest, other bytes never arrive; the wheel is not needed."""
    stand, own = wheel.stand, METADATA + b"\nof upstream"
    wheel.tell(wheel.page(**{"core-metadata": {"sha256": sha256(own)}}))
    stand.gateway.expect_error("does not match its index")
    path = wheel.path + ".metadata"
    script = stand.upstream.on(f"*/{wheel.filename}.metadata").fault(Answer(METADATA + b"\nof somebody"), times=1)
    assert_refused(stand.fetch(path), own)
    script.fault(Answer(own))
    assert_right(stand.fetch(path), own)
    script.heal()
    assert_right(stand.fetch(path), own)
    assert stand.upstream.seen(f"*/{wheel.filename}") == []


def test_a_signature_is_passed_on_where_there_is_one(wheel: Wheel) -> None:
    """`.asc` at the file's address; where upstream has none, none is made."""
    stand = wheel.stand
    wheel.tell(wheel.page(**{"gpg-sig": True}))
    stand.upstream.on(f"*/{wheel.filename}.asc").fault(Answer(b"-----BEGIN PGP", "application/pgp-signature"))
    assert_right(stand.fetch(wheel.path + ".asc"), b"-----BEGIN PGP")
    assert stand.fetch(stand.file + ".asc").status == 404


def test_provenance_is_passed_on_and_asked_for_once(wheel: Wheel) -> None:
    """PEP 740: the object's own path, type and bytes; the page does not point past the gateway to it."""
    stand = wheel.stand
    below = f"integrity/{stand.name}/1.0/{wheel.filename}/provenance"
    wheel.tell(wheel.page(provenance=f"https://registry.example/{below}"))
    body = b'{"version":1,"attestation_bundles":[]}'
    script = stand.upstream.on(f"/{below}").fault(Answer(body, PROVENANCE))
    assert "registry.example" not in stand.fetch(stand.index, headers={"accept": JSON_INDEX}).text
    assert "registry.example" not in stand.fetch(stand.index).text
    first = stand.fetch(f"/pypi/{below}")
    assert (first.status, first.body, first.headers["content-type"]) == (200, body, PROVENANCE)
    assert stand.fetch(f"/pypi/{below}").body == body
    seen = stand.upstream.seen(f"/{below}")
    assert [one.headers["accept"] for one in seen] == [PROVENANCE]
    script.heal()
    assert stand.fetch(f"/pypi/integrity/{stand.name}/1.0/{stand.name}-1.0.tar.gz/provenance").status == 404


def legacy_document(wheel: Wheel, *, single: bool) -> dict[str, Any]:
    """What upstream's older JSON API says of the wheel's project."""
    file = wheel.page()["files"][0]
    entry = {
        "filename": wheel.filename, "url": file["url"], "digests": file["hashes"], "size": file["size"],
        "upload_time_iso_8601": "2025-01-01T00:00:00.000123Z", "packagetype": "bdist_wheel", "yanked": False,
    }  # fmt: skip
    info = {"name": wheel.stand.name, "version": "1.0", "requires_dist": ["other>=2"], "requires_python": None}
    document = {"info": info, "urls": [entry], "last_serial": 7, "vulnerabilities": []}
    return document if single else {**document, "releases": {"1.0": [entry]}}


@pytest.mark.parametrize("single", [False, True], ids=["project", "release"])
def test_the_legacy_documents_lead_to_the_gateways_files(single: bool, wheel: Wheel) -> None:
    """Absolute addresses of our own, everything else as upstream says it."""
    stand = wheel.stand
    document = legacy_document(wheel, single=single)
    below = f"pypi/{stand.name}/1.0/json" if single else f"pypi/{stand.name}/json"
    stand.upstream.on(f"/{below}").fault(Answer(json.dumps(document).encode()))
    got = stand.fetch(f"/pypi/{below}")
    assert got.headers["content-type"] == "application/json"
    shown = as_json(got)
    for entries in (shown["urls"], *shown.get("releases", {}).values()):
        assert [entry["url"] for entry in entries] == [stand.gateway.url + wheel.path]
        entries[0]["url"] = document["urls"][0]["url"]
    assert shown == document
    assert_right(stand.fetch(wheel.path), wheel.body)


def test_a_quarantined_project_is_served_to_nobody(wheel: Wheel) -> None:
    """PEP 792, in its own example's form: the versions go on being named, no file is offered. What is held here is not
    served either, until the project is back."""
    stand = wheel.stand
    assert_right(stand.fetch(wheel.path), wheel.body)
    assert_right(stand.fetch(stand.file), content(1000))
    haunted = {"status": "quarantined", "reason": "the project is haunted"}
    wheel.tell({**wheel.page(), "files": [], "project-status": haunted})

    def page() -> dict[str, Any]:
        return as_json(stand.fetch(stand.index, headers={"accept": JSON_INDEX}))

    wait_until(lambda: page().get("project-status") == haunted, "the quarantine")
    assert page()["files"] == []
    assert haunted["reason"] in stand.fetch(stand.index).text
    for path in (wheel.path, wheel.path + ".metadata", stand.file):
        assert stand.fetch(path).status == 403
    stand.heal()
    wait_until(lambda: len(page()["files"]) == 2, "the end of the quarantine")
    assert_right(stand.fetch(wheel.path), wheel.body)
    assert_right(stand.fetch(stand.file), content(1000))


@pytest.mark.parametrize(
    ("path", "word"), [("/pypi/legacy/", "publish"), ("/pypi/pypi", "XML-RPC"), ("/pypi/simple/x/", "publish")]
)
def test_writes_to_the_python_index_are_refused_in_words(path: str, word: str, stand: Stand) -> None:
    """405 that says what is refused and what to do; upstream hears nothing of it."""
    before = len(stand.upstream.requests)
    got = stand.fetch(path, method="POST", body=b"x")
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    assert word in got.text and "read-only" in got.text
    assert [seen for seen in stand.upstream.requests[before:] if seen.method == "POST"] == []


def test_a_packument_comes_in_the_form_that_is_asked_for(npm: NpmStand) -> None:
    """The full one has upstream's publish times to the digit (P1), the abbreviated one what upstream gives there."""
    package = npm.offer.release("1.0.0").release("2.0.0")
    full, short = npm.fetch(npm.index), npm.fetch(npm.index, headers=INSTALL)
    assert (full.headers["content-type"], short.headers["content-type"]) == ("application/json", ABBREVIATED)
    for got, accept in ((full, "application/json"), (short, ABBREVIATED)):
        assert "accept" in got.headers["vary"].lower().split(", ")
        assert not upstream_is_named(npm, got)
        expected = json.loads(package.packument(accept).body)
        for version, manifest in expected["versions"].items():
            manifest["dist"]["tarball"] = f"{npm.gateway.url}/npm/{npm.name}/-/{npm.name}-{version}.tgz"
        assert as_json(got) == expected
    assert "time" in as_json(full) and "time" not in as_json(short)


def test_what_a_packument_says_besides_addresses_is_upstreams_own(npm: NpmStand) -> None:
    """Odd but legal: null times, deprecation, bundled dependencies, signatures, a tarball elsewhere and over http."""
    package = npm.offer.release("1.0.0").release("2.0.0")
    document = json.loads(package.packument("application/json").body)
    document |= {
        "_rev": "3-abc",
        "readme": "# Größe \u2028",
        "time": {**document["time"], "modified": None, "9.9.9": "x"},
    }
    first, second = document["versions"].values()
    first |= {
        "deprecated": "Use 2.",
        "bundleDependencies": ["left"],
        "bundledDependencies": False,
        "_hasShrinkwrap": False,
    }
    first["dist"]["signatures"] = [{"keyid": "SHA256:k", "sig": "s=="}]
    second["dist"]["tarball"] = npm.upstream.files_url + "elsewhere.tgz"
    npm.on_index().fault(Answer(json.dumps(document).encode()))
    npm.upstream.on("/elsewhere.tgz").fault(Answer(package.versions["2.0.0"].body, "application/octet-stream"))
    shown = as_json(npm.fetch(npm.index))
    links = [manifest["dist"].pop("tarball") for manifest in shown["versions"].values()]
    for manifest in document["versions"].values():
        del manifest["dist"]["tarball"]
    assert shown == document
    base = f"{npm.gateway.url}/npm/{npm.name}/-/{npm.name}"
    assert links == [f"{base}-1.0.0.tgz", f"{base}-2.0.0.tgz"]
    assert_right(npm.fetch(urlsplit(links[1]).path), package.versions["2.0.0"].body)


def test_a_scoped_package_is_one_in_both_spellings(npm: NpmStand) -> None:
    """Asked for with a slash or with %2f of either case, it is one document and one tarball, asked of upstream as
    clients ask."""
    name = f"@acme/{npm.name}"
    body = npm.upstream.package(name).release("1.0.0").versions["1.0.0"].body
    spellings = [f"/npm/@acme{slash}{npm.name}" for slash in ("/", "%2f", "%2F")]
    packuments = [npm.fetch(path) for path in spellings]
    assert {got.status for got in packuments} == {200}
    assert len({got.headers["etag"] for got in packuments}) == 1
    link = as_json(packuments[0])["versions"]["1.0.0"]["dist"]["tarball"]
    assert link == f"{npm.gateway.url}/npm/{name}/-/{npm.name}-1.0.0.tgz"
    for path in (urlsplit(link).path, f"{spellings[1]}/-/{npm.name}-1.0.0.tgz"):
        assert_right(npm.fetch(path), body)
    assert {seen.target for seen in npm.upstream.seen(f"/npm/{name}")} == {f"/npm/@acme%2f{npm.name}"}
    for path in (f"{spellings[0]}/1.0.0", f"{spellings[1]}/latest", f"{spellings[2]}/1.0.0"):
        assert as_json(npm.fetch(path))["version"] == "1.0.0"
    for path in (f"/npm/-/package/{name}/dist-tags", f"/npm/-/package/@acme%2f{npm.name}/dist-tags"):
        assert as_json(npm.fetch(path)) == {"latest": "1.0.0"}


def test_versions_and_tags_have_documents_of_their_own(npm: NpmStand) -> None:
    """One release by version or by tag, and all tags; what is not there is 404 in npm's words."""
    package = npm.offer.release("1.0.0").release("2.0.0-rc.1+b")
    document = json.loads(package.packument("application/json").body)
    document["dist-tags"] = {"latest": "1.0.0", "next": "2.0.0-rc.1+b"}
    npm.on_index().fault(Answer(json.dumps(document).encode()))
    assert as_json(npm.fetch(f"{npm.index}/1.0.0"))["version"] == "1.0.0"
    assert as_json(npm.fetch(f"{npm.index}/latest"))["version"] == "1.0.0"
    by_tag, by_version = (npm.fetch(f"{npm.index}/{wanted}") for wanted in ("next", "2.0.0-rc.1+b"))
    assert by_tag.body == by_version.body and not upstream_is_named(npm, by_tag)
    link = as_json(by_tag)["dist"]["tarball"]
    assert_right(npm.fetch(urlsplit(link).path), package.versions["2.0.0-rc.1+b"].body)
    assert as_json(npm.fetch(f"/npm/-/package/{npm.name}/dist-tags")) == document["dist-tags"]
    for path in (
        f"{npm.index}/9.9.9",
        f"{npm.index}/nothing",
        "/npm/absent",
        "/npm/@no/such",
        "/npm/-/all",
    ):
        got = npm.fetch(path)
        assert (got.status, got.headers["content-type"]) == (404, "application/json")
        assert len(json.loads(got.body)["error"]) > 10


def test_an_unpublished_package_is_shown_as_such_and_refused(npm: NpmStand) -> None:
    """The registry goes on answering 200 with a packument without versions: a takedown of them all."""
    package = npm.offer.release("1.0.0")
    assert_right(npm.fetch(npm.file), package.versions["1.0.0"].body)
    npm.fetch(npm.index)
    times = {"created": "2020-01-01T00:00:00Z", "unpublished": {"time": "2021-01-01T00:00:00Z", "versions": ["1.0.0"]}}
    gone = {"_id": npm.name, "name": npm.name, "time": times}
    npm.on_index().fault(Answer(json.dumps(gone).encode()))
    wait_until(lambda: as_json(npm.fetch(npm.index)) == gone, "the unpublished packument")
    refused = npm.fetch(npm.file)
    assert refused.status == 403 and "unblock" in json.loads(refused.body)["error"]
    assert npm.fetch(f"{npm.index}/1.0.0").status == npm.fetch(f"{npm.index}/latest").status == 404


def test_search_is_passed_on_with_its_query(npm: NpmStand) -> None:
    """Upstream's own answer, kept for a minute; ping is answered without upstream."""
    body = b'{"objects":[],"total":0,"time":"now"}'
    npm.upstream.on("/npm/-/v1/search").fault(Answer(body))
    query = f"text={npm.name}%20x&size=20&from=0&quality=0.65"
    before = len(npm.upstream.requests)
    for _ in range(2):
        got = npm.fetch(f"/npm/-/v1/search?{query}")
        assert (got.status, got.body, got.headers["content-type"]) == (200, body, "application/json")
        assert as_json(npm.fetch("/npm/-/ping?write=true")) == as_json(npm.fetch("/npm/")) == {}
    assert [seen.target for seen in npm.upstream.requests[before:]] == [f"/npm/-/v1/search?{query}"]


def test_whoami_is_passed_on_with_its_refusal(npm: NpmStand) -> None:
    """Who is asking is for upstream to say, each time."""
    script = npm.upstream.on("/npm/-/whoami").fault(Answer(b'{"error":"You must be logged in"}', status=401), times=1)
    script.fault(Answer(b'{"username":"ann"}'), times=1).fault(Answer(b'{"username":"bob"}'), times=1)
    refused = npm.fetch("/npm/-/whoami")
    assert refused.status == 401 and b"logged in" in refused.body
    assert [as_json(npm.fetch("/npm/-/whoami"))["username"] for _ in range(2)] == ["ann", "bob"]
    script.heal()


@pytest.mark.parametrize("path", [BULK, *AUDITS])
def test_audits_are_passed_on_and_so_is_what_upstream_says(path: str, npm: NpmStand) -> None:
    """npm packs what it posts; upstream's reply comes back with its own status and is never kept."""
    asked = {npm.name: ["1.0.0"]} if path == BULK else {"name": "app", "requires": {npm.name: "^1.0.0"}}
    script = npm.upstream.on(f"/npm{path}", method="POST").fault(Answer(b'{"actions":[]}'), times=2)
    script.fault(Answer(b'{"error":"bad"}', status=400))
    plain = json.dumps(asked).encode()
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    for body, headers in ((plain, {"content-type": "application/json"}), (gzip.compress(plain), packed)):
        got = npm.fetch(f"/npm{path}", method="POST", body=body, headers=headers)
        assert (got.status, got.body) == (200, b'{"actions":[]}')
    assert npm.fetch(f"/npm{path}", method="POST", body=plain).status == 400
    script.heal()
    arrived = npm.upstream.seen(f"/npm{path}")[-3:]
    assert [json.loads(seen.body) for seen in arrived] == [asked] * 3
    assert {seen.headers["content-type"] for seen in arrived} == {"application/json"}
    assert npm.fetch(f"/npm{path}").status == 404, "an audit is posted"


def test_private_names_do_not_leave_with_an_audit(serve: Serve, upstream: Upstream) -> None:
    """The public registry is asked about public packages only, and is the one that is asked."""
    with Upstream() as private:
        named = {"url": private.npm_url, "private": True, "namespaces": ["@acme/*", "secret"]}
        gateway: Gateway = serve(npm=[named, {"url": upstream.npm_url}])
        upstream.on("/npm/-/npm/*").fault(Answer(b"{}"))
        bulk = {"@acme/core": ["1.0.0"], "secret": ["1.0.0"], "left": ["1.0.0"]}
        tree = {"requires": {"left": "1", "secret": "1"}, "dependencies": {"@acme/core": {"version": "1.0.0"}}}
        for path, body in ((BULK, bulk), *((path, tree) for path in AUDITS)):
            packed = gzip.compress(json.dumps(body).encode())
            headers = {"content-encoding": "gzip"}
            assert gateway.fetch(f"/npm{path}", method="POST", body=packed, headers=headers).status == 200
        assert [json.loads(seen.body) for seen in upstream.requests] == [
            {"left": ["1.0.0"]},
            *[{"requires": {"left": "1"}, "dependencies": {}}] * 2,
        ]
        assert private.requests == []


def test_a_search_for_a_private_name_stays_inside(serve: Serve, upstream: Upstream) -> None:
    """It goes to the registry that claims the name, any other search to the public one."""
    texts = ["@acme/core", "fast%20secret", "scope:acme", "scope%3Aacme%20core", "%40acme%2Fcore"]
    with Upstream() as private:
        named = {"url": private.npm_url, "private": True, "namespaces": ["@acme/*", "secret"]}
        gateway: Gateway = serve(npm=[named, {"url": upstream.npm_url}])
        for double in (private, upstream):
            double.on("/npm/-/v1/search").fault(Answer(b'{"objects":[]}'))
        for text in texts:
            assert gateway.fetch(f"/npm/-/v1/search?text={text}&size=20").status == 200
        assert upstream.requests == [] and len(private.requests) == len(texts)
        assert gateway.fetch("/npm/-/v1/search?text=secretary").status == 200
        assert len(upstream.requests) == 1 and len(private.requests) == len(texts)


def test_keys_and_attestations_are_passed_on_from_where_documents_say(npm: NpmStand) -> None:
    """`npm audit signatures`: the registry's keys, and the attestations at the address in the packument. npm takes the
    path of that address and asks the registry that it is set to."""
    name = f"@acme/{npm.name}"
    package = npm.upstream.package(name).release("1.0.0")
    document = json.loads(package.packument("application/json").body)
    below = f"-/npm/v1/attestations/@acme%2f{npm.name}@1.0.0"
    provenance = {"predicateType": "https://slsa.example/provenance/v1"}
    manifest = document["versions"]["1.0.0"]
    manifest["dist"]["attestations"] = {"url": npm.upstream.npm_url + below, "provenance": provenance}
    npm.upstream.on(f"/npm/{name}").fault(Answer(json.dumps(document).encode()))
    keys, bundle = b'{"keys":[{"keyid":"SHA256:k"}]}', b'{"attestations":[{"bundle":{}}]}'
    npm.upstream.on("/npm/-/npm/v1/keys").fault(Answer(keys))
    npm.upstream.on(f"/npm/-/npm/v1/attestations/{name}@1.0.0").fault(Answer(bundle))
    attestations = as_json(npm.fetch(f"/npm/{name}"))["versions"]["1.0.0"]["dist"]["attestations"]
    assert attestations["provenance"] == provenance
    asked = urljoin(f"{npm.gateway.url}/npm/", urlsplit(attestations["url"]).path)
    for _ in range(2):
        assert npm.fetch("/npm/-/npm/v1/keys").body == keys
        assert npm.fetch(asked.removeprefix(npm.gateway.url)).body == bundle
    seen = [one.target for one in npm.upstream.seen("*/attestations/*") if npm.name in one.target]
    assert seen == [f"/npm/{below}"], "once, spelled as upstream spells it"
    assert npm.fetch(f"/npm/-/npm/v1/attestations/{npm.name}@9.9.9").status == 404


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("PUT", "{name}", "publish"),
        ("PUT", "@acme%2f{name}", "publish"),
        ("PUT", "{name}/-rev/3-abc", "unpublish"),
        ("DELETE", "{name}/-/{name}-1.0.0.tgz/-rev/3-abc", "unpublish"),
        ("PUT", "-/package/{name}/dist-tags/beta", "tag"),
        ("DELETE", "-/package/@acme%2f{name}/dist-tags/beta", "tag"),
        ("POST", "-/package/{name}/access", "access"),
        ("PUT", "-/user/org.couchdb.user:{name}", "login"),
        ("POST", "-/v1/login", "login"),
        ("POST", "-/npm/v1/tokens", "login"),
        ("POST", "-/npm/v1/oidc/token/exchange/package/{name}", "login"),
        ("PUT", "-/org/{name}/user", "change"),
        ("POST", "-/npm/v1/hooks/hook", "change"),
    ],
)
def test_writes_to_the_npm_registry_are_refused_in_words(method: str, path: str, word: str, npm: NpmStand) -> None:
    """405 with npm's `error`, which its client prints: what is refused, and where it can be done instead."""
    npm.offer.release("1.0.0")
    got = npm.fetch("/npm/" + path.format(name=npm.name), method=method, body=b"{}")
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    error = json.loads(got.body)["error"]
    assert error.startswith(f"{word} is refused") and "read-only" in error
    assert [seen for seen in npm.upstream.requests if npm.name in seen.path] == []


@pytest.mark.parametrize("single", [False, True], ids=["project", "release"])
def test_a_legacy_document_that_goes_takes_nothing_down(single: bool, wheel: Wheel) -> None:
    """Only the index that lists a project's files says what is there: a release that is deleted, or an upstream that
    gives up its older API, ends these documents alone."""
    stand = wheel.stand
    assert_right(stand.fetch(wheel.path), wheel.body)
    document = legacy_document(wheel, single=single)
    below = f"pypi/{stand.name}/1.0/json" if single else f"pypi/{stand.name}/json"
    script = stand.upstream.on(f"/{below}").fault(Answer(json.dumps(document).encode()), times=1)
    assert stand.fetch(f"/pypi/{below}").status == 200
    if not single:
        document = {**document, "releases": {}}
        script.fault(Answer(json.dumps(document).encode()), times=1)
        wait_until(lambda: as_json(stand.fetch(f"/pypi/{below}"))["releases"] == {}, "the document without releases")
    wait_until(lambda: stand.fetch(f"/pypi/{below}").status == 404, "the end of the document")
    assert wheel.filename in stand.fetch(stand.index).text
    assert_right(stand.fetch(wheel.path), wheel.body)


def test_an_index_elsewhere_has_none_of_the_other_documents(stand: Stand, serve: Serve) -> None:
    """Where the upstream's address does not tell where its older API is, the answer is 404 in words."""
    gateway: Gateway = serve(pypi=stand.upstream.npm_url)
    for below in ("pypi/demo/json", "pypi/demo/1.0/json", "integrity/demo/1.0/demo-1.0.tar.gz/provenance"):
        got = gateway.fetch(f"/pypi/{below}")
        assert got.status == 404 and len(got.body) > 20
    assert stand.upstream.seen("*/demo/*json") == []


def test_a_release_that_is_spelled_anew_is_still_there(wheel: Wheel) -> None:
    """1.0 and 1.0.0 are one release (PEP 440): a file that spells it otherwise takes nothing down."""
    stand, later = wheel.stand, f"{wheel.stand.name}-1.0.0-py2-none-any.whl"
    assert_right(stand.fetch(stand.file), content(1000))
    page = wheel.page()
    page["files"].append({**page["files"][0], "filename": later, "url": page["files"][0]["url"] + "?x"})
    wheel.tell(page)
    wait_until(lambda: later in stand.fetch(stand.index).text, "the new file")
    assert_right(stand.fetch(stand.file), content(1000))
    assert_right(stand.fetch(wheel.path), wheel.body)
    assert "1.0.tar.gz" in stand.fetch(stand.index).text


def test_a_release_that_lost_all_its_files_is_not_served(wheel: Wheel) -> None:
    """PEP 700 lets an index go on naming a version that has no files any more."""
    stand = wheel.stand
    assert_right(stand.fetch(wheel.path), wheel.body)
    stand.fetch(stand.index)
    wheel.tell({**wheel.page(), "files": []})
    wait_until(lambda: wheel.filename not in stand.fetch(stand.index).text, "the page without files")
    assert stand.fetch(wheel.path).status == 403


def test_a_takedown_is_seen_though_the_type_is_spelled_otherwise(npm: NpmStand) -> None:
    """`application/json; charset=utf-8` after `application/json` is the same kind of document."""
    package = npm.offer.release("1.0.0").release("2.0.0")
    assert npm.fetch(npm.file, headers=INSTALL).status == 200
    npm.fetch(npm.index, headers=INSTALL)
    package.remove("1.0.0")
    body = package.packument(ABBREVIATED).body
    npm.on_index().fault(Answer(body, f"{ABBREVIATED}; charset=utf-8"))
    wait_until(lambda: "-1.0.0.tgz" not in npm.fetch(npm.index, headers=INSTALL).text, "the newer packument")
    assert npm.fetch(npm.file).status == 403
