"""The recipes of docs/ci.md as they stand: two jobs that start with nothing, and the second downloads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from clients.lane import Lane, Server, assert_same
from clients.proxy import Proxy
from clients.recipes import BY_NAME, Client
from clients.stage import MAINSTAY, Outcome
from clients.tools import ROOT

RECIPES = dict(re.findall(r"<!-- tested: (\S+) -->\n+```sh\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL))
WITH_OWN_GATEWAY = frozenset({"cached-folder"})


def like(name: str) -> Client:
    """The client whose direct run a recipe must equal."""
    return BY_NAME["npm-ci" if "node" in name else "uv-pip" if "uv" in name else "pip-newest"]


@pytest.fixture(scope="module")
def path(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which a job finds mainstay, pip and uv by their names."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "pip").symlink_to(lane.tools.pip_newest)
    (folder / "uv").symlink_to(lane.tools.uv)
    (folder / "mainstay").write_text(f'#!/bin/sh\nexec {" ".join(MAINSTAY)} "$@"\n')
    (folder / "mainstay").chmod(0o755)
    return f"{folder}:{lane.tools.path}"


def run_job(lane: Lane, name: str, **environ: str) -> Outcome:
    """A job in an empty home, with a fresh checkout and no cache of any client."""
    client = like(name)
    lane.stage.reset(client.project, lane.direct(BY_NAME[client.after]).locks if client.after else None)
    # Compiled files hold times, so none are made (of this setting pip takes the value of `--compile`).
    job = lane.stage.environ(PIP_COMPILE="0", **environ)
    return lane.stage.perform([["/bin/sh", "-eu", "-c", RECIPES[name]]], job, tree=client.tree, locks=client.locks)


@pytest.fixture(scope="module")
def server(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shared gateway of the jobs, which holds nothing yet."""
    made = Server(tmp_path_factory.mktemp("shared") / "server", lane.stage)
    yield made
    made.end()


def test_the_page_has_recipes_for_each_kind_of_job() -> None:
    """A page that loses its marks would leave nothing to test."""
    assert len(RECIPES) >= 6
    assert {"run-gateway-python", "address-python", "container-step", *WITH_OWN_GATEWAY} <= RECIPES.keys()


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - WITH_OWN_GATEWAY))
def test_a_second_fresh_job_asks_upstream_for_no_file(lane: Lane, server: Server, path: str, name: str) -> None:
    """/metrics counts the artifacts of the second job as served, and none as fetched."""
    client = like(name)
    expected = lane.direct(client)
    assert_same(expected, run_job(lane, name, PATH=path, MAINSTAY_URL=server.url), client, by_address=True)
    served, fetched = settled_counts(server)
    assert served and fetched
    assert_same(expected, run_job(lane, name, PATH=path, MAINSTAY_URL=server.url), client, by_address=True)
    served_again, fetched_again = settled_counts(server)
    assert fetched_again == fetched
    assert served_again > served


def settled_counts(server: Server) -> tuple[float, float]:
    """Files served and files fetched, once every worker has handed on what it counted (four times a second)."""
    names = ("mainstay_requests_total", "mainstay_upstream_requests_total")
    previous = None
    while (counts := tuple(server.metric(name, kind="artifact") or 0.0 for name in names)) != previous:
        previous = counts
        Event().wait(0.6)
    return counts[0], counts[1]


@pytest.mark.parametrize("name", sorted(RECIPES.keys() & WITH_OWN_GATEWAY))
def test_a_second_fresh_job_with_the_kept_folder_connects_to_nobody(
    lane: Lane, path: str, tmp_path: Path, name: str
) -> None:
    """Seen from a proxy between the job and the world."""
    client = like(name)
    expected = lane.direct(client)
    with Proxy() as proxy:
        job = {"PATH": path, "CACHE": str(tmp_path), **proxy.variables}
        assert_same(expected, run_job(lane, name, **job), client)
        assert proxy.asked
        proxy.asked.clear()
        assert_same(expected, run_job(lane, name, **job), client)
        assert proxy.asked == []
