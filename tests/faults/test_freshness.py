"""Fresh, revalidated, stale, absent: what is remembered, for how long, and what the reply says of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doubles.claims import assert_right
from doubles.faults import Body, Fault, LoginPage, Reset, Status, Truncated
from doubles.gateway import Gateway, Serve, serving
from doubles.registry import JSON_INDEX
from doubles.stand import STANDS, Stand, in_every_ecosystem
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 1}, "fetch": {"attempts": 1}}


@pytest.fixture(scope="module")
def patient(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of two workers that remembers for longer than any test takes."""
    with serving(tmp_path_factory.mktemp("patient")) as start:
        yield start(**shared_upstream.urls, workers=2, cache={"document_ttl_s": 600, "negative_ttl_s": 600})


@pytest.fixture
def settled(request: pytest.FixtureRequest, shared_upstream: Upstream, patient: Gateway) -> Stand:
    """A project of the test's own behind that gateway."""
    return STANDS[request.param](shared_upstream, patient)


@pytest.mark.parametrize("settled", STANDS, indirect=True)
def test_a_fresh_index_is_a_hit_without_a_request(settled: Stand) -> None:
    """One request to upstream, whatever the form, whichever worker is asked, and however many ask."""
    settled.release("1.0")
    assert "fwd=miss" in settled.fetch(settled.index).cache
    for accept in (JSON_INDEX, "text/html", "application/vnd.pypi.simple.v1+html", "*/*") * 2:
        got = settled.fetch(settled.index, headers={"accept": accept})
        assert settled.lists(got) and "; hit" in got.cache
        assert "accept-encoding" in got.headers["vary"].lower()
    assert len(settled.seen_index()) == 1


@pytest.mark.parametrize("settled", STANDS, indirect=True)
def test_what_is_absent_is_remembered_by_every_worker(settled: Stand) -> None:
    """While it is remembered upstream is left in peace, for a project and for a release of one that is there."""
    absent = type(settled)(settled.upstream, settled.gateway)
    settled.release("1.0")
    paths = [absent.index, absent.file, settled.file_of("7.0")]
    assert {settled.fetch(path).status for path in paths} == {404}
    asked = len(settled.seen()) + len(absent.seen())
    for path in paths * 6:
        assert settled.fetch(path).status == 404
    assert len(settled.seen()) + len(absent.seen()) == asked


@in_every_ecosystem
def test_what_was_absent_is_found_soon_after_it_is_there(stand: Stand) -> None:
    """A memory that is over does no harm: a new project, and a new release of an old one."""
    absent = type(stand)(stand.upstream, stand.gateway)
    stand.release("1.0")
    paths = [absent.index, absent.file, stand.file_of("7.0")]
    assert {stand.fetch(path).status for path in paths} == {404}
    absent.release("1.0")
    stand.release("7.0")
    for path in paths:
        stand.wait_for(path, lambda got: got.status == 200, f"{path} to be found")


@pytest.mark.parametrize("settled", ["pypi"], indirect=True)
def test_each_form_of_an_index_says_that_it_is_one_of_several(settled: Stand) -> None:
    """PyPI's forms are made from one document."""
    settled.release("1.0")
    for accept in (JSON_INDEX, "text/html", "application/vnd.pypi.simple.v1+html", "*/*"):
        got = settled.fetch(settled.index, headers={"accept": accept})
        assert settled.lists(got)
        assert "accept" in [name.strip() for name in got.headers["vary"].lower().split(",")]
    assert len(settled.seen_index()) == 1


