"""A clock for tests to move, put in the place of the `time` module of one module."""

from __future__ import annotations

import time


class Clock:
    """Starts now; both its clocks go on only when told to."""

    def __init__(self) -> None:
        self._wall_s, self._steady_s = time.time(), time.monotonic()

    def time(self) -> float:
        """Seconds since 1970."""
        return self._wall_s

    def monotonic(self) -> float:
        """Seconds of the steady clock."""
        return self._steady_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_s += seconds
        self._steady_s += seconds
