"""Who called is told from the request, costs the caller nothing, reaches no upstream, and is in the ledger."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from contract.servers import connected, request
from doubles.gateway import Gateway
from doubles.registry import content
from doubles.stand import Stand
from doubles.upstream import wait_until
from mainstay.access.consumers import add_consumer
from mainstay.settings import load_config

FILE = content(150_000, seed=5)
LARGE = content(700_000, seed=6)
SETTINGS = {"cache": {"document_ttl_s": 600}, "server": {"trusted_proxies": ["127.0.0.2"]}}
_numbers = itertools.count(1)
NEVER_GIVEN = "mst_" + "A" * 38

every_stand = pytest.mark.parametrize("stand", ["pypi", "npm", "golang", "cargo", "maven"], indirect=True)


def tell(gateway: Gateway, *words: str) -> dict[str, Any]:
    """What a command says as JSON."""
    done = gateway.run(*words, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def add(stand: Stand) -> Callable[..., str]:
    """Adds a consumer of the test's own and gives its token."""

    config = load_config(None, {}, {"data": str(stand.gateway.data)}, ())

    def make(name: str = "", *networks: str) -> str:
        return add_consumer(config, f"{stand.word}{name}", "free", networks)[1]

    return make


def wait_written(gateway: Gateway) -> None:
    """Return when every event so far is in the ledger: they are written in their order."""
    marker = f"marker-{next(_numbers)}-{os.getpid()}"
    gateway.fetch(f"/pypi/simple/{marker}/")
    logs = gateway.data / "usage/log"
    wait_until(lambda: any(marker.encode() in path.read_bytes() for path in logs.glob("*")), "the ledger")


def summary(stand: Stand, *by: str) -> list[dict[str, Any]]:
    """The ledger's rows that are of the test's own project or consumers."""
    wait_written(stand.gateway)
    rows = tell(stand.gateway, "usage", "summary", "--by", ",".join(by or ("consumer", "project")))["rows"]
    mine = (stand.word, stand.name)
    return [row for row in rows if any(word in str(row.get(key)) for word in mine for key in ("consumer", "project"))]


def basic(user: str, password: str) -> str:
    """The header's value."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


WAYS: Mapping[str, Callable[[str], dict[str, str]]] = {
    "bearer": lambda token: {"authorization": f"Bearer {token}"},
    "bare": lambda token: {"authorization": token},
    "password": lambda token: {"authorization": basic("anything", token)},
    "user": lambda token: {"authorization": basic(token, "")},
    "own": lambda token: {"mainstay-token": token},
    "path": lambda token: {},
}


@every_stand
def test_a_token_says_who_calls_in_every_place_that_a_client_has_for_it(stand: Stand, add: Callable[..., str]) -> None:
    """And goes no further: what reaches upstream is what anybody else's request would be."""
    for number in range(len(WAYS)):
        stand.release(f"1.{number}", FILE)
    for number, (way, headers) in enumerate(WAYS.items()):
        version = f"1.{number}"
        token = add(way)
        prefix = f"/t/{token}" if way == "path" else ""
        got = stand.gateway.fetch(prefix + stand.file_of(version), headers=headers(token))
        assert (got.status, got.body) == (200, FILE)
        assert all(token not in str(seen.headers) and token not in seen.path for seen in stand.seen())
    found = {row["consumer"]: row for row in summary(stand, "consumer", "kind") if row["kind"] == "artifact"}
    assert {name: (row["requests"], row["bytes"]) for name, row in found.items()} == {
        f"{stand.word}{way}": (1, len(FILE)) for way in WAYS
    }


@every_stand
def test_the_links_of_a_document_carry_the_token_that_the_clients_own_address_carries(
    stand: Stand, add: Callable[..., str]
) -> None:
    """So that its files are asked for with it; and nothing that is kept holds anybody's."""
    stand.release("1.0", FILE)
    tokens = [add("a"), add("b")]
    plain = stand.gateway.fetch(stand.index, headers={"accept-encoding": "gzip"})
    for token in tokens:
        got = stand.gateway.fetch(f"/t/{token}{stand.index}", headers={"accept-encoding": "gzip"})
        assert got.status == 200
        body = gzip.decompress(got.body) if got.headers.get("content-encoding") == "gzip" else got.body
        assert stand.gateway.fetch(f"/t/{token}{stand.file}").body == FILE
        others = [other for other in (*tokens, "mst_0000") if other != token]
        assert not any(other.encode() in body for other in others)
        if stand.gateway.url.encode() in body:
            assert body.count(stand.gateway.url.encode()) == body.count(f"{stand.gateway.url}/t/{token}/".encode())
    assert not any(token.encode() in plain.body for token in tokens)
    assert holders(stand.gateway, *tokens) == []