@in_every_ecosystem
def test_an_old_index_is_asked_for_anew(stand: Stand) -> None:
    """With the validator that upstream gave, if it gave one, which is answered 304; a new release is seen by the next
    request but one. A Go proxy's list has no validator."""
    stand.release("1.0")
    validators = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    given = {asked for name, asked in validators.items() if name in dict(stand.honest().headers)}
    stand.fetch(stand.index)
    assert stand.listed_here()
    wait_until(lambda: len(stand.seen_index()) >= 2, "the second request")
    assert {name for name in validators.values() if name in stand.seen_index()[1].headers} == given
    wait_until(lambda: stand.seen_index()[1].status, "its answer")
    assert stand.seen_index()[1].status == (304 if given else 200)
    stand.release("2.0")
    wait_until(lambda: stand.listed_here("2.0"), "the new release")


@in_every_ecosystem
def test_a_client_that_holds_the_document_gets_304(stand: Stand) -> None:
    """By the ETag of our own bytes, which changes when the document does."""
    stand.release()
    etag = stand.fetch(stand.index).headers["etag"]
    same = stand.fetch(stand.index, headers={"if-none-match": etag})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    stand.release("2.0")
    wait_until(lambda: stand.fetch(stand.index, headers={"if-none-match": etag}).status == 200, "the new document")


FAILURES: dict[str, Fault] = {
    "500": Status(500),
    "503": Status(503),
    "reset": Reset(),
    "truncated": Truncated(5),
    "login page": LoginPage(),
    "half a document": Body(b"{"),
}


@pytest.mark.parametrize("failure", FAILURES)
@in_every_ecosystem
def test_a_held_index_is_served_stale_when_upstream_fails(failure: str, stand: Stand) -> None:
    """And the reply says so."""
    stand.release()
    assert stand.fetch(stand.index).status == 200
    stand.on_index().fault(FAILURES[failure])
    replies = [stand.fetch(stand.index) for _ in range(3)]
    assert all(stand.lists(got) for got in replies)
    assert "detail=stale" in replies[-1].cache


def test_a_stale_index_is_renewed_when_upstream_is_well_again(stands: list[Stand]) -> None:
    """Staleness ends by itself, soon, in every ecosystem."""
    for stand in stands:
        stand.release()
        assert stand.fetch(stand.index).status == 200
        stand.on_index().fault(Status(500))
        assert "detail=stale" in stand.fetch(stand.index).cache
        stand.heal()
    for stand in stands:
        stand.wait_for(stand.index, lambda got: "detail=stale" not in got.cache, "recovery", 20)


def test_everything_held_is_served_with_upstream_down(upstream: Upstream, serve: Serve) -> None:
    """Index and file of every ecosystem, with what belongs to them, over a restart: upstream is not there at all."""
    gateway = serve(**upstream.urls, cache={"document_ttl_s": 0}, fetch={"attempts": 1}, workers=2)
    own = [kind(upstream, gateway).release("1.0") for kind in STANDS.values()]
    paths = [path for stand in own for path in (stand.index, stand.file)]
    go, maven = ("/".join(stand.file.split("/")[:-1]) for stand in own if not stand.listed)
    paths += ["/cargo/config.json", f"{go}/v1.0.0.info", f"{go}/v1.0.0.mod"]
    paths += [f"{stand.file}.sha1" for stand in own if maven in stand.file]
    before = [gateway.fetch(path) for path in paths]
    assert [path for path, got in zip(paths, before, strict=True) if got.status != 200] == []
    upstream.down()
    for again in (False, True):
        if again:
            assert gateway.stop() == 0
            gateway.restart()
        for path, right in zip(paths, before, strict=True):
            assert_right(gateway.fetch(path), right.body)
    assert {"detail=stale" in stand.fetch(stand.index).cache for stand in own} == {True}


@pytest.mark.parametrize("status", [404, 410])
@in_every_ecosystem
def test_a_listed_file_that_upstream_lacks_is_not_found(status: int, stand: Stand) -> None:
    """The index may be ahead of its files: 404 for now, and the file as soon as it is there."""
    stand.release()
    script = stand.on_file().fault(Status(status))
    assert stand.fetch(stand.file).status == 404
    script.heal()
    wait_until(lambda: stand.fetch(stand.file).status == 200, "the file")
