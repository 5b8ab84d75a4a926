"""`mainstay usage statement` as a person or a script calls it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from doubles.gateway import Gateway, clean_environ
from mainstay.cli.usage_statement import statement
from mainstay.errors import ConfigError
from mainstay.usage.statement_lines import GATEWAY
from unit.usage.test_costs import calculate
from unit.usage.test_statement import OTHER, PRIVATE, PUBLIC, ROUND, ROWS, write_ledger

Call = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with use of a public and of a private upstream, beside it settings and costs."""
    place = tmp_path_factory.mktemp("statement")
    rows = [*ROWS, ("team-a", "npm", OTHER, 3, 30, 3, 4 * 10**15), ("team-a", "pypi", PRIVATE, 7, 70, 6, 60)]
    write_ledger(place / "data", rows)
    (place / "costs.toml").write_text(ROUND)
    (place / "mainstay.toml").write_text(
        f'[[ecosystems.pypi.upstream]]\nurl = "{PRIVATE}/"\nprivate = true\n'
        f'[[ecosystems.pypi.upstream]]\nurl = "{PUBLIC}/"\n'
    )
    return place


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    """Call the command in this process: what it prints, and what it says on standard error."""
    monkeypatch.setattr("mainstay.telemetry.log.configure_logging", lambda level: None)

    def run(**words: Any) -> tuple[str, str]:
        statement(**{"month": "2026-10", "data": folder / "data"} | words)
        done = capsysbinary.readouterr()
        return done.out.decode(), done.err.decode()

    return run


def run(folder: Path, *words: str) -> dict[str, Any]:
    """The JSON document that the program prints, called with the settings of that folder."""
    command = Gateway.command(*words, "--json", "--data", str(folder / "data"))
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_every_amount_follows_from_the_rows_of_the_command_that_is_named(folder):
    """The command is run as it stands there; each line is reckoned again from its rows and the costs, by hand."""
    places = ("--config", str(folder / "mainstay.toml"), "--costs", str(folder / "costs.toml"))
    document = run(folder, "usage", "statement", "--month", "2026-10", *places)
    program, *words = shlex.split(document["command"])
    assert program == "mainstay"
    rows = {(row["consumer"], row["ecosystem"], row["upstream"]): row for row in run(folder, *words)["rows"]}
    lines = [line for line in document["lines"] if line["registry"] == "round"]
    assert {line["consumer"] for line in lines} == {"team-a", "team-b"}
    for line in lines:
        own, gateway = (rows[tuple(row.values())] for row in line["rows"])
        assert gateway["consumer"] == GATEWAY
        replies = sum(row["requests"] for at, row in rows.items() if at[1:] == (line["ecosystem"], line["upstream"]))
        shared = gateway["upstream_bytes"] * Fraction("0.00005") + gateway["upstream_requests"] * Fraction("0.03")
        exact = own["upstream_bytes"] * Fraction("0.00005") + own["upstream_requests"] * Fraction("0.03")
        exact += own["requests"] * Fraction("0.12") + shared * Fraction(own["requests"], replies)
        assert sum(calculate(text) for part, text in line["formulas"].items() if part != "without") == exact
        assert abs(line["amount_minor"] - exact * 100) < 1
    assert [use["upstream"] for use in document["unpriced"]] == [PRIVATE]
    assert document["total_minor"] == sum(line["amount_minor"] for line in document["lines"]) > 6250


def test_it_is_a_text_unless_told_otherwise(call):
    """In dollars; what is lost stands in it."""
    text, said = call()
    assert text.startswith("statement from 2026-10-01 to 2026-10-31 (UTC), in USD\n") and said == ""
    assert "LOST: 3 events in lost.log" in text


def test_it_is_of_one_consumer_and_in_another_currency_where_asked(call):
    """As CSV, which has no place for what is lost: that is said on standard error."""
    table, said = call(form="csv", currency="EUR", consumer="team-b")
    assert table.count("team-b") == 1 and "team-a" not in table and ",EUR," in table
    assert "LOST: 3 events in lost.log" in said


def test_it_is_written_where_asked(call, tmp_path):
    """Nothing is printed then."""
    path = tmp_path / "statement.html"
    assert call(form="html", output=path) == ("", "")
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>") and "lost.log" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"form": "pdf"}, "--format pdf is not a format. Allowed: text, json, csv, html."),
        ({"currency": "GBP"}, "--currency GBP has no rate. Allowed: USD, EUR;"),
        ({"costs": Path("none.toml")}, "none.toml: no such file. Name an existing file with --costs."),
        ({"output": Path("none/at/all")}, "--output none/at/all: No such file or directory."),
        ({"since": "7 days"}, "--month stands in the place of --since and --until."),
        ({"engine": "hive"}, "--engine hive is not an engine."),
    ],
)
def test_a_wrong_word_is_refused_with_what_to_do(call, words, said):
    """As wrong use."""
    with pytest.raises(ConfigError) as caught:
        call(**words)
    assert caught.value.diagnostics().startswith(said)