@pytest.mark.parametrize("stand", ["npm"], indirect=True)
def test_a_large_document_carries_the_token_in_every_link(stand: Stand, add: Callable[..., str]) -> None:
    """Those that are sent in pieces as well, wherever a piece ends."""
    for number in range(1200):
        stand.release(f"1.{number}", b"x")
    token = add()
    got = stand.gateway.fetch(f"/t/{token}{stand.index}")
    assert len(got.body) > 300_000, "of several pieces"
    versions = json.loads(got.body)["versions"].values()
    assert {entry["dist"]["tarball"].partition(stand.word)[0] for entry in versions} == {
        f"{stand.gateway.url}/t/{token}/npm/"
    }
    assert got.body.count(token.encode()) == len(versions) == 1200


@pytest.mark.parametrize("stand", ["npm"], indirect=True)
def test_the_address_that_a_client_is_sent_on_to_carries_its_token(stand: Stand, add: Callable[..., str]) -> None:
    """It would be somebody else there without it."""
    pypi = stand.beside("pypi")
    pypi.release("1.0")
    token = add()
    got = stand.gateway.fetch(f"/t/{token}{pypi.index.rstrip('/')}")
    assert got.status == 301
    assert got.headers["location"] == f"/t/{token}{pypi.index}"


@every_stand
@pytest.mark.parametrize("way", ["header", "path"])
def test_a_token_that_is_not_in_force_is_refused_in_words_and_asked_of_nobody(stand: Stand, way: str) -> None:
    """It was meant for us: upstream must not see it, and silently taking the caller for somebody else helps nobody."""
    stand.release("1.0", FILE)
    headers = {"authorization": f"Bearer {NEVER_GIVEN}"} if way == "header" else {}
    prefix = f"/t/{NEVER_GIVEN}" if way == "path" else ""
    got = stand.gateway.fetch(prefix + stand.file, headers=headers)
    assert got.status == 401
    assert "token" in got.text
    assert stand.seen() == []


def test_a_revoked_token_is_refused_at_once_by_every_worker_also_where_its_request_is_known(
    stand: Stand, add: Callable[..., str]
) -> None:
    """The short way, which parses nothing, ends with the word that the token is void."""
    stand.release("1.0", FILE)
    token = add()
    header = f"Authorization: Bearer {token}"
    with connected(stand.gateway.port) as wire:
        for _ in range(4):
            assert wire.get(stand.file, header).status == 200
        tell(stand.gateway, "consumer", "token", stand.word, "--revoke-all")
        answer = wire.send(request(stand.file, header)).read()
        assert answer is not None
        assert answer.status == 401


def test_a_credential_for_upstream_is_not_taken_for_ours(stand: Stand) -> None:
    """Nor are kept replies given for it, as upstream may show its owner more."""
    stand.release("1.0", FILE)
    for _ in range(3):
        assert stand.gateway.fetch(stand.file).status == 200
    got = stand.gateway.fetch(stand.file, headers={"authorization": basic("user", "password")})
    assert (got.status, got.body) == (200, FILE)
    assert {row["consumer"] for row in summary(stand)} == {"local"}


def test_a_network_says_who_calls_where_no_token_does(stand: Stand, add: Callable[..., str]) -> None:
    """By the longest that the address is in, which counts from a listed proxy only."""
    stand.release("1.0", FILE)
    add("wide", "203.0.113.0/24")
    token = add("narrow", "203.0.113.64/26")
    for address, headers in (("203.0.113.7", {}), ("203.0.113.70", {}), ("203.0.113.7", {"mainstay-token": token})):
        forwarded = {"x-forwarded-for": address, **headers}
        assert stand.gateway.fetch(stand.file, headers=forwarded).status == 200
        assert fetch_from("127.0.0.2", stand.gateway, stand.file, forwarded) == 200
    counted = {row["consumer"]: row["requests"] for row in summary(stand)}
    assert counted == {"local": 2, f"{stand.word}wide": 1, f"{stand.word}narrow": 3}


def test_the_address_of_a_caller_without_a_name_is_nowhere_in_the_data_folder(stand: Stand) -> None:
    """Its pseudonym is, the same for all its requests of a day."""
    stand.release("1.0", FILE)
    for _ in range(3):
        assert fetch_from("127.0.0.2", stand.gateway, stand.file, {"x-forwarded-for": "198.51.100.77"}) == 200
    assert fetch_from("127.0.0.2", stand.gateway, stand.file, {"x-forwarded-for": "198.51.100.78"}) == 200
    names = {row["consumer"]: row["requests"] for row in summary(stand)}
    assert sorted(names.values()) == [1, 3]
    assert all(name.startswith("address:") and len(name) == len("address:") + 12 for name in names)
    assert holders(stand.gateway, "198.51.100.7") == []


