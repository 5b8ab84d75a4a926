"""What a check says: one line of what was found and one of what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class Result(StrEnum):
    """How bad it is: nothing, worth knowing, wrong."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one `subject` (an ecosystem's id, an address, a folder). `hint` may be empty where all is well."""

    result: Result
    check: str
    subject: str
    text: str
    hint: str = ""


ok = partial(Finding, Result.OK)
warning = partial(Finding, Result.WARNING)
problem = partial(Finding, Result.PROBLEM)
