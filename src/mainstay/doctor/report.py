"""The findings as lines for a person or as one JSON document. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mainstay.doctor.finding import Finding, Result
from mainstay.telemetry.log import hide_in_text

_COLOURS = {Result.OK: "32", Result.WARNING: "33", Result.PROBLEM: "31"}
_WIDTH = max(map(len, Result)) + 2


def render_text(findings: Sequence[Finding], *, colour: bool) -> str:
    """A line for each finding, a second one with what to do, and the sum. Texts may quote what a stranger sent:
    nothing in them starts a line of its own or speaks to the terminal."""
    lines = []
    for finding in findings:
        word = f"{finding.result:<{_WIDTH}}"
        mark = f"\x1b[{_COLOURS[finding.result]}m{word}\x1b[0m" if colour else word
        subject = f" {finding.subject}" if finding.subject else ""
        lines.append(f"{mark}{_plain(f'{finding.check}{subject}: {finding.text}')}")
        if finding.hint:
            lines.append(f"{'':<{_WIDTH}}-> {_plain(finding.hint)}")
    return "\n".join([*lines, "", _render_sum(findings)]) + "\n"


def render_json(findings: Sequence[Finding]) -> str:
    """`{"schema": 1, "checks": [{"check", "subject", "result", "text", "hint"}]}`."""
    names = ("check", "subject", "result", "text", "hint")
    checks = [{name: hide_in_text(getattr(finding, name)) for name in names} for finding in findings]
    return json.dumps({"schema": 1, "checks": checks})


def _render_sum(findings: Sequence[Finding]) -> str:
    counts = {result: sum(finding.result is result for finding in findings) for result in Result}
    wrong = [
        f"{counts[result]} {result}{'s' * (counts[result] != 1)}"
        for result in (Result.PROBLEM, Result.WARNING)
        if counts[result]
    ]
    return f"{len(findings)} check{'s' * (len(findings) != 1)}: {', '.join(wrong) or 'all is well'}"


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in hide_in_text(text))
