"""What the pages know of the ledger: all figures of a page from one look at it, which is kept for some seconds.

Blocking, for threads. Where a long period has rollups these are read instead of the events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from mainstay.errors import EngineFailed, EngineMissing
from mainstay.telemetry.log import get_logger
from mainstay.usage.answers import find_rollups, of_period
from mainstay.usage.columnar import Snapshot, open_ledger
from mainstay.usage.engines import DEFAULT_ENGINE, Engine, Row, open_engine
from mainstay.usage.queries import DAY_US, ROLLED, TOTAL, answer, answer_rolled, day_of, midnight_us, within
from mainstay.usage.question import DIMENSIONS, MEASURES, Question

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

SUMS = ("requests", "bytes", "hits", "upstream_requests", "upstream_bytes", "refused", "waited")
"""The figures that need no look at which files were sent, and are had in a fraction of the time."""
_AT_ONCE, _WAITING = 2, 32
_MEMORY = "20%"
"""Of the machine's, for each of two engines that each of two answers may need at one time."""
_log = get_logger("mainstay.web")
T = TypeVar("T")


class Reading:
    """One look at the ledger over a period (days in UTC, both within), for all questions of a page."""

    def __init__(
        self, data: Path, snapshot: Snapshot, since: date, until: date, stack: ExitStack, scratch: Path
    ) -> None:
        self.since, self.until, self.losses = since, until, snapshot.losses
        self.read_at = datetime.now(UTC)
        self._data, self._stack, self._scratch = data, stack, scratch
        self._sealed, self._tail = list(of_period(snapshot.files, since, until)), snapshot.tail_files
        self._opened: dict[bool, Engine] = {}
        self._rollups: list[Path] = []

    def roll(self) -> None:
        """Answer what can be answered so from rollups: those that there are, and one made now of the rest, unless that
        would take longer than to read the events."""
        self._rollups = find_rollups(self._data, self._sealed, self._tail, self._scratch)

    @property
    def is_empty(self) -> bool:
        """Whether no event can be of the period."""
        return not (self._sealed or self._tail)

    def rows(
        self,
        by: tuple[str, ...],
        only: Mapping[str, str] | None = None,
        *,
        sort: str = "bytes",
        limit: int = 0,
        skip: int = 0,
        holding: str = "",
    ) -> list[Row]:
        """The rows of a question by names of ROLLED, as `usage.answers.ask` has them, without `total`.

        `only` says which values dimensions of `by` must have, `holding` which text the project must contain, upper or
        lower case. They choose among rows that have the figures of all traffic: what is redundant stays redundant.
        """
        if self.is_empty:
            return []
        question = Question(by, self.since, self.until, sort)
        find = answer_rolled if self._rollups else answer
        found = find(self._engine(rolled=bool(self._rollups)).table, question)
        found = _chosen(found.filter(~found[TOTAL]), only)
        if holding:
            found = found.filter(found["project"].lower().contains(holding.lower()))
        return self._run(found.select(*by, *MEASURES), by, sort, limit, skip)

    def sums(
        self, by: tuple[str, ...], only: Mapping[str, str] | None = None, *, sort: str = "bytes", limit: int = 0
    ) -> list[Row]:
        """The SUMS by names of ROLLED, of what has the values in `only`, which may be of any such name."""
        if self.is_empty:
            return []
        table = _chosen(self._countable(), only)
        found = table.group_by(list(by)).aggregate(**{name: table[name].sum().cast("int64") for name in SUMS})
        return self._run(found, by, sort, limit, 0)

    def events(self, build: Callable[[ir.Table], ir.Table]) -> list[Row]:
        """The rows of an expression over the events of the period, in any order; none without events."""
        return [] if self.is_empty else self._engine(rolled=False).run(build(self._period()))

    def _period(self) -> ir.Table:
        return within(self._engine(rolled=False).table, self.since, self.until)

    def _countable(self) -> ir.Table:
        """A table with ROLLED and SUMS."""
        if not self._rollups:
            return _counted(self._period())
        table = self._engine(rolled=True).table
        return table.filter(table["day"] >= midnight_us(self.since), table["day"] <= midnight_us(self.until))

    def _run(self, found: ir.Table, by: Sequence[str], sort: str, limit: int, skip: int) -> list[Row]:
        import ibis

        found = found.order_by([ibis.desc(found[sort]), *(found[name] for name in by)])
        rows = self._engine(rolled=bool(self._rollups)).run(found.limit(limit, offset=skip) if limit else found)
        rows.sort(key=lambda row: [row[name] for name in by])
        rows.sort(key=lambda row: -int(row[sort]))
        return [_finished(row) for row in rows]

    def _engine(self, *, rolled: bool) -> Engine:
        if rolled not in self._opened:
            files = self._rollups if rolled else [*self._sealed, *self._tail]
            opened = open_engine(DEFAULT_ENGINE, files, self._scratch, rolled=rolled, memory=_MEMORY)
            self._opened[rolled] = self._stack.enter_context(opened)
        return self._opened[rolled]


