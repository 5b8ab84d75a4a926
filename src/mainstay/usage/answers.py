"""Asking the ledger: a question, an engine and a data folder become rows.

`mainstay serve` and `run` do not import this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mainstay.db.ledger import LedgerLoss
from mainstay.errors import EngineFailed, EngineMissing
from mainstay.telemetry.log import get_logger
from mainstay.usage.columnar import Snapshot, open_ledger
from mainstay.usage.engines import DEFAULT_ENGINE, Row, check_engine, open_engine
from mainstay.usage.imported import imported_files
from mainstay.usage.ledger import PARQUET_FOLDER
from mainstay.usage.queries import ROLLED, TOTAL, answer, answer_rolled, day_of, within
from mainstay.usage.question import MEASURES, Question
from mainstay.usage.rollup import rollup_path, write_rollup

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

ROLLED_AT_ONCE_BYTES = 100_000_000
"""As much as a question sums up by itself: two or three million events, in a few seconds."""
_log = get_logger("mainstay.usage")
_DAY_FOLDER = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows have the question's dimensions, MEASURES and `hit_rate` (0 to 1, None without requests). `day` is a date as
    text, `total` has no dimensions. `losses` is what the ledger says it lost, whenever that was."""

    data: Path
    question: Question
    engine: str
    rows: list[Row]
    total: Row
    losses: tuple[LedgerLoss, ...]


def ask(data: Path, question: Question, engine: str) -> Answer:
    """Answer from the ledger in the data folder `data`; a ledger that is not there is one without events.

    A sealed file that turns out to be damaged inside is left out and named among the losses. Days that are over are
    answered from their rollups, where the question allows it and there are any.

    Raises:
        ConfigError: no such engine.
        EngineMissing: it is not installed, or does not answer.
        EngineFailed: it does not start, or fails for another reason than a damaged file.
        StoreError: the ledger cannot be opened.
    """
    check_engine(engine)
    # What is not sealed yet goes where a Spark elsewhere sees it too.
    shared = data / PARQUET_FOLDER.parent
    place = shared if engine.startswith("spark://") and shared.is_dir() else None
    with (
        TemporaryDirectory(prefix="mainstay-usage-", dir=place) as folder,
        open_ledger(data, Path(folder)) as snapshot,
    ):
        try:
            return _ask(data, snapshot, question, engine, Path(folder), rolled=True)
        except EngineMissing:
            raise
        except EngineFailed as error:
            # Of a file that is damaged inside, or a rollup; where neither is, the second attempt says why again.
            _log.warning("a question failed and is asked again of sound files only", reason=error.message)
            return _ask(data, snapshot.examined(), question, engine, Path(folder), rolled=False)


def query(
    data: Path,
    since: date,
    until: date,
    build: Callable[[ir.Table], ir.Table],
    engine: str = DEFAULT_ENGINE,
    *,
    imported: bool = False,
) -> tuple[list[Row], tuple[LedgerLoss, ...]]:
    """The rows of an expression over the events of a period (days in UTC, both within), in any order, and the losses.

    `build` makes the expression of a table that has the ledger's columns, none of them null; with `imported` it has the
    events of other programs' logs instead. No events, no rows: `build` is not called then.

    Raises:
        as `ask`.
    """
    check_engine(engine)
    shared = data / PARQUET_FOLDER.parent
    place = shared if engine.startswith("spark://") and shared.is_dir() else None
    with TemporaryDirectory(prefix="mainstay-usage-", dir=place) as folder:
        scratch = Path(folder)
        if imported:
            return _query(of_period(imported_files(data), since, until), since, until, build, engine, scratch), ()
        with open_ledger(data, scratch) as snapshot:
            try:
                return _query_ledger(snapshot, since, until, build, engine, scratch), snapshot.losses
            except EngineMissing:
                raise
            except EngineFailed as error:
                _log.warning("a question failed and is asked again of sound files only", reason=error.message)
                sound = snapshot.examined()
                return _query_ledger(sound, since, until, build, engine, scratch), sound.losses


