"""Where a client runs, told by the environment and passed on in a header."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.usage.event import Client
from mainstay.usage.surroundings import (
    AGENTS,
    CI_VENDORS,
    UNNAMED,
    Surroundings,
    agent_word,
    ci_word,
    detect,
    parse_surroundings,
    render_surroundings,
    with_surroundings,
)

CLEAN = re.compile(r"(?:[a-z0-9][a-z0-9_+-]{0,31})?", re.ASCII)
PERSON = Client(name="pip", version="24.0", kind="person", system="linux")


def environ_of(sign: str) -> dict[str, str]:
    """The variables that make one sign of the tables be there."""
    return {name: value or "1" for name, _, value in (part.partition("=") for part in sign.split())}


@pytest.mark.parametrize(("vendor", "sign"), [(vendor.name, sign) for vendor in CI_VENDORS for sign in vendor.signs])
def test_each_ci_system_is_known_by_each_of_its_variables(vendor, sign):
    """Alone, and beside the CI variable that most of them set too."""
    assert detect(environ_of(sign)) == Surroundings(ci=True, ci_vendor=vendor)
    assert detect({"CI": "true"} | environ_of(sign)) == Surroundings(ci=True, ci_vendor=vendor)


@pytest.mark.parametrize(("agent", "sign"), [(agent.name, sign) for agent in AGENTS for sign in agent.signs])
def test_each_agent_is_known_by_each_of_its_variables(agent, sign):
    """An agent alone is not CI."""
    assert detect(environ_of(sign)) == Surroundings(agent=agent)


def test_the_tables_are_long_enough_to_be_of_use():
    """What the most used systems and agents are called does not change by accident: the ledger keeps it."""
    vendors = {vendor.name for vendor in CI_VENDORS}
    assert vendors >= set(
        "github-actions gitlab jenkins circleci azure-pipelines travis buildkite teamcity bitbucket appveyor drone "
        "woodpecker cirrus aws-codebuild google-cloud-build semaphore netlify vercel".split()
    )
    assert {agent.name for agent in AGENTS} >= set("claude-code cursor gemini-cli codex opencode cline copilot".split())
    names = [name for known in (*CI_VENDORS, *AGENTS) for name in (known.name, *known.also)]
    assert len(set(names)) == len(names)
    assert all(CLEAN.fullmatch(name) for name in names)


@pytest.mark.parametrize("name", ["CI", "CONTINUOUS_INTEGRATION", "BUILD_BUILDID", "BUILD_ID", "BUILD_NUMBER"])
def test_ci_of_an_unknown_kind_has_no_vendor(name):
    """Such as a script of one's own that sets CI."""
    assert detect({name: "4711"}) == Surroundings(ci=True)


def test_no_variable_is_no_ci_and_no_agent():
    """An ordinary environment, also one with the variables of an editor or with keys for a model."""
    assert detect({"SHELL": "/bin/sh", "TERM_PROGRAM": "vscode", "ANTHROPIC_API_KEY": "x"}) == Surroundings()
    assert detect({}) == Surroundings()


@pytest.mark.parametrize("value", ["", "0", "false", "False", "no", "off", " "])
def test_a_variable_that_says_no_is_not_set(value):
    """As people write it to switch one off."""
    assert detect({"CI": value}) == Surroundings()
    assert detect({"GITHUB_ACTIONS": value, "CLAUDECODE": value, "AI_AGENT": value}) == Surroundings()


def test_ci_false_overrules_all_signs():
    """The way out for a person at a terminal of such a system."""
    assert detect({"CI": "false", "GITLAB_CI": "true", "CLAUDECODE": "1"}) == Surroundings(agent="claude-code")
    assert detect({"CI": "", "GITLAB_CI": "true"}) == Surroundings(ci=True, ci_vendor="gitlab")


def test_a_sign_of_two_variables_needs_both():
    """JENKINS_URL alone is set also by people who talk to a Jenkins."""
    assert detect({"JENKINS_URL": "http://ci.example"}) == Surroundings()
    assert detect({"JENKINS_URL": "http://ci.example", "BUILD_ID": "7"}) == Surroundings(ci=True, ci_vendor="jenkins")


def test_an_imitator_is_told_from_the_system_that_it_imitates():
    """Gitea sets GitHub's variables beside its own."""
    assert detect({"GITHUB_ACTIONS": "true", "GITEA_ACTIONS": "true"}).ci_vendor == "gitea-actions"


def test_two_agents_are_none():
    """One that starts another is not told from it, so neither is named."""
    assert detect({"CLAUDECODE": "1", "CURSOR_AGENT": "1"}).agent == ""
    assert detect({"CLAUDECODE": "1", "AI_AGENT": "codex"}).agent == ""


@pytest.mark.parametrize(
    ("value", "agent"),
    [
        ("claude", "claude-code"),
        ("Cursor-CLI", "cursor"),
        ("devin@1", "devin"),
        ("my_own-agent", "my_own-agent"),
        ("1", UNNAMED),
        ("agent.corp.example", ""),
        ("jane@corp.example", ""),
        ("a b", ""),
    ],
)
def test_any_agent_can_name_itself(value, agent):
    """By AI_AGENT, with a version behind an @; one that two variables name alike is one."""
    assert detect({"AI_AGENT": value}).agent == agent
    assert detect({"AI_AGENT": "claude", "CLAUDECODE": "1"}).agent == "claude-code"


