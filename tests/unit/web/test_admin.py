"""What administrators do on the pages: by forms alone, with what is wrong told beside the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode
from structlog.testing import capture_logs

from mainstay.access.consumers import add_consumer, list_consumers
from mainstay.access.identity import Callers
from mainstay.access.tokens import is_whole
from mainstay.db.takedowns import Takedown, load_takedowns, save_takedown
from mainstay.errors import ConfigError, MainstayError, StoreFull
from mainstay.store.shared import Shared
from mainstay.web import admin_actions
from mainstay.web.admin import SAID
from unit.web.visiting import Page, Place, Visitor, make_place

CONSUMERS, ONE, TAKEDOWNS = "/admin/consumers", "/admin/consumers/one", "/admin/takedowns"
BLOCK = Takedown(
    "npm", "https://registry.example", "@acme/<b>", "1.0", "a.tgz", "gone", "listed before", 1_700_000_000.0
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A gateway with a consumer, and a second tier."""
    with make_place(tmp_path, tiers={"gold": {}}) as found:
        add_consumer(found.config, "one", "free", ["10.0.0.0/8"])
        yield found


def shown(page: Page) -> LexborHTMLParser:
    """The page, parsed."""
    return LexborHTMLParser(page.body.decode())


def field(page: Page, name: str) -> LexborNode:
    """One field of a form."""
    (node,) = shown(page).css(f'[name="{name}"]')
    return node


def said_of(page: Page, name: str) -> str:
    """What a screen reader says of a field that is wrong, "" where nothing is."""
    node = field(page, name)
    assert ("aria-invalid" in node.attributes) == (f"{name}-error" in str(node.attributes.get("aria-describedby")))
    if "aria-invalid" not in node.attributes:
        return ""
    (error,) = shown(page).css(f"#{name}-error")
    return error.text()


def names(place: Place) -> list[str]:
    """The consumers there are."""
    return [entry.consumer.name for entry in list_consumers(place.config)]


async def send(visitor: Visitor, path: str, **fields: str) -> Page:
    """A form with the code that its page has."""
    return await visitor.post(path, csrf=(await visitor.get(CONSUMERS)).code, **fields)


async def test_a_consumer_is_added_and_its_token_shown_once(place: Place) -> None:
    """On that page, and on no other; running workers know it with their next request."""
    root = await place.admin()
    worker = Callers(place.site.database, Shared(place.site.data / "shared.bin"), place.site.data / "usage")
    fields = {"name": "build-farm", "tier": "gold", "networks": "10.1.0.0/16\r\n2001:DB8::/32", "admin": "on"}
    made = await send(root, CONSUMERS, **fields, agent="Claude")
    (token,) = re.findall(r"mst_\w{38}", made.text)
    assert made.status == 201 and is_whole(token) and made.headers["cache-control"] == "no-store"
    await worker.refresh()
    assert (worker.by_token(token).tier, worker.by_token(token).agent) == ("gold", "claude-code")
    (entry,) = [entry for entry in list_consumers(place.config) if entry.consumer.name == "build-farm"]
    assert entry.consumer.networks == ("10.1.0.0/16", "2001:db8::/32") and entry.consumer.is_admin
    for path in (CONSUMERS, f"{CONSUMERS}/build-farm"):
        page = await root.get(path)
        assert "build-farm" in page.text and token[8:] not in page.text
    assert (await send(place.visitor(cookies=root.cookies), CONSUMERS, **fields)).status == 400


@pytest.mark.parametrize(
    ("fields", "wrong", "words"),
    [
        ({"name": ""}, "name", "is not a consumer's name"),
        ({"name": "a b"}, "name", "is not a consumer's name"),
        ({"name": "<script>"}, "name", "is not a consumer's name"),
        ({"name": "local"}, "name", "is taken"),
        ({"name": "one"}, "name", "There is a consumer one already"),
        ({"name": "two", "tier": "silver"}, "tier", "There are: free, gold"),
        ({"name": "two", "networks": "10.1.0.1/16"}, "networks", "Did you mean 10.1.0.0/16?"),
        ({"name": "two", "networks": "192.0.2.0/24, 10.0.0.0/8"}, "networks", "belongs to the consumer one"),
        ({"name": "two", "agent": "two words"}, "agent", "is not an agent's name"),
    ],
)
async def test_what_is_wrong_stands_beside_its_field_and_the_rest_is_kept(
    place: Place, fields: dict[str, str], wrong: str, words: str
) -> None:
    """Nothing is added, and nothing has to be typed again."""
    root = await place.admin()
    filled = {"tier": "gold", "networks": "192.0.2.0/24", "agent": "codex", "admin": "on", **fields}
    page = await send(root, CONSUMERS, **filled)
    assert page.status == 400 and names(place) == ["one", "root"]
    assert words in said_of(page, wrong)
    assert not any(said_of(page, name) for name in {"name", "tier", "networks", "agent"} - {wrong})
    assert field(page, "name").attributes["value"] == filled["name"]
    assert field(page, "agent").attributes["value"] == filled["agent"]
    assert field(page, "networks").text() == filled["networks"]
    assert "checked" in field(page, "admin").attributes
    chosen = [node.text() for node in shown(page).css("option[selected]")]
    assert chosen == (["gold"] if wrong != "tier" else [])
    assert b"<script" not in page.body.replace(b"<script src=", b"")


