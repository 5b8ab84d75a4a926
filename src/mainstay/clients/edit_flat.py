"""Configuration that is a list of settings: .npmrc, Go's env file, yarn's .yarnrc and .yarnrc.yml, and scripts.

What is ours goes to the top: there it stands before any section, and nothing that follows is read differently for it.
Where a setting is named twice, these clients take the last, so every other mention is put out of force.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.clients.marks import Plan, Refusal, split_lines, without
from mainstay.clients.wanted import Wanted

_LISTED = re.compile(r"""\s*-\s+["']?([^\s"'#]+)["']?\s*(?:#.*)?""")
_IN_BRACKETS = re.compile(r"""[^\s"',\[\]]+""")


@dataclass(frozen=True, slots=True)
class Syntax:
    """`key` finds a setting's name in a line. `nested` says that values go on in the lines below (YAML)."""

    comment: str
    key: re.Pattern[str]
    nested: bool = False


@dataclass(slots=True)
class _Setting:
    key: str
    first: int
    last: int


SYNTAXES = {
    # pnpm reads the settings of a section like those before it; npm does not, and warns of sections.
    "npmrc": Syntax("#", re.compile(r"""\s*["']?([^=\["'\s#;][^=\["'\s]*)["']?\s*(?:\[\]\s*)?["']?\s*(?:=|$)""")),
    "env": Syntax("#", re.compile(r"([A-Z][^=]*)=")),
    "yarnrc": Syntax("#", re.compile(r"""["']?([^\s"':#]+)["']?(?:\s|:|$)""")),
    "yaml": Syntax("#", re.compile(r"""["']?([^\s"':#,{}&*!|>%@`\[\]-][^"':#]*?)["']?\s*:(?:\s|$)"""), nested=True),
    "script": Syntax("//", re.compile(r"(?!)()")),
}


def plan(lines: Sequence[str], wanted: Wanted) -> Plan | Refusal:
    """Put the settings at the top, below what must stand first, and every other mention of them out of force."""
    syntax = SYNTAXES[wanted.form]
    at = 0
    if syntax.nested:
        start = _document_start(lines)
        if isinstance(start, Refusal):
            return start
        at = start
    scan = _scan(lines, syntax, at)
    if isinstance(scan, Refusal):
        return scan
    names = {path[-1] for path in wanted.replaces}
    replaced = [item for item in scan if item.key in names]
    hosts = _render_hosts(lines, [item for item in replaced if item.key == wanted.http_hosts], wanted)
    if isinstance(hosts, Refusal):
        return hosts
    kept = {number for item in replaced for number in range(item.first, item.last + 1)}
    return Plan((*wanted.lines, *hosts), at, frozenset(kept))


def check(lines: Sequence[str], planned: Plan, after: str, wanted: Wanted) -> str:
    """What is wrong with the text that a plan led to, "" for nothing."""
    syntax = SYNTAXES[wanted.form]
    names = {path[-1] for path in wanted.replaces}
    before = _settings(without(lines, planned.kept, syntax.comment), syntax)
    own = _settings(list(planned.block), syntax)
    if names & {key for key, _ in before}:
        return "a setting of the same name stands where it cannot be put out of force"
    return "" if _settings(split_lines(after), syntax) == own + before else "another setting would change with it"


def _settings(lines: Sequence[str], syntax: Syntax) -> list[tuple[str, str]]:
    start = _document_start(lines) if syntax.nested else 0
    scan = _scan(lines, syntax, start if isinstance(start, int) else 0)
    if isinstance(scan, Refusal):
        return []
    values = (lines[item.first : item.last + 1] for item in scan)
    return [(item.key, "\n".join(map(str.rstrip, value))) for item, value in zip(scan, values)]


def _scan(lines: Sequence[str], syntax: Syntax, start: int) -> list[_Setting] | Refusal:
    found: list[_Setting] = []
    for number in range(start, len(lines)):
        line = lines[number].rstrip("\r\n")
        text = line.strip()
        if not text or text.startswith(syntax.comment):
            continue
        if match := syntax.key.match(line):
            found.append(_Setting(match[1].strip(), number, number))
        elif syntax.nested and found and (line[0] in " \t]}" or line.startswith("- ") or line == "-"):
            found[-1].last = number
        elif syntax.nested:
            return Refusal(f"line {number + 1} is in a form of YAML that is not edited here")
    return found


def _document_start(lines: Sequence[str]) -> int | Refusal:
    """The number of the first line that belongs to the document: a directive or `---` may stand before it."""
    for number, line in enumerate(lines):
        text = line.rstrip()
        if text == "---" or text.startswith("--- #"):
            return number + 1
        if text.startswith("---"):
            return Refusal(f"line {number + 1} is in a form of YAML that is not edited here")
        if text and not text.startswith(("#", "%")):
            break
    return 0


def _render_hosts(lines: Sequence[str], listed: Sequence[_Setting], wanted: Wanted) -> list[str] | Refusal:
    """The list of hosts for plain http with those that the file already has."""
    if not wanted.http_host:
        return []
    hosts = [wanted.http_host]
    for item in listed:
        value = lines[item.first].partition(":")[2].partition(" #")[0].strip()
        below = [line for line in lines[item.first + 1 : item.last + 1] if line.strip()]
        entries = [_LISTED.fullmatch(line.rstrip()) for line in below if not line.lstrip().startswith("#")]
        if value.startswith("[") and value.endswith("]") and not entries:
            hosts += _IN_BRACKETS.findall(value)
        elif value or not all(entries):
            return Refusal(f"the value of {item.key} is in a form of YAML that is not edited here")
        hosts += [entry[1] for entry in entries if entry]
    return [f"{wanted.http_hosts}:", *(f'  - "{host}"' for host in dict.fromkeys(hosts))]
