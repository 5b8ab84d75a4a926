"""Go's checksum database is asked through the gateway as well: what it says cannot be made up by anybody between."""

from __future__ import annotations

import pytest

from clients.lane import MODES, Lane, Mode
from clients.recipes import BY_NAME
from clients.stage import Tree

GO = BY_NAME["go"]


def lookups(tree: Tree) -> set[str]:
    """The modules and versions whose hashes the go command had proven to it."""
    return {name.partition("/lookup/")[2] for name, what in tree.items() if "/lookup/" in name and what != "folder"}


@pytest.mark.parametrize("mode", MODES)
def test_every_module_is_proven_through_the_gateway(lane: Lane, mode: Mode) -> None:
    """As many lookups as in a direct run; the receipt says beside that nothing went past."""
    expected = lookups(lane.direct(GO).tree)
    assert len(expected) >= 10
    assert lookups(lane.through(GO, mode).tree) == expected