def _query_ledger(
    snapshot: Snapshot,
    since: date,
    until: date,
    build: Callable[[ir.Table], ir.Table],
    engine: str,
    scratch: Path,
) -> list[Row]:
    files = [*of_period(snapshot.files, since, until), *snapshot.tail_files]
    return _query(files, since, until, build, engine, scratch)


def _query(
    files: Iterable[Path],
    since: date,
    until: date,
    build: Callable[[ir.Table], ir.Table],
    engine: str,
    scratch: Path,
) -> list[Row]:
    paths = list(files)
    if not paths:
        return []
    with open_engine(engine, paths, scratch) as opened:
        return opened.run(build(within(opened.table, since, until)))


def ask_files(
    files: Sequence[Path], question: Question, engine: str, scratch: Path, *, rolled: bool = False
) -> tuple[list[Row], Row]:
    """The finished rows, in order, and the total, from Parquet files with the ledger's columns, or from rollups."""
    if not files:
        empty = _finished(dict.fromkeys(MEASURES, 0))
        return ([] if question.by else [empty]), empty
    with open_engine(engine, files, scratch, rolled=rolled) as opened:
        found = opened.run((answer_rolled if rolled else answer)(opened.table, question))
    rows = [row for row in found if not row[TOTAL]]
    (total,) = (row for row in found if row[TOTAL])
    names = (*question.by, *MEASURES)
    finished = [_finished({name: row[name] for name in names}) for row in _in_order(rows, question)]
    return finished, _finished({name: total[name] for name in MEASURES})


def _ask(data: Path, snapshot: Snapshot, question: Question, engine: str, scratch: Path, *, rolled: bool) -> Answer:
    files = list(of_period(snapshot.files, question.since, question.until))
    rollups = find_rollups(data, files, snapshot.tail_files, scratch) if rolled and _is_rolled(question, engine) else []
    paths = rollups or [*files, *snapshot.tail_files]
    rows, total = ask_files(paths, question, engine, scratch, rolled=bool(rollups))
    return Answer(data, question, engine, rows, total, snapshot.losses)


def _is_rolled(question: Question, engine: str) -> bool:
    """Whether rollups can answer. Spark, which has many machines, reads the events."""
    return engine == DEFAULT_ENGINE and set(question.by) <= set(ROLLED)


def find_rollups(data: Path, files: Sequence[Path], tail: Sequence[Path], scratch: Path) -> list[Path]:
    """Rollups of all the files, of what has none one made for the moment in `scratch`; none where that would take
    longer than to read the events. Raises EngineFailed."""
    kept = {path: rollup_path(data, path) for path in files if rollup_path(data, path).exists()}
    rest = [path for path in (*files, *tail) if path not in kept]
    if not kept or sum(path.stat().st_size for path in rest) > ROLLED_AT_ONCE_BYTES:
        return []
    if rest:
        write_rollup(rest, scratch / "rest.parquet", scratch)
    return [*kept.values(), *([scratch / "rest.parquet"] if rest else [])]


def of_period(files: Iterable[Path], since: date, until: date) -> Iterable[Path]:
    """The files without those whose folder says that they are of another day."""
    for path in files:
        match = _DAY_FOLDER.fullmatch(path.parent.name)
        if match is None or since <= date.fromisoformat(match[1]) <= until:
            yield path


def _in_order(rows: list[Row], question: Question) -> list[Row]:
    rows = sorted(rows, key=lambda row: [row[name] for name in question.by])
    rows.sort(key=lambda row: -int(row[question.sort]))
    return sorted(rows, key=lambda row: int(row["day"])) if "day" in question.by else rows


def _finished(row: Row) -> Row:
    rate = round(row["hits"] / row["requests"], 4) if row["requests"] else None
    day = {"day": day_of(row["day"]).isoformat()} if "day" in row else {}
    return row | day | {"hit_rate": rate}
