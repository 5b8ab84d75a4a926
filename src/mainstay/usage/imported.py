"""Events from other programs' logs: where they lie, and which there are.

    DATA/usage/imported/NAME/day=YYYY-MM-DD/<digest of the log>.parquet

They have the ledger's columns and are never mixed with what the gateway itself recorded.
"""

from __future__ import annotations

from pathlib import Path

IMPORTED_FOLDER = Path("usage", "imported")


def imported_files(data: Path) -> list[Path]:
    """Every file of imported events, in order of name and day."""
    return sorted((data / IMPORTED_FOLDER).glob("*/day=*/*.parquet"))
