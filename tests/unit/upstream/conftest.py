"""What the fetch path is made of, over a registry on loopback and a data folder of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mainstay.config import Fetch
from mainstay.upstream.client import HttpClient


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
