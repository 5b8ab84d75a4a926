"""Fixtures of the client lane. Every test here drives a real package manager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.lane import Lane
from clients.proxy import Authority
from clients.tools import Tools, install_tools

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is collected from this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.clients)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The package managers, installed into `.tools/` when they are not there yet."""
    return install_tools()


@pytest.fixture(scope="session")
def lane(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """The runs of this session."""
    made = Lane(tmp_path_factory.mktemp("lane"), tools)
    yield made
    made.end()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A company's CA."""
    return Authority(tmp_path_factory.mktemp("authority"))
