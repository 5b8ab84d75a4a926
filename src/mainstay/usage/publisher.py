"""Downloads for those who publish: by project and class, without machines that copy a registry, small groups withheld.

A download is a whole file: a GET of an artifact answered with status 200 and as many bytes as the longest such reply
with its digest in the period, as in the other questions. Other programs' logs know no digest; there each 200 counts.

`mainstay serve` and `run` do not import this module.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.db.ledger import LedgerLoss
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.usage.answers import query
from mainstay.usage.engines import Row
from mainstay.usage.queries import DAY_US, day_of
from mainstay.usage.tables import aligned, printable, render_losses

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

COUNTED = ("person", "ci", "agent", "unknown")
"""The classes whose downloads add up to what is called downloads."""
APART = ("mirror", "scanner", "updater")
"""Those that ask for everything, or for what nobody installs: shown beside, in no total."""
FINER = ("version", "day")
"""What a project's row may be split by."""
SMALLEST_GROUP = 5
"""Consumers that a figure must be of to be shown. No authority sets such a number: this one is our choice."""
LEAST_SMALLEST_GROUP = 2
FORMATS = ("text", "csv", "json")
_ALL = "counted"
"""In place of a class, in the engine's rows: all of COUNTED."""
_ADDRESS = "address:"
_NAMED = -1
"""In place of a day, of a consumer with a name."""
_WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class PublisherView:
    """Rows have `ecosystem`, `project` and those of FINER that were asked for (`day` as text), `downloads`, one figure
    for each of COUNTED and APART, and `consumers`. A figure is a whole number, or None where it is withheld.

    `consumers` are those of the downloads, at least: the named ones, and as many addresses as on the busiest day. The
    pseudonym of an address lasts for a day, so that of two days nobody can tell whether they are the same.
    """

    data: Path
    since: date
    until: date
    engine: str
    by: tuple[str, ...]
    smallest_group: int
    imported: bool
    rows: list[Row]
    losses: tuple[LedgerLoss, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Downloads, and the consumers that they are of."""

    downloads: int = 0
    consumers: int = 0


def publisher_view(
    data: Path,
    since: date,
    until: date,
    engine: str,
    *,
    ecosystem: str = "",
    project: str = "",
    by: Sequence[str] = (),
    smallest_group: int = SMALLEST_GROUP,
    imported: bool = False,
) -> PublisherView:
    """Downloads in a period (days in UTC, both within), of all projects or of one by the name that the ledger has.

    With `imported`, of other programs' logs instead of what the gateway recorded. Rows come in the order of `day` where
    it is asked for, then with the most downloads first, those withheld last, then by name.

    Raises:
        ConfigError: `by`, `ecosystem`, `smallest_group` or the engine is not one that there is.
        EngineMissing, EngineFailed, StoreError: as of `answers.query`.
    """
    finer = parse_finer(by)
    if ecosystem and ecosystem not in ecosystems():
        raise ConfigError(
            f"--ecosystem {ecosystem} is not served.", hint=f"Allowed: {', '.join(sorted(ecosystems()))}."
        )
    if smallest_group < LEAST_SMALLEST_GROUP:
        raise ConfigError(
            f"--smallest-group {smallest_group} would show single consumers.", hint="Give 2 or more; 5 is the default."
        )
    keys = ("ecosystem", "project", *finer)

    def build(events: ir.Table) -> ir.Table:
        return _figures(_downloads(events, finer, ecosystem, project, imported=imported), keys)

    found, losses = query(data, since, until, build, engine, imported=imported)
    rows = [_shown(group, figures, smallest_group) for group, figures in _gathered(found, keys)]
    rows.sort(key=_order)
    return PublisherView(data, since, until, engine, finer, smallest_group, imported, rows, losses)


def parse_finer(by: Sequence[str]) -> tuple[str, ...]:
    """Names of FINER with commas between, each once and in their order. Raises ConfigError."""
    named = {name for text in by for part in text.split(",") if (name := part.strip())}
    if strangers := sorted(named - {*FINER, "project"}):
        raise ConfigError(f"--by {strangers[0]} does not split a project.", hint=f"Allowed: {', '.join(FINER)}.")
    return tuple(name for name in FINER if name in named)


def withhold(figures: dict[str, Figure], consumers: int, smallest_group: int) -> Row:
    """What may be shown of one row: `downloads`, each of COUNTED and APART, and `consumers`; None for the rest.

    `figures` are by class, `consumers` those of all COUNTED together. Withheld is what fewer than `smallest_group`
    consumers did. Where one more figure, or the total, would tell it by subtraction, that goes too: first the class of
    the fewest consumers. How many a class has is not shown, and of a row of which anything is withheld not how many
    consumers there are, so nobody can tell which figure is the small one. A class without downloads is shown.
    """
    small = {name for name, figure in figures.items() if 0 < figure.consumers < smallest_group}
    hidden, with_total = _protected(figures, small & set(COUNTED), is_small=0 < consumers < smallest_group)
    total = sum(figures[name].downloads for name in COUNTED)
    shown: Row = {"downloads": total if with_total else None}
    hidden_too = hidden | small
    shown |= {name: None if name in hidden_too else figures[name].downloads for name in (*COUNTED, *APART)}
    return shown | {"consumers": consumers if with_total and not hidden else None}


def _protected(figures: dict[str, Figure], small: set[str], *, is_small: bool) -> tuple[set[str], bool]:
    """The counted classes to withhold, and whether their total may be shown.

    Whoever knows the total knows the sum of what is withheld, and that each of it is at least 1: where these are two or
    more, and their sum is not one of ones, each may have more than one value.
    """
    hidden = set(small)
    if is_small or not hidden:
        return hidden, not is_small
    others = [name for name in COUNTED if name not in small and figures[name].downloads]
    others.sort(key=lambda name: figures[name].consumers)
    while len(hidden) < 2 or sum(figures[name].downloads for name in hidden) <= len(hidden):
        if not others:
            return small, False
        hidden.add(others.pop(0))
    return hidden, True


def render(form: str, view: PublisherView) -> str:
    """The view in one of FORMATS."""
    return {"text": render_text, "csv": render_csv, "json": render_json}[form](view)


def check_format(form: str) -> None:
    """Raise ConfigError where it is not one of FORMATS."""
    if form not in FORMATS:
        raise ConfigError(f"--format {form} is not a format.", hint=f"Allowed: {', '.join(FORMATS)}.")


def render_json(view: PublisherView) -> str:
    """`{"schema": 1, "since", "until", "engine", "imported", "by", "smallest_group", "rows": [...], "losses": [...]}`;
    figures as whole numbers, null where withheld; days as text."""
    document = {
        "schema": 1,
        "since": view.since.isoformat(),
        "until": view.until.isoformat(),
        "engine": view.engine,
        "imported": view.imported,
        "by": ["ecosystem", "project", *view.by],
        "smallest_group": view.smallest_group,
        "rows": view.rows,
        "losses": [asdict(loss) for loss in view.losses],
    }
    return json.dumps(document)


def render_csv(view: PublisherView) -> str:
    """The rows (RFC 4180, but lines end as on Unix) below their names; a figure that is withheld is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(view), lineterminator="\n")
    writer.writeheader()
    writer.writerows(view.rows)
    return text.getvalue().rstrip("\n")


