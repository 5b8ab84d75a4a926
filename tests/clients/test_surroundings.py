"""A company's network around the person: a re-signing CA, a proxy with a password, NO_PROXY, their own settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clients.lane import PREFIXES, Lane, assert_same, dead_proxy
from clients.proxy import Authority, Proxy
from clients.recipes import BY_NAME, Client
from clients.stage import CA_FILES
from doubles.upstream import Upstream

some_clients = pytest.mark.parametrize(
    "client", [BY_NAME[name] for name in ("pip-newest", "uv-project", "npm-install", "pnpm", "yarn1", "yarn4")], ids=str
)
PASSWORD = "s3cr%40t"


def trusting(bundle: Path) -> dict[str, str]:
    """The CA variables of someone whose company's CA is in `bundle`."""
    return {name: str(bundle) for name in CA_FILES}


def run(lane: Lane, client: Client, data: Path, home: Mapping[str, str] | None = None, **environ: str) -> None:
    """Under `run`, with a data folder of its own, everything is as in a direct run."""
    found = lane.perform(client, PREFIXES["run"], home=home, MAINSTAY_DATA=str(data), **environ)
    assert_same(lane.direct(client), found, client)


@some_clients
def test_a_company_ca_known_only_by_the_variables_and_a_proxy_are_kept(
    lane: Lane, authority: Authority, tmp_path: Path, client: Client
) -> None:
    """Behind a proxy that signs everything anew and wants a password, a run does what a direct one does."""
    with Proxy(authority=authority, resign=True, credentials=f"ann:{PASSWORD}") as proxy:
        run(lane, client, tmp_path, **proxy.variables, **trusting(authority.bundle))
        assert [asked for asked in proxy.asked if asked.endswith(":443")], "nothing went through the company's proxy"


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("pip-newest", "PIP_CERT"),
        ("uv-project", "SSL_CERT_FILE"),
        ("npm-ci", "NODE_EXTRA_CA_CERTS"),
        ("cargo", "CARGO_HTTP_CAINFO"),
    ],
)
def test_a_company_ca_known_only_to_one_client_is_trusted_upstream(
    lane: Lane, authority: Authority, tmp_path: Path, name: str, variable: str
) -> None:
    """What suffices for the client alone suffices under `run`, although then it is Mainstay that meets the CA."""
    with Proxy(authority=authority, resign=True) as proxy:
        trust = {variable: str(authority.bundle)}
        run(lane, BY_NAME[name], tmp_path, **proxy.variables, **trust)
        assert proxy.asked


def test_a_company_ca_known_only_by_npmrc_is_trusted_upstream(lane: Lane, authority: Authority, tmp_path: Path) -> None:
    """The same for `cafile` in the user's .npmrc."""
    with Proxy(authority=authority, resign=True) as proxy:
        home = {".npmrc": f"cafile={authority.bundle}\n"}
        run(lane, BY_NAME["npm-install"], tmp_path, home=home, **proxy.variables)
        assert proxy.asked


def test_the_password_of_a_proxy_is_written_nowhere(lane: Lane, authority: Authority, tmp_path: Path) -> None:
    """Neither the receipt nor any file of the data folder holds it, plain or encoded."""
    client = BY_NAME["pip-newest"]
    with Proxy(credentials=f"ann:{PASSWORD}") as proxy:
        found = lane.perform(client, PREFIXES["run"], MAINSTAY_DATA=str(tmp_path), **proxy.variables)
        assert proxy.asked
    texts = [found.stdout.encode(), found.stderr.encode()]
    texts += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "blobs" not in path.parts]
    for secret in (PASSWORD.encode(), b"s3cr@t"):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("client", [BY_NAME[name] for name in ("npm-install", "pnpm9", "yarn1")], ids=str)
def test_a_ca_file_in_the_users_npmrc_does_not_hide_the_runs_ca(
    lane: Lane, authority: Authority, tmp_path: Path, client: Client
) -> None:
    """npm and its kin forget NODE_EXTRA_CA_CERTS where `cafile` is set."""
    run(lane, client, tmp_path, home={".npmrc": f"cafile={authority.bundle}\n"})


def test_settings_in_the_users_pip_conf_do_not_lead_past_the_gateway(
    lane: Lane, authority: Authority, tmp_path: Path
) -> None:
    """A certificate and a proxy in pip.conf are no way round: the second run needs no upstream."""
    client, data = BY_NAME["pip-newest"], tmp_path / "data"
    conf = tmp_path / "pip.conf"
    conf.write_text(f"[global]\ncert = {authority.bundle}\n")
    run(lane, client, data, PIP_CONFIG_FILE=str(conf))
    run(lane, client, data, PIP_CONFIG_FILE=str(conf), **dead_proxy())


@some_clients
def test_a_no_proxy_entry_for_a_registry_does_not_lead_past_the_gateway(
    lane: Lane, tmp_path: Path, client: Client
) -> None:
    """The user's own entry for the registry's host is for the company's proxy, not for Mainstay."""
    lane.direct(client)
    environ = lane.stage.environ()
    registry = lane.stage.call([lane.tools.npm, "config", "get", "registry"], environ).stdout.strip()
    host = urlsplit(registry).hostname or ""
    both = {"NO_PROXY": f"intra.example,{host}", "no_proxy": f"intra.example,{host}"}
    run(lane, client, tmp_path, **both)
    run(lane, client, tmp_path, **{**both, "NO_PROXY": "intra.example", "no_proxy": "intra.example"}, **dead_proxy())


def test_an_audit_ends_as_it_does_directly(lane: Lane, tmp_path: Path) -> None:
    """The advisory calls are passed on: the exit code is the direct one, and so is what a good reply makes npm say."""
    locks = lane.direct(BY_NAME["npm-install"]).locks
    environ = lane.stage.environ(MAINSTAY_DATA=str(tmp_path))
    ends = []
    for prefix in ((), PREFIXES["run"]):
        lane.stage.reset("node", locks)
        done = lane.stage.call([*prefix, lane.tools.npm, "audit", "--json"], environ)
        ends.append((done.returncode, done.stdout if done.returncode == 0 else ""))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("named", ["localhost", "127.0.0.0/8,localhost"])
def test_no_proxy_hosts_are_reached_without_the_companys_proxy(lane: Lane, tmp_path: Path, named: str) -> None:
    """An intranet host that NO_PROXY names never shows up at the company's proxy."""
    call = "import sys, urllib.request as r; sys.exit(r.urlopen(sys.argv[1], timeout=10).status != 200)"
    with Upstream() as intranet, Proxy() as proxy:
        intranet.project("demo").release("1.0")
        url = intranet.simple_url.replace("127.0.0.1", "localhost") + "demo/"
        environ = proxy.variables | {"NO_PROXY": named, "no_proxy": named, "MAINSTAY_DATA": str(tmp_path)}
        lane.stage.reset("python")
        command = [*PREFIXES["run"], lane.tools.python, "-c", call, url]
        done = lane.stage.call(command, lane.stage.environ(**environ))
        assert done.returncode == 0, done.stderr
        assert [seen.status for seen in intranet.seen("/simple/demo/")] == [200]
        assert not [asked for asked in proxy.asked if asked.startswith("localhost")]
