"""`make run` in the checkout: a real package with its dependencies, and again with upstream out of reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clients.lane import Lane, dead_proxy, read_receipt
from clients.tools import ROOT


def make_run(lane: Lane, data: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """One `make run` by a person whose home is empty."""
    lane.stage.reset("python")
    variables = lane.stage.environ(MAINSTAY_DATA=str(data), **environ)
    command = ["make", "run", f"PYTHON={sys.executable}"]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_make_run_works_and_works_again_without_upstream(lane: Lane, tmp_path: Path) -> None:
    """The second receipt shows that nothing came from upstream, and the same files are listed."""
    first = make_run(lane, tmp_path)
    assert first.returncode == 0, first.stderr
    assert read_receipt(first.stderr)["served"][0].split()[0] not in ("0", "1")
    second = make_run(lane, tmp_path, **dead_proxy())
    assert second.returncode == 0, second.stderr
    rows = read_receipt(second.stderr)
    assert rows["from upstream"][0].startswith("0 B"), rows
    assert rows["served"] == read_receipt(first.stderr)["served"]
    listed = [done.stdout.rpartition("downloaded:")[2].split() for done in (first, second)]
    assert listed[0] == listed[1]
    assert any(name.startswith("flask-") for name in listed[0]), listed
