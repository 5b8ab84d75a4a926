"""Fresh, revalidated, stale, absent: what is remembered, for how long, and what the reply says of it."""

from __future__ import annotations

import pytest

from doubles.claims import assert_right
from doubles.faults import Body, Fault, LoginPage, Reset, Status, Truncated
from doubles.gateway import Serve
from doubles.registry import JSON_INDEX, content
from doubles.stand import Stand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

SETTINGS = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 1}, "fetch": {"attempts": 1}}
INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"


def test_a_fresh_index_is_a_hit_without_a_request(upstream: Upstream, serve: Serve) -> None:
    """One request to upstream, whatever the form and however many ask."""
    upstream.project("demo").release("1.0")
    gateway = serve(pypi=upstream.simple_url, workers=2)
    assert "fwd=miss" in gateway.fetch(INDEX).cache
    for accept in (JSON_INDEX, "text/html", "application/vnd.pypi.simple.v1+html", "*/*"):
        got = gateway.fetch(INDEX, headers={"accept": accept})
        assert "demo-1.0.tar.gz" in got.text and "; hit" in got.cache
        assert "accept" in got.headers["vary"].lower()
    assert len(upstream.requests) == 1


def test_an_old_index_is_revalidated_by_its_validator(upstream: Upstream, serve: Serve) -> None:
    """Upstream is asked with If-None-Match and answers 304; a new release is seen by the next request but one."""
    project = upstream.project("demo").release("1.0")
    gateway = serve(pypi=upstream.simple_url, cache={"document_ttl_s": 0})
    gateway.fetch(INDEX)
    again = gateway.fetch(INDEX)
    assert again.status == 200 and "demo-1.0.tar.gz" in again.text
    upstream.wait_seen("/simple/*", 2)
    assert "if-none-match" in upstream.seen("/simple/*")[1].headers
    wait_until(lambda: upstream.seen("/simple/*")[1].status == 304, "304")
    project.release("2.0")
    wait_until(lambda: "demo-2.0.tar.gz" in gateway.fetch(INDEX).text, "the new release")


@pytest.mark.parametrize("kind", ["index", "packument"])
def test_a_client_that_holds_the_document_gets_304(kind: str, stand: Stand) -> None:
    """By the ETag of our own bytes, which changes when the document does."""
    stand.release()
    stand.publish()
    path = getattr(stand, kind)
    etag = stand.fetch(path).headers["etag"]
    same = stand.fetch(path, headers={"if-none-match": etag})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    stand.release("2.0")
    stand.publish("2.0.0")
    wait_until(lambda: stand.fetch(path, headers={"if-none-match": etag}).status == 200, "the new document")


@pytest.mark.parametrize(
    "failure", [Status(500), Status(503), Reset(), Truncated(80), LoginPage(), Body(b"{")], ids=repr
)
def test_a_held_index_is_served_stale_when_upstream_fails(failure: Fault, stand: Stand) -> None:
    """And the reply says so; when upstream is well again, so is the reply."""
    stand.release()
    assert stand.fetch(stand.index).status == 200
    stand.on_index().fault(failure)
    replies = [stand.fetch(stand.index) for _ in range(3)]
    assert {got.status for got in replies} == {200}
    assert all(f"{stand.name}-1.0.tar.gz" in got.text for got in replies)
    assert "detail=stale" in replies[-1].cache


def test_a_stale_index_is_renewed_when_upstream_is_well_again(stand: Stand) -> None:
    """Staleness ends by itself, soon."""
    stand.release()
    assert stand.fetch(stand.index).status == 200
    script = stand.on_index().fault(Status(500))
    assert "detail=stale" in stand.fetch(stand.index).cache
    script.heal()
    wait_until(lambda: "detail=stale" not in stand.fetch(stand.index).cache, "recovery", 15)


def test_everything_held_is_served_with_upstream_down(upstream: Upstream, serve: Serve) -> None:
    """Index and file, PyPI and npm, over a restart: upstream is not there at all."""
    upstream.project("demo").release("1.0")
    upstream.package("left").release("1.0.0")
    gateway = serve(pypi=upstream.simple_url, npm=upstream.npm_url, cache={"document_ttl_s": 0}, workers=2)
    paths = (INDEX, FILE, "/npm/left", "/npm/left/-/left-1.0.0.tgz")
    before = [gateway.fetch(path) for path in paths]
    assert {got.status for got in before} == {200}
    upstream.down()
    for _ in range(2):
        for path, right in zip(paths, before, strict=True):
            assert_right(gateway.fetch(path), right.body)
        assert gateway.stop() == 0
        gateway.restart()
    assert "detail=stale" in gateway.fetch(INDEX).cache


@pytest.mark.parametrize("path", ["/pypi/simple/absent/", "/pypi/files/demo/demo-7.tar.gz", "/npm/absent"])
def test_an_unknown_name_is_404_and_remembered_shortly(path: str, upstream: Upstream, serve: Serve) -> None:
    """While it is remembered upstream is left in peace; soon after it is asked again, and finds what is there now."""
    upstream.project("demo").release("1.0")
    settings = {"negative_ttl_s": 2, "document_ttl_s": 2}
    gateway = serve(pypi=upstream.simple_url, npm=upstream.npm_url, cache=settings, workers=2)
    assert gateway.fetch(path).status == 404
    asked = len(upstream.requests)
    for _ in range(5):
        assert gateway.fetch(path).status == 404
    assert len(upstream.requests) == asked
    upstream.project("absent").release("1.0")
    upstream.package("absent").release("1.0.0")
    upstream.project("demo").release("7", {"demo-7.tar.gz": content(1000)})
    wait_until(lambda: gateway.fetch(path).status == 200, "the name to be found", 8)


@pytest.mark.parametrize("status", [404, 410])
def test_a_listed_file_that_upstream_lacks_is_not_found(status: int, stand: Stand) -> None:
    """The index may be ahead of its files: 404 for now, and the file as soon as it is there."""
    stand.release()
    script = stand.on_file().fault(Status(status))
    assert stand.fetch(stand.file).status == 404
    script.heal()
    wait_until(lambda: stand.fetch(stand.file).status == 200, "the file", 8)
