"""Waste as Ibis expressions, the same for every engine: whole numbers only, and each order settled to the last tie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mainstay.usage.queries import DAY_US

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

COPY, FILE, DOCUMENT = "copy", "file", "document"
"""What is wasted: a whole copy sent again, a question about a file that never changes, a document asked for again."""
FETCH = "fetch"
"""Wasted as well: what was fetched past the gateway."""
REGISTRY = "registry"
"""What a row is of that is no waste, but the traffic with a registry on a day."""
KEYS = ("consumer", "client_name", "client_class", "ecosystem")
"""Whose waste it is."""
FIGURES = ("requests", "bytes", "upstream_requests", "upstream_bytes")
OF_BYTES = "of_bytes"
"""The bytes of all that could have been waste: of all whole copies, of all answers about files, of all documents."""
COLUMNS = ("what", *KEYS, "upstream", "day", *FIGURES, OF_BYTES)
"""Of a row. Those that say nothing of it are "" or 0."""
OWN_CLIENT = "mainstay"
"""The program name of the gateway's own requests, in other programs' logs."""
_REGISTRY_KEYS = ("ecosystem", "upstream", "day")
_SENT = (200, 206, 304)
_ANSWERED = (200, 304)
_HELD = ("hit", "stale", "collapsed", "refused")
"""Outcomes that cost the registry nothing, of a cache that is not the gateway."""


def wasted(events: ir.Table, document_ttl_us: int, *, with_registries: bool = False) -> ir.Table:
    """A row for each of COPY, FILE and DOCUMENT and KEYS where something was wasted; its columns are COLUMNS.

    `events` has the ledger's columns, none of them null. A document is asked for again too soon where the answer before
    it was given less than `document_ttl_us` microseconds earlier. `with_registries` adds rows of REGISTRY by
    `ecosystem`, `upstream` and `day`, with what the gateway itself asked.
    """
    import ibis

    parts = {COPY: _copies(events), FILE: _files(events), DOCUMENT: _documents(events, document_ttl_us)}
    rows = [_summed(table, what) for what, table in parts.items()]
    if with_registries:
        figures = {"upstream_requests": "upstream_requests", "upstream_bytes": "bytes_up"}
        rows.append(_added_up(events.mutate(day=_day(events)), REGISTRY, _REGISTRY_KEYS, figures))
    found = ibis.union(*rows)
    return found.filter((found["requests"] > 0) | (found["what"] == REGISTRY))


def bypassed(events: ir.Table) -> ir.Table:
    """What others fetched past the gateway, by the events of other programs' logs; its columns are COLUMNS.

    Rows of FETCH are by KEYS. Rows of REGISTRY are by `ecosystem`, `upstream` and `day` (its midnight in UTC, in
    microseconds), with zeros where all was the gateway's own, so that they tell which days the logs are of.
    """
    import ibis

    events = events.filter(events["status"] != 0, events["ecosystem"] != "")
    held, outcome = events["cache_status"].isin(_HELD), events["cache_status"]
    is_past = (events["client_name"] != OWN_CLIENT).cast("int64")
    is_asked = is_past * (~held).cast("int64")
    facts = events.mutate(
        past=is_past,
        past_bytes=is_past * events["bytes_down"],
        asked=is_asked,
        # Where only the question went to the registry, what was sent is not what it sent.
        asked_bytes=is_asked * (outcome != "revalidated").cast("int64") * events["bytes_down"],
        day=_day(events),
    )
    theirs = facts.filter(facts["past"] == 1)
    figures = dict(zip(FIGURES, ("past", "past_bytes", "asked", "asked_bytes")))
    return ibis.union(_added_up(theirs, FETCH, KEYS, figures), _added_up(facts, REGISTRY, _REGISTRY_KEYS, figures))


def _copies(events: ir.Table) -> ir.Table:
    """Whole copies of files, with `wasted` 1 for all but a consumer's first: the definition of `queries`.

    Of copies in one microsecond the first is that of the first client by name and class, as it is there for questions
    by KEYS; among its own, the one that cost upstream least.
    """
    import ibis

    sent = events.filter(events["status"] == 200, events["digest"] != "", events["bytes_down"] > 0)
    longest = sent.group_by("digest").aggregate(whole_bytes=sent["bytes_down"].max())
    whole = sent.inner_join(longest, "digest")
    whole = whole.filter(whole["bytes_down"] == whole["whole_bytes"])
    order = ("time_us", "client_name", "client_class", "ecosystem", "upstream_requests", "bytes_up")
    window = ibis.window(group_by=["consumer", "digest"], order_by=[whole[name] for name in order])
    whole = whole.mutate(place=ibis.row_number().over(window))
    return whole.mutate(wasted=(whole["place"] > 0).cast("int64"))


def _files(events: ir.Table) -> ir.Table:
    """Answers about files, with `wasted` 1 where the client asked whether one had changed: under a digest none does."""
    sent = events.filter(events["kind"] == "artifact", events["status"].isin(_SENT))
    return sent.mutate(wasted=(sent["status"] == 304).cast("int64"))


def _documents(events: ir.Table, ttl_us: int) -> ir.Table:
    """Documents given to clients, with `wasted` 1 where the same program of the consumer had been given it just before.

    Those that an event does not name are left out: several would pass for one.
    """
    import ibis

    named = (events["project"] != "") | (events["filename"] != "")
    given = events.filter(
        events["kind"] == "index",
        events["digest"] == "",
        events["method"] == "GET",
        events["status"].isin(_ANSWERED),
        named,
    )
    order = ("time_us", "client_class", "status", "bytes_down", "upstream_requests", "bytes_up")
    window = ibis.window(
        group_by=["consumer", "client_name", "ecosystem", "project", "kind", "filename"],
        order_by=[given[name] for name in order],
    )
    given = given.mutate(before_us=given["time_us"].lag().over(window))
    # Null for the first of all, which is then not less than anything.
    given = given.mutate(since_us=given["time_us"] - given["before_us"])
    return given.mutate(wasted=ibis.ifelse(given["since_us"] < ttl_us, 1, 0).cast("int64"))


def _summed(table: ir.Table, what: str) -> ir.Table:
    """The figures of what is wasted by KEYS, and those of all of it."""
    wasted = table["wasted"]
    facts = table.mutate(
        wasted_bytes=wasted * table["bytes_down"],
        asked=wasted * table["upstream_requests"],
        asked_bytes=wasted * table["bytes_up"],
    )
    columns = ("wasted", "wasted_bytes", "asked", "asked_bytes", "bytes_down")
    return _added_up(facts, what, KEYS, dict(zip((*FIGURES, OF_BYTES), columns)))


def _added_up(table: ir.Table, what: str, by: tuple[str, ...], figures: dict[str, str]) -> ir.Table:
    """Rows by these columns with COLUMNS, in their order: sums of the columns named, blanks and zeros for the rest."""
    import ibis

    rows = table.group_by(by).aggregate(**{name: table[column].sum() for name, column in figures.items()})
    blanks: dict[str, Any] = {name: ibis.literal("") for name in (*KEYS, "upstream")}
    blanks |= {name: ibis.literal(0, "int64") for name in ("day", *FIGURES, OF_BYTES)} | {"what": ibis.literal(what)}
    found = {name: rows[name] for name in by} | {name: rows[name].cast("int64") for name in figures}
    return rows.select(**{name: found.get(name, blanks[name]) for name in COLUMNS})


def _day(events: ir.Table) -> ir.Value:
    return events["time_us"] - events["time_us"] % DAY_US
