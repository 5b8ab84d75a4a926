"""`mainstay usage import`: events from other programs' logs, with their registries and consumers told apart.

What a log's URLs are of is told by the registries of this gateway's settings, those that the machine's package managers
use and the public ones, and by the hosts where they are known to keep their files. Nothing is asked of the network.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, cast

from mainstay.access.identity import LOCAL, Caller, Networks
from mainstay.access.pseudonym import PSEUDONYM_PREFIX, parse_address
from mainstay.access.tiers import FREE
from mainstay.config import Config, UpstreamSetting
from mainstay.db.consumers import Consumer, load_consumers
from mainstay.db.engine import Database
from mainstay.db.origins import Origin, load_origins
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.upstream.addresses import host_and_port
from mainstay.upstream.discover import discover, own_addresses
from mainstay.upstream.registry import Registry, build_upstream
from mainstay.usage.imported import Draft, check_name, drafting, find_imported, first_day, forget_outlived
from mainstay.usage.importers.base import NOTHING, Line, LogFormat
from mainstay.usage.importers.detect import find_format, open_format
from mainstay.usage.importers.places import Known, Located, Places, What, name_mounts
from mainstay.usage.importers.reading import LONGEST_LINE, LogLines, open_log
from mainstay.usage.importers.report import FUTURE, OLD, OTHER, REMARKS, UNREADABLE, LogReport
from mainstay.usage.queries import DAY_US, midnight_us
from mainstay.usage.recognise import recognise

if TYPE_CHECKING:
    from mainstay.usage.importers.rows import Row

REMEMBERED_ADDRESSES = 65_536
LOG = "log"
"""How a consumer was told that a log names as a user, or that stands for all that a log says no address of."""
_KEY_BYTES = 32
_HEX_DIGITS = 12
_LONGEST_ADDRESS = 255
"""Characters of a host's name (RFC 1035, section 2.3.4), which may stand in the place of its address."""
_REJECTED = (401, 403, 407)
"""Replies to who could not show to be the user that was named."""


class Identities:
    """Tells consumers by the user or the address in a log, under a key that nobody has after the import."""

    def __init__(self, consumers: Iterable[Consumer]) -> None:
        entries = list(consumers)
        self._by_user = {entry.name: Caller(entry.name, entry.tier, LOG) for entry in entries}
        self._networks = Networks(
            (ip_network(network), Caller(entry.name, entry.tier, "network"))
            for entry in entries
            for network in entry.networks
        )
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._by_address = lru_cache(REMEMBERED_ADDRESSES)(self._find_by_address)

    def find(self, line: Line, otherwise: Caller) -> Caller:
        """Who asked, `otherwise` where a line does not say. A user counts only where it is a consumer's name, and was
        not turned away."""
        if line.user and line.status not in _REJECTED and (caller := self._by_user.get(line.user)) is not None:
            return caller
        return self._by_address(line.address[:_LONGEST_ADDRESS]) if line.address else otherwise

    def _find_by_address(self, text: str) -> Caller:
        address = parse_address(text)
        if address is None:
            identity = b"?" + text.encode("utf-8", "surrogatepass")
        elif (caller := self._networks.find(address)) is not None:
            return caller
        elif address.is_loopback:
            return Caller(LOCAL, FREE, "address")
        else:
            # An IPv6 site has a /64.
            identity = b"4" + address.packed if address.version == 4 else b"6" + address.packed[:8]
        digits = hmac.digest(self._key, identity, "sha256").hex()[:_HEX_DIGITS]
        return Caller(PSEUDONYM_PREFIX + digits, FREE, "address")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `unknown_hosts_of` are the registries of which nobody has learned yet where they keep their
    files."""

    reports: list[LogReport]
    removed_files: int
    unknown_hosts_of: list[str]


def import_logs(
    config: Config, sources: Sequence[str], today: date, *, form: str = "", name: str = "", bases: Sequence[str] = ()
) -> Imported:
    """Import logs, files or `-` for standard input, one after the other. `form` is a format's name, "" to find it by
    the first lines of each; `name` is what the events are found by later, by default the format. Blocks.

    A log that was imported before changes nothing, and one of which more than half cannot be read neither.

    Raises:
        ConfigError: a log cannot be read, or its format or what its paths are below cannot be told; a wrong flag.
        StoreError: the data folder cannot be written.
    """
    if form:
        open_format(form)
    if name:
        check_name(name)
    with closing(Database.open(config.data_path)) as database:
        consumers, origins = database.read_sync(load_consumers), database.read_sync(load_origins)
    registry = find_registries(config, origins)
    places, identities = Places(_known(registry), bases), Identities(consumers)
    removed = forget_outlived(config.data_path, config.usage.keep_days, today)
    reports = [_import_log(config, source, today, form, name, places, identities) for source in sources]
    return Imported(reports, removed, _unknown_hosts(registry, reports))


def find_registries(config: Config, origins: Iterable[Origin]) -> Registry:
    """Those of the settings, of the machine's package managers and the public ones, with the file hosts learned."""
    known = discover(config, ecosystems(), own=own_addresses(config), extras=True)
    upstreams = {name: known.of(name) for name in ecosystems()}
    for name, ecosystem in ecosystems().items():
        # Who goes past the gateway may well ask the public registry, whatever this gateway asks.
        if url := ecosystem.default_upstream():
            public = build_upstream(ecosystem, UpstreamSetting(url=url), "public default")
            if public.id not in {upstream.id for upstream in upstreams[name]}:
                upstreams[name] = (*upstreams[name], public)
    registry = Registry(upstreams)
    by_id = {(upstream.ecosystem.id, upstream.id): upstream for upstream in registry}
    for origin in origins:
        if (upstream := by_id.get((origin.ecosystem, origin.upstream))) is not None:
            registry.learn(origin.base, upstream, origin.role)
    return registry


