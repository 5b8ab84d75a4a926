"""What the browser's tests share: one Chromium, and one gateway with some days of traffic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from doubles.gateway import Gateway, serving
from pages.traffic import now, some_traffic, write_ledger


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is the browser's lane."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pages)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose ledger has some days of traffic."""
    folder = tmp_path_factory.mktemp("pages")
    write_ledger(folder / "gateway0" / "data", some_traffic(now()))
    with serving(folder) as serve:
        yield serve()


@pytest.fixture(scope="module")
def browser(gateway: Gateway) -> Iterator[Browser]:
    """Debian's Chromium, without a window. It has an event loop in this thread, so it comes last and goes first."""
    program = shutil.which("chromium")
    assert program, "chromium is not on PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        # Root has no sandbox; every page here is our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
