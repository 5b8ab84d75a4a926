"""A client that goes through Mainstay leaves what it leaves on its own; and again with every upstream cut."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from clients.lane import MODES, Lane, Mode, assert_same, dead_proxy, read_receipt
from clients.recipes import BY_NAME, CLIENTS, Client
from clients.stage import Failed

every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_client
@every_mode
def test_the_same_files_are_installed_and_locks_are_equal(lane: Lane, client: Client, mode: Mode) -> None:
    """Under `run` the lock is the same byte for byte; by address the files are."""
    assert_same(lane.direct(client), lane.through(client, mode), client, by_address=mode == "address")


@every_client
@every_mode
def test_with_every_upstream_cut_and_an_empty_client_cache_it_works_again(
    lane: Lane, client: Client, mode: Mode
) -> None:
    """What went through once comes from the gateway's store."""
    assert_same(lane.direct(client), lane.cut(client, mode), client, by_address=mode == "address")


@pytest.mark.parametrize(
    "client", [BY_NAME[name] for name in ("pip-newest", "uv-pip", "npm-ci", "go", "cargo")], ids=str
)
def test_the_cut_is_a_real_one(lane: Lane, client: Client) -> None:
    """A client on its own, with the variables that cut the gateway off, installs nothing."""
    retries = dict.fromkeys(("npm_config_fetch_retries", "UV_HTTP_RETRIES", "PIP_RETRIES", "CARGO_NET_RETRY"), "0")
    with pytest.raises(Failed):
        lane.perform(client, **retries, **dead_proxy())


@every_client
@pytest.mark.parametrize("mode", ["run", "sealed"])
def test_nothing_of_the_gateway_stays_behind(lane: Lane, client: Client, mode: Mode) -> None:
    """Home and temporary folder have the same entries after a run as after a direct one."""
    direct, through = lane.direct(client), lane.through(client, mode)
    # pip keeps what the headers let it keep: ours may allow more than the registry's.
    of_the_client = {".cache"} if client.tool.startswith("pip_") else set()
    assert through.home - of_the_client == direct.home - of_the_client
    assert through.tmp == direct.tmp


@every_client
def test_what_is_not_compared_is_there(lane: Lane, client: Client) -> None:
    """Each path that the comparison leaves out exists in the direct run, so that no exclusion outlives its reason."""
    for pattern in (*client.excluded, *client.excluded_by_address):
        assert any(fnmatch(name, pattern) for name in lane.direct(client).tree), pattern


@every_client
@pytest.mark.parametrize("mode", ["run", "sealed"])
def test_every_request_of_a_client_reaches_the_gateway(lane: Lane, client: Client, mode: Mode) -> None:
    """The receipt names no host that was reached past it, none that was not trusted, and nothing refused."""
    rows = read_receipt(lane.through(client, mode).stderr)
    assert rows.keys() == {"served", "from cache", "from upstream", "upstream saved", "time"}
    assert not rows["served"][0].startswith("0 files, 0 B"), rows
