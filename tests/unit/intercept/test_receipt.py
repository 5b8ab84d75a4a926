"""The receipt's words."""

from __future__ import annotations

import pytest

from mainstay.intercept.journal import Journal
from mainstay.intercept.receipt import Totals, render_receipt, render_size


def test_a_quiet_run():
    """Nothing went past, nothing was refused."""
    totals = Totals(
        requests=31,
        files=12,
        bytes=3_400_000,
        cached_bytes=3_100_000,
        upstream_requests=1,
        upstream_bytes=300_000,
        saved_requests=30,
        saved_bytes=3_100_000,
    )
    assert render_receipt(totals, Journal(), 4.23) == (
        "mainstay: receipt\n"
        "  served            12 files, 3.4 MB in 31 requests\n"
        "  from cache        3.1 MB\n"
        "  from upstream     300.0 kB in 1 request\n"
        "  upstream saved    30 requests, 3.1 MB\n"
        "  time              4.2 s\n"
    )


def test_everything_worth_knowing_is_there_once():
    """Refusals with their reason, hosts past the gateway, clients that do not trust, local folders."""
    journal = Journal()
    journal.passage("forge.example:443").connections += 2
    journal.add_down("forge.example:443", 1_200_000)
    journal.refused["other.example:443"] += 1
    journal.failures["gone.example:443"] = "gone.example cannot be reached."
    journal.untrusting["registry.example:443"] = "tlsv1 alert unknown ca"
    journal.silent["files.example:443"] += 1
    journal.foreign = 1
    totals = Totals(refused=("left 6.6.6 is malware", "left 6.6.6 is malware"))
    text = render_receipt(totals, journal, 1, find_links=["/srv/wheels"], notes=["docker is not covered"])
    for part in (
        "refused           left 6.6.6 is malware\n",
        "past the gateway  forge.example:443: 2 connections, 0 B up, 1.2 MB down\n",
        "refused           other.example:443: no registry, 1 attempt\n",
        "not reached       gone.example:443: gone.example cannot be reached.\n",
        "not trusted       registry.example:443: a client broke off the handshake (tlsv1 alert unknown ca)",
        "not trusted?      files.example:443: a client connected 1 time and asked nothing\n",
        "refused           1 connection from other users of this machine\n",
        "local folder      /srv/wheels",
        "note              docker is not covered\n",
    ):
        assert text.count(part) == 1, part


def test_what_a_stranger_sent_starts_no_row_and_says_nothing_to_the_terminal():
    """A refusal quotes the other side, which may want to look like us."""
    totals = Totals(refused=("no\n  from upstream     0 B in 0 requests\x1b[2J\x9b1m",))
    journal = Journal(failures={"h.example:443": "HTTP/1.1 407 \x1b]0;x\x07"})
    text = render_receipt(totals, journal, 1)
    assert text.count("\n  from upstream") == 1
    assert text.replace("\n", "").isprintable()


def test_a_host_that_was_asked_is_not_suspected_of_distrust():
    """Clients open spare connections."""
    journal = Journal()
    journal.silent["registry.example:443"] += 1
    journal.requests["registry.example:443"] += 1
    assert "not trusted" not in render_receipt(Totals(), journal, 1)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (1_234_567, "1.2 MB"), (5 * 10**12, "5.0 TB")],
)
def test_sizes_are_decimal(size, text):
    """As registries state them."""
    assert render_size(size) == text
