"""Tables as pages show them: which columns, how their cells are written, by what they can be sorted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mainstay.db.ledger import LedgerLoss
from mainstay.errors import RequestError
from mainstay.usage.engines import Row
from mainstay.usage.question import MEASURES


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` says how a cell is written: text, name, consumer or project (links), count, size, rate, or number, which
    is written already. `is_head`: it names its row. `sorts`: its heading is a link that sorts by it."""

    key: str
    label: str
    kind: str = "text"
    is_head: bool = False
    sorts: bool = False

    @property
    def is_number(self) -> bool:
        """Whether its cells stand at the right."""
        return self.kind in ("count", "size", "rate", "number")


@dataclass(frozen=True, slots=True)
class Table:
    """`name` is a word that no other table of the page has, `empty` the sentence in the place of no rows. `sort` is the
    key that rows are sorted by, the largest first; `query` what else the address says, for links that sort."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    empty: str = "Nothing in this period."
    sort: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """The rows of one long table, with what the ledger lacks and when it was read."""

    rows: list[Row]
    losses: tuple[LedgerLoss, ...]
    read_at: datetime


CONSUMER = Column("consumer", "Consumer", "consumer", is_head=True)
PROJECT = (Column("ecosystem", "Ecosystem", "name"), Column("project", "Project", "project", is_head=True))
REQUESTS = Column("requests", "Requests", "count", sorts=True)
BYTES = Column("bytes", "Served", "size", sorts=True)
HIT_RATE = Column("hit_rate", "Hit rate", "rate")
ASKED = Column("upstream_requests", "Asked upstream", "count", sorts=True)
FETCHED = Column("upstream_bytes", "From upstream", "size", sorts=True)
REDUNDANT = Column("redundant_bytes", "Redundant", "size", sorts=True)
REFUSED = Column("refused", "Refused", "count", sorts=True)
WAITED = Column("waited", "Held back", "count", sorts=True)
_SORTED_BY = {
    REQUESTS.key: "requests",
    BYTES.key: "bytes served",
    "artifacts": "number of files",
    "hits": "replies from the store",
    ASKED.key: "requests to upstream",
    FETCHED.key: "bytes from upstream",
    REDUNDANT.key: "redundant bytes",
    REFUSED.key: "refused requests",
    WAITED.key: "requests held back",
}
FIGURES = (REQUESTS, BYTES, HIT_RATE, ASKED, FETCHED)
"""What most tables show of each row."""


def parse_sort(query: Mapping[str, str], default: str = "bytes") -> str:
    """The figure to sort by. Raises RequestError for one that there is not."""
    sort = query.get("sort", "").strip() or default
    if sort not in MEASURES:
        raise RequestError(f"sort={sort[:40]} is not a figure.", hint=f"There are: {', '.join(MEASURES)}.")
    return sort


def caption_of(what: str, sort: str) -> str:
    """The caption of a table that can be sorted: what its rows are, and their order."""
    return f"{what} by {_SORTED_BY[sort]}, the largest first"


def parse_page(query: Mapping[str, str]) -> int:
    """Which page of a long table, the first being 1. Raises RequestError for what is no such number."""
    text = query.get("page", "").strip() or "1"
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 7 and int(text)):
        raise RequestError(f"page={text[:40]} is not a page.", hint="Write a whole number from 1 on.")
    return int(text)
