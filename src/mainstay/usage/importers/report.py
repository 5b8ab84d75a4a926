"""What became of a log that was imported, for people and programs. Pure.

Nothing of a line is shown, only its number: a line may hold an address or a name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SHOWN_LINES = 3
UNREADABLE = "unreadable"
OTHER = "other"
OLD = "old"
FUTURE = "future"
REMARKS = "remarks"
REASONS = {
    UNREADABLE: "not of this format",
    OTHER: "of no registry that is known",
    OLD: "of days that are not kept any more",
    FUTURE: "of a time that has not come yet",
    REMARKS: "of no request: a remark, or a tunnel whose requests have lines of their own",
}
"""Why a line is not kept."""


@dataclass(slots=True)
class LogReport:
    """One log. `lines` are those that are not empty: each was kept as an event or is counted in `skipped`."""

    source: str
    name: str = ""
    """Under which its events are; "" where there was nothing to tell a format by."""
    format: str = ""
    expects: str = ""
    lines: int = 0
    events: int = 0
    ecosystems: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable_lines: list[int] = field(default_factory=list)
    """Numbers of the first few."""
    is_refused: bool = False
    """More than half could not be read, so nothing was kept."""
    known_as: str = ""
    """The name under which the same log had been imported before, so nothing was changed."""

    def note_unreadable(self, number: int) -> None:
        """Count a line that does not parse."""
        self.skipped[UNREADABLE] += 1
        if len(self.unreadable_lines) < SHOWN_LINES:
            self.unreadable_lines.append(number)


def render_reports(reports: Iterable[LogReport], removed_files: int, unknown_hosts_of: Sequence[str]) -> str:
    """For a person: some lines for each log."""
    lines = [line for report in reports for line in _render(report)]
    if removed_files:
        lines.append(f"{removed_files:,} file{_s(removed_files)} of days that are not kept any more removed")
    lines += [
        f"Where {upstream} keeps its files is not known yet, so lines of that host count as other. Fetch a package of "
        "it through the gateway once, forget this import, and import again."
        for upstream in unknown_hosts_of
    ]
    return "\n".join(map(_printable, lines))


def render_reports_json(reports: Iterable[LogReport], removed_files: int, unknown_hosts_of: Sequence[str]) -> str:
    """`{"schema": 1, "logs": [{"log", "name", "format", "lines", "events", "ecosystems": {...}, "skipped": {...},
    "unreadable_lines", "refused", "known_as"}], "removed_files", "unknown_hosts_of"}`."""
    logs = [
        {
            "log": report.source,
            "name": report.name,
            "format": report.format,
            "lines": report.lines,
            "events": report.events,
            "ecosystems": dict(report.ecosystems),
            "skipped": {reason: report.skipped[reason] for reason in REASONS},
            "unreadable_lines": report.unreadable_lines,
            "refused": report.is_refused,
            "known_as": report.known_as,
        }
        for report in reports
    ]
    return json.dumps(
        {"schema": 1, "logs": logs, "removed_files": removed_files, "unknown_hosts_of": list(unknown_hosts_of)}
    )


def _render(report: LogReport) -> list[str]:
    if not report.format:
        return [f"{report.source}: there is nothing in it"]
    lines = [f"{report.source}: {report.lines:,} line{_s(report.lines)} of {report.format}"]
    if report.known_as:
        lines.append(
            f"    imported before as {report.known_as}, so nothing was changed "
            f"(mainstay usage import --forget {report.known_as} forgets it)"
        )
        return lines
    if report.is_refused:
        lines.append("    more than half of it could not be read, so nothing was kept")
    else:
        lines.append(f"    {report.events:,} event{_s(report.events)} kept as {report.name}")
        lines += [
            f"        {count:,} of {ecosystem or 'several'}" for ecosystem, count in report.ecosystems.most_common()
        ]
    lines += [f"    {report.skipped[reason]:,} {words}" for reason, words in REASONS.items() if report.skipped[reason]]
    if report.unreadable_lines:
        numbers = ", ".join(str(number) for number in report.unreadable_lines)
        more = " and more" if report.skipped[UNREADABLE] > len(report.unreadable_lines) else ""
        lines.append(f"        line{_s(len(report.unreadable_lines))} {numbers}{more}; expected: {report.expects}")
    if report.skipped[OTHER] and not report.events:
        lines.append("    mainstay doctor shows the registries that are known")
    return lines


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