def test_no_user_agent_is_anywhere_in_the_data_folder(stand: Stand) -> None:
    """What it says is parsed; the text itself, which may name a person or a machine, is not kept."""
    stand.release("1.0", FILE)
    agent = 'pip/26.3 {"ci":true,"cpu":"x86_64","implementation":{"name":"CPython","version":"3.12.1"},'
    agent += '"system":{"name":"Linux","release":"6.1-of-janes-laptop"},"user_data":"janes-secret"}'
    for _ in range(3):
        assert stand.gateway.fetch(stand.file, headers={"user-agent": agent}).status == 200
    [row] = [row for row in summary(stand, "client", "class", "project") if row["client"] == "pip"]
    assert (row["class"], row["requests"]) == ("ci", 3)
    assert holders(stand.gateway, "janes-laptop", "janes-secret", '"implementation"') == []


def test_the_surroundings_that_a_run_passes_on_say_more_of_a_client(stand: Stand) -> None:
    """A CI system and a coding agent, which no user agent of a package manager names."""
    stand.release("1.0", FILE)
    headers = {"user-agent": "cargo/1.96.0", "mainstay-client": "ci=gitlab; agent=some-agent"}
    assert stand.gateway.fetch(stand.file, headers=headers).status == 200
    [row] = [row for row in summary(stand, "client", "class", "project") if row["client"] == "cargo"]
    assert row["class"] == "agent"


@every_stand
def test_each_reply_is_one_event_by_whatever_way_it_was_given(stand: Stand, add: Callable[..., str]) -> None:
    """Cold, from the store, from memory, as known bytes, in part and as a 404; bytes as the client got them."""
    stand.release("1.0", LARGE)
    token = add()
    header = f"Authorization: Bearer {token}"
    sent = replies = 0
    with connected(stand.gateway.port) as wire:
        for path, *headers in (
            *[(stand.index,)] * 4,
            *[(stand.file,)] * 4,
            (stand.file, "Range: bytes=5-104"),
            (stand.file_of("7.7"),),
        ):
            answer = wire.get(path, header, *headers)
            sent, replies = sent + len(answer.body), replies + 1
    mine = [row for row in summary(stand, "consumer") if row["consumer"] == stand.word]
    assert [(row["requests"], row["bytes"]) for row in mine] == [(replies, sent)]
    assert mine[0]["artifacts"] == 1
    # Whole deliveries after the first of the same bytes to the same consumer.
    assert mine[0]["redundant_bytes"] == 3 * len(LARGE)


def test_what_upstream_sent_is_charged_to_who_caused_it_and_nothing_is_left_over(
    stand: Stand, add: Callable[..., str]
) -> None:
    """The sum over the ledger is what the metrics have counted."""
    stand.release("1.0", FILE).release("2.0", LARGE)
    tokens = [add("first"), add("second")]
    before = stand.gateway.metric("mainstay_upstream_bytes_total")
    wait_written(stand.gateway)
    already = sum(row["upstream_bytes"] for row in tell(stand.gateway, "usage", "summary")["rows"])
    for token in tokens:
        for path in (stand.index, stand.file, stand.file_of("2.0")):
            assert stand.gateway.fetch(path, headers={"mainstay-token": token}).status == 200
    by = {row["consumer"]: row for row in summary(stand, "consumer")}
    first, second = by[f"{stand.word}first"], by[f"{stand.word}second"]
    assert first["upstream_bytes"] > len(FILE) + len(LARGE)
    assert (second["upstream_bytes"], second["upstream_requests"]) == (0, 0)
    total = sum(row["upstream_bytes"] for row in tell(stand.gateway, "usage", "summary")["rows"])
    assert total - already == first["upstream_bytes"]
    wait_until(
        lambda: stand.gateway.metric("mainstay_upstream_bytes_total") - before == first["upstream_bytes"], "the metrics"
    )


def fetch_from(source: str, gateway: Gateway, path: str, headers: dict[str, str]) -> int:
    """The status of a GET whose connection comes from that address of this machine."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15, source_address=(source, 0))
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def holders(gateway: Gateway, *texts: str) -> list[str]:
    """The files below the data folder in which one of `texts` stands, as it is or compressed."""
    wait_written(gateway)
    found = []
    for path in gateway.data.rglob("*"):
        if path.is_file():
            body = path.read_bytes()
            plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else b""
            found += [f"{text} in {path}" for text in texts if text.encode() in body or text.encode() in plain]
    return found
