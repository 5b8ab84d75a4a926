"""The receipt of a run: what was served, from where, and what went past. Pure: numbers in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mainstay.intercept.journal import Journal, Passage

_LABEL_WIDTH = 18


@dataclass(frozen=True, slots=True)
class Totals:
    """What the gateway did during the run. Sizes are in bytes of bodies.

    `files` counts artifacts and `bytes` everything served; `cached_bytes` is the part that needed no upstream body.
    `saved_requests` counts requests answered without asking upstream, `saved_bytes` what it did not send. `refused`
    holds one sentence for each refusal.
    """

    requests: int = 0
    files: int = 0
    bytes: int = 0
    cached_bytes: int = 0
    upstream_requests: int = 0
    upstream_bytes: int = 0
    saved_requests: int = 0
    saved_bytes: int = 0
    refused: Sequence[str] = field(default_factory=tuple)


def render_receipt(
    totals: Totals, journal: Journal, elapsed_s: float, find_links: Sequence[str] = (), notes: Sequence[str] = ()
) -> str:
    """Lines for a terminal or a log, ending in a newline. `find_links` are the local folders that pip was told of.

    Reasons may quote what a stranger sent: nothing in them starts a row of its own or speaks to the terminal.
    """
    rows = [
        (
            "served",
            f"{_count(totals.files, 'file')}, {render_size(totals.bytes)} in {_count(totals.requests, 'request')}",
        ),
        ("from cache", render_size(totals.cached_bytes)),
        ("from upstream", f"{render_size(totals.upstream_bytes)} in {_count(totals.upstream_requests, 'request')}"),
        ("upstream saved", f"{_count(totals.saved_requests, 'request')}, {render_size(totals.saved_bytes)}"),
    ]
    rows += [("refused", reason) for reason in dict.fromkeys(totals.refused)]
    rows += _journal_rows(journal)
    rows += [("local folder", f"{place}: pip may take files from here unseen") for place in find_links]
    rows += [("note", note) for note in notes]
    rows.append(("time", f"{elapsed_s:.1f} s"))
    return "mainstay: receipt\n" + "".join(f"  {label:<{_LABEL_WIDTH}}{_printable(text)}\n" for label, text in rows)


def render_size(size_bytes: int) -> str:
    """`1234567` as `1.2 MB` (decimal units)."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    number = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if round(number, 1) < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def _journal_rows(journal: Journal) -> list[tuple[str, str]]:
    rows = [("past the gateway", f"{host}: {_passage(entry)}") for host, entry in sorted(journal.passages.items())]
    rows += [("refused", f"{host}: no registry, {_count(n, 'attempt')}") for host, n in sorted(journal.refused.items())]
    rows += [("not reached", f"{host}: {reason}") for host, reason in sorted(journal.failures.items())]
    rows += [
        ("not trusted", f"{host}: a client broke off the handshake ({reason}): give it the file in SSL_CERT_FILE")
        for host, reason in sorted(journal.untrusting.items())
    ]
    rows += [
        ("not trusted?", f"{host}: a client connected {_count(n, 'time')} and asked nothing")
        for host, n in sorted(journal.silent.items())
        if not journal.requests[host]
    ]
    if journal.foreign:
        rows.append(("refused", f"{_count(journal.foreign, 'connection')} from other users of this machine"))
    return rows


def _passage(entry: Passage) -> str:
    sizes = f"{render_size(entry.bytes_up)} up, {render_size(entry.bytes_down)} down"
    return f"{_count(entry.connections, 'connection')}, {sizes}"


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
