from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import mainstay.web
from mainstay.web.views_frame import consumer_path, project_path, render_count, render_rate, render_size
from mainstay.web.views_traffic import Totals, tiles_of

SIZES = (0, 999, 1000, 1234567, 999_949, 999_950, 10**12, 5 * 10**18)


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_950, "1.0 MB"), (1234567, "1.2 MB"), (-2000, "−2.0 kB")],
)
def test_a_size_is_written_for_people(size_bytes, words):
    """In decimal units, on one line."""
    assert render_size(size_bytes).replace("\N{NO-BREAK SPACE}", " ") == words


def test_a_rate_without_anything_is_a_dash():
    """Not 0 %, which would be a bad one."""
    assert [render_rate(part) for part in (None, 0.0, 0.98765)] == [
        "–",
        "0.0\N{NO-BREAK SPACE}%",
        "98.8\N{NO-BREAK SPACE}%",
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("flask", "/projects/pypi/flask"),
        ("@types/node", "/projects/pypi/@types/node"),
        ("a/../b", "/projects/pypi/a%2F..%2Fb"),
        ("a//b", "/projects/pypi/a%2F%2Fb"),
        ("100%25?q=1#f", "/projects/pypi/100%2525%3Fq%3D1%23f"),
    ],
)
def test_the_path_of_a_project_is_one_that_no_browser_changes(name, path):
    """Plain slashes stay; steps up and empty parts are no parts of the path."""
    assert project_path("pypi", name) == path


def test_the_path_of_a_consumer_keeps_what_pseudonyms_have():
    """And nothing else that means something in an address."""
    assert consumer_path("address:5f1c09e2ab37") == "/consumers/address:5f1c09e2ab37"
    assert consumer_path("a/b?") == "/consumers/a%2Fb%3F"


def test_where_more_was_fetched_than_served_nothing_is_called_saved():
    """As with a first download that was broken off."""
    tiles = {tile["name"]: tile for tile in tiles_of(Totals(1, 0, 100, 3, 5000, 0))}
    assert (tiles["Saved upstream"]["value"], tiles["Saved upstream"]["note"]) == (render_size(0), "2 more requests")


def test_the_script_writes_figures_as_the_page_does(tmp_path):
    """Sizes, counts and rates, to the sign."""
    source = (Path(mainstay.web.__file__).parent / "static" / "live.js").read_text("utf-8")
    lines = [line for line in source.splitlines() if not line.startswith(("(() =>", "})();"))]
    functions = "\n".join(lines).partition("const show =")[0].replace("if (!tiles) return;", "")
    script = tmp_path / "figures.js"
    script.write_text(
        "const document = { querySelector: () => null };\n"
        + functions
        + f"console.log(JSON.stringify({json.dumps(SIZES)}.map(value => [size(value), count(value)])));\n"
        + "console.log(JSON.stringify([null, 0, 0.98765].map(rate)));\n"
    )
    node = shutil.which("node")
    assert node
    done = subprocess.run([node, script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    sizes, rates = map(json.loads, done.stdout.splitlines())
    assert sizes == [[render_size(size), render_count(size)] for size in SIZES]
    assert rates == [render_rate(part) for part in (None, 0, 0.98765)]