class _Importer:
    """Makes a log's lines into events."""

    def __init__(
        self,
        reader: LogFormat,
        places: Places,
        identities: Identities,
        draft: Draft,
        report: LogReport,
        days: tuple[date, date],
    ) -> None:
        """Events of `days`, the first and the last of them, are kept."""
        self._reader, self._places, self._identities = reader, places, identities
        self._draft, self._report = draft, report
        self._itself = Caller(f"{LOG}:{report.name}", FREE, LOG)
        self._from_us, self._until_us = midnight_us(days[0]), midnight_us(days[1]) + DAY_US
        self._number = self._lost = 0

    def take(self, lines: Sequence[str]) -> None:
        """Take the next lines of the log."""
        parse, find, tell = self._reader.parse, self._places.find, self._identities.find
        from_us, until_us, itself = self._from_us, self._until_us, self._itself
        rows: list[Row] = []
        for number, text in enumerate(lines, self._number + 1):
            if not text:
                continue
            line = parse(text) if text[0] != "#" and len(text) <= LONGEST_LINE else None
            what = find(line.method, line.origin, line.target) if line is not None else None
            if line is None or what is None or not from_us <= line.time_us < until_us:
                self._pass_over(number, text, line, what)
                continue
            rows.append(
                (
                    line.time_us,
                    line.method,
                    line.status,
                    line.size_bytes,
                    line.outcome,
                    what,
                    tell(line, itself),
                    recognise(line.user_agent),
                )
            )
        self._number += len(lines)
        self._report.lines += len(lines) - lines.count("")
        self._report.events += len(rows)
        self._report.ecosystems.update([row[5].ecosystem for row in rows])
        self._draft.add(rows)

    def check_paths(self) -> None:
        """Raise ConfigError where no line so far tells of a host, and nobody has said what the paths are below."""
        if self._lost and not self._report.events and self._lost == self._report.skipped[OTHER]:
            raise ConfigError(
                "This log has paths only, without a host.",
                hint=f"Say with --base what they are below: the address of a registry, or {name_mounts()}.",
            )

    def _pass_over(self, number: int, text: str, line: Line | None, what: What | None) -> None:
        """Count a line that no event is made of."""
        skipped = self._report.skipped
        if text[0] == "#":
            self._reader.remark(text)
            skipped[REMARKS] += 1
        elif line is None:
            self._report.note_unreadable(number)
        elif line is NOTHING:
            skipped[REMARKS] += 1
        elif what is None:
            skipped[OTHER] += 1
            self._lost += self._places.is_lost(line)
        else:
            skipped[OLD if line.time_us < self._from_us else FUTURE] += 1


def _unknown_hosts(registry: Registry, reports: Iterable[LogReport]) -> list[str]:
    """The registries that were asked in logs with lines of other hosts, some of which may be theirs."""
    asked = {ecosystem for report in reports if report.skipped[OTHER] for ecosystem in report.ecosystems}
    return [
        upstream.id
        for upstream in registry
        if upstream.ecosystem.id in asked and upstream.ecosystem.learned_role and not registry.learned(upstream)
    ]


def _known(registry: Registry) -> Known:
    hosts: dict[tuple[str, int], frozenset[tuple[str, str]]] = {}
    for entry in registry.table():
        owner = (str(entry["ecosystem"]), str(entry["upstream"]))
        for base in cast("list[dict[str, str]]", entry["bases"]):
            place = host_and_port(base["url"])
            hosts[place] = hosts.get(place, frozenset()) | {owner}

    def locate(url: str) -> Located | None:
        place = registry.locate(url)
        return (place.upstream.ecosystem, place.raw_path, place.upstream.id) if place is not None else None

    return Known(hosts, locate, tuple(upstream.id for upstream in registry))


def _import_log(
    config: Config, source: str, today: date, form: str, name: str, places: Places, identities: Identities
) -> LogReport:
    report = LogReport(source)
    with open_log(source) as log:
        chunks = log.chunks()
        first = next(chunks, [])
        if not any(first):
            return report
        report.format = form or find_format(first)
        report.name = name or report.format
        reader = open_format(report.format)
        report.expects = reader.expects
        # A clock that is a little ahead may have begun tomorrow.
        days = (first_day(config.usage.keep_days, today), today + timedelta(days=1))
        with drafting(config.data_path, report.name) as draft:
            importer = _Importer(reader, places, identities, draft, report, days)
            importer.take(first)
            importer.check_paths()
            for lines in chunks:
                importer.take(lines)
            _finish(config, log, draft, report)
    return report


def _finish(config: Config, log: LogLines, draft: Draft, report: LogReport) -> None:
    """Have the events in place, unless too little of the log could be read, or it was imported before."""
    report.is_refused = report.skipped[UNREADABLE] * 2 > report.lines - report.skipped[REMARKS]
    report.known_as = find_imported(config.data_path, log.digest)
    if report.is_refused or report.known_as:
        report.events = 0
        report.ecosystems.clear()
    else:
        draft.publish(log.digest)
