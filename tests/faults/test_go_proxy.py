"""What the go command is given: modules by their escaped names, and the checksum database behind the proxy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from doubles.claims import assert_right
from doubles.faults import Answer, Status
from doubles.gateway import Serve
from doubles.golang import escape
from doubles.registry import content
from doubles.stand import GoStand
from doubles.upstream import Upstream, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("stand", ["golang"], indirect=True)]

SETTINGS: dict[str, Any] = {"cache": {"document_ttl_s": 0, "negative_ttl_s": 0}, "fetch": {"attempts": 1}}
DATABASE = "/go/sumdb/sum.example"


@pytest.fixture
def go(stand: GoStand) -> GoStand:
    """A module of the test's own."""
    return stand


def below(go: GoStand, rest: str) -> str:
    """A path of the module."""
    return f"/go/{escape(go.name)}/{rest}"


def test_a_release_has_its_three_files_as_upstream_has_them(go: GoStand) -> None:
    """.info, .mod and .zip, each asked for once, at its escaped address."""
    go.release("1.0", content(5000))
    for suffix in (".info", ".mod", ".zip"):
        right = go.upstream.module(go.name).versions["v1.0.0"][suffix].body
        for _ in range(2):
            assert_right(go.fetch(below(go, f"@v/v1.0.0{suffix}")), right)
    assert sorted(seen.target for seen in go.seen()) == [
        below(go, f"@v/v1.0.0.{kind}") for kind in ("info", "mod", "zip")
    ]
    assert "!demo" in go.seen()[0].target


def test_what_a_word_stands_for_is_asked_anew(go: GoStand) -> None:
    """`@latest` and a branch move on with upstream; a version of three numbers does not."""
    go.release("1.0")
    branch = go.on(below(go, "@v/main.info"))
    branch.fault(Answer(b'{"Version":"v1.0.1-0.20250101000000-abcdefabcdef","Time":"2025-01-01T00:00:00Z"}'))
    assert json.loads(go.fetch(below(go, "@latest")).body)["Version"] == "v1.0.0"
    assert "v1.0.1-0.2025" in go.fetch(below(go, "@v/main.info")).text
    go.release("2.0")
    branch.heal()
    branch.fault(Answer(b'{"Version":"v2.0.1-0.20250101000000-abcdefabcdef","Time":"2025-01-01T00:00:00Z"}'))
    wait_until(lambda: json.loads(go.fetch(below(go, "@latest")).body)["Version"] == "v2.0.0", "the newer one")
    wait_until(lambda: "v2.0.1-0.2025" in go.fetch(below(go, "@v/main.info")).text, "the branch")


def test_a_takedown_holds_for_every_file_of_the_release(go: GoStand) -> None:
    """403, at which the go command stops and does not go elsewhere; what only stands for the release is not there."""
    go.release("1.0")
    files = [below(go, f"@v/v1.0.0.{kind}") for kind in ("info", "mod", "zip")]
    assert {go.fetch(path).status for path in (*files, go.index, below(go, "@latest"))} == {200}
    told = go.fetch(below(go, "@latest")).body
    go.release("2.0").remove("1.0")
    go.on(below(go, "@latest")).fault(Answer(told))
    wait_until(lambda: not go.listed_here("1.0"), "the newer list")
    for path in files:
        got = go.fetch(path)
        assert got.status == 403 and "unblock" in got.text and got.headers["content-type"].startswith("text/plain")
    assert go.fetch(below(go, "@latest")).status == 404


def test_the_checksum_database_is_passed_on_unread(go: GoStand) -> None:
    """Tiles and lookups are kept for ever, byte for byte; the head of the tree is asked for anew."""
    go.release("1.0")
    assert go.fetch(f"{DATABASE}/supported").status == 200
    lookup = f"{DATABASE}/lookup/{escape(go.name)}@v1.0.0"
    tiles = [f"{DATABASE}/tile/8/0/x001/234", f"{DATABASE}/tile/8/0/005.p/7"]
    before = len(go.upstream.requests)
    for path in (lookup, *tiles):
        bodies = {go.fetch(path).body for _ in range(3)}
        assert len(bodies) == 1
    # Behind a file that is kept, whether the database is still there is looked at now and then.
    asked = [seen.path for seen in go.upstream.requests[before:] if not seen.path.endswith("/supported")]
    assert sorted(asked) == sorted((lookup, *tiles))
    assert f"{go.name} v1.0.0 h1:" in go.fetch(lookup).text

    def tree_size() -> int:
        return int(go.fetch(f"{DATABASE}/latest").text.splitlines()[1])

    size = tree_size()
    wait_until(lambda: tree_size() > size, "the tree to grow")


def test_a_proxy_without_the_database_says_so(go: GoStand) -> None:
    """404 to `supported` sends the go command to the database itself; other databases are none of this one's."""
    assert go.fetch("/go/sumdb/other.example/supported").status == 404
    go.on(f"{DATABASE}/supported").fault(Status(410))
    wait_until(lambda: go.fetch(f"{DATABASE}/supported").status == 404, "the end of the database")


def test_a_private_module_is_never_named_to_the_public_proxy(go: GoStand, serve: Serve) -> None:
    """Neither by a list, a version, a branch, a file, nor by a question to the checksum database."""
    with Upstream() as private, Upstream() as public:
        claimed = {"url": private.go_url, "namespaces": ["registry.example/Acme/*", "registry.example/acme-core"]}
        gateway = serve(golang=[claimed, {"url": public.go_url}], workers=2)
        rests = ["@v/list", "@latest", "@v/main.info", *(f"@v/v1.0.0.{kind}" for kind in ("info", "mod", "zip"))]
        for name in ("registry.example/Acme/core", "registry.example/acme-core"):
            private.module(name).release("v2.0.0")
            public.module(name).release("v1.0.0")
            for rest in rests:
                gateway.fetch(f"/go/{escape(name)}/{rest}")
            gateway.fetch(f"{DATABASE}/lookup/{escape(name)}@v1.0.0")
        assert [seen.target for seen in public.requests] == []
        assert len(private.requests) >= 2 * len(rests)
        public.module("registry.example/acme-corelib").release("v1.0.0")
        assert gateway.fetch("/go/registry.example/acme-corelib/@v/list").status == 200
        # As long as it is fresh, the head of the tree is one request for all, to the public proxy.
        assert len({gateway.fetch(f"{DATABASE}/latest").body for _ in range(12)}) == 1
        assert len(public.seen(f"{DATABASE}/latest")) == 1 and private.seen(f"{DATABASE}/latest") == []
