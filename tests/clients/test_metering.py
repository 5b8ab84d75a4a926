"""What real clients pulled is what the ledger says, byte for byte, for each of them."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.lane import Lane
from clients.stage import MAINSTAY
from doubles.relay import Relay
from doubles.upstream import wait_until


class Metered:
    """A gateway of the lane's kind, with consumers of its own."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.server = lane, lane.server
        self.server.ensure(cut=False)

    def add(self, *words: str) -> str:
        """A new consumer's token."""
        answer = self.ask("consumer", "add", *words)
        token = answer["token"]
        assert isinstance(token, str)
        return token

    def ask(self, *words: str) -> dict[str, Any]:
        """What a command says as JSON."""
        command = [*MAINSTAY, *words, "--json", "--data", str(self.server.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def rows(self, *by: str) -> dict[tuple[str, ...], dict[str, Any]]:
        """The summary by those columns."""
        rows = self.ask("usage", "summary", "--by", ",".join(by))["rows"]
        return {tuple(row[name] for name in by): row for row in rows}


@pytest.fixture
def metered(lane: Lane) -> Iterator[Metered]:
    """The lane's server."""
    return Metered(lane)


def test_the_summary_shows_for_each_consumer_exactly_what_its_client_received(metered: Metered) -> None:
    """pip with the token in its index address, npm with it as `_authToken`, go with it in the path."""
    stage, tools = metered.lane.stage, metered.lane.tools
    team = secrets.token_hex(4)
    tokens = {name: metered.add(f"{team}-{name}") for name in ("pip", "npm", "go")}
    received = {}
    for name, project, command, environ in (
        (
            "pip",
            "python",
            [tools.pip_newest, "download", "--no-cache-dir", "--dest", "wheels", "-r", "requirements.txt"],
            lambda at: {"PIP_INDEX_URL": f"http://token:{tokens['pip']}@{at}/pypi/simple/"},
        ),
        (
            "npm",
            "node",
            [tools.npm, "install", "--no-audit"],
            lambda at: {
                "npm_config_registry": f"http://{at}/npm/",
                f"npm_config_//{at}/npm/:_authToken": tokens["npm"],
                # What it asks for this is broken off when npm ends: sent, but not received.
                "npm_config_update_notifier": "false",
            },
        ),
        (
            "go",
            "go",
            [tools.go, "mod", "download"],
            lambda at: {"GOPROXY": f"http://{at}/t/{tokens['go']}/go", "GONOSUMDB": "*"},
        ),
    ):
        with Relay(metered.server.port) as relay:
            stage.reset(project)
            done = stage.call(command, stage.environ(Path(str(command[0])), **environ(f"127.0.0.1:{relay.port}")))
            assert done.returncode == 0, done.stdout + done.stderr
        received[name] = (relay.replies, relay.body_bytes)
    clients = {"pip": "pip", "npm": "npm", "go": "go-http-client"}

    def found() -> dict[str, tuple[int, int]]:
        rows = metered.rows("consumer", "client")
        mine = {name: rows.get((f"{team}-{name}", client)) for name, client in clients.items()}
        return {name: (row["requests"], row["bytes"]) for name, row in mine.items() if row is not None}

    # The last events are written a tenth of a second after their replies.
    wait_until(
        lambda: sum(requests for requests, _ in found().values()) >= sum(n for n, _ in received.values()), "them"
    )
    assert found() == received