def test_the_header_says_what_the_environment_tells():
    """And nothing is sent where there is nothing to say."""
    assert render_surroundings({}) == ""
    assert render_surroundings({"CI": "1"}) == "ci=yes"
    assert render_surroundings({"CLAUDE_CODE": "1"}) == "agent=claude-code"
    both = {"GITHUB_ACTIONS": "true", "CLAUDECODE": "1", "CI": "true"}
    assert render_surroundings(both) == "ci=github-actions; agent=claude-code"


@given(st.dictionaries(st.sampled_from(["CI", "GITLAB_CI", "CLAUDECODE", "CODEX_CI", "AI_AGENT"]), st.text()))
def test_what_is_rendered_is_parsed_to_the_same(environ):
    """Whatever the variables hold."""
    rendered = render_surroundings(environ)
    assert parse_surroundings(rendered) == detect(environ)
    assert re.fullmatch(r"[a-z0-9_+=; -]*", rendered)


@pytest.mark.parametrize(
    ("said", "parsed"),
    [
        ("ci=github-actions; agent=claude-code", Surroundings(True, "github-actions", "claude-code")),
        ("ci=gitlab-ci agent=codex-cli", Surroundings(True, "gitlab", "codex")),
        ("team=web, ci=yes, agent=yes", Surroundings(True, "", UNNAMED)),
        ("ci=True", Surroundings(True)),
        ("ci=no; agent=no", Surroundings()),
        ("ci=; agent=", Surroundings()),
        ("ci; agent", Surroundings()),
        ("ci=runner-7.corp.example", Surroundings()),
        ("ci=/srv/jobs; agent=jane:secret", Surroundings()),
        ("ci=runner-7.corp.example; ci=drone", Surroundings(True, "drone")),
        ("ci=drone; ci=gitlab", Surroundings(True, "drone")),
        ("CI=drone", Surroundings()),
        ("precise=1; xci=drone", Surroundings()),
        ("ci=" + "a" * 33, Surroundings()),
        ("x" * 600 + " ci=drone", Surroundings()),
    ],
)
def test_only_clean_words_are_taken_from_what_is_said(said, parsed):
    """No host name, path or address, and nothing that is too long."""
    assert parse_surroundings(said) == parsed


@given(st.text() | st.lists(st.sampled_from(["ci=", "agent=", ";", " ", ",", "yes", "gitlab", "=", "@", "é", "\0"])))
def test_any_text_is_parsed_to_clean_words(said):
    """It never raises, and a vendor comes only with CI."""
    found = parse_surroundings(said if isinstance(said, str) else "".join(said))
    assert CLEAN.fullmatch(found.ci_vendor) and CLEAN.fullmatch(found.agent)
    assert found.ci or not found.ci_vendor


def test_ci_makes_a_person_and_an_unknown_one_ci():
    """The vendor is kept, all else of the client too."""
    found = with_surroundings(PERSON, "ci=drone")
    assert found == Client(name="pip", version="24.0", kind="ci", system="linux", ci=True, ci_vendor="drone")
    assert with_surroundings(Client(name="cargo"), "ci=yes") == Client(name="cargo", kind="ci", ci=True)


@pytest.mark.parametrize("kind", ["mirror", "scanner", "updater", "agent"])
def test_what_is_more_than_ci_stays_what_it_is(kind):
    """A scanner in CI cannot become something that goes before scanners; that it is in CI is kept beside."""
    assert with_surroundings(Client(name="x", kind=kind), "ci=drone") == Client(
        name="x", kind=kind, ci=True, ci_vendor="drone"
    )


def test_an_agent_goes_before_ci():
    """An agent in CI is of class agent, and in CI."""
    found = with_surroundings(PERSON, "ci=gitlab; agent=codex")
    assert (found.kind, found.ci, found.ci_vendor, found.agent) == ("agent", True, "gitlab", "codex")


def test_silence_changes_nothing():
    """What the client said of itself stays; and what is said anew goes before it."""
    client = Client(name="npm", kind="ci", ci=True, ci_vendor="travis", agent="")
    assert with_surroundings(client, "") is client
    assert with_surroundings(client, "agent=no; nonsense") is client
    assert with_surroundings(client, "ci=yes").ci_vendor == "travis"
    assert with_surroundings(client, "ci=drone").ci_vendor == "drone"
    started = with_surroundings(client, "agent=codex")
    assert (started.kind, started.ci, started.ci_vendor) == ("agent", True, "travis")


def test_other_names_of_a_vendor_or_agent_are_one():
    """As npm and Bundler call them, and as people do."""
    assert [ci_word(word) for word in ("github", "GitLab-CI", "circle", "travis-ci")] == [
        "github-actions", "gitlab", "circleci", "travis",
    ]  # fmt: skip
    assert [ci_word(word) for word in ("ci", "custom", "yes", "")] == [""] * 4
    assert [agent_word(word) for word in ("claude", "gemini@2.1", "on", "off")] == [
        "claude-code", "gemini-cli", UNNAMED, "",
    ]  # fmt: skip
