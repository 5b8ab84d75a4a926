"""Maven's version order (POM reference, "Version Order Specification")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SEPARATOR = re.compile(r"([.-])")
_RUN = re.compile(r"[0-9]+|[^0-9]+")
_NULLS = frozenset({"ga", "final", "release"})
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_BEFORE_RELEASE = {"alpha": 0, "beta": 1, "milestone": 2, "rc": 3, "cr": 3, "snapshot": 4}
_RELEASE, _GA, _SP, _OTHER, _HYPHEN_NUMBER, _DOT_NUMBER = 5, 6, 7, 8, 9, 10

Token = tuple[int, int, str]
"""Its rank, then its text by length and letters: a number without leading zeros is greater where it is longer."""

_END: Token = (_RELEASE, 0, "")


def order(version: str) -> tuple[Token, ...]:
    """A sort key. Versions that Maven calls equal ("1", "1.0", "1-ga") have equal keys.

    What follows a version's last token counts as its release, so the end sorts between "snapshot" and "sp". Where a
    qualifier comes next, zeros before it are dropped whatever separates the two: the specification says `.qualifier` =
    `-qualifier`, and no order without circles keeps them.
    """
    tokens: list[Token] = []
    for token in _tokens(version.lower()):
        if token[0] != _DOT_NUMBER:
            _trim(tokens)
        tokens.append(token)
    _trim(tokens)
    return (*tokens, _END)


def is_snapshot(version: str) -> bool:
    """Whether the version names what changes from build to build."""
    return version.endswith("SNAPSHOT")


def highest(versions: Iterable[str]) -> str | None:
    """The highest version, None where there is none. Of equal ones the last by spelling."""
    return max(versions, key=lambda version: (order(version), version), default=None)


def _tokens(version: str) -> Iterator[Token]:
    separator = "."
    for part in _SEPARATOR.split(version):
        if part in (".", "-"):
            separator = part
            continue
        runs = _RUN.findall(part) or ["0"]
        for number, run in enumerate(runs):
            if run[0] in "0123456789":
                yield _number(run, separator if number == 0 else "-")
            else:
                yield _qualifier(_SHORT.get(run, run) if number + 1 < len(runs) else run)


def _number(text: str, separator: str) -> Token:
    digits = text.lstrip("0")
    return (_HYPHEN_NUMBER if separator == "-" else _DOT_NUMBER, len(digits), digits)


def _qualifier(text: str) -> Token:
    if text in _BEFORE_RELEASE:
        return (_BEFORE_RELEASE[text], 0, "")
    if text in _NULLS:
        return (_GA, 0, "")
    return (_SP, 0, "") if text == "sp" else (_OTHER, 0, text)


def _trim(tokens: list[Token]) -> None:
    """Drop the trailing zeros and the qualifiers that mean "release"."""
    while tokens and (tokens[-1][0] == _GA or (tokens[-1][0] >= _HYPHEN_NUMBER and not tokens[-1][2])):
        tokens.pop()
