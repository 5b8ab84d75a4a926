"""The pictures in docs/pages, made anew: python tests/pages/screenshots.py"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import sync_playwright

from doubles.gateway import serving
from pages.traffic import now, some_traffic, write_ledger

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "pages"
PAGES = {"overview": "/?period=7", "consumer": "/consumers/build-farm", "waste": "/waste", "statement": "/statement"}
SIZES = {360: 760, 768: 840, 1280: 780}
DARK = {"consumer"}


def main() -> None:
    """Each page at each width, one of them dark."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        write_ledger(Path(place, "gateway0", "data"), some_traffic(now()))
        with serving(Path(place)) as serve, sync_playwright() as playwright:
            gateway = serve()
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, path in PAGES.items():
                for width, height in SIZES.items():
                    scheme = "dark" if name in DARK else "light"
                    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
                    page = context.new_page()
                    page.goto(gateway.url + path)
                    page.screenshot(path=FOLDER / f"{name}-{width}.png")
                    context.close()
            browser.close()


if __name__ == "__main__":
    main()
