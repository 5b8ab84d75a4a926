"""What registries cost: prices per byte, request and reply, from `_costs.toml` and a file of the organisation's own.

Exact throughout; what is rounded is rounded in the statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from mainstay.errors import ConfigError
from mainstay.usage.statement_money import Term, middle, parse_number, whole
from mainstay.usage.statement_rows import PARTS, SURE, CostFile, Currency, Registry, Source, check_costs, parse_costs

if TYPE_CHECKING:
    from mainstay.config import Config

SHIPPED = "_costs.toml"


@dataclass(frozen=True, slots=True)
class Price:
    """What one byte, request or reply costs: between two figures, in units of one currency."""

    low: Term
    high: Term

    @property
    def suggested(self) -> Term:
        """The middle."""
        return middle(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Row:
    """A registry with its figures, or, where it has none, with those that it is taken to be like."""

    registry: Registry
    like: tuple[Registry, ...] = ()

    @property
    def known(self) -> tuple[Registry, ...]:
        """Those whose figures it rests on."""
        return self.like or (self.registry,)

    @property
    def sure(self) -> str:
        """As sure as its least sure figure; by analogy always an estimate."""
        found = [cited.sure for cited in self.registry.figures.values()]
        return SURE[-1] if self.like else max(found, key=SURE.index)

    @property
    def basis(self) -> str:
        """The same, as it stands beside every amount."""
        return f"{self.sure} by analogy" if self.like else self.sure

    @property
    def notes(self) -> list[str]:
        """What is to be known of it and of its figures, a sentence or more each."""
        names = ", ".join(known.name for known in self.like)
        like = [f"Its prices are those of {names}, from the lowest to the highest."] if names else []
        figures = [f"{name.capitalize()}: {cited.note}" for name, cited in self.registry.figures.items() if cited.note]
        return [*([self.registry.note] if self.registry.note else []), *like, *figures]


@dataclass(frozen=True, slots=True)
class Costs:
    """All that is in force, by the keys of the files."""

    as_of: date | None
    currencies: Mapping[str, Currency]
    rows: Mapping[str, Row]
    sources: Mapping[str, Source]

    def check_currency(self, currency: str) -> Currency:
        """The currency of that name.

        Raises:
            ConfigError: there is no rate for it; with those that there are.
        """
        if currency not in self.currencies:
            hint = f"Allowed: {', '.join(self.currencies)}; a file given with --costs may add another."
            raise ConfigError(f"--currency {currency} has no rate.", hint=hint)
        return self.currencies[currency]

    def find(self, ecosystem: str, upstream: str, private: Collection[str] = ()) -> str:
        """The key of the row that covers an upstream, "" where none does. `private` are those that only a row that
        names them can cover."""
        rows = {key: row.registry for key, row in self.rows.items() if row.registry.ecosystem == ecosystem}
        address = comparable(upstream)
        named = [key for key, row in rows.items() if address in map(comparable, row.upstreams)]
        if named or not address or address in map(comparable, private):
            return named[0] if named else ""
        return next((key for key, row in rows.items() if not row.upstreams), "")

    def prices(self, key: str, currency: str) -> dict[str, Price]:
        """By part: of a byte (traffic), of a request (requests) and of a reply (fixed). By analogy, from the lowest to
        the highest of the registries that it is like."""
        found = [self._own_prices(registry, currency) for registry in self.rows[key].known]
        return {
            part: Price(
                min((prices[part].low for prices in found), key=lambda term: term.value),
                max((prices[part].high for prices in found), key=lambda term: term.value),
            )
            for part in PARTS
        }

    def sources_of(self, keys: Iterable[str], currency: str) -> dict[str, Source]:
        """What the prices of these rows rest on, rates of exchange too."""
        known = [registry for key in keys for registry in self.rows[key].known]
        figures = [cited for registry in known for cited in registry.figures.values()]
        foreign = {registry.currency for registry in known} - {currency}
        figures += [self.currencies[name] for name in (*foreign, *([currency] if foreign else []))]
        names = {name for cited in figures for name in cited.sources}
        return {name: source for name, source in self.sources.items() if name in names}

    def _own_prices(self, row: Registry, currency: str) -> dict[str, Price]:
        assert row.cost is not None
        assert row.requests is not None
        assert row.bytes is not None
        ends = (row.cost.low, row.cost.high)
        low, high = (self._converted(parse_number(end), row.currency, currency) for end in ends)
        requests = row.requests.yearly
        prices = {}
        for part, yearly in zip(PARTS, (row.bytes.yearly, requests, requests)):
            percent = whole(getattr(row.split, part))
            prices[part] = Price(*(end * percent / whole(100) / whole(yearly) for end in (low, high)))
        return prices

    def _converted(self, amount: Term, own: str, wanted: str) -> Term:
        if own == wanted:
            return amount
        worth, price = (parse_number(self.currencies[name].usd) for name in (own, wanted))
        amount = amount if worth == whole(1) else amount * worth
        return amount if price == whole(1) else amount / price


def load_costs(path: Path | None = None) -> Costs:
    """The program's own rows, and those of a file, which replace or add to them.

    A row of the file without `upstreams` stands in the place of the program's row for its ecosystem. What the program's
    rows are like is still what the program knows of these.

    Raises:
        ConfigError: the file cannot be read, or says what is not allowed; with the key and what is.
    """
    shipped = parse_costs((files("mainstay.usage") / SHIPPED).read_text("utf-8"), SHIPPED)
    own = parse_costs(_read(path), str(path)) if path else CostFile()
    both = own.over(shipped)
    _check(own if path else shipped, both, str(path or SHIPPED))
    replaced = {row.ecosystem for row in own.registries.values() if not row.upstreams}
    kept = {key: row for key, row in shipped.registries.items() if row.ecosystem not in replaced}
    rows = _rows(kept, shipped) | _rows(own.registries, both)
    return Costs(both.as_of, both.currencies, rows, both.sources)


def private_upstreams(config: Config) -> frozenset[str]:
    """The upstreams of the settings that are no public registry: private, with names of their own, or asked with a
    credential."""
    found = set()
    for setting in config.ecosystems.values():
        for upstream in () if isinstance(setting.upstream, str) else setting.upstream:
            secrets = (upstream.token_env, upstream.token_file, upstream.username)
            if upstream.private or upstream.namespaces or any(secrets):
                found.add(upstream.url)
    return frozenset(found)


def comparable(address: str) -> str:
    """An upstream's address as it is compared: without credentials, query and last slash."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/").lower() if address else ""


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.", hint="Name an existing file with --costs.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error


def _check(file: CostFile, known: CostFile, where: str) -> None:
    from mainstay.ecosystems import ecosystems

    check_costs(file, known, ecosystems(), where)


def _rows(registries: Mapping[str, Registry], file: CostFile) -> dict[str, Row]:
    full = {key: replace(row, split=row.split or file.split) for key, row in file.registries.items() if not row.like}
    return {key: Row(full.get(key, row), tuple(full[name] for name in row.like)) for key, row in registries.items()}
