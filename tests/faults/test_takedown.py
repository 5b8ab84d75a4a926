"""A release that upstream has taken back is blocked in words; a failure of upstream is no takedown."""

from __future__ import annotations

import json

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.faults import Answer, Body, Fault, LoginPage, Reset, Status, Truncated
from doubles.gateway import Serve
from doubles.registry import content, sha256
from doubles.stand import Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 0}, "fetch": {"attempts": 1}}
BODY = content(100_000, seed=1)
INSTALL = "application/vnd.npm.install-v1+json"


@pytest.fixture
def held(stand: Stand) -> Stand:
    """A project of which the gateway holds 1.0 and 2.0; it asks upstream about the index each time."""
    stand.release("1.0", BODY).release("2.0")
    assert_right(stand.fetch(stand.file), BODY)
    assert stand.fetch(stand.file_of("2.0")).status == 200
    return stand


def take_down(held: Stand) -> None:
    """Upstream removes 1.0, and the gateway's index shows it: an old copy may be served once while it is renewed."""
    held.release("3.0").remove("1.0")

    def seen() -> bool:
        got = held.fetch(held.index)
        return got.status == 200 and "-3.0.tar.gz" in got.text and "-1.0.tar.gz" not in got.text

    wait_until(seen, "the newer index")


def test_a_release_gone_from_a_newer_index_is_blocked(held: Stand) -> None:
    """403 that names the release and says why, though the bytes are kept; other releases are served on."""
    take_down(held)
    got = held.fetch(held.file)
    assert got.status == 403 and got.body != BODY
    assert held.name in got.text and "1.0" in got.text and "unblock" in got.text
    assert held.fetch(held.file_of("2.0")).status == 200
    assert held.fetch(held.file, headers={"range": "bytes=0-9"}).status == 403
    assert held.fetch(held.file, method="HEAD").status == 403
    kept = held.gateway.data / "blobs" / sha256(BODY)[:2] / sha256(BODY)
    assert kept.read_bytes() == BODY


def test_a_takedown_is_noticed_by_a_client_that_skips_the_index(held: Stand) -> None:
    """A lock file leads straight to the file: there too the takedown is seen once the index has grown old."""
    held.upstream.project(held.name).remove("1.0")
    wait_until(lambda: held.fetch(held.file).status == 403, "the takedown to be seen at the file")


def test_unblock_undoes_a_takedown(held: Stand) -> None:
    """The kept bytes are served again without a restart, and stay so when the index is seen again."""
    take_down(held)
    assert held.fetch(held.file).status == 403
    done = held.gateway.run("unblock", f"pkg:pypi/{held.name}@1.0")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: held.fetch(held.file).status == 200, "the release to be served again", 5)
    held.release("4.0")
    wait_until(lambda: "-4.0.tar.gz" in held.fetch(held.index).text, "the next index")
    assert_right(held.fetch(held.file), BODY)


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.pypi.simple.v1+json"])
def test_what_is_unblocked_is_listed_again(accept: str, held: Stand) -> None:
    """In every form, with its digest, beside what upstream lists now; and a resolver can choose it again."""
    listed = {"accept": accept}
    take_down(held)
    assert held.gateway.run("unblock", f"pkg:pypi/{held.name}@1.0").returncode == 0
    wait_until(lambda: "-1.0.tar.gz" in held.fetch(held.index, headers=listed).text, "the release to be listed")
    held.release("4.0")
    wait_until(lambda: "-4.0.tar.gz" in held.fetch(held.index, headers=listed).text, "the next index")
    text = held.fetch(held.index, headers=listed).text
    assert all(f"-{version}.tar.gz" in text for version in ("1.0", "2.0", "3.0")) and sha256(BODY) in text


def test_an_unblocked_npm_release_is_listed_in_both_forms(stand: Stand) -> None:
    """The index that dropped it was of one form; `latest` stays where upstream has it."""
    package = stand.publish("1.0.0").release("2.0.0")
    for accept in (INSTALL, "application/json"):
        assert "1.0.0" in stand.fetch(stand.packument, headers={"accept": accept}).text
    assert stand.fetch(stand.tarball).status == 200
    package.release("3.0.0").remove("1.0.0")
    wait_until(lambda: "-1.0.0.tgz" not in stand.fetch(stand.packument, headers={"accept": INSTALL}).text, "the newer")
    assert stand.gateway.run("unblock", f"pkg:npm/{stand.name}@1.0.0").returncode == 0
    for accept in (INSTALL, "application/json"):

        def listed(accept: str = accept) -> bool:
            got = json.loads(stand.fetch(stand.packument, headers={"accept": accept}).body)
            return set(got["versions"]) == {"1.0.0", "2.0.0", "3.0.0"} and got["dist-tags"] == {"latest": "3.0.0"}

        wait_until(listed, f"the release in {accept}")
    assert stand.fetch(stand.tarball).status == 200
    assert stand.fetch(f"{stand.packument}/1.0.0").status == 200


