from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.errors import StoreFull
from mainstay.store.lock import acquire


def test_a_lock_that_cannot_be_made_is_told_as_a_full_disk(tmp_path: Path) -> None:
    """The caller knows what to do with our errors, and nothing of the system's."""
    with pytest.raises(StoreFull, match="cannot take more"):
        acquire(tmp_path / "nowhere" / "x.lock", wait=False)
