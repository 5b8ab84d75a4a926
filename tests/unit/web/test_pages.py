from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from selectolax.lexbor import LexborHTMLParser

from mainstay.config import Config
from mainstay.db.engine import Database
from mainstay.db.ledger import LedgerLoss, save_sealed
from mainstay.db.origins import Origin, save_origins
from mainstay.db.takedowns import Takedown, save_takedown
from mainstay.ecosystems import ecosystems
from mainstay.errors import StoreError
from mainstay.gateway.site import Answered, Asked
from mainstay.settings import load_config
from mainstay.store.shared import Shared
from mainstay.usage.answers import ask
from mainstay.usage.event import Event
from mainstay.usage.question import Question
from mainstay.usage.seal import seal
from mainstay.web import views_consumers, views_frame, views_projects
from mainstay.web.figures import Shelf
from mainstay.web.process import answer
from mainstay.web.site import make_site
from pages.traffic import ODD, now, odd_traffic, some_traffic, write_ledger

PAGES = (
    "/",
    "/?period=7",
    "/consumers",
    "/consumers/build-farm",
    "/projects",
    "/projects/npm/@types/node",
    "/waste",
    "/statement",
    "/health",
)
SHOWN = {"".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name) for name in ODD}
"""The odd names as pages show them: what could speak to a screen in another way than by its looks is marked."""
Open = Callable[..., "Seen"]


class Seen:
    """A reply, and the page in it."""

    def __init__(self, reply: Answered) -> None:
        self.status, self.headers, self.text = reply.status, dict(reply.headers), reply.body.decode()
        self.page = LexborHTMLParser(self.text)

    def words(self, selector: str) -> str:
        """The text of the first such element, blanks as one."""
        node = self.page.css_first(selector)
        assert node is not None, f"{selector} is not in {self.text[:2000]}"
        return " ".join(node.text().split())

    def rows(self, caption: str) -> list[list[str]]:
        """The cells of the table whose caption begins so."""
        for table in self.page.css("table"):
            if table.css_first("caption").text().strip().startswith(caption):
                return [[cell.text().strip() for cell in row.css("th, td")] for row in table.css("tr")]
        raise AssertionError(f"no table {caption!r}")


def opened(data: Path, **changes: object) -> Open:
    """How to look at the pages over a data folder, from the machine itself."""
    upstreams = {name: {"upstream": f"https://registry.example/{name}/"} for name in ecosystems()}
    config: Config = load_config(None, {}, {"data": str(data), "ecosystems": upstreams, **changes}, tuple(ecosystems()))
    site = make_site(config)

    def look(path: str, query: str = "", base: str = "http://127.0.0.1:4480") -> Seen:
        path, _, own = path.partition("?")
        headers = [("host", "127.0.0.1:4480")]
        asked = Asked("", "GET", path, query or own, headers, "127.0.0.1", base, b"")
        return Seen(asyncio.run(answer(site, asked)))

    return look


@pytest.fixture(scope="module", autouse=True)
def _no_time_passes() -> Iterator[None]:
    """What was read once is given to all tests, as it is to whoever looks at the same page within some seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views_frame, "_shelf", Shelf(lambda: 0.0))
        yield


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a gateway with some days of traffic, odd names, a loss, a takedown and a resting upstream."""
    data = tmp_path_factory.mktemp("busy") / "data"
    moment = now()
    events = [*some_traffic(moment, count=1500), *odd_traffic(moment), Event(1, "mainstay", "gateway")]
    write_ledger(data, iter(events))
    database = Database.open(data)
    database.run_sync(save_sealed, [], [LedgerLoss("a<b>.log", "its bytes are damaged", 3, 120, 0)])
    block = Takedown("npm", "https://registry.example/npm/", "left<pad>", "1.0", "", "upstream removed it", "", 1.7e9)
    database.run_sync(save_takedown, block)
    files = Origin("https://files.example/", "npm", "https://registry.example/npm/", "files", 0)
    database.run_sync(save_origins, [files])
    database.close()
    shared = Shared(data / "shared.bin")
    shared.set_rest("https://registry.example", moment.timestamp() + 900)
    shared.set_rest("https://files.example", moment.timestamp() + 7200)
    shared.close()
    return data


