"""Callers as a running gateway tells them, over all its workers."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping

import pytest

from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.upstream import Upstream, wait_until
from mainstay.access.tokens import make_token

INDEX = "/pypi/simple/demo/"
FILE = "/pypi/files/demo/demo-1.0.tar.gz"
RIGHT = content(1000)


@pytest.fixture
def gateway(upstream: Upstream, serve: Serve) -> Gateway:
    """Two workers in front of one release."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    return serve(pypi=upstream.simple_url, workers=2)


def command(gateway: Gateway, *words: str) -> dict[str, str]:
    """What `mainstay consumer` answers."""
    done = gateway.run("consumer", *words, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def consumers(gateway: Gateway, number: int) -> list[str]:
    """Who called, one reply of an ecosystem after the other, once so many are in the access log.

    Each worker writes its lines when it comes to it.
    """

    def lines() -> list[str]:
        replies = [line for line in gateway.access_lines() if line.get("ecosystem")]
        return [line["consumer"] for line in sorted(replies, key=lambda line: line["time"])]

    wait_until(lambda: len(lines()) >= number, "the access log")
    return lines()


def test_a_caller_is_told_by_its_token_wherever_that_is(gateway: Gateway, upstream: Upstream) -> None:
    """Cold, from memory and byte for byte the same again; the registry never sees the token."""
    token = command(gateway, "add", "build-farm")["token"]
    basic = b64encode(f"token:{token}".encode()).decode()
    ways: list[tuple[str, Mapping[str, str]]] = [
        ("", {"Mainstay-Token": token}),
        ("", {"Authorization": f"Bearer {token}"}),
        ("", {"Authorization": token}),
        ("", {"Authorization": f"Basic {basic}"}),
        (f"/t/{token}", {}),
    ]
    for prefix, headers in ways:
        for path in (INDEX, INDEX, INDEX, FILE):
            assert gateway.fetch(prefix + path, headers=headers).status == 200
    assert gateway.fetch(FILE).body == RIGHT
    assert sorted(consumers(gateway, 21)) == ["build-farm"] * 20 + ["local"]
    seen = str([(request.path, dict(request.headers)) for request in upstream.requests])
    assert token not in seen and basic not in seen
    kept = b"".join(path.read_bytes() for path in gateway.data.rglob("*") if path.is_file())
    assert token.encode() not in kept and token[8:].encode() not in kept and token not in gateway.log


def test_a_token_that_is_not_in_force_is_refused_from_the_next_request_on(gateway: Gateway) -> None:
    """In each worker, for what is answered from memory too, and in words that say why."""
    token = command(gateway, "add", "build-farm")["token"]
    for _ in range(20):
        assert gateway.fetch(INDEX, headers={"Mainstay-Token": token}).status == 200
    command(gateway, "token", "build-farm", "--revoke-all")
    refused = [gateway.fetch(INDEX, headers={"Mainstay-Token": token}) for _ in range(20)]
    refused.append(gateway.fetch(f"/t/{token}{INDEX}"))
    assert {(reply.status, "was revoked" in reply.text) for reply in refused} == {(401, True)}
    assert 'error="invalid_token"' in refused[0].headers["www-authenticate"]
    for wrong, words in ((token[:-1], "mistyped"), (make_token(), "not known"), ("t0ken", "mistyped")):
        reply = gateway.fetch(INDEX, headers={"Mainstay-Token": wrong})
        assert reply.status == 401 and words in reply.text and wrong not in reply.text
    assert gateway.fetch(INDEX).status == 200


def test_a_network_is_a_consumers_from_the_next_request_on(gateway: Gateway) -> None:
    """Until it is not any more; a token goes before it."""
    assert gateway.fetch(INDEX).status == 200
    command(gateway, "add", "this-machine", "--network", "127.0.0.0/8")
    token = command(gateway, "add", "build-farm")["token"]
    assert gateway.fetch(INDEX).status == gateway.fetch(INDEX, headers={"Mainstay-Token": token}).status == 200
    command(gateway, "remove", "this-machine")
    assert gateway.fetch(INDEX).status == 200
    assert consumers(gateway, 4) == ["local", "this-machine", "build-farm", "local"]


def test_the_requests_of_an_agents_token_are_the_agents(gateway: Gateway) -> None:
    """Cold, from memory and byte for byte the same again, whatever program it uses; its consumer's others are not."""
    token = command(gateway, "add", "build-farm")["token"]
    agents = command(gateway, "token", "build-farm", "--agent", "codex")["token"]
    for shown in (agents, agents, agents, token):
        headers = {"Mainstay-Token": shown, "User-Agent": "pip/26.3", "Mainstay-Client": "ci=gitlab"}
        assert gateway.fetch(INDEX, headers=headers).status == 200
    logs = gateway.data / "usage/log"
    wait_until(lambda: sum(path.read_bytes().count(b"build-farm") for path in logs.glob("*")) == 4, "the ledger")
    by = ("class", "agent", "client", "ci_vendor")
    done = gateway.run("usage", "summary", "--by", ",".join(by), "--json")
    rows = [(*(row[name] for name in by), row["requests"]) for row in json.loads(done.stdout)["rows"]]
    assert sorted(rows) == [("agent", "codex", "pip", "gitlab", 3), ("ci", "", "pip", "gitlab", 1)]


def test_what_is_done_on_the_pages_counts_for_every_worker_from_the_next_request_on(gateway: Gateway) -> None:
    """By a program with an administrator's token: one that it makes works, and one that it revokes does no more."""
    root = command(gateway, "add", "root", "--admin")["token"]
    headers = {"Mainstay-Token": root, "Content-Type": "application/json"}
    made = gateway.fetch("/api/v1/consumers", method="POST", headers=headers, body=b'{"name": "ci"}')
    assert made.status == 201, made.text
    token = json.loads(made.body)["token"]
    assert {gateway.fetch(INDEX, headers={"Mainstay-Token": token}).status for _ in range(20)} == {200}
    gone = gateway.fetch("/api/v1/consumers/ci/tokens", method="DELETE", headers=headers)
    assert json.loads(gone.body)["revoked"] == [token[:8]]
    assert {gateway.fetch(INDEX, headers={"Mainstay-Token": token}).status for _ in range(20)} == {401}
    assert gateway.fetch("/api/v1/consumers", headers={"Mainstay-Token": token}).status == 401
    assert token[8:] not in gateway.log and root[8:] not in gateway.log
