"""Signs that proprietary software is distributed through a public registry: evidence with a score, never a verdict.

What is looked at are the documents and files in the gateway's own store, read where they lie, so only what passed
through it; no registry is asked. Each sign has a weight, from +70 to -40, and the sum within 0 and 100 is the score. A
licence that is declared as proprietary weighs most, one that is OSI approved speaks against it, and size, rate and
downloads together stay below 30: large and busy projects are no suspects.

`mainstay serve` and `run` do not import this module.
"""

from __future__ import annotations

import heapq
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mainstay.config import Config, parse_size
from mainstay.db.artifacts import StoredArtifact
from mainstay.db.documents import StoredDocument
from mainstay.db.engine import FILENAME, Database
from mainstay.db.ledger import LedgerLoss
from mainstay.db.schema import artifact, document
from mainstay.ecosystems import ecosystems
from mainstay.ecosystems._facts import index_at, plain_address
from mainstay.ecosystems._facts_licence import Licences
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import ConfigError, StoreError, UnsupportedDocument
from mainstay.model import Artifact, Facts, Index, Source
from mainstay.store.local import LocalStore
from mainstay.usage.answers import query
from mainstay.usage.question import Question
from mainstay.usage.tables import size

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here

LICENCES = {
    "proprietary": (70, "declares {}, worded as a proprietary licence"),
    "restricted": (35, "declares {}, under which not everybody may use it for everything"),
    "file": (20, "declares {}: a file, which nobody read here"),
    "unclear": (12, "declares {}, which is no licence that is known here"),
    "open": (0, "declares {}: free to use, though not OSI approved"),
    "osi": (-40, "declares {}, an OSI approved licence"),
}
"""What a declared licence may be, from the least to the most open: what it weighs, and the words for it."""
NO_LICENCE, ONLY_FILES = 20, 10
NO_REPOSITORY, REPOSITORY = 6, -8
SOURCES = {
    "source": (-8, "has a source distribution"),
    "source-missing": (3, "has no source distribution, but files that run anywhere"),
    "source-closed": (10, "has no source distribution, only files built for single platforms"),
}
LARGE_BYTES = ((200_000_000, 8), (50_000_000, 4))
MANY_RELEASES = ((200, 8), (100, 4))
"""Within a year."""
MUCH_SENT_BYTES = ((100_000_000_000, 5), (1_000_000_000, 3))
PAGE_PROJECTS = 200
FILE_LIMIT_BYTES = 16 * 2**20
"""A file that describes a release is read up to this size; documents have a limit in the settings."""
_SHOWN_CHARS = 80
_YEAR = timedelta(days=365)
_LICENCE_CLASSIFIER = "License ::"
_BLANK = frozenset({"", "-", "na", "n/a", "none", "tbd", "todo", "undefined", "unknown", "unspecified", "license"})
_FORGE = re.compile(r"(?:^|[/.@])(?:git|github|gitlab|bitbucket|codeberg|sourceforge|sr\.ht)\b", re.IGNORECASE)
Place = tuple[str, str, str]
"""Ecosystem, upstream, project."""
Stored = StoredDocument | StoredArtifact


@dataclass(frozen=True, slots=True)
class Evidence:
    """One sign: its name, how much it adds to the score or takes from it, the words for a person, and where it is from:
    the address of the document, `stored files` or `usage ledger`."""

    signal: str
    weight: int
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Use:
    """Replies about a project in the period, their body bytes, and to how many consumers; one that is known by address
    alone is another one each day."""

    requests: int = 0
    bytes: int = 0
    consumers: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """What a document says, and where it is from."""

    facts: Facts
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """One project of one upstream. `version` is the release that tells of the licence."""

    ecosystem: str
    upstream: str
    project: str
    version: str
    score: int
    evidence: tuple[Evidence, ...]
    use: Use


@dataclass(frozen=True, slots=True)
class Report:
    """The rows by score times bytes, the largest first; how many projects said something of themselves, how many
    documents could not be read, and what the ledger has lost."""

    question: Question
    lowest: int
    rows: list[Row]
    projects: int
    unreadable: int
    losses: tuple[LedgerLoss, ...]