@pytest.fixture(scope="module")
def look(busy: Path) -> Open:
    """The pages over it."""
    return opened(busy)


@pytest.fixture(scope="module")
def look_empty(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """The pages of a gateway that nobody has asked for anything."""
    return opened(tmp_path_factory.mktemp("empty") / "data")


def assert_is_sound(seen: Seen) -> None:
    """What holds for every page."""
    page = seen.page
    assert seen.headers["content-type"] == "text/html; charset=utf-8"
    assert seen.text.startswith("<!doctype html>") and page.css_first("html").attributes["lang"] == "en"
    assert len(page.css("h1")) == len(page.css("main")) == len(page.css("head title")) == 1
    levels = [int(node.tag[1]) for node in page.css("h1, h2, h3, h4")]
    assert all(lower - upper <= 1 for upper, lower in pairwise(levels)), levels
    ids = [node.attributes["id"] for node in page.css("[id]")]
    assert len(ids) == len(set(ids))
    assert not page.css("[style], style, [onclick], [onload], script:not([src])")
    named = [
        node.attributes.get(name)
        for node in page.css("a, script, link, img, form")
        for name in ("href", "src", "action")
    ]
    assert not [address for address in named if address and not address.startswith(("/", "#", "data:image/svg+xml,"))]
    assert not [address for address in named if address and address.startswith("//")]
    for table in page.css("table"):
        assert table.css_first("caption").text().strip()
        assert all(cell.attributes.get("scope") in ("row", "col") for cell in table.css("th"))
        assert len(table.css("tbody tr")) == len(table.css("tbody th")) > 0
        assert all(len(row.css("th, td")) == len(table.css("thead th")) for row in table.css("tbody tr"))
        region = table.parent
        assert region.attributes["role"] == "region" and region.attributes["tabindex"] == "0"
        assert region.attributes["aria-labelledby"] == table.css_first("caption").attributes["id"]
    for field in page.css("input:not([type=hidden]), select"):
        assert field.parent.tag == "label" or page.css(f"label[for='{field.attributes['id']}']")
    assert "UTC" in seen.words("footer")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("state", ["empty", "busy"])
def test_every_page_is_whole(look: Open, look_empty: Open, path: str, state: str) -> None:
    """With a ledger and without: one heading, tables with captions and heads, nothing inline, every field labelled."""
    seen = (look if state == "busy" else look_empty)(path)
    assert seen.status == 200
    assert_is_sound(seen)


def test_an_empty_ledger_says_how_to_point_a_client_at_the_gateway(look_empty: Open) -> None:
    """With the commands that the gateway prints when it starts, at the address that it is looked at."""
    shown = [node.text() for node in look_empty("/").page.css("pre code")]
    for ecosystem in ecosystems().values():
        for line in ecosystem.usage:
            assert line.format(url=f"http://127.0.0.1:4480/{ecosystem.mount}") in shown


def test_the_first_page_says_what_the_ledger_says(look: Open, busy: Path) -> None:
    """The same figures as `mainstay usage summary`, of a week."""
    day = now().date()
    answer = ask(busy, Question(("consumer",), day - timedelta(days=6), day), "duckdb")
    seen = look("/?period=7")
    tiles = {node.css_first("dt").text(): node.css_first("dd").text() for node in seen.page.css(".tiles > div")}
    assert tiles["Requests"] == f"{answer.total['requests']:,}"
    assert tiles["Asked upstream"] == f"{answer.total['upstream_requests']:,}"
    assert tiles["Hit rate"] == f"{answer.total['hit_rate'] * 100:.1f}\N{NO-BREAK SPACE}%"
    table = seen.rows("Consumers by bytes")
    assert [row[:2] for row in table[1:]] == [[row["consumer"], f"{row['requests']:,}"] for row in answer.rows[:10]]
    drawn = seen.rows("Requests in each day")
    counted = sum(int(cell.replace(",", "")) for row in drawn[1:] for cell in row[1:])
    assert (counted, len(drawn)) == (answer.total["requests"], 8)


def test_consumers_are_sorted_by_what_the_address_says(look: Open, busy: Path) -> None:
    """The heading says so, and every figure is that of the summary."""
    day = now().date()
    answer = ask(busy, Question(("consumer",), day - timedelta(days=29), day, "requests"), "duckdb")
    seen = look("/consumers?period=30&sort=requests")
    rows = seen.rows("Consumers by requests, the largest first")
    known = [row for row in rows[1:] if row[0] not in SHOWN]
    assert [row[0] for row in known] == [row["consumer"] for row in answer.rows if row["consumer"] not in ODD]
    assert [cell.text() for cell in seen.page.css("th[aria-sort=descending]")] == ["Requests"]
    first = dict(zip(rows[0], rows[1]))
    assert first["Requests"] == f"{answer.rows[0]['requests']:,}" and first["Tier"] == "ci"
    links = [node.attributes["href"] for node in seen.page.css("thead a")]
    assert "/consumers?period=30&sort=redundant_bytes" in links


def test_what_is_redundant_on_a_consumers_page_is_what_the_summary_says(look: Open, busy: Path) -> None:
    """A row chosen among all has the figure that it has among all."""
    day = now().date()
    answer = ask(busy, Question(("consumer", "ecosystem", "project"), day - timedelta(days=6), day), "duckdb")
    wasted = {row["project"]: row["redundant_bytes"] for row in answer.rows if row["consumer"] == "web-team"}
    rows = look("/consumers/web-team").rows("Projects whose files it was sent whole")
    assert {row[1] for row in rows[1:]} == {name for name, size in wasted.items() if size}


def test_projects_are_found_by_ecosystem_and_part_of_the_name(look: Open) -> None:
    """In upper or lower case; the form keeps what was asked."""
    seen = look("/projects?ecosystem=npm&name=ACT")
    assert [row[:2] for row in seen.rows("Projects")[1:]] == [["npm", "react"]]
    assert seen.page.css_first("input[name=name]").attributes["value"] == "ACT"
    assert seen.page.css_first("option[selected]").attributes["value"] == "npm"
    assert "No project is like that" in look("/projects?name=no-such-name").words("main")


@pytest.mark.parametrize(("view", "path"), [(views_projects, "/projects"), (views_consumers, "/consumers")])
def test_a_long_table_comes_in_parts(busy: Path, monkeypatch: pytest.MonkeyPatch, view: ModuleType, path: str) -> None:
    """Each leads to the next, which goes on where it ended, in the same order and period."""
    monkeypatch.setattr(views_frame, "_shelf", Shelf(lambda: 0.0))
    everything = [row[:2] for row in opened(busy)(path, "period=7&sort=requests").rows(path[1:].capitalize())[1:]]
    monkeypatch.setattr(view, "ON_A_PAGE", 6)
    look, address, found = opened(busy), f"{path}?period=7&sort=requests&page=", []
    for page in range(1, 2 + (len(everything) - 1) // 6):
        seen = look(f"{address}{page}")
        found += [row[:2] for row in seen.rows(path[1:].capitalize())[1:]]
        links = {node.attributes["rel"]: node.attributes["href"] for node in seen.page.css("nav.pages a")}
        assert (f"&page={page + 1}&" in links.get("next", "")) == (len(found) < len(everything))
        assert all("period=7" in link and "sort=requests" in link for link in links.values())
    assert found == everything
    assert "There are no more." in look(f"{address}99").words("main")


@pytest.mark.parametrize("path", ["/projects", "/consumers"])
def test_whatever_a_stranger_calls_something_has_a_page(look: Open, path: str) -> None:
    """Its name stands there as it is, and is never part of the page's own code."""
    links = [(node.text(), node.attributes["href"]) for node in look(f"{path}?period=today").page.css("tbody th a")]
    odd = [(name, href) for name, href in links if name in SHOWN]
    assert len(odd) == len(ODD)
    for name, href in [*odd[:3], odd[-1]] if path == "/projects" else odd[:1]:
        seen = look(href)
        assert seen.words("h1") == " ".join(name.split()) and seen.page.css(".tiles"), href
        assert_is_sound(seen)
        assert {sign for sign in seen.text if not sign.isprintable()} <= {"\n", "\N{NO-BREAK SPACE}"}


def test_behind_a_prefix_every_address_has_it(look: Open) -> None:
    """Where a proxy in front serves the gateway below a path of its own."""
    for path in ("/", "/consumers", "/consumers/build-farm", "/projects", "/waste", "/statement", "/nowhere"):
        page = look(path, "", "https://tools.example/mainstay").page
        named = [
            node.attributes.get(name)
            for node in page.css("a, script, link, form")
            for name in ("href", "src", "action")
        ]
        own = [address for address in named if address and address.startswith("/")]
        assert len(own) > 8 and all(address.startswith("/mainstay/") for address in own)


def test_who_signs_in_comes_back_to_the_page(look: Open) -> None:
    """With its whole address."""
    (link,) = look("/projects/npm/@types/node?period=7").page.css(".who a")
    assert link.attributes["href"] == "/-/sign-in?next=%2Fprojects%2Fnpm%2F%40types%2Fnode%3Fperiod%3D7"


def test_a_link_to_another_page_keeps_the_period(look: Open) -> None:
    """As the address has it; where it has none, none is added."""
    links = {node.attributes["href"] for node in look("/?since=2026-01-01&until=2026-01-31").page.css("nav a")}
    assert "/consumers?since=2026-01-01&until=2026-01-31" in links
    assert "/consumers" in {node.attributes["href"] for node in look("/").page.css("nav a")}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("period=yesterday", "period=yesterday is not a period. There are: today, 7, 30, custom."),
        ("since=tomorrow", "since=tomorrow is not a day. Write days as 2026-01-31"),
        (
            "since=2026-02-02&until=2026-02-01",
            "The first day, 2026-02-02, is after the last one, 2026-02-01. Swap them.",
        ),
        ("since=2026-02-30", "since=2026-02-30 is not a day."),
    ],
)
@pytest.mark.parametrize("path", ["/", "/consumers", "/projects", "/waste", "/statement"])
def test_a_period_that_is_none_is_refused_in_words(look: Open, path: str, query: str, said: str) -> None:
    """On every page that has one."""
    seen = look(path, query)
    assert seen.status == 400 and said in seen.words("main")
    assert_is_sound(seen)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/consumers?sort=<b>", "sort=<b> is not a figure. There are: requests, bytes,"),
        ("/projects?page=0", "page=0 is not a page."),
        (f"/projects?name={'a' * 201}", "too long"),
        ("/statement?currency=XXX", "currency=XXX is not a currency here."),
    ],
)
def test_other_wrong_words_are_refused_too(look: Open, path: str, said: str) -> None:
    """With what is allowed."""
    seen = look(path)
    assert seen.status == 400 and said in seen.words("main")


