"""What program calls, by its User-Agent: what is known of programs is in `_clients.toml`, how strings are read is here.

Three forms cover nearly all. pip's and uv's, a name with a version and a JSON object; npm's, a row of `name/version`;
and the usual one of RFC 9110 section 10.1.5, products with comments in parentheses.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice
from typing import Any

import msgspec

from mainstay.usage.event import Client
from mainstay.usage.surroundings import Surroundings, agent_word, ci_word, clean_word, parse_surroundings, place

LOOKED_AT = 2048
"""Characters of a string that are looked at; the longest that clients send have about 700."""
WORDS_LOOKED_AT = 128
LONGEST_VERSION = 64
REMEMBERED = 2048
"""Strings whose client is remembered: a few megabytes at most."""

_KINDS = ("person", "mirror", "scanner", "updater", "agent", "unknown")
_OPENING = re.compile(r"([A-Za-z0-9@][\w.:@+-]{0,63})(?:/([^\s;,()]*))?", re.ASCII)
_WORD = re.compile(r"[^\s;,()]+")
_CRAWLER = re.compile(r"[a-z0-9][a-z0-9_-]{0,23}(?:bot|spider|crawler)", re.ASCII)
# Up to three numbers, then pre-release words, build numbers and a commit. A fourth number is left out, so that no IPv4
# address passes for a version; a word that is none of these ends it, so that no host name does.
_VERSION = re.compile(
    r"v?(\d{1,12}(?:\.\d{1,12}){0,2}"
    r"(?:[.+_-]?(?:a|b|c|rc|alpha|beta|pre|preview|dev|post|next|canary|nightly|snapshot|insiders?|final|ea|lts)"
    r"(?:[.-]?\d{1,12})?(?![a-z0-9])|[+_-]\d{1,12}(?![\w.])|[+-]g?[0-9a-f]{6,40}(?![\w.])){0,4})",
    re.ASCII | re.IGNORECASE,
)


class _Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the file, as its head explains."""

    opens: tuple[str, ...] = ()
    pattern: str = ""
    json: bool = False
    runtime: str = ""
    inside: bool = False
    carries: bool = False


_Rows = dict[str, _Facts]
_NO_FACTS = _Facts()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `_clients.toml`."""

    as_of: date
    architectures: str
    tells_ci: _Rows
    silent: _Rows
    person: _Rows
    mirror: _Rows
    scanner: _Rows
    updater: _Rows
    agent: _Rows
    unknown: _Rows
    systems: dict[str, tuple[str, ...]]
    runtimes: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Program:
    """One that can be recognised. `kind` is its class where it does not speak of CI; `manages` packages, so that its
    string may speak of CI and agents."""

    name: str
    kind: str = "unknown"
    manages: bool = False
    facts: _Facts = _NO_FACTS
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class _Table:
    """What the file says, by the words that are looked up."""

    opening: Mapping[str, tuple[_Program, ...]]
    inside: Mapping[str, _Program]
    systems: Mapping[str, str]
    runtimes: Mapping[str, str]
    architectures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Found:
    """A program and the parts of its string: its version, its pattern's groups, and the words after the first."""

    program: _Program
    version: str
    groups: Mapping[str, str | None]
    words: list[str]


def recognise(user_agent: str) -> Client:
    """The program behind a User-Agent, any string whatever: it never raises, and looks at `LOOKED_AT` characters.

    Every field is a plain word or a version, so that nothing like a host name, an address, a path or an e-mail address
    is kept. A program that is not known is `unknown`, with the name that its string begins with if that is one plain
    short word. A string that was seen lately costs a fifth of a microsecond, another one some tens.
    """
    return _recognise(user_agent[:LOOKED_AT])


@lru_cache(maxsize=REMEMBERED)
def _recognise(text: str) -> Client:
    text = text.strip()
    opening = _OPENING.match(text)
    if opening is None:
        return Client()
    found = _find(text, opening)
    if not found.program.facts.json:
        return _describe(found, found.program.kind)
    said = _load_object(text)
    # A version that describes itself in another way does not speak of CI.
    return _describe(found, "unknown") if said is None else _describe_object(found, said)


def _find(text: str, opening: re.Match[str]) -> _Found:
    words = [match[0] for match in islice(_WORD.finditer(text), 1, WORDS_LOOKED_AT)]
    for program in _table().opening.get(opening[1].lower(), ()):
        match = program.pattern.match(text) if program.pattern else None
        if match or not program.pattern:
            if program.facts.carries and (carried := _find_inside(words)):
                return carried
            return _found(program, opening, match, words)
    return _found(_Program(clean_word(opening[1])), opening, None, words)


def _found(program: _Program, opening: re.Match[str], match: re.Match[str] | None, words: list[str]) -> _Found:
    groups = match.groupdict() if match else {}
    version = groups.get("version")
    if version is None:
        version = opening[2] if opening[2] is not None else next(iter(words), "")
    return _Found(program, version, groups, words)