@cache
def load_licences() -> Licences:
    """What `_licences.toml` knows."""
    return Licences(tomllib.loads((files("mainstay.usage") / "_licences.toml").read_text("utf-8")), tuple(LICENCES))


def judge(
    said: Sequence[Said], until: date, use: Use = Use(), stored_bytes: int = 0
) -> tuple[int, tuple[Evidence, ...]]:
    """The score, 0 to 100, and the evidence that it is the sum of, the heaviest first.

    What the first of `said` tells goes before what later ones do. `stored_bytes` is the size of the largest file that
    is stored; releases are counted over the year up to the day `until`.
    """
    evidence = [
        *_strongest(_licence_evidence(said)),
        *_openness_evidence(said),
        *_size_evidence(said, stored_bytes),
        *_rate_evidence(said, until),
        *_use_evidence(use),
    ]
    score = max(0, min(100, sum(entry.weight for entry in evidence)))
    return score, tuple(sorted(evidence, key=lambda entry: -entry.weight))


def find_signals(config: Config, question: Question, ecosystem: str = "", project: str = "", lowest: int = 0) -> Report:
    """What the store of the configuration's data folder tells of projects, with the ledger's figures of the question's
    period; `question.limit` rows at most that have the score `lowest` or more.

    One project is looked at after the other, so that memory does not grow with the store.

    Raises:
        ConfigError: no such ecosystem.
        EngineFailed, StoreError: the ledger or the store cannot be read.
    """
    if ecosystem and ecosystem not in ecosystems():
        raise ConfigError(f"--ecosystem {ecosystem} is not served.", hint=f"Allowed: {', '.join(ecosystems())}.")
    found, losses = query(config.data_path, question.since, question.until, _uses)
    uses = {_place(row): Use(*(int(row[figure.name]) for figure in fields(Use))) for row in found}
    shelf = _Shelf(config)
    judged = (
        _row(place, said, largest, uses.get(place, Use()), question.until)
        for place, said, largest in shelf.projects(ecosystem, project)
    )
    rows = (row for row in judged if row.score >= lowest)
    best = heapq.nlargest(question.limit, rows, key=lambda row: (row.score * row.use.bytes, row.score))
    return Report(question, lowest, best, shelf.told, shelf.unreadable, losses)


def _place(row: dict[str, Any]) -> Place:
    return row["ecosystem"], row["upstream"], row["project"]


def _row(place: Place, said: Sequence[Said], largest: int, use: Use, until: date) -> Row:
    score, evidence = judge(said, until, use, largest)
    telling = _first(said, "licences") or said[0]
    return Row(*place, telling.facts.version, score, evidence, use)


def _first(said: Iterable[Said], name: str) -> Said | None:
    return next((entry for entry in said if getattr(entry.facts, name) is not None), None)


def _strongest(evidence: Iterable[Evidence]) -> Iterator[Evidence]:
    """Only the heaviest for and the heaviest against count: one thing said twice is no second sign."""
    listed = sorted(evidence, key=lambda entry: -abs(entry.weight))
    counted: set[bool] = set()
    for entry in listed:
        yield replace(entry, weight=0) if (entry.weight > 0) in counted else entry
        counted.add(entry.weight > 0)


def _licence_evidence(said: Sequence[Said]) -> Iterator[Evidence]:
    telling = _first(said, "licences")
    if telling is None:
        return
    facts, source, licences = telling.facts, telling.source, load_licences()
    named = [text for text in facts.licences or () if text.strip(" .").lower() not in _BLANK]
    classified = [text for text in facts.classifiers or () if text.startswith(_LICENCE_CLASSIFIER)]
    if named:
        best = licences.most_open(named)
        yield _declared("licence", best, licences.kind(best), source)
    for text in classified:
        yield _declared("classifier", text, licences.classifier_kind(text), source)
    if not named and not classified:
        only = f", only a file: {_quoted(facts.licence_files[0])}" if facts.licence_files else ""
        yield Evidence("licence-missing", ONLY_FILES if only else NO_LICENCE, f"names no licence{only}", source)