def test_what_is_not_there_is_said_in_a_page(look: Open) -> None:
    """Also below a page that there is."""
    for path in ("/health/x", "/waste/1", "/-/none.css", "/statement/xml"):
        seen = look(path)
        assert seen.status == 404
        assert_is_sound(seen)


def test_losses_stand_on_the_pages(look: Open) -> None:
    """What the ledger does not have makes every figure too low."""
    for path in ("/", "/consumers", "/consumers/build-farm", "/projects", "/waste", "/statement"):
        assert "3 in a<b>.log, because its bytes are damaged (120 B)" in look(path).words(".notice").replace(
            "\xa0", " "
        )


def test_health_says_what_rests_what_is_blocked_and_what_is_lost(look: Open) -> None:
    """With the reason of each."""
    seen = look("/health")
    upstreams = seen.rows("Registries")
    assert len(upstreams) == 1 + len(ecosystems())
    for ecosystem, _, state, why, _ in upstreams[1:]:
        assert re.match(r"rests, as it .*https://registry.example for (900|[78]\d\d) s", state)
        assert ("https://files.example for 7," in state, why) == (ecosystem == "npm", "mainstay.toml")
    assert seen.rows("Releases that upstream took away")[1][:4] == ["npm", "left<pad>", "1.0", "upstream removed it"]
    assert seen.rows("Events that the ledger does not have")[1][:2] == ["a<b>.log", "3"]
    assert "0 of 5" in seen.words(".tiles")


