"""An index or a scope's registry that only the project names is served through the gateway too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clients.lane import PREFIXES, Lane, assert_same, dead_proxy
from clients.packages import make_tarball, make_wheel
from clients.proxy import Authority, Proxy
from clients.recipes import BY_NAME, Client
from clients.test_surroundings import trusting
from doubles.upstream import Upstream

EXTRA = "https://extra.example/simple/"
SCOPE = "https://acme.example/npm/"
UV_PROJECT = f"""\
[project]
name = "sample"
version = "1"
requires-python = ">=3.11"
dependencies = ["acme-demo==1.0", "itsdangerous==2.2.0"]
[tool.uv]
package = false
[[tool.uv.index]]
name = "extra"
url = "{EXTRA}"
"""
PACKAGE = json.dumps(
    {"name": "sample", "version": "1.0.0", "dependencies": {"@acme/demo": "^1.0.0", "is-odd": "^3.0.1"}}
)
YARN4 = f"nodeLinker: node-modules\nnpmScopes:\n  acme:\n    npmRegistryServer: {SCOPE.rstrip('/')}\n"
OF_THE_PROJECT = {
    "pip-newest": {"requirements.txt": f"--extra-index-url {EXTRA}\nacme-demo==1.0\nitsdangerous==2.2.0\n"},
    "uv-project": {"pyproject.toml": UV_PROJECT},
    "npm-install": {"package.json": PACKAGE, ".npmrc": f"@acme:registry={SCOPE}\n"},
    "pnpm": {"package.json": PACKAGE, ".npmrc": f"@acme:registry={SCOPE}\n"},
    "yarn1": {"package.json": PACKAGE, ".npmrc": f"@acme:registry={SCOPE}\n"},
    "yarn4": {"package.json": PACKAGE, ".yarnrc.yml": YARN4},
}


@contextmanager
def company(authority: Authority) -> Iterator[tuple[Upstream, Proxy]]:
    """Two made-up hosts that have a wheel and a scoped package, and the proxy by which they are reached."""
    with Upstream(files_on_index_host=True) as upstream:
        project = upstream.project("acme-demo")
        project.files_url = "https://extra.example/"
        project.release("1.0", make_wheel("acme-demo", "1.0"))
        package = upstream.package("@acme/demo")
        package.base_url = SCOPE
        package.release("1.0.0", make_tarball("@acme/demo", "1.0.0"))
        routes = {"extra.example": urlsplit(upstream.simple_url).port, "acme.example": urlsplit(upstream.npm_url).port}
        with Proxy(authority=authority, routes={host: port for host, port in routes.items() if port}) as proxy:
            yield upstream, proxy


@pytest.mark.parametrize("client", [BY_NAME[name] for name in OF_THE_PROJECT], ids=str)
def test_a_registry_that_the_project_names_is_served_too(
    lane: Lane, authority: Authority, tmp_path: Path, client: Client
) -> None:
    """Same files and lock as in a direct run; the second run needs neither that registry nor the public one."""
    files = {name: text.encode() for name, text in OF_THE_PROJECT[client.name].items()}
    environ = trusting(authority.bundle) | {"MAINSTAY_DATA": str(tmp_path)}
    with company(authority) as (upstream, proxy):
        # yarn 4 takes no proxy from the usual variables: a person behind one sets its own as well.
        own = {"YARN_HTTPS_PROXY": proxy.url, "YARN_HTTP_PROXY": proxy.url}
        direct = lane.perform(client, (), files, **environ, **proxy.variables, **own)
        asked = len(upstream.seen())
        assert_same(direct, lane.perform(client, PREFIXES["run"], files, **environ, **proxy.variables), client)
        assert len(upstream.seen()) > asked
    assert_same(direct, lane.perform(client, PREFIXES["run"], files, **environ, **dead_proxy()), client)