def _find_inside(words: list[str]) -> _Found | None:
    """The program that a string names which begins as a browser's does, as editors, agents and crawlers send."""
    table = _table()
    for word in words:
        name, _, version = word.partition("/")
        name = name.lower()
        if program := table.inside.get(name):
            return _Found(program, version, {}, words)
        if _CRAWLER.fullmatch(name):
            return _Found(_Program(name), version, {}, words)
    return None


def _describe(found: _Found, kind: str) -> Client:
    table, program = _table(), found.program
    runtime, runtime_version = _runtime(found)
    names = [word.partition("/")[0].lower() for word in found.words]
    client = Client(
        name=program.name,
        version=_version(found.version) if program.name else "",
        kind=kind,
        runtime=runtime,
        runtime_version=runtime_version,
        system=_look_up(names, table.systems),
        arch=_look_up(names, table.architectures),
        agent=program.name if kind == "agent" else "",
    )
    return place(client, _surroundings(found.words)) if program.manages else client


def _runtime(found: _Found) -> tuple[str, str]:
    given, known = found.groups.get("runtime_version"), _table().runtimes
    if given is not None:
        return found.program.facts.runtime, _version(given)
    for word, following in zip(found.words, [*found.words[1:], ""]):
        name, slash, version = word.partition("/")
        if runtime := known.get(name.lower()):
            version = _version(version if slash else following)
            if slash or version:
                return runtime, version
    return found.program.facts.runtime, ""


def _look_up(names: list[str], known: Mapping[str, str]) -> str:
    """The first name that is known, by itself or as a part of a platform such as `arm64-apple-darwin23`."""
    if whole := next((known[name] for name in names if name in known), ""):
        return whole
    parts = (part for name in names if "-" in name and name[0].isalpha() for part in name.split("-", 3))
    forms = (form for part in parts for form in (part, part.rstrip("0123456789.")))
    return next((known[form] for form in forms if form in known), "")


def _surroundings(words: list[str]) -> Surroundings:
    """What `ci/NAME`, `agent/NAME` and a bare `CI` say: npm's and Bundler's word, the user's own, and Composer's."""
    ci, vendor, agent = False, "", ""
    for word in words:
        name, slash, value = word.partition("/")
        if word == "CI" or (slash and name == "ci"):
            ci, vendor = True, vendor or ci_word(value)
        elif slash and name == "agent":
            agent = agent or agent_word(value)
    return Surroundings(ci, vendor, agent)


def _load_object(text: str) -> dict[str, Any] | None:
    """The JSON object in the string; None where there is none that is whole."""
    try:
        said = msgspec.json.decode(text[text.find("{") : text.rfind("}") + 1])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _describe_object(found: _Found, said: dict[str, Any]) -> Client:
    """pip's and uv's fields; the rest, among it distribution, libraries and free text, is passed over."""
    system = clean_word(_text(said, "system", "name"))
    client = Client(
        name=found.program.name,
        version=_version(found.version),
        # null is "not known to be in CI"; where the field is missing, nothing is said.
        kind=found.program.kind if "ci" in said else "unknown",
        runtime=clean_word(_text(said, "implementation", "name")),
        runtime_version=_version(_text(said, "implementation", "version")),
        system=_table().systems.get(system, system),
        arch=clean_word(_text(said, "cpu")),
    )
    where = parse_surroundings(_text(said, "user_data"))
    return place(client, where._replace(ci=where.ci or said.get("ci") is True))


def _text(said: Any, *path: str) -> str:
    for key in path:
        said = said.get(key) if isinstance(said, dict) else None
    return said if isinstance(said, str) else ""


def _version(text: str) -> str:
    match = _VERSION.match(text[:LONGEST_VERSION])
    return match[1] if match else ""


@cache
def _table() -> _Table:
    text = (files("mainstay.usage") / "_clients.toml").read_text("utf-8")
    file = msgspec.convert(tomllib.loads(text), _File)
    opening: dict[str, tuple[_Program, ...]] = {}
    inside: dict[str, _Program] = {}
    for program in _programs(file):
        for word in program.facts.opens or (program.name,):
            opening[word] = (*opening.get(word, ()), program)
            if program.facts.inside:
                inside[word] = program
    architectures = {word: word for word in file.architectures.split()}
    return _Table(opening, inside, _inverted(file.systems), _inverted(file.runtimes), architectures)


def _programs(file: _File) -> Iterator[_Program]:
    """Those that speak of CI first: of two rows with the same opening the first that fits counts."""
    tables = [(file.tells_ci, "person", True), (file.silent, "unknown", True)]
    tables += [(getattr(file, kind), kind, False) for kind in _KINDS]
    for rows, kind, manages in tables:
        for name, facts in rows.items():
            pattern = re.compile(facts.pattern, re.IGNORECASE) if facts.pattern else None
            yield _Program(name, kind, manages, facts, pattern)


def _inverted(names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: name for name, words in names.items() for word in words}
