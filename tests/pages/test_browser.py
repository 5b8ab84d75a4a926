"""The pages in a real browser, over a real gateway: as they look, by keyboard, without script, and what axe finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, expect

from doubles.gateway import Gateway
from doubles.upstream import wait_until

PAGES = (
    "/",
    "/consumers?period=30&sort=requests",
    "/consumers/build-farm",
    "/projects?ecosystem=npm&name=a",
    "/projects/npm/@types/node",
    "/waste",
    "/statement?period=30",
    "/statement/print?period=30",
    "/health",
    "/?since=2001-01-01&until=2001-01-02",
    "/?period=never",
    "/-/sign-in",
)
WIDTHS = (360, 768, 1280)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")
ABOUT_COLOURS = ["color-contrast", "link-in-text-block"]
"""All that axe can find in the dark and not in the light: a page is the same but for its colours."""
RUN_AXE = "options => axe.run(document, options).then(found => found.violations)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# What can be reached with the Tab key, in the order of the page.
REACHABLE = """[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter(node => node.type !== "hidden" && node.checkVisibility())"""
SPOT_FOCUSED = f"{REACHABLE}.indexOf(document.activeElement)"
Opened = Callable[..., Page]


@contextmanager
def looking(browser: Browser, gateway: Gateway, **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """A page of a context of its own, and what the browser complains of."""
    context: BrowserContext = browser.new_context(base_url=gateway.url, **options)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    yield page, complaints
    context.close()


def serious(page: Page, *, is_dark: bool = False) -> list[str]:
    """What axe takes for serious, in words."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    rules = {"runOnly": {"type": "rule", "values": ABOUT_COLOURS}} if is_dark else {}
    found = page.evaluate(RUN_AXE, {"resultTypes": ["violations"], **rules})
    return [
        f"{entry['id']}: {entry['help']}: {[node['html'][:200] for node in entry['nodes'][:3]]}"
        for entry in found
        if entry["impact"] in SERIOUS
    ]


def expected(path: str) -> list[str]:
    """What the browser says of an answer that is a refusal."""
    words = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    return [f"error: {words}"] if "never" in path else []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_fits_and_can_be_used_by_everybody(browser: Browser, gateway: Gateway, path: str) -> None:
    """Without a complaint or a breach of its policy; at three widths and in light and dark without a bar to scroll the
    page sideways and without anything that axe takes for serious."""
    with looking(browser, gateway) as (page, complaints):
        page.goto(path)
        assert page.locator("h1").inner_text()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(OVERFLOW) == 0, width
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                assert serious(page, is_dark=scheme == "dark") == [], (width, scheme)
        assert complaints == expected(path)


def test_axe_sees_what_is_wrong(browser: Browser, gateway: Gateway) -> None:
    """In light and in dark: else the test above would show nothing."""
    with looking(browser, gateway, color_scheme="dark") as (page, _):
        page.goto("/health")
        page.evaluate("document.querySelector('h2').style.color = '#223'")
        assert [words.partition(":")[0] for words in serious(page, is_dark=True)] == ["color-contrast"]
        page.evaluate("document.documentElement.removeAttribute('lang')")
        assert "html-has-lang" in [words.partition(":")[0] for words in serious(page)]


def test_the_policy_holds(browser: Browser, gateway: Gateway) -> None:
    """What a page does not bring along as a file is neither styled nor run: else the test above would show nothing."""
    with looking(browser, gateway) as (page, complaints):
        page.goto("/")
        page.evaluate(
            "() => { const node = document.createElement('p'); node.setAttribute('style', 'color: red');"
            " document.body.append(node); const code = document.createElement('script');"
            " code.textContent = 'window.ran = 1'; document.body.append(code); }"
        )
        assert page.evaluate("window.ran") is None
        assert len([words for words in complaints if "Content Security Policy" in words]) == 2


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("path", ["/", "/projects", "/waste"])
def test_everything_can_be_reached_with_the_keyboard(browser: Browser, gateway: Gateway, path: str, width: int) -> None:
    """In the order of the page, each place with a mark around it; and first of all a way past the navigation."""
    with looking(browser, gateway, viewport={"width": width, "height": 900}) as (page, _):
        page.goto(path)
        count = page.evaluate(f"{REACHABLE}.length")
        assert count > 10
        reached = []
        # A field for a day takes several strokes.
        for _ in range(count + 20):
            page.keyboard.press("Tab")
            spot = page.evaluate(SPOT_FOCUSED)
            if spot < 0:
                break
            if spot not in reached:
                reached.append(spot)
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", spot
        assert reached == list(range(count))


def test_the_first_link_leads_past_the_navigation(browser: Browser, gateway: Gateway) -> None:
    """It is seen once it has the focus, and the next stroke goes on from the content."""
    with looking(browser, gateway) as (page, _):
        page.goto("/consumers")
        link = page.locator("a.skip")
        expect(link).not_to_be_in_viewport()
        page.keyboard.press("Tab")
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_all_can_be_read_without_script(browser: Browser, gateway: Gateway) -> None:
    """Figures, charts, tables, and the charts' own tables, which open without it."""
    with looking(browser, gateway, java_script_enabled=False) as (page, complaints):
        page.goto("/?period=7")
        expect(page.locator(".tiles .figure").first).to_contain_text("%")
        expect(page.locator(".chart .wide svg")).to_have_count(2)
        expect(page.get_by_role("table", name="Consumers by bytes served")).to_be_visible()
        page.locator(".chart summary").first.click()
        expect(page.get_by_role("table", name="Requests in each day")).to_be_visible()
        page.get_by_role("link", name="All consumers").click()
        page.get_by_role("link", name="Requests", exact=True).click()
        expect(page.get_by_role("columnheader", name="Requests")).to_have_attribute("aria-sort", "descending")
        page.get_by_label("From").fill("2001-01-01")
        page.get_by_label("to", exact=True).fill("2001-01-02")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(f"{gateway.url}/consumers?sort=requests&since=2001-01-01&until=2001-01-02")
        expect(page.get_by_text("Nobody called in this period.")).to_be_visible()
        assert complaints == []


def test_the_figures_of_today_follow(browser: Browser, gateway: Gateway) -> None:
    """Every ten seconds, on the page that is open; what was asked of the gateway meanwhile is counted."""
    with looking(browser, gateway) as (page, complaints):
        page.clock.install()
        page.goto("/")
        figure = page.locator("[data-figure=requests]")
        before = int(figure.inner_text().replace(",", ""))
        # There is no such registry, which is an answer that counts.
        assert gateway.fetch("/pypi/simple/flask/").status == 503

        def has_followed() -> bool:
            page.clock.fast_forward(10_000)
            return int(figure.inner_text().replace(",", "")) > before

        wait_until(has_followed, "the figure of requests", 20)
        assert complaints == []


def test_an_administrator_signs_in_and_adds_a_consumer(browser: Browser, gateway: Gateway) -> None:
    """By forms alone, without script; the way leads back to the page that it began on, and out again."""
    done = gateway.run("consumer", "add", "olga", "--admin", "--json")
    token = json.loads(done.stdout)["token"]
    with looking(browser, gateway, java_script_enabled=False) as (page, complaints):
        page.goto("/projects?ecosystem=npm")
        page.get_by_role("link", name="Sign in").click()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{gateway.url}/projects?ecosystem=npm")
        expect(page.locator(".who")).to_contain_text("Signed in as olga")
        page.get_by_role("link", name="Administration").click()
        page.get_by_role("textbox", name="Name").fill("docs-team")
        page.get_by_role("button", name="Add, and show its first token").click()
        expect(page.locator("pre code")).to_have_text(re.compile("mst_.+"))
        page.get_by_role("link", name="docs-team").click()
        expect(page.get_by_role("heading", name="Manage docs-team")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator(".who")).to_contain_text("Sign in")
        assert complaints == []


def test_the_pages_of_administrators_can_be_used_by_everybody(browser: Browser, gateway: Gateway) -> None:
    """As the others."""
    done = gateway.run("consumer", "add", "otto", "--admin", "--json")
    headers = {"mainstay-token": json.loads(done.stdout)["token"]}
    with looking(browser, gateway, extra_http_headers=headers) as (page, complaints):
        for path in ("/admin/consumers", "/admin/consumers/otto", "/admin/consumers/otto/remove", "/admin/takedowns"):
            page.goto(path)
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(OVERFLOW) == 0, (path, width)
                assert serious(page) == [], (path, width)
        assert complaints == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_stands_over_something_else(browser: Browser, gateway: Gateway, width: int) -> None:
    """With every part of the page unfolded, each chart and table lies within its place."""
    with looking(browser, gateway, viewport={"width": width, "height": 900}) as (page, _):
        page.goto("/?period=30")
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate(OVERFLOW) == 0
        boxes = page.evaluate(
            "[...document.querySelectorAll('.chart *, .scroll, .tiles > div *')].filter(node => node.checkVisibility()"
            " && !node.closest('svg, .scroll *')).filter(node => node.getBoundingClientRect().right >"
            " node.parentElement.getBoundingClientRect().right + 1).map(node => node.outerHTML.slice(0, 80))"
        )
        assert boxes == []


def test_a_chart_is_one_image_with_a_name(browser: Browser, gateway: Gateway) -> None:
    """For who does not see it, and the one that is not shown at this width is not told either."""
    with looking(browser, gateway) as (page, _):
        page.goto("/?period=7")
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            expect(page.get_by_role("img", name="Requests by outcome, by day")).to_have_count(1)