def read(data: Path, since: date, until: date, work: Callable[[Reading], T]) -> T:
    """What `work` makes of one look at the ledger. Called again with what is sound where a file is damaged inside.

    Raises:
        EngineFailed: the engine fails for another reason.
        StoreError: the ledger cannot be opened.
    """
    with TemporaryDirectory(prefix="mainstay-web-") as folder, open_ledger(data, Path(folder)) as snapshot:
        try:
            with ExitStack() as stack:
                reading = Reading(data, snapshot, since, until, stack, Path(folder))
                reading.roll()
                return work(reading)
        except EngineMissing:
            raise
        except EngineFailed as error:
            _log.warning("a page's question failed and is asked again of sound files only", reason=error.message)
            with ExitStack() as stack:
                return work(Reading(data, snapshot.examined(), since, until, stack, Path(folder)))


@dataclass(frozen=True, slots=True)
class _Kept:
    future: Future[Any]
    until: float


class Shelf:
    """Answers, kept for a while: of several callers with one question one has it worked out, the others wait for that.

    Two are worked out at a time, so that pages leave the machine to the gateway; some more wait for their turn.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mainstay-page")
        self._kept: dict[Hashable, _Kept] = {}

    def ask(self, key: Hashable, keep_s: float, work: Callable[[], T]) -> Future[T]:
        """What `work` will give, or gave at most `keep_s` seconds ago under this key. What it raises is not kept.

        Raises:
            TimeoutError: too many others wait already.
        """
        now = self._clock()
        with self._lock:
            self._kept = {name: kept for name, kept in self._kept.items() if kept.until > now}
            if (kept := self._kept.get(key)) is not None:
                return kept.future
            if sum(not kept.future.done() for kept in self._kept.values()) >= _WAITING:
                raise TimeoutError
            future = self._pool.submit(work)
            self._kept[key] = _Kept(future, float("inf"))
        future.add_done_callback(partial(self._note, key, keep_s))
        return future

    def _note(self, key: Hashable, keep_s: float, future: Future[Any]) -> None:
        with self._lock:
            if future.cancelled() or future.exception() is not None:
                self._kept.pop(key, None)
            else:
                self._kept[key] = _Kept(future, self._clock() + keep_s)


def timeline(reading: Reading, step_us: int, only: Mapping[str, str] | None = None) -> list[Row]:
    """What happened when: rows with `start_us` (of a step, from the period's first midnight on), `outcome`,
    `throttled`, `status`, and `requests`, `bytes`, `upstream_requests`, `upstream_bytes`."""
    begin = midnight_us(reading.since)

    def build(events: ir.Table) -> ir.Table:
        for name, value in (only or {}).items():
            events = events.filter(events[DIMENSIONS[name]] == value)
        start = ((events["time_us"] - begin) // step_us).cast("int64") * step_us + begin
        keys = {"start_us": start, "outcome": events["cache_status"]}
        keys |= {name: events[name] for name in ("throttled", "status")}
        figures = _figures(events)
        named = ("requests", "bytes", "upstream_requests", "upstream_bytes")
        rows = events.select(**keys, **{name: figures[name] for name in named})
        return rows.group_by(list(keys)).aggregate(**{name: rows[name].sum().cast("int64") for name in named})

    return reading.events(build)


def _counted(events: ir.Table) -> ir.Table:
    names = {name: events[DIMENSIONS[name]] for name in ROLLED}
    names["day"] = (events["time_us"] // DAY_US).cast("int64") * DAY_US
    return events.select(**names, **_figures(events))


def _figures(events: ir.Table) -> dict[str, Any]:
    """The SUMS of each event, as `usage.queries` counts them."""
    is_reply = events["status"] != 0
    is_refused = (events["cache_status"] == "refused") | (events["throttled"] == "refused")
    return {
        "requests": is_reply.cast("int64"),
        "bytes": events["bytes_down"],
        "hits": (is_reply & (events["cache_status"] == "hit")).cast("int64"),
        "upstream_requests": events["upstream_requests"],
        "upstream_bytes": events["bytes_up"],
        "refused": (is_reply & is_refused).cast("int64"),
        "waited": (is_reply & (events["throttled"] == "waited")).cast("int64"),
    }


def _chosen(table: ir.Table, only: Mapping[str, str] | None) -> ir.Table:
    for name, value in (only or {}).items():
        table = table.filter(table[name] == value)
    return table


def _finished(row: Row) -> Row:
    rate = row["hits"] / row["requests"] if row["requests"] else None
    day = {"day": day_of(row["day"]).isoformat()} if "day" in row else {}
    return row | day | {"hit_rate": rate}
