"""The marks by which what setup wrote is found again, and taken out so that the rest is byte for byte as it was.

What setup adds stands between two marks. A line that it puts out of force stays where it is, as a comment behind a mark
of its own. Both are comments in the file's own syntax, so no other record is needed, and a person can see what is ours
and edit around it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

_BEGIN_WORDS = ">>> mainstay setup"
_BEGIN = re.compile(rf"{_BEGIN_WORDS} ([0-9a-f]{{8}})(?:, with this file and ([0-9]{{1,3}}) folders?)?")
_END = "<<< mainstay setup"
_KEPT = "mainstay kept: "


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file stays as it is, in words for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A file's text without what setup wrote.

    `found` says whether anything was there, `edited` whether somebody changed what stood between the marks, `folders`
    how many folders setup made for a file that it made, None where the file was there before.
    """

    text: str
    found: bool = False
    edited: bool = False
    folders: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to change in a text's lines: `block` goes before line number `at`, the lines `kept` go out of force."""

    block: tuple[str, ...]
    at: int
    kept: frozenset[int] = frozenset()


def begin_mark(block: Sequence[str], folders: int | None) -> str:
    """The words of the first mark. By the digest in it a later edit is noticed; line ends do not count."""
    made = "" if folders is None else f", with this file and {folders} folder{'s' * (folders != 1)}"
    return f"{_BEGIN_WORDS} {_digest(block)}{made}"


def end_mark() -> str:
    """The words of the last mark."""
    return _END


def parse_begin(words: str, block: Sequence[str]) -> tuple[bool, int | None]:
    """(whether the block was edited, the folders made) as the words of a first mark tell."""
    match = _BEGIN.fullmatch(words)
    if match is None:
        return True, None
    return match[1] != _digest(block), int(match[2]) if match[2] else None


def split_lines(text: str) -> list[str]:
    """The lines with their ends. Only LF ends a line, with or without a CR before it."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def line_end(lines: Sequence[str]) -> str:
    """The line end that the text uses."""
    return "\r\n" if lines and lines[0].endswith("\r\n") else "\n"


def without(lines: Sequence[str], kept: Iterable[int], comment: str) -> list[str]:
    """The lines with those numbered `kept` out of force. Blank ones, in a value of several lines, say nothing."""
    numbers = {number for number in kept if lines[number].strip()}
    return [f"{comment} {_KEPT}{line}" if number in numbers else line for number, line in enumerate(lines)]


def apply_plan(lines: Sequence[str], plan: Plan, comment: str, folders: int | None, end: str) -> str:
    """The text with the block in it and the replaced lines out of force.

    A text that ends without a line end does so afterwards too, so that taking the block out can tell.
    """
    changed = without(lines, plan.kept, comment)
    marked = (f"{comment} {begin_mark(plan.block, folders)}", *plan.block, f"{comment} {end_mark()}")
    block = [line + end for line in marked]
    if changed and plan.at == len(changed) and not changed[-1].endswith("\n"):
        changed[-1] += end
        block[-1] = block[-1].removesuffix(end)
    changed[plan.at : plan.at] = block
    return "".join(changed)


def restore(text: str, comment: str) -> Restored | Refusal:
    """The text as it would be had setup never run, with every change that was made elsewhere since."""
    lines = split_lines(text)
    blocks = _find_blocks(lines, comment)
    if isinstance(blocks, Refusal):
        return blocks
    mark = f"{comment} {_KEPT}"
    result = Restored("", found=bool(blocks) or any(line.startswith(mark) for line in lines))
    left: list[str] = []
    start = 0
    for first, last in blocks:
        left += lines[start:first]
        start = last + 1
        result = _note(result, lines[first:start], comment)
        if left and not lines[last].endswith("\n"):  # the text ended without a line end, see `apply_plan`
            left[-1] = left[-1].removesuffix("\n").removesuffix("\r")
    left += lines[start:]
    return replace(result, text="".join(line.removeprefix(mark) for line in left))


def _find_blocks(lines: Sequence[str], comment: str) -> list[tuple[int, int]] | Refusal:
    """The numbers of each block's first and last line."""
    found: list[tuple[int, int]] = []
    first: int | None = None
    for number, line in enumerate(lines):
        words = _words(line, comment)
        if words == _END and first is not None:
            found.append((first, number))
            first = None
        elif words == _END:
            return Refusal(f"line {number + 1} is setup's last mark without a first one before it")
        elif words.startswith(_BEGIN_WORDS):
            if first is not None:
                break
            first = number
    if first is not None:
        return Refusal(f"line {first + 1} is setup's first mark without a last one after it")
    return found


def _words(line: str, comment: str) -> str:
    """What a comment says, "" for another line."""
    line = line.strip()
    return line.removeprefix(comment).strip() if line.startswith(comment) else ""


def _note(result: Restored, block: Sequence[str], comment: str) -> Restored:
    edited, folders = parse_begin(_words(block[0], comment), [line.rstrip("\r\n") for line in block[1:-1]])
    return replace(result, edited=result.edited or edited, folders=folders)


def _digest(block: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(block).encode("utf-8", "surrogateescape")).hexdigest()[:8]
