"""Exact money: rational numbers that know what they were reckoned from, and whole cents that add up. Pure.

No number here is ever a float.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class Term:
    """An exact number, and the arithmetic that it comes from: numbers with commas, ×, ÷, + and brackets.

    `text` read from left to right, × and ÷ before +, gives `value` exactly.
    """

    value: Fraction
    text: str
    parts: int = 1
    """1 for a number, 2 for a product or quotient, 3 for a sum."""

    def __add__(self, other: Term) -> Term:
        return Term(self.value + other.value, f"{self.text} + {other.text}", 3)

    def __mul__(self, other: Term) -> Term:
        return Term(self.value * other.value, f"{self._within(2)} × {other._within(2)}", 2)

    def __truediv__(self, other: Term) -> Term:
        return Term(self.value / other.value, f"{self._within(2)} ÷ {other._within(1)}", 2)

    def _within(self, most: int) -> str:
        return self.text if self.parts <= most else f"({self.text})"


def whole(number: int) -> Term:
    """A whole number as a term."""
    return Term(Fraction(number), f"{number:,}")


def parse_number(value: int | str) -> Term:
    """A number of a data file: whole, or a text such as "1.1534".

    Raises:
        ValueError: not a number of this form; never negative.
    """
    text = str(value)
    if not _NUMBER.fullmatch(text):
        raise ValueError(f'{value!r} is not a number: write a whole one, or a text such as "1.15"')
    units, dot, rest = text.partition(".")
    return Term(Fraction(text), f"{int(units):,}{dot}{rest}")


def middle(low: Term, high: Term) -> Term:
    """Half way between."""
    return low if low == high else (low + high) / whole(2)


def round_half_up(exact: Fraction) -> int:
    """The nearest whole number; of two as near the larger."""
    return floor(exact + Fraction(1, 2))


def share_out(total: int, exact: Sequence[Fraction]) -> list[int]:
    """Whole parts that add up to `total`, which is the sum of `exact` rounded either way: by largest remainder.

    Each part is its exact one rounded down or up; those that rounding down would cost most are rounded up, of equals
    the earlier. So none is off by one or more, what is nothing stays nothing, and no part falls because its exact one
    rises.

    Raises:
        ValueError: `total` is off the exact sum by one or more.
    """
    if abs(total - sum(exact, Fraction(0))) >= 1:
        raise ValueError(f"{total} is not the rounded sum of {len(exact)} parts")
    parts = [floor(share) for share in exact]
    by_loss = sorted(range(len(parts)), key=lambda at: parts[at] - exact[at])
    for at in by_loss[: total - sum(parts)]:
        parts[at] += 1
    return parts


def render_money(minor: int, digits: int, comma: str = ",") -> str:
    """`123456` as `1,234.56`, with as many decimal places as the currency has."""
    units, rest = divmod(abs(minor), 10**digits)
    sign = "-" if minor < 0 else ""
    return f"{sign}{units:,}".replace(",", comma) + (f".{rest:0{digits}d}" if digits else "")
