"""One edit of one file's bytes, whatever its syntax: what setup wrote is taken out, what is wanted is put in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mainstay.clients import edit_flat, edit_ini, edit_toml, edit_xml
from mainstay.clients.marks import Plan, Refusal, Restored, apply_plan, line_end, restore, split_lines
from mainstay.clients.wanted import Wanted

_XML = "xml"
_LONE_CR = re.compile(r"\r(?!\n)")


@dataclass(frozen=True, slots=True)
class _Form:
    """How one syntax is edited, line by line."""

    comment: str
    plan: Callable[[Sequence[str], Wanted], Plan | Refusal]
    check: Callable[[Sequence[str], Plan, str, Wanted], str]


_FORMS = {
    "ini": _Form(edit_ini.COMMENT, edit_ini.plan, edit_ini.check),
    "toml": _Form(edit_toml.COMMENT, edit_toml.plan, edit_toml.check),
    **{name: _Form(syntax.comment, edit_flat.plan, edit_flat.check) for name, syntax in edit_flat.SYNTAXES.items()},
}


def take_out(body: bytes, form: str) -> tuple[bytes, Restored] | Refusal:
    """The bytes as they would be had setup never run, and what was found in them."""
    mark, text = _split(body)
    restored = edit_xml.restore(body) if form == _XML else restore(text, _FORMS[form].comment)
    if isinstance(restored, Refusal):
        return restored
    return ("" if form == _XML else mark).encode() + _bytes(restored.text), restored


def put_in(body: bytes, wanted: Wanted, folders: int | None) -> bytes | Refusal:
    """The bytes with what is wanted. `body` holds nothing of setup's; `folders` were made for a file that is new."""
    if wanted.form == _XML:
        return edit_xml.insert(body, wanted, folders)
    mark, text = _split(body)
    if "\0" in text or _LONE_CR.search(text):
        return Refusal("it is not plain text with lines that end in LF or CRLF")
    if mark and wanted.form == "ini":
        return Refusal("it begins with a byte order mark, at which the client stops")
    form, lines = _FORMS[wanted.form], split_lines(text)
    plan = form.plan(lines, wanted)
    if isinstance(plan, Refusal):
        return plan
    # Go takes a CR for a part of the value.
    end = "\n" if wanted.form == "env" else line_end(lines)
    after = apply_plan(lines, plan, form.comment, folders, end)
    wrong = form.check(lines, plan, after, wanted)
    return Refusal(wrong) if wrong else mark.encode() + _bytes(after)


def _split(body: bytes) -> tuple[str, str]:
    """(the byte order mark, the text)."""
    mark = codecs.BOM_UTF8 if body.startswith(codecs.BOM_UTF8) else b""
    return mark.decode(), body.removeprefix(mark).decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
