"""The rows of a file of costs: what they may say, and what is refused. `_costs.toml` says what the fields mean."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from datetime import date
from typing import Annotated, TypeVar

import msgspec

from mainstay.errors import ConfigError
from mainstay.usage.statement_money import Term, parse_number

SURE = ("primary", "secondary", "estimate")
"""How sure a figure is, the surest first."""
PARTS = ("traffic", "requests", "fixed")
"""What a cost is made of: what goes with bytes sent, with requests answered, and with neither."""
_Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Digits = Annotated[int, msgspec.Meta(ge=0, le=4)]


class Cited(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What each figure says of itself. One of the organisation's own needs to say nothing."""

    as_of: date | None = None
    sure: str = SURE[0]
    sources: tuple[str, ...] = ()
    note: str = ""


class Cost(Cited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of a year, in the registry's currency."""

    low: int | str
    high: int | str


class Yearly(Cited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all the world takes of a registry in a year."""

    yearly: _Count


class Split(Cited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of what a cost is made, in percent."""

    traffic: _Percent
    requests: _Percent
    fixed: _Percent


class Currency(Cited, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`usd` is what one of it is worth in US dollars; `digits` its decimal places."""

    usd: int | str
    digits: _Digits = 2


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a figure is from. `date` is as exact as it is known: 2026, 2026-02 or 2026-02-16."""

    title: str
    publisher: str
    date: str
    where: str = ""


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row. With `upstreams` it covers these alone; without, every public upstream of its ecosystem that no other
    row names. It has cost, requests and bytes of its own, or is `like` rows that have."""

    name: str
    ecosystem: str
    upstreams: tuple[str, ...] = ()
    currency: str = "USD"
    cost: Cost | None = None
    requests: Yearly | None = None
    bytes: Yearly | None = None
    split: Split | None = None
    like: tuple[str, ...] = ()
    as_of: date | None = None
    note: str = ""

    @property
    def figures(self) -> dict[str, Cited]:
        """What it has of cost, requests, bytes and split."""
        figures = {"cost": self.cost, "requests": self.requests, "bytes": self.bytes, "split": self.split}
        return {name: figure for name, figure in figures.items() if figure is not None}


class CostFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of a file of costs. `split` is that of rows without one of their own."""

    as_of: date | None = None
    split: Split | None = None
    currencies: dict[str, Currency] = {}
    registries: dict[str, Registry] = {}
    sources: dict[str, Source] = {}

    def over(self, base: CostFile) -> CostFile:
        """This one, with what `base` has beside it."""
        return CostFile(
            self.as_of or base.as_of,
            self.split or base.split,
            base.currencies | self.currencies,
            base.registries | self.registries,
            base.sources | self.sources,
        )


_NAMED: dict[str, type[msgspec.Struct]] = {"currencies": Currency, "registries": Registry, "sources": Source}
"""Tables whose entries have names of the file's own."""
_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def parse_costs(text: str, where: str) -> CostFile:
    """A file of costs.

    Raises:
        ConfigError: not TOML, an unknown key, or a value of a wrong type.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}.") from error
    # One by one, so that what is wrong is said of the row that it is in.
    for table, kind in _NAMED.items():
        entries = tree.get(table)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            _convert(entry, kind, where, f"{table}.{name}")
    return _convert(tree, CostFile, where, "")


def check_costs(file: CostFile, known: CostFile, ecosystems: Collection[str], where: str) -> None:
    """Look through the rows of a file; what they name may stand in `known`.

    Raises:
        ConfigError: with the key and what is allowed.
    """
    for name, currency in file.currencies.items():
        _check_cited(known, where, f"currencies.{name}", [currency])
        if not _check_number(where, f"currencies.{name}.usd", currency.usd).value:
            raise ConfigError(f"{where}: currencies.{name}.usd = 0 is not allowed.", hint="Write what one is worth.")
    general: dict[str, str] = {}
    for key, row in file.registries.items():
        at = f"registries.{key}"
        _check_word(where, f"{at}.ecosystem", row.ecosystem, ecosystems)
        _check_word(where, f"{at}.currency", row.currency, known.currencies)
        (_check_like if row.like else _check_figures)(known, where, at, row)
        if not row.upstreams and general.setdefault(row.ecosystem, key) != key:
            text = f"{where}: registries.{general[row.ecosystem]} and {at} are both of {row.ecosystem}."
            raise ConfigError(text, hint="Give one of them `upstreams`, the addresses that it alone covers.")


def _convert(tree: object, kind: type[_Kind], where: str, at: str) -> _Kind:
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        said, _, below = str(error).partition(" - at `$")
        place = f"{at}{below.rstrip('`')}".strip(".") or "the file"
        raise ConfigError(f"{where}: {place} is not allowed: {said}.") from None


def _check_like(known: CostFile, where: str, at: str, row: Registry) -> None:
    if row.figures:
        raise ConfigError(f"{where}: {at} has `like` and figures of its own.", hint="Leave one of the two out.")
    with_figures = [key for key, other in known.registries.items() if not other.like]
    for name in row.like:
        _check_word(where, f"{at}.like", name, with_figures)


def _check_figures(known: CostFile, where: str, at: str, row: Registry) -> None:
    missing = [name for name in ("cost", "requests", "bytes") if getattr(row, name) is None]
    if missing or row.cost is None:
        hint = "Write them, or name in `like` the registries that it resembles."
        raise ConfigError(f"{where}: {at} lacks {', '.join(missing)}.", hint=hint)
    low, high = (_check_number(where, f"{at}.cost", end) for end in (row.cost.low, row.cost.high))
    if low.value > high.value:
        raise ConfigError(f"{where}: {at}.cost.low is above {at}.cost.high.", hint="Swap them.")
    split = row.split or known.split
    if split is None or sum(getattr(split, part) for part in PARTS) != 100:
        hint = "Change traffic, requests or fixed."
        raise ConfigError(f"{where}: the split of {at} is not 100 percent in all.", hint=hint)
    _check_cited(known, where, at, [*row.figures.values(), split])


def _check_cited(known: CostFile, where: str, at: str, figures: Collection[Cited]) -> None:
    for cited in figures:
        _check_word(where, f"{at}.sure", cited.sure, SURE)
        for source in cited.sources:
            _check_word(where, f"{at}.sources", source, known.sources)


def _check_number(where: str, at: str, value: int | str) -> Term:
    try:
        return parse_number(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {at}: {error}.") from None


def _check_word(where: str, at: str, word: str, allowed: Collection[str] | Mapping[str, object]) -> None:
    if word not in allowed:
        near = difflib.get_close_matches(word, allowed, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Allowed: {', '.join(allowed)}."
        raise ConfigError(f"{where}: {at} = {word!r} is not known.", hint=hint)
