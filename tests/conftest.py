"""What every black-box suite shares: an upstream that obeys the test, and a gateway in front of it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from doubles.gateway import Gateway, Serve, serving
from doubles.stand import STANDS, Stand
from doubles.upstream import Upstream

# A suite that was started in the background, or by nohup, has these ignored, and so would everything that it starts.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


# Here processes are driven against the clock, and real registries over a network. On a machine that stands still for a
# second such a test may fail for no reason of the program's: it is tried once more, and the end of the run names it.
TRIED_AGAIN = ("clients", "faults", "run", "contract/test_server", "contract/test_connection", "unit/test_app")


SLOW_FIRST = ("clients", "spark", "pages", "faults", "run", "contract")
"""Folders whose files take minutes: begun first, so that none of them is what a process alone has left at the end."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are tried again when they fail, and put slow files first."""
    here = Path(__file__).parent
    ranks = {folder: rank for rank, folder in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(here).parts[0], len(ranks)))
    for item in items:
        if str(item.path.relative_to(here)).startswith(TRIED_AGAIN):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a test was tried again: what passes the second time may be a defect all the same."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.line(report.longreprtext[-6000:])


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test may set logging up as a command does: the next one has it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("mainstay").setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A registry on loopback."""
    with Upstream() as double:
        yield double


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start gateways: `serve(pypi=upstream.simple_url, workers=2, cache={"document_ttl_s": 0})`.

    A keyword that is an ecosystem's id is an address or a list of upstream tables; others are tables of mainstay.toml.
    At the end each is stopped, must have ended well, must have written no error that the test did not announce, and
    must hold no blob with wrong bytes.
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
        yield start(**shared_upstream.urls, **request.module.SETTINGS)


@pytest.fixture
def stand(request: pytest.FixtureRequest, shared_upstream: Upstream, shared_gateway: Gateway) -> Iterator[Stand]:
    """A project of the test's own on the shared gateway, of the ecosystem that the test names: pypi unless it does."""
    own = STANDS[getattr(request, "param", "pypi")](shared_upstream, shared_gateway)
    yield own
    own.heal()
    assert shared_gateway.bad_blobs() == []


@pytest.fixture
def stands(shared_upstream: Upstream, shared_gateway: Gateway) -> Iterator[list[Stand]]:
    """A project of the test's own in each ecosystem, for what takes its time and can be waited for together."""
    own = [kind(shared_upstream, shared_gateway) for kind in STANDS.values()]
    yield own
    for stand in own:
        stand.heal()
    assert shared_gateway.bad_blobs() == []
