"""Who is told from a request, and as what."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.access.consumers import add_consumer, issue_token
from mainstay.access.identity import Callers
from mainstay.config import Config
from mainstay.db.engine import Database
from mainstay.errors import ConfigError
from mainstay.gateway.visitors import Visitors, parse_agent
from mainstay.store.shared import Shared
from mainstay.usage.event import Client

PIP = 'pip/26.3 {"ci":true,"cpu":"x86_64","implementation":{"name":"CPython","version":"3.11.7"}}'


@pytest.fixture
async def known(tmp_path: Path) -> tuple[Visitors, str, str]:
    """Visitors, the token of a coding agent, and one of the same consumer's own."""
    database, config = Database.open(tmp_path), Config(data=str(tmp_path))
    _, agents = add_consumer(config, "one", "free", [], agent="claude-code")
    own = issue_token(config, "one")
    visitors = Visitors(Callers(database, Shared(tmp_path / "shared.bin"), tmp_path / "usage"))
    await visitors.current()
    database.close()
    return visitors, agents, own


async def test_the_agent_of_a_token_counts_whatever_the_program_says(known: tuple[Visitors, str, str]) -> None:
    """In a header or in the path; of CI it stays what was said."""
    visitors, token, own = known
    for said in ({}, {"mainstay-client": "ci=gitlab"}, {"mainstay-client": "agent=codex; ci=gitlab"}):
        plain = visitors.visitor({"user-agent": PIP, "mainstay-token": own, **said}).client
        for shown, path in ({"mainstay-token": token}, ""), ({"authorization": f"Bearer {token}"}, ""), ({}, token):
            visitor = visitors.visitor({"user-agent": PIP, **shown, **said}, path)
            client = visitor.client
            assert visitor.caller is not None and visitor.caller.consumer == "one"
            assert (client.kind, client.agent) == ("agent", "claude-code")
            assert (client.name, client.ci, client.ci_vendor) == (plain.name, plain.ci, plain.ci_vendor) and plain.ci
    assert visitors.visitor({"mainstay-token": token}).client == Client(kind="agent", agent="claude-code")


async def test_a_token_of_nobody_in_particular_says_nothing_of_agents(known: tuple[Visitors, str, str]) -> None:
    """There the program is asked, as ever."""
    visitors, _, own = known
    assert visitors.visitor({"user-agent": PIP, "mainstay-token": own}).client.kind == "ci"
    assert visitors.visitor({"mainstay-token": own, "mainstay-client": "agent=codex"}).client.agent == "codex"


@pytest.mark.parametrize(
    ("text", "agent"),
    [("claude-code", "claude-code"), (" Claude ", "claude-code"), ("codex-cli", "codex"), ("yes", "unnamed")],
)
def test_an_agent_has_one_name(text: str, agent: str) -> None:
    """The one by which it is found in the ledger however it makes itself known."""
    assert parse_agent(text) == agent


@pytest.mark.parametrize("text", ["", "no", "two words", "host.example", "a/b", "é", "x" * 33, "mst_A@x"])
def test_what_is_no_plain_word_is_no_agent(text: str) -> None:
    """It would be written into the ledger as it is."""
    with pytest.raises(ConfigError, match="not an agent's name"):
        parse_agent(text)