def test_a_release_that_was_never_fetched_comes_back_too(stand: Stand) -> None:
    """It is listed and, as long as upstream has its file, can be had with the digest that it was listed with."""
    stand.release("1.0", BODY).release("2.0")
    stand.fetch(stand.index)
    take_down(stand)
    assert stand.fetch(stand.file).status == 403
    assert stand.gateway.run("unblock", f"pkg:pypi/{stand.name}@1.0").returncode == 0
    wait_until(lambda: "-1.0.tar.gz" in stand.fetch(stand.index).text, "the release to be listed")
    stand.on_file().fault(Answer(BODY[:-1] + b"!"), times=1).fault(Answer(BODY))
    stand.gateway.expect_error("does not match its index")
    assert_refused(stand.fetch(stand.file), BODY)
    assert_right(stand.fetch(stand.file), BODY)


def test_a_project_is_taken_down_though_its_index_was_evicted(held: Stand) -> None:
    """Its files are blocked when upstream says twice that it is not there, and free when it is there again."""

    def drop_index() -> None:
        for blob in (held.gateway.data / "blobs").glob("*/*"):
            if held.name.encode() in blob.read_bytes()[:2000] and sha256(BODY) != blob.name:
                blob.unlink()

    drop_index()
    held.upstream.project(held.name).disappear(404)
    wait_until(lambda: held.fetch(held.index).status == 404, "the end of the index")
    wait_until(lambda: held.fetch(held.file).status == 403, "the file to be refused")
    held.upstream.project(held.name).gone = 0
    wait_until(lambda: held.fetch(held.index).status == 200, "the index to be back")
    wait_until(lambda: held.fetch(held.file).status == 200, "the file to be served again")


def test_a_takedown_outlives_a_restart(upstream: Upstream, serve: Serve) -> None:
    """The block is on disk, not in a worker's memory, and needs no upstream."""
    held = Stand(upstream, serve(pypi=upstream.simple_url, workers=2, **SETTINGS))
    held.release("1.0", BODY)
    assert_right(held.fetch(held.file), BODY)
    take_down(held)
    assert held.gateway.stop() == 0
    upstream.down()
    held.gateway.restart()
    assert held.fetch(held.file).status == 403


@pytest.mark.parametrize("status", [404, 410])
def test_a_project_that_is_gone_is_believed_after_a_second_look(status: int, held: Stand) -> None:
    """Upstream is asked twice before everything of the project is blocked."""
    asked = len(held.seen_index())
    held.upstream.project(held.name).disappear(status)
    wait_until(lambda: held.fetch(held.index).status in (404, 410), "the index to be gone")
    assert len(held.seen_index()) - asked >= 2
    for version in ("1.0", "2.0"):
        got = held.fetch(held.file_of(version))
        assert got.status == 403 and held.name in got.text


def test_one_stray_404_is_no_takedown(held: Stand) -> None:
    """A single wrong 404 among good answers costs nobody a release."""
    held.on_index().fault(Status(404), times=1)
    for _ in range(3):
        assert "-1.0.tar.gz" in held.fetch(held.index).text
        assert_right(held.fetch(held.file), BODY)


@pytest.mark.parametrize(
    "failure",
    [
        Status(500),
        Status(503),
        Reset(),
        Truncated(80),
        LoginPage(),
        Body(b""),
        Body(b"{"),
        Body(b'{"meta": {"api-version": "1.1"}, "name": "other", "versions": [], "files": []}'),
    ],
    ids=repr,
)
def test_a_failing_upstream_takes_nothing_down(failure: Fault, held: Stand) -> None:
    """Errors, nonsense and silence leave the held index and the held files in service."""
    held.on_index().fault(failure)
    for _ in range(2):
        assert "-1.0.tar.gz" in held.fetch(held.index).text
        assert_right(held.fetch(held.file), BODY)


def test_a_version_gone_from_a_packument_is_blocked_in_npms_words(stand: Stand) -> None:
    """403 with the reason in `error`, which npm prints."""
    package = stand.publish("1.0.0").release("2.0.0")
    assert stand.fetch(stand.tarball).status == 200
    package.remove("1.0.0")
    wait_until(lambda: b'"1.0.0"' not in stand.fetch(stand.packument).body, "the newer packument")
    wait_until(lambda: stand.fetch(stand.tarball).status == 403, "the takedown to be seen at the tarball")
    assert "1.0.0" in json.loads(stand.fetch(stand.tarball).body)["error"]
    assert stand.fetch(stand.tarball.replace("1.0.0", "2.0.0")).status == 200
