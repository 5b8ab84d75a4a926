"""The JSON API: that it answers as its own description says, and as the commands do."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from msgspec.structs import replace
from openapi_spec_validator import validate
from structlog.testing import capture_logs

from mainstay.access.identity import Callers
from mainstay.db.ledger import LedgerLoss, save_sealed
from mainstay.db.takedowns import Takedown, load_takedowns, save_takedown
from mainstay.ecosystems import ecosystems
from mainstay.errors import UnknownToken
from mainstay.store.shared import Shared
from mainstay.usage.answers import ask
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger
from mainstay.usage.question import Question
from mainstay.usage.tables import render_json
from mainstay.web import views_frame
from mainstay.web.api import OPERATIONS
from mainstay.web.api_documents import MOST_ROWS
from mainstay.web.openapi import API_ROOT
from unit.web.visiting import Page, Place, Visitor, make_place

FILE = {
    "ecosystem": "pypi",
    "kind": "artifact",
    "project": "demo",
    "version": "1.0",
    "upstream": "https://registry.example/",
}
WHOLE = Event(0, "ci", **FILE, digest=f"sha256:{1:064x}", method="GET", status=200, bytes_down=1_500_000)
EVENTS = [
    *[replace(WHOLE, client_name="pip", client_class="ci") for _ in range(3)],
    replace(WHOLE, consumer="anna", cache_status="hit", client_name="pip", client_class="person", agent="codex"),
    Event(0, "anna", ecosystem="npm", method="GET", status=429, cache_status="refused", throttled="refused"),
    Event(
        0, "mainstay", ecosystem="npm", bytes_up=2_000_000, upstream_requests=4, upstream="https://registry.example/"
    ),
]
BLOCK = Takedown("npm", "https://registry.example", "@acme/demo", "1.0", "", "gone", "listed before", 1_700_000_000.0)


def fill(data: Path) -> None:
    """A ledger of today, with a loss."""
    ledger = Ledger(data)
    for at, event in enumerate(EVENTS):
        ledger.record(replace(event, time_us=int(datetime.now(UTC).timestamp()) * 1_000_000 + at))
    asyncio.run(ledger.close())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A gateway that has answered today. Its consumers change from test to test, its ledger does not."""
    upstreams = {name: {"upstream": "http://127.0.0.1:9/"} for name in ecosystems()}
    with make_place(tmp_path_factory.mktemp("data"), ecosystems=upstreams, tiers={"gold": {}}) as place:
        fill(place.site.data)
        place.site.database.run_sync(save_sealed, [], [LedgerLoss("a.log", "its bytes are damaged", 3, 120, 5.0)])
        yield place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A gateway without a past."""
    with make_place(tmp_path, tiers={"gold": {}}) as found:
        yield found


@pytest.fixture
def root(place: Place) -> Visitor:
    """An administrator's program."""
    return place.visitor(headers={"mainstay-token": place.add("root", is_admin=True)})


def problem(page: Page, status: int) -> str:
    """The words of a refusal."""
    assert (page.status, page.headers["content-type"]) == (status, "application/problem+json"), page.text
    detail: str = page.json["detail"]
    return detail


async def describe(place: Place) -> dict[str, Any]:
    """The description that the API gives of itself."""
    document: dict[str, Any] = (await place.visitor().get("/api/v1/openapi.json")).json
    return document


