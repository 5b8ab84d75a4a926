"""What the fetch path is made of, over a registry on loopback and a data folder of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doubles.upstream import Upstream
from mainstay.app import Gateway
from mainstay.config import Config, EcosystemSetting, Fetch, Log
from mainstay.ecosystems import ecosystems
from mainstay.model import Artifact
from mainstay.upstream import ask, documents, politeness, takedowns
from mainstay.upstream.client import HttpClient
from mainstay.upstream.discover import discover
from mainstay.upstream.documents import Asked
from unit.clock import Clock


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own proxies are not asked."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[HttpClient]:
    """A client that does not wait long."""
    client = HttpClient(Fetch(connect_timeout_s=2, read_timeout_s=0.3))
    yield client
    await client.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that indexes, takedowns and rests are judged by."""
    clock = Clock()
    for module in (ask, documents, takedowns, politeness):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
async def gateway(upstream: Upstream, tmp_path: Path, clock: Clock) -> AsyncIterator[Gateway]:
    """One worker's gateway in this process, in front of the double, without its background work."""
    settings = {"pypi": EcosystemSetting(upstream=upstream.simple_url)}
    fetch, log = Fetch(attempts=1, read_timeout_s=2), Log(access=False)
    config = Config(data=str(tmp_path / "data"), ecosystems=settings, fetch=fetch, log=log)
    gateway = Gateway(config, discover(config, ecosystems(), own=frozenset(), extras=False), 1)
    yield gateway
    await gateway.stop()


@pytest.fixture
def asked(gateway: Gateway) -> Asked:
    """The index of the project `demo`."""
    (origin,) = gateway.registry.of("pypi")
    return Asked(origin, origin.ecosystem.index_of(Artifact("demo", "", "", "", "")))