def test_findings_have_the_change_that_would_end_them(look: Open) -> None:
    """In a block by itself, with the consumer's page a link away."""
    seen = look("/waste")
    findings = seen.page.css(".findings > li")
    assert findings
    for finding in findings:
        assert finding.css_first("pre code").text().strip()
        assert finding.css_first("h3 a").attributes["href"].startswith("/consumers/")


def test_a_statement_can_be_taken_away(look: Open) -> None:
    """As CSV and JSON of the same period and consumer, and as a document of its own to print."""
    query = "period=30&consumer=build-farm"
    links = [node.attributes["href"] for node in look("/statement", query).page.css(".actions a")]
    printed, csv_file, json_file = (look(link) for link in links)
    assert csv_file.headers["content-type"] == "text/csv; charset=utf-8"
    assert csv_file.headers["content-disposition"].startswith('attachment; filename="statement-')
    assert "build-farm" in csv_file.text and "web-team" not in csv_file.text
    document = json.loads(json_file.text)
    assert (document["schema"], document["consumer"]) == (1, "build-farm")
    assert printed.status == 200 and "build-farm" in printed.text


def test_a_printed_statement_may_use_its_own_style_sheet_only(look: Open) -> None:
    """The policy names it by its hash, and allows no script."""
    seen = look("/statement/print")
    policy = seen.headers["content-security-policy"]
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script" not in policy
    assert not seen.page.css("script, link[rel=stylesheet], [style]")