def render_text(view: PublisherView) -> str:
    """A table for a person, what is withheld, and what is lost."""
    period = f"{view.since} to {view.until} (UTC)"
    if view.rows:
        lines = [f"downloads from {period}", "", *_render_table(view)]
    else:
        asked = "imports" if view.imported else "ledger"
        lines = [
            f"No download from {period} is in the usage {asked} in {printable(str(view.data))}.",
            "Ask about other days with --since and --until, another project, or another data folder with --data.",
        ]
    return "\n".join([*lines, *render_losses(view.losses)])


def _render_table(view: PublisherView) -> list[str]:
    head = _columns(view)
    words = len(head) - len(COUNTED) - len(APART) - 2
    body = [[_cell(row[name]) for name in head] for row in view.rows]
    widths = [max(len(line[at]) for line in (head, *body)) for at in range(len(head))]
    lines = [aligned(line, widths, words) for line in (head, *body)]
    lines += ["", f"{', '.join(APART)}: beside the downloads, in no total."]
    if any(_WITHHELD in line for line in body):
        lines.append(f"withheld: fewer than {view.smallest_group} consumers, or a figure that would tell such a one.")
    return lines


def _cell(value: object) -> str:
    if value is None:
        return _WITHHELD
    return f"{value:,}" if isinstance(value, int) else printable(str(value)) or "-"


