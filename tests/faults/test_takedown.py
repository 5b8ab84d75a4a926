"""A release that upstream has taken back is blocked in words; a failure of upstream is no takedown."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Answer, Body, Fault, LoginPage, Reset, Status, Truncated
from doubles.gateway import Serve
from doubles.registry import content, sha256
from doubles.stand import STANDS, NpmStand, PypiStand, Stand, in_every_ecosystem, where_the_index_names_files
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 0}, "fetch": {"attempts": 1}}
BODY = content(100_000, seed=1)
INSTALL = "application/vnd.npm.install-v1+json"


def hold(stand: Stand) -> Stand:
    """Have the gateway hold 1.0 and 2.0, and the index: Go and Maven clients may ask for a file without it, and what
    nobody asked for cannot be missed."""
    stand.release("1.0", BODY).release("2.0")
    assert stand.listed_here()
    assert_right(stand.fetch(stand.file), BODY)
    assert stand.fetch(stand.file_of("2.0")).status == 200
    return stand


@pytest.fixture
def held(stand: Stand) -> Stand:
    """A project that the gateway holds; it asks upstream about the index each time."""
    return hold(stand)


def take_down(held: Stand) -> None:
    """Upstream removes 1.0, and the gateway's index shows it: an old copy may be served once while it is renewed."""
    held.release("3.0").remove("1.0")

    def seen() -> bool:
        got = held.fetch(held.index)
        return held.lists(got, "3.0") and not held.lists(got, "1.0")

    wait_until(seen, "the newer index")


def unblock(stand: Stand) -> None:
    """As a person does it."""
    done = stand.gateway.run("unblock", stand.purl("1.0"))
    assert done.returncode == 0, done.stderr


@in_every_ecosystem
def test_a_release_gone_from_a_newer_index_is_blocked(held: Stand) -> None:
    """403 that names the release and says why, though the bytes are kept; other releases are served on."""
    take_down(held)
    got = held.fetch(held.file)
    assert got.status == 403 and got.body != BODY
    words = json.loads(got.body)["error"] if held.ecosystem == "npm" else got.text
    assert held.name in words and held.spell("1.0") in words and "unblock" in words
    assert held.fetch(held.file_of("2.0")).status == 200
    assert held.fetch(held.file, headers={"range": "bytes=0-9"}).status == 403
    assert held.fetch(held.file, method="HEAD").status == 403
    kept = held.gateway.data / "blobs" / sha256(BODY)[:2] / sha256(BODY)
    assert kept.read_bytes() == BODY


@in_every_ecosystem
def test_a_takedown_is_noticed_by_a_client_that_skips_the_index(held: Stand) -> None:
    """A lock file leads straight to the file: there too the takedown is seen once the index has grown old."""
    held.remove("1.0")
    wait_until(lambda: held.fetch(held.file).status == 403, "the takedown to be seen at the file")


@in_every_ecosystem
def test_unblock_undoes_a_takedown(held: Stand) -> None:
    """The kept bytes are served again without a restart, and listed again beside what upstream lists now."""
    take_down(held)
    assert held.fetch(held.file).status == 403
    unblock(held)
    wait_until(lambda: held.fetch(held.file).status == 200, "the release to be served again", 5)
    wait_until(lambda: held.listed_here("1.0"), "the release to be listed")
    held.release("4.0")
    wait_until(lambda: held.listed_here("4.0"), "the next index")
    got = held.fetch(held.index)
    assert all(held.lists(got, version) for version in ("1.0", "2.0", "3.0"))
    if held.ecosystem == "cargo":
        assert sha256(BODY) in got.text
    assert_right(held.fetch(held.file), BODY)


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.pypi.simple.v1+json"])
def test_what_is_unblocked_is_listed_again_in_every_form(accept: str, held: PypiStand) -> None:
    """With its digest, beside what upstream lists now; and a resolver can choose it again."""
    listed = {"accept": accept}
    take_down(held)
    unblock(held)
    wait_until(lambda: held.lists(held.fetch(held.index, headers=listed), "1.0"), "the release to be listed")
    held.release("4.0")
    wait_until(lambda: held.lists(held.fetch(held.index, headers=listed), "4.0"), "the next index")
    got = held.fetch(held.index, headers=listed)
    assert all(held.lists(got, version) for version in ("1.0", "2.0", "3.0")) and sha256(BODY) in got.text


@pytest.mark.parametrize("stand", ["npm"], indirect=True)
def test_an_unblocked_npm_release_is_listed_in_both_forms(stand: NpmStand) -> None:
    """The index that dropped it was of one form; `latest` stays where upstream has it."""
    stand.release("1.0").release("2.0")
    for accept in (INSTALL, "application/json"):
        assert "1.0.0" in stand.fetch(stand.index, headers={"accept": accept}).text
    assert stand.fetch(stand.file).status == 200
    stand.release("3.0").remove("1.0")
    wait_until(lambda: "-1.0.0.tgz" not in stand.fetch(stand.index, headers={"accept": INSTALL}).text, "the newer")
    unblock(stand)
    for accept in (INSTALL, "application/json"):

        def listed(accept: str = accept) -> bool:
            got = json.loads(stand.fetch(stand.index, headers={"accept": accept}).body)
            return set(got["versions"]) == {"1.0.0", "2.0.0", "3.0.0"} and got["dist-tags"] == {"latest": "3.0.0"}

        wait_until(listed, f"the release in {accept}")
    assert stand.fetch(stand.file).status == 200
    assert stand.fetch(f"{stand.index}/1.0.0").status == 200