async def test_several_mistakes_are_told_at_once(place: Place) -> None:
    """Each beside its field."""
    page = await send(await place.admin(), CONSUMERS, name="", tier="x", networks="x", agent="a b")
    assert all(said_of(page, name) for name in ("name", "tier", "networks", "agent"))


async def test_a_consumer_is_changed(place: Place) -> None:
    """Tier, networks and mark, as the form shows them; a box that is not ticked is a no."""
    root = await place.admin()
    page = await root.get(ONE)
    assert field(page, "networks").text() == "10.0.0.0/8" and "checked" not in field(page, "admin").attributes
    done = await send(root, ONE, tier="gold", networks="", admin="on")
    assert (done.status, done.headers["location"]) == (303, f"{ONE}?said=changed")
    assert SAID["changed"] in (await root.get(done.headers["location"])).text
    one = list_consumers(place.config)[0].consumer
    assert (one.tier, one.networks, one.is_admin) == ("gold", (), True)
    assert (await send(root, ONE, tier="free", networks="10.2.0.0/16")).status == 303
    assert not list_consumers(place.config)[0].consumer.is_admin
    place.add("two", networks=("10.3.0.0/16",))
    refused = await send(root, ONE, tier="free", networks="10.3.0.0/16")
    assert refused.status == 400 and "belongs to the consumer two" in said_of(refused, "networks")
    assert field(refused, "networks").text() == "10.3.0.0/16"


async def test_tokens_are_made_and_revoked(place: Place) -> None:
    """One, then all; a button for each that is in force, and none for the others."""
    root = await place.admin()
    made = await send(root, f"{ONE}/tokens", agent="codex")
    (token,) = re.findall(r"mst_\w{38}", made.text)
    assert made.status == 201 and "codex" in made.text
    wrong = await send(root, f"{ONE}/tokens", agent="no!")
    assert wrong.status == 400 and "is not an agent's name" in said_of(wrong, "agent")
    assert field(wrong, "networks").text() == "10.0.0.0/8", "the other form on the page is as it was"
    hints = [node.attributes["value"] for node in shown(await root.get(ONE)).css('button[name="hint"]')]
    assert len(hints) == 2 and token[:8] in hints
    done = await send(root, f"{ONE}/revoke", hint=token[:8])
    assert done.headers["location"] == f"{ONE}?said=revoked"
    assert (await send(root, f"{ONE}/revoke", hint=token[:8])).headers["location"] == f"{ONE}?said=nothing"
    assert len(shown(await root.get(ONE)).css('button[name="hint"]')) == 1
    await send(root, f"{ONE}/revoke", all="1")
    page = await root.get(ONE)
    assert not shown(page).css('button[name="hint"], button[name="all"]')
    assert all(entry.revoked_at for entry in list_consumers(place.config)[0].tokens)


async def test_a_form_that_names_no_token_revokes_none(place: Place) -> None:
    """An empty field is not all of them."""
    assert (await send(await place.admin(), f"{ONE}/revoke")).headers["location"] == f"{ONE}?said=nothing"
    assert not any(entry.revoked_at for entry in list_consumers(place.config)[0].tokens)


async def test_a_consumer_is_removed_after_a_question(place: Place) -> None:
    """Which says what that does; looking at the question removes nothing."""
    root = await place.admin()
    question = await root.get(f"{ONE}/remove")
    assert "10.0.0.0/8" in question.text and "Tokens that are revoked at once: 1" in question.text
    assert names(place) == ["one", "root"]
    done = await send(root, f"{ONE}/remove")
    assert (done.headers["location"], names(place)) == (f"{CONSUMERS}?said=removed", ["root"])
    assert SAID["removed"] in (await root.get(done.headers["location"])).text


