"""Answers as text for a person, JSON, CSV or Parquet. Pure, but for the Parquet library."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mainstay.db.ledger import LedgerLoss
from mainstay.errors import ConfigError
from mainstay.usage.answers import Answer
from mainstay.usage.question import DIMENSIONS, MEASURES

FORMATS = ("csv", "json", "parquet")
_HEADINGS = {
    "artifacts": "files",
    "hit_rate": "hit rate",
    "upstream_requests": "asked upstream",
    "upstream_bytes": "from upstream",
    "redundant_bytes": "redundant",
}
_SHOWN = (
    "requests",
    "bytes",
    "artifacts",
    "hit_rate",
    "upstream_requests",
    "upstream_bytes",
    "redundant_bytes",
    "refused",
    "waited",
)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def check_format(form: str, *, to_terminal: bool) -> None:
    """Raise ConfigError for a format that there is not, or that a terminal cannot show."""
    if form not in FORMATS:
        raise ConfigError(f"--format {form} is not a format.", hint=f"Allowed: {', '.join(FORMATS)}.")
    if form == "parquet" and to_terminal:
        raise ConfigError("--format parquet is not for a terminal.", hint="Name a file with --output.")


def render_as(form: str, answer: Answer) -> bytes:
    """The answer in one of FORMATS."""
    if form == "parquet":
        return render_parquet(answer)
    return (render_csv(answer) if form == "csv" else render_json(answer) + "\n").encode()


def render_text(answer: Answer) -> str:
    """A table, the total below it where there are groups, and what is lost.

    Names may come from strangers: nothing in them starts a row of its own or speaks to the terminal.
    """
    question = answer.question
    period = f"{question.since} to {question.until} (UTC)"
    if not any(answer.total[name] for name in MEASURES):
        lines = _render_nothing(period, str(answer.data))
    else:
        lines = [f"usage from {period}", "", *_render_table(answer)]
    return "\n".join([*lines, *render_losses(answer.losses)]) + "\n"


def render_losses(losses: Sequence[LedgerLoss]) -> list[str]:
    """What the ledger does not have, a line for each loss and an empty one before; nothing where all is there."""
    lines = []
    for loss in losses:
        events = f"{loss.events:,} event{'s' * (loss.events != 1)}" if loss.events else "an unknown number of events"
        lines.append(printable(f"LOST: {events} in {loss.source} because {loss.reason} ({size(loss.size)})"))
    return ["", *lines, "The figures are too low by these."] if lines else []


def render_json(answer: Answer) -> str:
    """`{"schema": 1, "since", "until", "engine", "by", "rows": [...], "total": {...}, "losses": [...]}`; days as text,
    figures as whole numbers, `hit_rate` as a part of 1 or null."""
    question = answer.question
    document = {
        "schema": 1,
        "since": question.since.isoformat(),
        "until": question.until.isoformat(),
        "engine": answer.engine,
        "by": question.by,
        "rows": answer.rows,
        "total": answer.total,
        "losses": [asdict(loss) for loss in answer.losses],
    }
    return json.dumps(document)


def render_csv(answer: Answer) -> str:
    """The rows (RFC 4180, but lines end as on Unix) below their names; no total, for who adds them up."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*answer.question.by, *MEASURES, "hit_rate"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(answer.rows)
    return text.getvalue()


def render_parquet(answer: Answer) -> bytes:
    """The rows as one Parquet file; figures are int64, `day` a date."""
    import pyarrow as pa  # type: ignore[import-untyped]  # the library has no types here
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    from mainstay.usage.event import COLUMNS

    types = {int: pa.int64(), str: pa.string(), bool: pa.bool_()}
    fields = {name: types[COLUMNS[DIMENSIONS[name]]] for name in answer.question.by}
    fields |= dict.fromkeys(MEASURES, pa.int64()) | {"hit_rate": pa.float64()}
    table = pa.table({name: pa.array([row[name] for row in answer.rows]) for name in fields})
    if "day" in fields:
        fields["day"] = pa.date32()
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(pa.schema(list(fields.items()))), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _render_nothing(period: str, place: str) -> list[str]:
    return [
        f"The usage ledger in {printable(place)} holds nothing from {period}.",
        "Start the gateway with `mainstay serve`, point a client at it with `mainstay setup`, and install something;",
        "or ask about other days with --since and --until, or another data folder with --data.",
    ]


def _render_table(answer: Answer) -> list[str]:
    by = answer.question.by
    head = [*by, *(_HEADINGS.get(name, name) for name in _SHOWN)]
    body = [[*(_word(row[name]) for name in by), *_figures(row)] for row in answer.rows]
    if by:
        body.append([*("total" if not at else "" for at in range(len(by))), *_figures(answer.total)])
    widths = [max(len(line[at]) for line in (head, *body)) for at in range(len(head))]
    lines = [aligned(line, widths, len(by)) for line in (head, *body)]
    if by:
        lines.insert(-1, "-" * max(map(len, lines)))
    return lines


def _figures(row: dict[str, Any]) -> list[str]:
    return [_figure(name, row[name]) for name in _SHOWN]


def _figure(name: str, value: Any) -> str:
    if name == "hit_rate":
        return "-" if value is None else f"{value * 100:.1f} %"
    return size(value) if name.endswith("bytes") else f"{value:,}"


def _word(value: object) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return printable(text) or "-"


def aligned(cells: Sequence[str], widths: Sequence[int], names: int) -> str:
    """A line of a table: the first `names` cells are words and begin where they stand, figures end there."""
    padded = [
        cell.ljust(width) if at < names else cell.rjust(width) for at, (cell, width) in enumerate(zip(cells, widths))
    ]
    return "  ".join(padded).rstrip()


def size(size_bytes: int) -> str:
    """`1234567` as `1.2 MB` (decimal units)."""
    number, unit = float(size_bytes), 0
    while round(number, 1) >= 1000 and unit + 1 < len(_UNITS):
        number, unit = number / 1000, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"


def printable(text: str) -> str:
    """Text that does nothing but stand there: a sign that a terminal would obey is shown as one that is not known."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