def closed(schema: Any) -> Any:
    """The schema with no field allowed that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    return (
        {"additionalProperties": False, **found} if found.get("type") == "object" and "properties" in found else found
    )


class Checked:
    """A caller that holds every answer against the description, and notes what was answered."""

    def __init__(self, visitor: Visitor, description: dict[str, Any]) -> None:
        self.visitor, self.description = visitor, description
        self.components = closed(description["components"])
        self.seen: set[tuple[str, str, str]] = set()

    async def send(self, method: str, template: str, document: object = None, query: str = "", **names: str) -> Page:
        """Call one operation."""
        path = API_ROOT + template.format(**names)
        if document is None:
            page = await self.visitor.ask(method, path + query)
        else:
            page = await self.visitor.send(method, path, document)
        self._check(method, template, page)
        return page

    def _check(self, method: str, template: str, page: Page) -> None:
        responses = self.description["paths"][API_ROOT + template][method.lower()]["responses"]
        key = str(page.status) if str(page.status) in responses else "default"
        self.seen.add((method, template, key))
        schema = responses[key]["content"][page.headers["content-type"]]["schema"]
        rooted = {**schema, "components": self.components}
        Draft202012Validator(rooted, format_checker=FormatChecker()).validate(page.json)


async def test_the_description_is_one(filled: Place) -> None:
    """OpenAPI 3.1, as a validator of others reads it; it names every operation once, and what each takes."""
    document = await describe(filled)
    validate(document)
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(entry.method, API_ROOT + entry.path) for entry in OPERATIONS}
    ids = [entry["operationId"] for item in document["paths"].values() for entry in item.values()]
    assert len(set(ids)) == len(OPERATIONS)
    asked = document["paths"]["/api/v1/usage/summary"]["get"]["parameters"]
    limit = next(entry for entry in asked if entry["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 1000}
    assert all(entry["description"] for entry in asked)


async def test_below_a_path_of_a_proxy_the_description_says_so(filled: Place) -> None:
    """Or a program made from it would ask at the wrong place."""
    page = await filled.visitor(base="http://127.0.0.1:4480/mirror").get("/api/v1/openapi.json")
    assert page.json["servers"][0]["url"] == "/mirror"


async def test_every_operation_answers_as_it_is_described(filled: Place) -> None:
    """Each success and each refusal that is named, with no field that is not."""
    token = filled.add("checker", is_admin=True)
    checked = Checked(filled.visitor(headers={"mainstay-token": token}), await describe(filled))
    send = checked.send
    for path in ("usage/summary", "usage/waste", "usage/statement", "usage/publisher", "today", "health"):
        assert (await send("GET", f"/{path}")).status == 200
    await send("GET", "/usage/summary", query="?by=project,ci,status,day")
    assert (await send("GET", "/usage/summary", query="?by=nothing")).status == 400
    await send("GET", "/usage/statement", query=f"?month={datetime.now(UTC):%Y-%m}&currency=EUR")
    await send("GET", "/usage/publisher", query="?by=version,day")
    one = {"name": "one", "tier": "gold", "networks": ["10.0.0.0/8"], "agent": "codex"}
    await send("POST", "/consumers", one)
    await send("POST", "/consumers", one)
    await send("POST", "/consumers", {"name": "a b"})
    for name in ("one", "none"):
        await send("GET", "/consumers/{name}", name=name)
        await send("PATCH", "/consumers/{name}", {"tier": "free"}, name=name)
        hint = (await send("POST", "/consumers/{name}/tokens", {}, name=name)).json.get("token", "none")[:8]
        for _ in range(2):
            await send("DELETE", "/consumers/{name}/tokens/{hint}", name=name, hint=hint)
        await send("DELETE", "/consumers/{name}/tokens", name=name)
    await send("PATCH", "/consumers/{name}", {}, name="one")
    await send("POST", "/consumers/{name}/tokens", {"agent": "no such agent"}, name="one")
    await send("GET", "/consumers")
    for _ in range(2):
        await send("DELETE", "/consumers/{name}", name="one")
    filled.site.database.run_sync(save_takedown, BLOCK)
    await send("GET", "/takedowns")
    for purl in ("pkg:npm/%40acme/demo@1.0", "pkg:npm/%40acme/demo@1.0", "nonsense"):
        await send("POST", "/takedowns/unblock", {"purl": purl})
    await send("GET", "/openapi.json")
    reader = Checked(filled.visitor(headers={"mainstay-token": filled.add("reader")}), checked.description)
    for entry in OPERATIONS:
        if entry.is_change:
            names = {"name": "one", "hint": "mst_"}
            assert (await reader.send(entry.method, entry.path, {}, **names)).status == 403
    documented = {
        (entry.method, entry.path, status)
        for entry in OPERATIONS
        if entry.answer
        for status in checked.description["paths"][API_ROOT + entry.path][entry.method.lower()]["responses"]
    }
    missing = documented - checked.seen - reader.seen
    assert {status for *_, status in missing} == {"default"}


async def test_what_a_worker_answers_is_described_too(filled: Place) -> None:
    """The table of upstreams, which `run` asks for."""
    schema = {"$ref": "#/components/schemas/Upstreams", "components": (await describe(filled))["components"]}
    Draft202012Validator(schema).validate({"schema": 1, "upstreams": filled.site.registry.table()})


async def test_a_summary_is_the_commands(filled: Place) -> None:
    """Field by field, figure by figure, losses included; with the default period and as many rows as are asked for."""
    today = datetime.now(UTC).date()
    found = (await filled.visitor().get("/api/v1/usage/summary?by=client,class&sort=requests&limit=1")).json
    question = Question(("client", "class"), today - timedelta(days=29), today, "requests", 1)
    assert found == json.loads(render_json(ask(filled.site.data, question, "duckdb")))
    assert [(row["client"], row["class"], row["requests"]) for row in found["rows"]] == [("pip", "ci", 3)]
    assert found["total"]["requests"] == 5 and found["losses"][0]["events"] == 3


async def test_the_counters_of_the_day(filled: Place) -> None:
    """What the first page refreshes."""
    found = (await filled.visitor().get("/api/v1/today")).json
    assert found["day"] == datetime.now(UTC).date().isoformat()
    assert found["total"] == {
        "requests": 5,
        "bytes": 6_000_000,
        "hits": 1,
        "upstream_requests": 4,
        "upstream_bytes": 2_000_000,
        "refused": 1,
        "waited": 0,
        "hit_rate": 0.2,
    }


async def test_waste_names_this_gateway_in_its_changes(filled: Place) -> None:
    """By the address that the caller has it by."""
    found = (await filled.visitor().get("/api/v1/usage/waste?limit=1")).json
    (finding,) = found["findings"]
    assert (finding["kind"], finding["consumer"], finding["bytes"]) == ("redundant", "ci", 3_000_000)


async def test_small_groups_are_withheld_whoever_asks(filled: Place) -> None:
    """How small a group may be is no parameter here."""
    (row,) = (await filled.visitor().get("/api/v1/usage/publisher?ecosystem=pypi")).json["rows"]
    assert row["project"] == "demo" and row["downloads"] is None
    assert "smallest_group" in problem(await filled.visitor().get("/api/v1/usage/publisher?smallest_group=2"), 400)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("usage/summary?by=consumr", "Did you mean consumer?"),
        ("usage/summary?since=yesterday", "is not a day"),
        ("usage/summary?since=2026-02-02&until=2026-01-01", "Swap them"),
        ("usage/summary?sort=size", "not a figure"),
        ("usage/summary?limit=0", "`int` >= 1 - at `$.limit`"),
        ("usage/summary?limit=100000", "`int` <= 10000 - at `$.limit`"),
        ("usage/summary?limit=many", "$.limit"),
        ("usage/summary?engine=spark://elsewhere:7077", "engine"),
        ("usage/summary?by=consumer&by=project", "by is given twice"),
        ("usage/statement?month=2026-13", "is not a month"),
        ("usage/statement?currency=XYZ", "XYZ"),
        ("usage/publisher?ecosystem=abacus", "abacus is not served"),
        ("today?since=2026-01-01", "since is not taken here"),
    ],
)
async def test_a_question_that_makes_no_sense_is_answered_in_words(place: Place, query: str, words: str) -> None:
    """What is wrong, and what is allowed."""
    assert words in problem(await place.visitor().get(f"/api/v1/{query}"), 400)


async def test_what_is_not_there_is_a_problem_document_too(root: Visitor) -> None:
    """And so is a method that a path does not have."""
    for path in ("/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/consumers", "/api/v1/usage", "/api/v1/consumers/a/b"):
        assert "openapi.json" in problem(await root.get(path), 404)
    refused = await root.send("PATCH", "/api/v1/consumers", {})
    assert refused.headers["allow"] == "GET, POST" and "PATCH" in problem(refused, 405)
    assert (await root.ask("HEAD", "/api/v1/consumers")).status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `name`"),
        (b'{"name": 5}', "Expected `str`, got `int` - at `$.name`"),
        (b'{"name": "a", "is_admin": true}', "unknown field `is_admin`"),
        (b'{"name": "a", "networks": "10.0.0.0/8"}', "Expected `array`"),
        (b'{"name": "a", "networks": ["10.0.0.1/8"]}', "Did you mean 10.0.0.0/8?"),
        (b'{"name": "a", "tier": "silver"}', "There are: free, gold"),
        (b'{"name": "a b"}', "not a consumer's name"),
        (b'{"name": "mainstay"}', "is taken"),
        (b'{"name": "a", "agent": "two words"}', "not an agent's name"),
        (b'\xff\xfe{"name": "a"}', "malformed"),
    ],
)
async def test_a_body_that_is_not_as_described_changes_nothing(
    place: Place, root: Visitor, body: bytes, words: str
) -> None:
    """It is refused with what is wrong and where."""
    page = await root.ask("POST", "/api/v1/consumers", body, {"content-type": "application/json; charset=utf-8"})
    assert words in problem(page, 400)
    assert [entry["consumer"] for entry in (await root.get("/api/v1/consumers")).json["consumers"]] == ["root"]


async def test_a_body_that_is_no_json_or_too_large_is_refused(root: Visitor) -> None:
    """A form may be sent by any page; JSON is asked about first."""
    page = await root.ask("POST", "/api/v1/consumers", b'{"name": "a"}', {"content-type": "text/plain"})
    assert "Content-Type" in problem(page, 400)
    large = b'{"name": "' + b"a" * 70_000 + b'"}'
    problem(await root.ask("POST", "/api/v1/consumers", large, {"content-type": "application/json"}), 413)


async def test_a_consumers_life(place: Place, root: Visitor) -> None:
    """Added, changed, given another token, revoked, removed; a running worker follows at each step."""
    shared = Shared(place.site.data / "shared.bin")
    worker = Callers(place.site.database, shared, place.site.data / "usage")
    one = {"name": "one", "tier": "gold", "networks": ["10.0.0.0/8"], "admin": False, "agent": "Claude"}
    added = await root.send("POST", "/api/v1/consumers", one)
    assert (added.status, added.headers["location"]) == (201, "/api/v1/consumers/one")
    token = added.json["token"]
    assert added.json["agent"] == "claude-code"
    await worker.refresh()
    assert (worker.by_token(token).tier, worker.by_token(token).agent) == ("gold", "claude-code")
    changed = await root.send("PATCH", "/api/v1/consumers/one", {"tier": "free", "admin": True})
    assert changed.json == {"schema": 1, "consumer": "one", "tier": "free", "admin": True, "networks": ["10.0.0.0/8"]}
    own = place.visitor(headers={"mainstay-token": token})
    second = (await own.send("POST", "/api/v1/consumers/one/tokens", {})).json
    await worker.refresh()
    assert worker.by_token(second["token"]).agent == second["agent"] == ""
    revoked = await root.ask("DELETE", f"/api/v1/consumers/one/tokens/{token[:8]}")
    assert revoked.json["revoked"] == [token[:8]]
    await worker.refresh()
    with pytest.raises(UnknownToken, match="revoked"):
        worker.by_token(token)
    assert (await own.get("/api/v1/today")).status == 401
    removed = await root.ask("DELETE", "/api/v1/consumers/one")
    assert removed.json == {"schema": 1, "consumer": "one", "revoked": [second["token"][:8]]}
    assert "There is no consumer 'one'" in problem(await root.get("/api/v1/consumers/one"), 404)
    shared.close()


async def test_networks_and_tokens_are_shown_to_administrators_only(place: Place, root: Visitor) -> None:
    """And to nobody more of a token than how it begins."""
    token = place.add("one", networks=("10.0.0.0/8",))
    reader = place.visitor(headers={"mainstay-token": token})
    (seen, _), (known, _) = [(await who.get("/api/v1/consumers")).json["consumers"] for who in (reader, root)]
    assert set(seen) == {"consumer", "tier", "admin", "created"}
    assert known["networks"] == ["10.0.0.0/8"] and known["tokens"][0]["hint"] == token[:8]
    assert token[8:] not in str(known)
    assert (await reader.get("/api/v1/consumers/one")).json == {"schema": 1, **seen}


async def test_a_block_is_lifted_by_its_package_url(place: Place, root: Visitor) -> None:
    """With or without its version; who did it is kept, and every worker is told."""
    whole = Takedown("npm", BLOCK.upstream, "other", "", "", "the project is gone", "404", BLOCK.seen_at)
    for entry in (BLOCK, whole):
        place.site.database.run_sync(save_takedown, entry)
    listed = (await root.get("/api/v1/takedowns")).json["takedowns"]
    assert [entry["purl"] for entry in listed] == ["pkg:npm/%40acme/demo@1.0", "pkg:npm/other"]
    assert listed[0]["seen"] == "2023-11-14T22:13:20Z"
    shared = Shared(place.site.data / "shared.bin")
    before = shared.generation
    for purl in ("pkg:npm/%40acme/demo@1.1", "pkg:npm/demo", "pkg:pypi/other", "pkg:npm/other@1.0"):
        assert purl in problem(await root.send("POST", "/api/v1/takedowns/unblock", {"purl": purl}), 404)
    assert shared.generation == before
    with capture_logs() as logs:
        done = await root.send("POST", "/api/v1/takedowns/unblock", {"purl": "pkg:npm/%40acme/demo@1.0"})
    assert done.json == {"schema": 1, "purl": "pkg:npm/%40acme/demo@1.0", "lifted": 1}
    assert shared.generation != before
    assert [(entry["event"], entry["by"]) for entry in logs] == [("takedowns were lifted", "root")]
    assert (await root.send("POST", "/api/v1/takedowns/unblock", {"purl": "pkg:npm/other"})).json["lifted"] == 1
    kept = place.site.database.read_sync(load_takedowns, False)
    assert [entry.lifted_by for entry in kept] == ["root", "root"]
    shared.close()


async def test_who_did_what_is_in_the_log_and_no_token(place: Place, root: Visitor) -> None:
    """Each change leaves one line."""
    with capture_logs() as logs:
        token = (await root.send("POST", "/api/v1/consumers", {"name": "one"})).json["token"]
        other = (await root.send("POST", "/api/v1/consumers/one/tokens", {"agent": "codex"})).json["token"]
        await root.send("PATCH", "/api/v1/consumers/one", {"admin": True})
        await root.ask("DELETE", "/api/v1/consumers/one/tokens")
        await root.ask("DELETE", "/api/v1/consumers/one")
    assert [entry["event"] for entry in logs] == [
        "a consumer was added",
        "a token was made",
        "a consumer was changed",
        "tokens were revoked",
        "a consumer was removed",
    ]
    assert {(entry["by"], entry["consumer"]) for entry in logs} == {("root", "one")}
    assert not re.search(r"mst_\w{5}", str(logs)) and token[8:] not in str(logs) and other[8:] not in str(logs)


async def test_a_question_that_takes_too_long_is_told_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, with when to come again; the next one finds the answer."""
    go_on, asked = threading.Event(), []

    def wait(data: Path, question: Question, engine: str) -> Any:
        asked.append(question)
        assert go_on.wait(30)
        return ask(data, question, engine)

    monkeypatch.setattr("mainstay.usage.answers.ask", wait)
    monkeypatch.setattr(views_frame, "_PATIENCE_S", 0.01)
    refused = await place.visitor().get("/api/v1/usage/summary")
    assert "Try again" in problem(refused, 503) and int(refused.headers["retry-after"]) > 0
    assert (await place.visitor().get("/api/v1/consumers")).status == 200, "what asks no ledger waits for none"
    go_on.set()
    monkeypatch.setattr(views_frame, "_PATIENCE_S", 30)
    assert (await place.visitor().get("/api/v1/usage/summary")).status == 200
    assert len(asked) == 1