@in_every_ecosystem
def test_a_release_that_was_never_fetched_comes_back_too(stand: Stand) -> None:
    """It is listed and, as long as upstream has its file, can be had; a digest that the index gave
    with it still counts. A Go zip has none, and a Maven jar's went with it."""
    stand.release("1.0", BODY).release("2.0")
    stand.fetch(stand.index)
    take_down(stand)
    assert stand.fetch(stand.file).status == 403
    unblock(stand)
    wait_until(lambda: stand.listed_here("1.0"), "the release to be listed")
    script = stand.on_file()
    if stand.listed:
        script.fault(Answer(BODY[:-1] + b"!"), times=1).fault(Answer(BODY))
        stand.gateway.expect_error("does not match its index")
        assert_refused(stand.fetch(stand.file), BODY)
    else:
        script.fault(Answer(BODY))
    assert_right(stand.fetch(stand.file), BODY)


def drop_index(held: Stand) -> None:
    """Evict the stored index."""
    with closing(sqlite3.connect(held.gateway.data / "mainstay.db", timeout=10)) as connection:
        query = "SELECT digest FROM document WHERE project = ? AND digest IS NOT NULL"
        found = [digest.removeprefix("sha256:") for (digest,) in connection.execute(query, (held.name,))]
    assert found, "no index is stored: this test has lost its subject"
    for digest in found:
        (held.gateway.data / "blobs" / digest[:2] / digest).unlink(missing_ok=True)


@in_every_ecosystem
def test_a_project_is_taken_down_though_its_index_was_evicted(held: Stand) -> None:
    """Its files are blocked when upstream says twice that it is not there, and free when it is there again."""
    drop_index(held)
    held.disappear(404)
    wait_until(lambda: held.fetch(held.index).status == 404, "the end of the index")
    wait_until(lambda: held.fetch(held.file).status == 403, "the file to be refused")
    held.disappear(0)
    wait_until(lambda: held.fetch(held.index).status == 200, "the index to be back")
    wait_until(lambda: held.fetch(held.file).status == 200, "the file to be served again")


def test_a_takedown_outlives_a_restart(upstream: Upstream, serve: Serve) -> None:
    """The block is on disk, not in a worker's memory, and needs no upstream: in every ecosystem."""
    gateway = serve(**upstream.urls, workers=2, **SETTINGS)
    held = [hold(kind(upstream, gateway)) for kind in STANDS.values()]
    for stand in held:
        take_down(stand)
    assert gateway.stop() == 0
    upstream.down()
    gateway.restart()
    assert {stand.ecosystem: stand.fetch(stand.file).status for stand in held} == dict.fromkeys(STANDS, 403)


@pytest.mark.parametrize("status", [404, 410])
@in_every_ecosystem
def test_a_project_that_is_gone_is_believed_after_a_second_look(status: int, held: Stand) -> None:
    """Upstream is asked twice before everything of the project is blocked."""
    asked = len(held.seen_index())
    held.disappear(status)
    wait_until(lambda: held.fetch(held.index).status in (404, 410), "the index to be gone")
    assert len(held.seen_index()) - asked >= 2
    for version in ("1.0", "2.0"):
        got = held.fetch(held.file_of(version))
        assert got.status == 403 and held.name in got.text


@in_every_ecosystem
def test_one_stray_404_is_no_takedown(held: Stand) -> None:
    """A single wrong 404 among good answers costs nobody a release."""
    held.on_index().fault(Status(404), times=1)
    for _ in range(3):
        assert held.listed_here()
        assert_right(held.fetch(held.file), BODY)


FAILURES: dict[str, Fault] = {
    "500": Status(500),
    "503": Status(503),
    "reset": Reset(),
    "truncated": Truncated(7),
    "login page": LoginPage(),
    "half a document": Body(b"{"),
}


def assert_nothing_is_taken_down(failure: Fault, held: Stand) -> None:
    """Under the failure the held index and the held files stay in service."""
    held.on_index().fault(failure)
    for _ in range(2):
        assert held.listed_here()
        assert_right(held.fetch(held.file), BODY)


@pytest.mark.parametrize("failure", FAILURES)
@in_every_ecosystem
def test_a_failing_upstream_takes_nothing_down(failure: str, held: Stand) -> None:
    """Errors, nonsense and silence are no word about any release. The truncated Go list ends with a whole line: only
    the announced length tells that more was to come."""
    assert_nothing_is_taken_down(FAILURES[failure], held)


@pytest.mark.parametrize("stand", [name for name in STANDS if name != "golang"], indirect=True)
def test_an_empty_index_takes_nothing_down(held: Stand) -> None:
    """No protocol but Go's has one: there it is the word for a module without releases."""
    assert_nothing_is_taken_down(Body(b""), held)


@where_the_index_names_files
def test_the_index_of_another_project_takes_nothing_down(held: Stand) -> None:
    """A cache in between has mixed up two addresses. A Go list does not say whose it is, and no Maven client looks at
    whose a metadata file says it is."""
    other = type(held)(held.upstream, held.gateway).release("9.0")
    assert_nothing_is_taken_down(Body(other.honest().body), held)
