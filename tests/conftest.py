"""What every black-box suite shares: an upstream that obeys the test, and a gateway in front of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from doubles.gateway import Gateway, Serve, Tree
from doubles.stand import Stand
from doubles.upstream import Upstream

NOWHERE = "http://registry.invalid/"

# A suite that was started in the background, or by nohup, has these ignored, and so would everything that it starts.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A registry on loopback."""
    with Upstream() as double:
        yield double


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start gateways: `serve(pypi=upstream.simple_url, workers=2, cache={"document_ttl_s": 0})`.

    `pypi` and `npm` are an address or a list of upstream tables; other keywords are tables of mainstay.toml. At the end
    each is stopped, must have ended well, must have written no error that the test did not announce, and must hold no
    blob with wrong bytes.
    """
    with serving(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    """A registry that all tests of a module share, each with a project of its own."""
    with Upstream() as double:
        yield double


@pytest.fixture(scope="module")
def shared_gateway(
    request: pytest.FixtureRequest, shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway that all tests of a module share, with the tables of mainstay.toml in the module's `SETTINGS`."""
    with serving(tmp_path_factory.mktemp("shared")) as start:
        yield start(pypi=shared_upstream.simple_url, npm=shared_upstream.npm_url, **request.module.SETTINGS)


@pytest.fixture
def stand(shared_upstream: Upstream, shared_gateway: Gateway) -> Iterator[Stand]:
    """A project of the test's own on the shared gateway."""
    own = Stand(shared_upstream, shared_gateway)
    yield own
    own.heal()
    assert shared_gateway.bad_blobs() == []


@contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    """The function that starts gateways in `folder`, and what must hold for each of them at the end."""
    running: list[Gateway] = []

    def start(
        *,
        pypi: str | list[Any] = "",
        npm: str | list[Any] = "",
        workers: int = 1,
        prefix: tuple[str, ...] = (),
        **tables: Tree,
    ) -> Gateway:
        # What is not named must not be found on this machine: no test may reach a real registry.
        named = {"pypi": pypi or NOWHERE, "npm": npm or NOWHERE}
        ecosystems: Tree = {name: {"upstream": value} for name, value in named.items()}
        settings: Tree = {**tables, "ecosystems": ecosystems}
        gateway = Gateway(folder / f"gateway{len(running)}", settings, workers=workers, prefix=prefix)
        running.append(gateway)
        gateway.wait_ready()
        return gateway

    try:
        yield start
    finally:
        codes = [gateway.stop() for gateway in running]
    assert [line for gateway in running for line in gateway.unexpected_errors()] == []
    assert [path for gateway in running for path in gateway.bad_blobs()] == []
    assert codes == [0] * len(running), "a gateway did not end well: " + running[-1].log[-2000:]
