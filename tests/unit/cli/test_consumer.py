"""`mainstay consumer` as a person or a script calls it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from doubles.gateway import Gateway, clean_environ
from mainstay.access.consumers import add_consumer, list_consumers
from mainstay.access.tokens import is_whole
from mainstay.config import Config
from mainstay.db.engine import Database

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a gateway that has run."""
    Database.open(tmp_path / "data").close()
    return tmp_path / "data"


@pytest.fixture
def run(folder: Path) -> Run:
    """Call `mainstay consumer` on that folder."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = Gateway.command("consumer", *words, "--data", str(folder))
        return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)

    return call


def answer(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """The one JSON document on standard output."""
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document.pop("schema") == 1
    return document


def test_a_consumers_life_in_json(run: Run) -> None:
    """Added, listed, changed, given a token, revoked, removed; a token is printed when it is made and never again."""
    added = answer(run("add", "ci", "--network", "10.1.0.0/16", "--network", "2001:db8::/32", "--json"))
    first = added.pop("token")
    assert is_whole(first)
    networks = ["10.1.0.0/16", "2001:db8::/32"]
    assert added == {"consumer": "ci", "tier": "free", "admin": False, "networks": networks, "agent": ""}
    changed = answer(run("change", "ci", "--network", "10.2.0.0/16", "--json"))
    assert changed == {"consumer": "ci", "tier": "free", "admin": False, "networks": ["10.2.0.0/16"]}
    second = answer(run("token", "ci", "--json"))["token"]
    assert is_whole(second) and second != first
    assert answer(run("token", "ci", "--revoke", first[:8], "--json")) == {"consumer": "ci", "revoked": [first[:8]]}
    listed = run("list", "--json")
    assert first[8:] not in listed.stdout and second[8:] not in listed.stdout
    (entry,) = answer(listed)["consumers"]
    assert (entry["consumer"], entry["tier"], entry["networks"]) == ("ci", "free", ["10.2.0.0/16"])
    assert [(token["hint"], bool(token["revoked"])) for token in entry["tokens"]] == [
        (first[:8], True),
        (second[:8], False),
    ]
    assert answer(run("change", "ci", "--no-network", "--json"))["networks"] == []
    assert answer(run("token", "ci", "--revoke-all", "--json"))["revoked"] == [second[:8]]
    assert answer(run("token", "ci", "--revoke-all", "--json"), 1) == {"consumer": "ci", "revoked": []}
    assert answer(run("remove", "ci", "--json")) == {"consumer": "ci", "revoked": []}
    assert answer(run("list", "--json")) == {"consumers": []}


def test_a_consumers_life_in_words(run: Run) -> None:
    """What a person reads; nothing is written to standard error."""
    assert "consumer add NAME" in run("list").stdout
    added = run("add", "ci", "--network", "10.1.0.0/16")
    (token,) = re.findall(r"^    (mst_\w{38})$", added.stdout, re.MULTILINE)
    assert added.stdout.startswith("ci: tier free, networks 10.1.0.0/16\n") and is_whole(token)
    other = run("token", "ci").stdout.strip()
    assert is_whole(other) and other != token
    assert run("token", "ci", "--revoke", token[:8]).stdout == f"ci: revoked: {token[:8]}\n"
    again = run("token", "ci", "--revoke", token[:8])
    assert (again.returncode, again.stdout) == (1, "ci: no such token is in force\n")
    shown = run("list").stdout
    assert re.search(
        rf"^ci  tier free  10.1.0.0/16\n    {token[:8]}\.\.\.  since \S+Z  revoked \S+Z$", shown, re.MULTILINE
    )
    assert run("change", "ci", "--no-network").stdout == "ci: tier free\n"
    removed = run("remove", "ci")
    assert removed.stdout == f"ci: removed, revoked: {other[:8]}\n" and removed.stderr == ""


def test_administrators_and_agents_are_marked(run: Run) -> None:
    """In JSON and in words; an agent by the name that is used here for it."""
    added = answer(run("add", "ci", "--admin", "--agent", "Claude", "--json"))
    assert (added["admin"], added["agent"]) == (True, "claude-code")
    assert answer(run("token", "ci", "--agent", "my-agent", "--json"))["agent"] == "my-agent"
    shown = run("list").stdout
    assert shown.startswith("ci  tier free  administrator\n")
    assert re.findall(r"agent (\S+)$", shown, re.MULTILINE) == ["claude-code", "my-agent"]
    (entry,) = answer(run("list", "--json"))["consumers"]
    assert entry["admin"] and [token["agent"] for token in entry["tokens"]] == ["claude-code", "my-agent"]
    assert run("change", "ci", "--no-admin").stdout == "ci: tier free\n"
    assert run("change", "ci", "--admin").stdout == "ci: tier free, administrator\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "a b"), "not a consumer's name"),
        (("add", "anonymous"), "is taken"),
        (("add", "ci"), "There is a consumer ci already"),
        (("add", "other", "--network", "10.1.0.0/16"), "10.1.0.0/16 belongs to the consumer ci"),
        (("add", "other", "--network", "10.1.0.1/16"), "Did you mean 10.1.0.0/16?"),
        (("add", "other", "--tier", "gold"), "There are: free."),
        (("change", "ci"), "Nothing is to be changed"),
        (("change", "ci", "--network", "10.1.0.0/16", "--no-network"), "exclude one another"),
        (("add", "other", "--agent", "two words"), "is not an agent's name"),
        (("token", "ci", "--agent", "no"), "is not an agent's name"),
        (("token", "ci", "--agent", "codex", "--revoke-all"), "for a token that is made"),
        (("token", "cii"), "Did you mean ci?"),
        (("remove", "nobody"), "There is no consumer 'nobody'"),
        (("add",), "Missing argument"),
        (("nothing",), "No such command"),
    ],
)
def test_wrong_use_is_2_with_words(run: Run, folder: Path, words: tuple[str, ...], said: str) -> None:
    """On standard error, and nothing is changed."""
    config = Config(data=str(folder))
    add_consumer(config, "ci", "free", ["10.1.0.0/16"])
    before = list_consumers(config)
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr
    assert list_consumers(config) == before


def test_a_tier_of_the_settings_can_be_given(run: Run, tmp_path: Path) -> None:
    """By the file that --config names."""
    settings = tmp_path / "mainstay.toml"
    settings.write_text("[tiers.gold]\nweight = 4\n")
    assert answer(run("add", "ci", "--tier", "gold", "--config", str(settings), "--json"))["tier"] == "gold"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """And not made."""
    command = Gateway.command("consumer", "add", "ci", "--data", str(tmp_path / "typo"))
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no data folder" in done.stderr and not (tmp_path / "typo").exists()
