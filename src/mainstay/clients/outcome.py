"""What happened to a client's file, and how it is told."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstay.clients.marks import Refusal
from mainstay.clients.wanted import Wanted
from mainstay.telemetry.log import hide_in_text


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one file: "written", "unchanged", "removed" or "refused"; `text` is for a person."""

    client: str
    file: str
    action: str
    text: str = ""


def render_outcomes(outcomes: Sequence[Outcome], notes: Sequence[str]) -> str:
    """The outcomes as text for a terminal, ending in a line end."""
    width = max((len(outcome.client) for outcome in outcomes), default=0)
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.client:<{width}}  {outcome.action:<9}  {outcome.file}")
        lines += [f"{'':<{width}}  {line}" for line in outcome.text.splitlines()]
    return "".join(f"{line}\n" for line in [*lines, *notes])


def refuse(name: str, place: Path, why: object, wanted: Wanted | None = None) -> Outcome:
    """A file that stays as it is, why, and what to write there by hand."""
    text = f"{why.reason if isinstance(why, Refusal) else why}; nothing was changed"
    if wanted is not None:
        below = f" below {' / '.join(wanted.under)}" if wanted.under else ""
        text += f". To do it by hand, write{below}:\n{wanted.text}"
    return Outcome(name, str(place), "refused", text)


def render_difference(place: Path, before: bytes | None, after: bytes | None) -> str:
    """What changes, in the manner of `diff -u`, without secrets."""
    old, new = (
        hide_in_text((body or b"").decode("utf-8", "backslashreplace")).splitlines() for body in (before, after)
    )
    old_name, new_name = (os.devnull if body is None else str(place) for body in (before, after))
    return "\n".join(difflib.unified_diff(old, new, old_name, new_name, lineterm=""))
