"""`mainstay` without the request budget that spares a registry: the upstream of a bench belongs to the bench.

    python bench/unthrottled.py serve ...

It holds in every worker as well, however these come about: a new process reads this file first, a fork has it already.
"""

from __future__ import annotations

from mainstay.cli import main
from mainstay.gateway import turns
from mainstay.upstream.politeness import Budget

BOUNDLESS = Budget(requests_per_s=1e6, burst=1e6, concurrency=64)


def load_boundless(ecosystem: str, workers: int) -> Budget:
    """In place of the dated budget of a registry, whichever it is."""
    del ecosystem
    return BOUNDLESS.share(workers)


if not callable(turns.load_budget):
    raise TypeError("mainstay.gateway.turns has no budget to replace")
turns.load_budget = load_boundless

if __name__ == "__main__":
    main()
