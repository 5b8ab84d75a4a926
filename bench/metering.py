"""What metering costs a warm hit: the same gateway with and without its ledger, in turns."""

from __future__ import annotations

from figures import Row
from lineup import running
from servers import start_mainstay, start_unmetered_mainstay
from subjects import FILE_100K, INDEX
from warm import Plan, measure

STARTERS = {"mainstay": start_mainstay, "without the ledger": start_unmetered_mainstay}


def run_metering(plan: Plan) -> list[Row]:
    """Rows as of the warm part, for both."""
    with running([*STARTERS], 1, starters=STARTERS) as (upstream, servers):
        return measure(upstream, servers, [INDEX, FILE_100K], 1, plan)