async def test_what_is_gone_is_told(place: Place) -> None:
    """Somebody else was first."""
    root = await place.admin()
    for path in (f"{CONSUMERS}/two", f"{CONSUMERS}/two/remove"):
        page = await root.get(path)
        assert page.status == 404 and "There is no consumer 'two'" in page.text
    for path in ("", "/tokens", "/revoke", "/remove"):
        assert (await send(root, f"{CONSUMERS}/two{path}", tier="free")).status == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreFull("The database cannot grow."), 507), (ConfigError("There is no consumer 'one'."), 400)],
)
async def test_what_could_not_be_done_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: MainstayError, status: int
) -> None:
    """A full disk, or somebody who was first in the same moment."""

    async def fail(*_: object) -> None:
        raise error

    root = await place.admin()
    monkeypatch.setattr(admin_actions, "remove", fail)
    page = await send(root, f"{ONE}/remove")
    assert page.status == status and error.message in page.text


async def test_who_takes_the_mark_from_himself_is_out_at_once(place: Place) -> None:
    """With the next request; the command gives it back."""
    root = await place.admin()
    assert (await send(root, f"{CONSUMERS}/root", tier="free")).status == 303
    assert (await root.get(CONSUMERS)).status == 403


async def test_blocks_are_listed_and_lifted(place: Place) -> None:
    """With what was seen; names are names, whatever is in them."""
    root = await place.admin()
    assert "Nothing is blocked" in (await root.get(TAKEDOWNS)).text
    place.site.database.run_sync(save_takedown, BLOCK)
    page = await root.get(TAKEDOWNS)
    read = shown(page).css_first("main").text()
    assert all(words in read for words in ("a.tgz", "listed before", "2023-11-14 22:13 UTC"))
    assert not shown(page).css("main b")
    purl = field(page, "purl").attributes["value"] or ""
    with capture_logs() as logs:
        done = await send(root, TAKEDOWNS, purl=purl)
    assert done.headers["location"] == f"{TAKEDOWNS}?said=lifted"
    assert [(entry["event"], entry["by"]) for entry in logs] == [("takedowns were lifted", "root")]
    assert SAID["lifted"] in (await root.get(done.headers["location"])).text
    assert [entry.lifted_by for entry in place.site.database.read_sync(load_takedowns, False)] == ["root"]
    assert (await send(root, TAKEDOWNS, purl=purl)).headers["location"] == f"{TAKEDOWNS}?said=absent"
    wrong = await send(root, TAKEDOWNS, purl="nonsense")
    assert wrong.status == 400 and "is not a package URL" in wrong.text


async def test_what_a_page_says_was_done_is_of_its_own_words(place: Place) -> None:
    """Not of the address's."""
    root = await place.admin()
    for said in ("<b>hello</b>", "hello", ""):
        page = await root.get(f"{CONSUMERS}?said={said}")
        assert "hello" not in page.text and not shown(page).css(".said")


async def test_the_first_page_of_administration_is_that_of_consumers(place: Place) -> None:
    """Where who has just signed in is sent to."""
    assert (await (await place.admin()).get("/admin")).headers["location"] == CONSUMERS


async def test_every_page_can_be_read_by_a_machine_that_reads_aloud(place: Place) -> None:
    """One first heading, a label for each field, a caption and scopes for each table, and no script or style in it."""
    root = await place.admin()
    place.site.database.run_sync(save_takedown, BLOCK)
    pages = [await root.get(path) for path in (CONSUMERS, ONE, f"{ONE}/remove", TAKEDOWNS, "/-/sign-in")]
    pages += [await send(root, f"{ONE}/tokens"), await send(root, CONSUMERS), await root.get(f"{CONSUMERS}/none")]
    for page in pages:
        tree = shown(page)
        assert len(tree.css("h1")) == 1 and len(tree.css("main")) == 1 and tree.css_first("title").text()
        for node in tree.css("input:not([type=hidden]):not([type=checkbox]):not([hidden]), select, textarea"):
            assert tree.css(f'label[for="{node.attributes["id"]}"]'), node.html
        for node in tree.css("input[type=checkbox]"):
            assert node.parent is not None and node.parent.tag == "label"
        for table in tree.css("table"):
            assert table.css("caption") and all("scope" in node.attributes for node in table.css("th"))
        ids = [node.attributes["id"] for node in tree.css("[id]")]
        assert len(ids) == len(set(ids))
        assert not tree.css("[style], style, script:not([src]), [onclick]")
