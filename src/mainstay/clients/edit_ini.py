"""pip's configuration: Python's ini dialect, whose values go on in lines that are indented more than their key."""

from __future__ import annotations

from collections.abc import Sequence
from configparser import Error, RawConfigParser
from dataclasses import dataclass

from mainstay.clients.marks import Plan, Refusal, without
from mainstay.clients.wanted import Wanted

COMMENT = "#"
Sections = dict[str, dict[str, str]]


@dataclass(slots=True)
class _Option:
    """A setting in lines `first` to `last`."""

    key: str
    first: int
    last: int


@dataclass(slots=True)
class _Scan:
    """Where headers and settings stand; `indents` has the indentation of each line that begins one."""

    headers: dict[str, int]
    options: list[_Option]
    indents: dict[int, str]


def plan(lines: Sequence[str], wanted: Wanted) -> Plan | Refusal:
    """Put the settings first in their section, and every other mention of them, in whatever section, out of force."""
    before = _parse("".join(lines))
    if isinstance(before, Refusal):
        return before
    scan = _scan(lines)
    names = {path[-1] for path in wanted.replaces}
    kept = {number for item in scan.options if item.key in names for number in range(item.first, item.last + 1)}
    section = wanted.under[0]
    at = scan.headers[section] + 1 if section in scan.headers else 0
    block = [*wanted.lines, *_render_hosts(before, wanted)]
    # As deep as what follows: a deeper line would be taken for more of our value.
    indent = next((scan.indents[number] for number in sorted(scan.indents) if number >= at and number not in kept), "")
    block = [f"{indent}{line}" for line in block]
    if section not in scan.headers:
        block.insert(0, f"[{section}]")
    return Plan(tuple(block), at, frozenset(kept))


def check(lines: Sequence[str], planned: Plan, after: str, wanted: Wanted) -> str:
    """What is wrong with the text that a plan led to, "" for nothing."""
    names = {path[-1] for path in wanted.replaces}
    before, found = _parse("".join(without(lines, planned.kept, COMMENT))), _parse(after)
    own = _parse("\n".join([f"[{wanted.under[0]}]", *(line.strip() for line in planned.block if line[:1] != "[")]))
    if isinstance(before, Refusal) or isinstance(found, Refusal) or isinstance(own, Refusal):
        return "it could not be read afterwards"
    if any(names & settings.keys() for settings in before.values()):
        return "a setting of the same name stands where it cannot be put out of force"
    for section, settings in own.items():
        before[section] = before.get(section, {}) | settings
    return "" if before == found else "another setting would change with it"


def _render_hosts(sections: Sections, wanted: Wanted) -> list[str]:
    if not wanted.http_host:
        return []
    listed = [word for settings in sections.values() for word in settings.get(wanted.http_hosts, "").split()]
    return [f"{wanted.http_hosts} = {' '.join(dict.fromkeys([wanted.http_host, *listed]))}"]


def _parse(text: str) -> Sections | Refusal:
    """Each section's settings, those of [DEFAULT] apart, with names as pip compares them."""
    # No section has this name, so that [DEFAULT] is one like the others: each setting is compared where it stands.
    parser = RawConfigParser(default_section="\0")
    try:
        parser.read_string(text)
    except Error as error:
        return Refusal(f"pip itself stops at it ({type(error).__name__})")
    return {name: {_name(key): value for key, value in parser.items(name)} for name in parser.sections()}


def _scan(lines: Sequence[str]) -> _Scan:
    """As `RawConfigParser` reads, with the numbers of the lines."""
    scan = _Scan({}, [], {})
    inside: _Option | None = None
    depth = 0
    for number, line in enumerate(lines):
        text = line.strip()
        if not text or text.startswith(("#", ";")):
            continue
        indent = line[: len(line) - len(line.lstrip())]
        if inside is not None and len(indent) > depth:
            inside.last = number
            continue
        scan.indents[number], depth, inside = indent, len(indent), None
        if header := RawConfigParser.SECTCRE.match(text):
            scan.headers.setdefault(header["header"], number)
        elif option := RawConfigParser.OPTCRE.match(text):
            inside = _Option(_name(option["option"].rstrip().lower()), number, number)
            scan.options.append(inside)
    return scan


def _name(key: str) -> str:
    """As pip compares names: `--index_url` is index-url."""
    return key.replace("_", "-").removeprefix("--")
