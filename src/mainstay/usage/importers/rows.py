"""What was read of a log as the ledger's rows. Few clients, callers and targets stand in many lines, so each is looked
at once: that is ten times as fast as to make an event of every line.

`mainstay serve` and `run` do not import this module: it brings Arrow with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import pyarrow as pa  # type: ignore[import-untyped]  # the library has no types here

from mainstay.usage.columnar import SCHEMA
from mainstay.usage.event import Client, Event
from mainstay.usage.importers.places import What

_BLANK = Event(0)
_OWN = ("time_us", "method", "status", "bytes_down", "cache_status")
_OF_WHAT = {name: name for name in What._fields}
_OF_CALLER = {name: name for name in ("consumer", "identified_by", "tier")}
_OF_CLIENT = {"client_name": "name", "client_version": "version", "client_class": "kind"}
_OF_CLIENT |= {name: name for name in ("runtime", "runtime_version", "system", "arch", "ci", "ci_vendor", "agent")}


class Caller(Protocol):
    """Who asked."""

    @property
    def consumer(self) -> str:
        """As in an event."""

    @property
    def identified_by(self) -> str:
        """As in an event."""

    @property
    def tier(self) -> str:
        """As in an event."""


Row = tuple[int, str, int, int, str, What, Caller, Client]
"""What becomes of a line: the columns of _OWN, then whose values make the others."""


def make_rows(rows: Sequence[Row]) -> pa.Table:
    """Rows in the ledger's columns, by time; what no log tells is as in an event that does not say it."""
    *own, targets, callers, clients = zip(*sorted(rows, key=itemgetter(0)))
    columns = {name: pa.array(values, SCHEMA.field(name).type) for name, values in zip(_OWN, own)}
    columns |= _spread(targets, _OF_WHAT) | _spread(callers, _OF_CALLER) | _spread(clients, _OF_CLIENT)
    for field in SCHEMA:
        if field.name not in columns:
            columns[field.name] = pa.repeat(pa.scalar(getattr(_BLANK, field.name), field.type), len(rows))
    return pa.Table.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _spread(objects: Sequence[Any], names: Mapping[str, str]) -> dict[str, pa.Array]:
    """The columns of what objects have under other names, most of them occurring often."""
    keys = list(map(id, objects))
    different = dict(zip(keys, objects))
    places = dict(zip(different, range(len(different))))
    indices = pa.array(list(map(places.__getitem__, keys)), pa.int32())
    return {
        column: pa.array([getattr(one, name) for one in different.values()], SCHEMA.field(column).type).take(indices)
        for column, name in names.items()
    }