def test_what_takes_too_long_is_told_so_and_goes_on(busy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With when to come again, and 503; the next one finds it done."""
    look, shelf = opened(busy), Shelf(lambda: 0.0)
    monkeypatch.setattr(views_frame, "_shelf", shelf)
    monkeypatch.setattr(views_frame, "_PATIENCE_S", 0.0)
    seen = look("/?period=7")
    assert (seen.status, seen.headers["retry-after"]) == (503, "10")
    assert "load this page again" in seen.words("main")
    assert_is_sound(seen)
    (kept,) = shelf._kept.values()
    kept.future.result(20)
    monkeypatch.setattr(views_frame, "_PATIENCE_S", 20.0)
    assert look("/?period=7").status == 200


def test_what_fails_is_told_in_a_page(busy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the words of the error, and 500."""

    def fail(*_: object) -> object:
        raise StoreError("The usage ledger cannot be read: no.", hint="Look at the disk.")

    monkeypatch.setattr(views_consumers, "read", fail)
    seen = opened(busy)("/consumers?period=30&sort=waited")
    assert seen.status == 500 and "cannot be read: no. Look at the disk." in seen.words("main")


def test_the_stylesheet_is_kept_for_as_long_as_its_address_holds(look: Open) -> None:
    """The address has the beginning of its hash."""
    href = look("/").page.css_first("link[rel=stylesheet]").attributes["href"]
    seen = look(href)
    assert (seen.status, seen.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in seen.headers["cache-control"]
    assert look("/-/style.css?v=0").headers["cache-control"] == "no-cache"
    assert look("/-/live.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_only_the_page_of_today_has_a_script(look: Open) -> None:
    """One file of ours, which refreshes the figures and nothing else."""
    scripts = look("/").page.css("script")
    assert [node.attributes["src"].partition("?")[0] for node in scripts] == ["/-/live.js"]
    assert look("/").page.css_first("dl.tiles").attributes["data-live"] == "/api/v1/today"
    assert not look("/?period=7").page.css("script")
    assert not look("/consumers").page.css("script")


def test_a_damaged_file_of_the_ledger_takes_no_page_with_it(tmp_path: Path) -> None:
    """It is left out and named among the losses, as the command does."""
    data = tmp_path / "data"
    write_ledger(data, some_traffic(now(), count=200))
    _seal(data)
    (file, *_) = sorted((data / "usage" / "parquet").glob("day=*/*.parquet"))
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    file.write_bytes(content)
    seen = opened(data)("/?period=30")
    assert seen.status == 200 and file.name in seen.words(".notice")


def _seal(data: Path) -> None:
    database = Database.open(data)
    seal(data, database)
    database.close()