def _declared(what: str, text: str, kind: str, source: str) -> Evidence:
    weight, words = LICENCES[kind]
    return Evidence(f"{what}-{kind}", weight, words.format(_quoted(text)), source)


def _openness_evidence(said: Sequence[Said]) -> Iterator[Evidence]:
    if telling := _first(said, "repository"):
        home = telling.facts.homepage or ""
        address = telling.facts.repository or (home if _FORGE.search(home) else "")
        if address:
            yield Evidence("repository", REPOSITORY, f"names a repository: {_quoted(address)}", telling.source)
        else:
            yield Evidence("repository-missing", NO_REPOSITORY, "names no repository", telling.source)
    if telling := _first(said, "has_source"):
        facts = telling.facts
        signal = "source" if facts.has_source else "source-closed" if facts.binary_only else "source-missing"
        yield Evidence(signal, *SOURCES[signal], telling.source)


def _size_evidence(said: Sequence[Said], stored_bytes: int) -> Iterator[Evidence]:
    telling = _first(said, "sizes_bytes")
    sizes, source = (telling.facts.sizes_bytes or (), telling.source) if telling else ((stored_bytes,), "stored files")
    largest = max(sizes, default=0)
    if weight := _step(largest, LARGE_BYTES):
        yield Evidence("size", weight, f"is as large as {size(largest)}", source)


def _rate_evidence(said: Sequence[Said], until: date) -> Iterator[Evidence]:
    if telling := _first(said, "published"):
        end = datetime.combine(until + timedelta(days=1), time(), UTC)
        count = sum(end - _YEAR <= moment < end for moment in telling.facts.published or ())
        if weight := _step(count, MANY_RELEASES):
            yield Evidence("rate", weight, f"was released {count:,} times in a year", telling.source)


def _use_evidence(use: Use) -> Iterator[Evidence]:
    if use.requests:
        times, whom = f"{use.requests:,} time{'s' * (use.requests != 1)}", f"consumer{'s' * (use.consumers != 1)}"
        text = f"was asked for {times} by {use.consumers:,} {whom}, {size(use.bytes)} were sent"
        yield Evidence("use", _step(use.bytes, MUCH_SENT_BYTES), text, "usage ledger")


def _step(value: int, steps: Iterable[tuple[int, int]]) -> int:
    """The weight of the first step that the value reaches, 0 below all."""
    return next((weight for least, weight in steps if value >= least), 0)


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f'"{line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 3] + "..."}"'


def _uses(events: ir.Table) -> ir.Table:
    """Replies, bytes and consumers of each project of each upstream."""
    replies = events.filter(events["status"] != 0, events["project"] != "")
    by = ["ecosystem", "upstream", "project"]
    found = {"requests": replies.count(), "bytes": replies["bytes_down"].sum()}
    rows = replies.group_by([*by, "consumer"]).aggregate(**found)
    sums = {"requests": rows["requests"].sum(), "bytes": rows["bytes"].sum(), "consumers": rows.count()}
    return rows.group_by(by).aggregate(**sums)


