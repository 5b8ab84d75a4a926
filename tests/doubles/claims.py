"""What must hold for anything that a gateway could not serve rightly."""

from __future__ import annotations

from doubles.client import Received


def assert_refused(got: Received, right: bytes) -> None:
    """The client knows that it failed: an error status in words, or a transfer broken off. Never a complete body."""
    if got.whole:
        assert got.status >= 500, f"{got.status} was served complete: {got.body[:80]!r}"
        assert got.status in (502, 503, 504, 507), f"{got.status} is no status of ours for this: {got.body[:80]!r}"
        assert 10 < len(got.body) < 2000, f"no clear words: {got.body[:80]!r}"
        assert "Traceback" not in got.text
    else:
        assert got.status in (0, 200), got
        assert len(got.body) < len(right), "all the bytes arrived, only the connection broke"


def assert_right(got: Received, right: bytes) -> None:
    """The client has the whole file."""
    assert (got.status, got.broken) == (200, ""), f"{got.status} {got.broken} {got.body[:200]!r}"
    assert got.body == right
