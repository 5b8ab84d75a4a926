"""What a private upstream holds is only for those whom that upstream would let in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doubles.claims import assert_right
from doubles.faults import Unauthorized
from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.upstream import Script, Upstream

pytestmark = pytest.mark.faults

INDEX = "/pypi/simple/acme-core/"
FILE = "/pypi/files/acme-core/acme_core-1.0.tar.gz"
RIGHT = content(3_000_000)
GOOD = "Basic Z29vZDpzZWNyZXQ="
WRONG = "Basic YmFkOmd1ZXNz"


@pytest.fixture
def private() -> Iterator[Upstream]:
    """A registry with one project, its files at the same address."""
    with Upstream(files_on_index_host=True) as double:
        double.project("acme-core").release("1.0", {"acme_core-1.0.tar.gz": RIGHT})
        yield double


@pytest.fixture
def lock(private: Upstream) -> Script:
    """The private registry answers only to one authorisation."""
    return private.on("*").fault(Unauthorized(GOOD))


@pytest.fixture
def gateway(private: Upstream, lock: Script, upstream: Upstream, serve: Serve) -> Gateway:
    """The private registry in front of a public one."""
    first = {"url": private.simple_url, "private": True, "namespaces": ["acme-*"]}
    started: Gateway = serve(pypi=[first, {"url": upstream.simple_url}], workers=2)
    return started


def ask(gateway: Gateway, path: str, authorization: str | None) -> int:
    """The status that a caller with this authorisation gets; a 200 is checked byte for byte."""
    got = gateway.fetch(path, headers={"authorization": authorization} if authorization else {})
    if got.status == 200 and path == FILE:
        assert_right(got, RIGHT)
    if got.status == 401:
        assert "basic" in got.headers["www-authenticate"].lower()
        assert b"acme_core-1.0" not in got.body
    return got.status


@pytest.mark.parametrize("path", [INDEX, FILE])
def test_a_caller_without_the_right_authorisation_gets_nothing(path: str, gateway: Gateway) -> None:
    """401 cold, and 401 on what is held already; the right caller is served before and after."""
    for authorization in (None, WRONG):
        assert ask(gateway, path, authorization) == 401
    for _ in range(3):
        assert ask(gateway, path, GOOD) == 200
        for authorization in (None, WRONG, GOOD.lower(), f"{GOOD}x", "Bearer x"):
            assert ask(gateway, path, authorization) == 401


@pytest.mark.parametrize("path", [INDEX, FILE])
def test_a_revoked_authorisation_ends(path: str, private: Upstream, lock: Script, serve: Serve) -> None:
    """When upstream no longer accepts it, what is held is no longer handed out for it."""
    setting = {"url": private.simple_url, "private": True}
    gateway = serve(pypi=[setting], cache={"document_ttl_s": 0})
    assert ask(gateway, path, GOOD) == 200
    lock.heal()
    private.on("*").fault(Unauthorized("Basic bmV3OnNlY3JldA=="))
    assert ask(gateway, path, GOOD) == 401


def test_a_private_name_is_never_asked_of_the_public_upstream(
    gateway: Gateway, upstream: Upstream, private: Upstream
) -> None:
    """Neither a missing project nor a refusal sends the name on."""
    upstream.project("acme-core").release("9.9")
    upstream.project("acme-absent").release("9.9")
    for authorization in (None, WRONG, GOOD):
        for path in (INDEX, FILE, "/pypi/simple/acme-absent/", "/pypi/files/acme-absent/acme_absent-9.9.tar.gz"):
            ask(gateway, path, authorization)
    assert upstream.requests == []
    assert private.requests != []


def test_a_public_name_is_served_to_everybody_without_credentials_sent_on(gateway: Gateway, upstream: Upstream) -> None:
    """A caller's authorisation for the private registry never reaches the public one."""
    upstream.project("demo").release("1.0")
    assert gateway.fetch("/pypi/simple/demo/").status == 200
    assert gateway.fetch("/pypi/files/demo/demo-1.0.tar.gz", headers={"authorization": GOOD}).status == 200
    assert gateway.fetch("/pypi/simple/absent/", headers={"authorization": GOOD}).status in (401, 404)
    assert upstream.requests and all("authorization" not in seen.headers for seen in upstream.requests)


def test_credentials_are_never_written_down(gateway: Gateway) -> None:
    """Not in the log, not in the access log, not anywhere in the data folder."""
    for path in (INDEX, FILE):
        for authorization in (WRONG, GOOD):
            ask(gateway, path, authorization)
    assert gateway.stop() == 0
    for path_on_disk in [gateway.log_path, *(path for path in gateway.data.rglob("*") if path.is_file())]:
        body = path_on_disk.read_bytes()
        for secret in (GOOD, WRONG):
            assert secret.removeprefix("Basic ").encode() not in body, path_on_disk


def test_a_callers_credential_stays_with_the_registry_that_asks_for_it(serve: Serve) -> None:
    """Files on another host are fetched without it: an index must not be able to send it elsewhere."""
    with Upstream() as double:
        double.project("acme-core").release("1.0", {"acme_core-1.0.tar.gz": RIGHT})
        double.on("/simple/*").fault(Unauthorized(GOOD))
        first = {"url": double.simple_url, "private": True, "namespaces": ["acme-*"]}
        gateway: Gateway = serve(pypi=[first])
        assert ask(gateway, FILE, GOOD) == 200
        assert [seen.headers.get("authorization") for seen in double.seen("*.tar.gz")] == [None]
        assert GOOD in [seen.headers.get("authorization") for seen in double.seen("/simple/*")]