def _columns(view: PublisherView) -> list[str]:
    return ["ecosystem", "project", *view.by, "downloads", *COUNTED, *APART, "consumers"]


def _downloads(events: ir.Table, finer: Sequence[str], ecosystem: str, project: str, *, imported: bool) -> ir.Table:
    """A row for each download: the keys, `class_of` and `consumer`, and `seen_on`, the day of a pseudonym."""
    import ibis

    sent = events.filter(events["status"] == 200)
    longest = sent.group_by("digest").aggregate(whole_bytes=sent["bytes_down"].max())
    is_file = (sent["method"] == "GET") & (sent["kind"] == "artifact")
    if ecosystem:
        is_file &= sent["ecosystem"] == ecosystem
    if project:
        is_file &= sent["project"] == project
    rows = sent.filter(is_file).inner_join(longest, "digest")
    is_whole = (rows["digest"] != "") & (rows["bytes_down"] == rows["whole_bytes"])
    rows = rows.filter(is_whole | (rows["digest"] == "") if imported else is_whole)
    day = rows["time_us"] - rows["time_us"] % DAY_US
    known = rows["client_class"].isin((*COUNTED, *APART))
    is_address = rows["consumer"].substr(0, len(_ADDRESS)) == _ADDRESS
    return rows.select(
        "ecosystem",
        "project",
        **{name: day if name == "day" else rows[name] for name in finer},
        class_of=ibis.ifelse(known, rows["client_class"], "unknown"),
        consumer=rows["consumer"],
        seen_on=ibis.ifelse(is_address, day, ibis.literal(_NAMED, "int64")),
    )


def _figures(downloads: ir.Table, keys: Sequence[str]) -> ir.Table:
    """`downloads` and `consumers` for each key and class, and for all of COUNTED together."""
    import ibis

    counted = downloads.filter(downloads["class_of"].isin(COUNTED))
    counted = counted.mutate(class_of=ibis.literal(_ALL, "string")).select(*downloads.columns)
    rows = ibis.union(downloads, counted)
    kinds = [*keys, "class_of"]
    each = rows.group_by([*kinds, "consumer", "seen_on"]).aggregate(downloads=rows.count())
    days = each.group_by([*kinds, "seen_on"]).aggregate(downloads=each["downloads"].sum(), consumers=each.count())
    is_named = days["seen_on"] == _NAMED
    found = days.group_by(kinds).aggregate(
        downloads=days["downloads"].sum(),
        named=ibis.ifelse(is_named, days["consumers"], 0).sum(),
        busiest=ibis.ifelse(is_named, 0, days["consumers"]).max(),
    )
    return found.select(
        *kinds,
        downloads=found["downloads"].cast("int64"),
        consumers=(found["named"] + found["busiest"]).cast("int64"),
    )


def _gathered(found: Iterable[Row], keys: Sequence[str]) -> Iterable[tuple[Row, dict[str, Figure]]]:
    """By key, the figure of each class that has one."""
    groups: dict[tuple[Any, ...], dict[str, Figure]] = {}
    for row in found:
        figures = groups.setdefault(tuple(row[name] for name in keys), {})
        figures[row["class_of"]] = Figure(row["downloads"], row["consumers"])
    for group, figures in groups.items():
        yield dict(zip(keys, group)), figures


def _shown(group: Row, figures: dict[str, Figure], smallest_group: int) -> Row:
    full = {name: figures.get(name, Figure()) for name in (*COUNTED, *APART)}
    day = {"day": day_of(group["day"]).isoformat()} if "day" in group else {}
    return group | day | withhold(full, figures.get(_ALL, Figure()).consumers, smallest_group)


def _order(row: Row) -> tuple[Any, ...]:
    downloads = row["downloads"]
    rank = (downloads is None, -(downloads or 0))
    return (row.get("day", ""), *rank, row["ecosystem"], row["project"], row.get("version", ""))