class _Shelf:
    """The store, project by project. `told` counts those that say something of themselves, `unreadable` the documents
    and files that could not be read."""

    def __init__(self, config: Config) -> None:
        self.told = self.unreadable = 0
        self._data, self._limit_bytes = config.data_path, parse_size(config.cache.max_document)
        self._own = {
            (name, plain_address(upstream.url))
            for name, setting in config.ecosystems.items()
            for upstream in (setting.upstream if isinstance(setting.upstream, tuple) else ())
            if upstream.private or upstream.namespaces
        }

    def projects(self, ecosystem: str, project: str) -> Iterator[tuple[Place, list[Said], int]]:
        """Each project that says something of itself, with that and the size of the largest file that is stored."""
        if not (self._data / FILENAME).exists():
            return
        with closing(Database.open(self._data)) as database, closing(LocalStore(self._data)) as store:
            for of, upstream in sorted(database.read_sync(_load_upstreams)):
                if of in ecosystems() and ecosystem in ("", of) and (of, plain_address(upstream)) not in self._own:
                    yield from self._of_upstream(database, store, of, upstream, project)

    def _of_upstream(
        self, database: Database, store: LocalStore, ecosystem: str, upstream: str, project: str
    ) -> Iterator[tuple[Place, list[Said], int]]:
        adapter, names = ecosystems()[ecosystem], [""]
        while names := database.read_sync(_load_names, ecosystem, upstream, names[-1]):
            documents, artifacts = database.read_sync(_load_rows, ecosystem, upstream, names[0], names[-1])
            for name in names:
                if not project or adapter.comparable(name) == adapter.comparable(project):
                    held = artifacts.get(name, [])
                    if said := list(self._said(store, adapter, documents.get(name, []), held)):
                        self.told += 1
                        yield (ecosystem, upstream, name), said, max((file.size for file in held), default=0)

    def _said(
        self, store: LocalStore, adapter: Ecosystem, documents: list[StoredDocument], artifacts: list[StoredArtifact]
    ) -> Iterator[Said]:
        """What a file of the newest release says, else the one that came last; then the indexes."""
        pages = []
        present = [page for page in documents if page.state == "ok"]
        for page in sorted(present, key=lambda page: -page.fetched_at):
            index = index_at(adapter, page.project, page.upstream, page.url, page.accept)
            if index and (facts := self._facts(store, adapter, index, page)):
                pages.append(Said(facts, plain_address(page.url)))
        newest = pages[0].facts.version if pages else ""
        for file in sorted(artifacts, key=lambda file: (file.version != newest, -file.fetched_at, file.filename)):
            resource = Artifact(file.project, file.version, file.filename, "", "")
            if facts := self._facts(store, adapter, resource, file):
                yield Said(facts, plain_address(file.url))
                break
        yield from pages

    def _facts(self, store: LocalStore, adapter: Ecosystem, resource: Index | Artifact, stored: Stored) -> Facts | None:
        try:
            return adapter.facts(resource, partial(_load_source, store, stored, self._limit_bytes))
        except (UnsupportedDocument, StoreError):
            self.unreadable += 1
            return None


def _load_source(store: LocalStore, stored: Stored, document_limit_bytes: int) -> Source:
    limit_bytes = document_limit_bytes if isinstance(stored, StoredDocument) else FILE_LIMIT_BYTES
    descriptor = store.open(stored.digest) if stored.digest and stored.size <= limit_bytes else None
    if descriptor is None:
        raise UnsupportedDocument(f"{stored.url} is too large, or in the store no more.")
    with os.fdopen(descriptor, "rb") as blob:
        return Source(blob.read(), stored.media_type, stored.url)


def _load_upstreams(connection: Any) -> list[tuple[str, str]]:
    columns = [table.select().with_only_columns(table.c.ecosystem, table.c.upstream) for table in (document, artifact)]
    return [(row.ecosystem, row.upstream) for row in connection.execute(columns[0].union(columns[1]))]


def _load_names(connection: Any, ecosystem: str, upstream: str, after: str) -> list[str]:
    """The next names of projects, in their order."""
    names = [
        table.select()
        .with_only_columns(table.c.project)
        .where(table.c.ecosystem == ecosystem, table.c.upstream == upstream, table.c.project > after)
        for table in (document, artifact)
    ]
    query = names[0].union(names[1]).order_by("project").limit(PAGE_PROJECTS)
    return [row.project for row in connection.execute(query)]


def _load_rows(
    connection: Any, ecosystem: str, upstream: str, first: str, last: str
) -> tuple[dict[str, list[StoredDocument]], dict[str, list[StoredArtifact]]]:
    """What is stored of the projects from one name to another, by name."""
    documents: dict[str, list[StoredDocument]] = {}
    artifacts: dict[str, list[StoredArtifact]] = {}
    queries = [
        table.select().where(
            table.c.ecosystem == ecosystem, table.c.upstream == upstream, table.c.project.between(first, last)
        )
        for table in (document, artifact)
    ]
    for row in connection.execute(queries[0]):
        documents.setdefault(row.project, []).append(StoredDocument(*row))
    for row in connection.execute(queries[1]):
        artifacts.setdefault(row.project, []).append(StoredArtifact(*row))
    return documents, artifacts
