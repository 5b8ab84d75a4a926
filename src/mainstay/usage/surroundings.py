"""Where a client runs: in CI, or started by a coding agent. Told by the environment, and passed on in a header.

Package managers say little of it, and nothing of agents, in their User-Agent. `mainstay run` sees the environment that
they are started in, and says it to the gateway in `Mainstay-Client: ci=github-actions; agent=claude-code`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import msgspec

from mainstay.usage.event import Client

CLIENT_HEADER = "mainstay-client"
LONGEST_TEXT = 512
"""What is said beyond these characters is not looked at."""
UNNAMED = "unnamed"
"""The agent where one is there and says no name."""


class Surroundings(NamedTuple):
    """What is known of where a client runs; "" where it is not known. A vendor without `ci` does not occur."""

    ci: bool = False
    ci_vendor: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """One CI system or agent. Any of `signs` shows it: words that must all be set, or with `=`, set to that value.
    `also` is what others call it."""

    name: str
    signs: tuple[str, ...]
    also: tuple[str, ...] = ()


# From the vendors' own documentation of the variables that they set. Where one sets another's variables too, to run
# what was written for it, the imitator comes first.
CI_VENDORS: tuple[_Known, ...] = (
    _Known("gitea-actions", ("GITEA_ACTIONS", "FORGEJO_ACTIONS"), ("forgejo-actions",)),
    _Known("github-actions", ("GITHUB_ACTIONS",), ("github", "githubactions")),
    _Known("gitlab", ("GITLAB_CI",), ("gitlab-ci",)),
    _Known("jenkins", ("JENKINS_URL BUILD_ID",)),
    _Known("circleci", ("CIRCLECI",), ("circle",)),
    _Known("azure-pipelines", ("TF_BUILD", "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI")),
    _Known("travis", ("TRAVIS",), ("travis-ci",)),
    _Known("buildkite", ("BUILDKITE",)),
    _Known("teamcity", ("TEAMCITY_VERSION",)),
    _Known("bitbucket", ("BITBUCKET_BUILD_NUMBER", "BITBUCKET_COMMIT"), ("bitbucket-pipelines",)),
    _Known("appveyor", ("APPVEYOR",)),
    _Known("woodpecker", ("CI=woodpecker", "CI_SYSTEM_NAME=woodpecker"), ("woodpecker-ci",)),
    _Known("drone", ("DRONE",)),
    _Known("cirrus", ("CIRRUS_CI",), ("cirrus-ci",)),
    _Known("aws-codebuild", ("CODEBUILD_BUILD_ARN",), ("codebuild",)),
    _Known("google-cloud-build", ("BUILDER_OUTPUT",)),
    _Known("semaphore", ("SEMAPHORE",)),
    _Known("netlify", ("NETLIFY",), ("netlify-ci",)),
    _Known("vercel", ("VERCEL", "NOW_BUILDER")),
    _Known("cloudflare-pages", ("CF_PAGES",)),
    _Known("render", ("RENDER",)),
    _Known("heroku", ("HEROKU_TEST_RUN_ID",)),
    _Known("bamboo", ("bamboo_planKey",)),
    _Known("bitrise", ("BITRISE_IO",)),
    _Known("buddy", ("BUDDY_WORKSPACE_ID",)),
    _Known("codefresh", ("CF_BUILD_ID",)),
    _Known("codemagic", ("CM_BUILD_ID",)),
    _Known("codeship", ("CI_NAME=codeship",)),
    _Known("gocd", ("GO_PIPELINE_LABEL",)),
    _Known("harness", ("HARNESS_BUILD_ID",)),
    _Known("taskcluster", ("TASK_ID RUN_ID",)),
    _Known("xcode-cloud", ("CI_XCODE_PROJECT",)),
)
# Set by CI systems of every kind; the list that pip and uv go by, and the two that builds on others look at.
_CI_SIGNS = ("CI", "CONTINUOUS_INTEGRATION", "BUILD_BUILDID", "BUILD_ID", "BUILD_NUMBER", "PIP_IS_CI")

# Only what an agent sets for the commands that it runs itself: variables of the editor around it, and keys and settings
# that a person exports, are there also where no agent is at work.
AGENTS: tuple[_Known, ...] = (
    _Known("claude-code", ("CLAUDECODE", "CLAUDE_CODE"), ("claude", "claudecode")),
    _Known("cursor", ("CURSOR_AGENT",), ("cursor-cli", "cursor-agent")),
    _Known("gemini-cli", ("GEMINI_CLI",), ("gemini",)),
    _Known("codex", ("CODEX_SANDBOX", "CODEX_CI", "CODEX_THREAD_ID"), ("codex-cli", "openai-codex")),
    _Known("opencode", ("OPENCODE",)),
    _Known("cline", ("CLINE_ACTIVE",)),
    _Known("antigravity", ("ANTIGRAVITY_AGENT",)),
    _Known("augment", ("AUGMENT_AGENT",), ("augment-agent", "auggie")),
    _Known("copilot", ("COPILOT_AGENT_SESSION_ID", "COPILOT_CLI"), ("github-copilot", "copilot-cli")),
    _Known("goose", ("GOOSE_TERMINAL", "AGENT=goose")),
    _Known("amp", ("AMP_CURRENT_THREAD_ID", "AGENT=amp")),
)
_ANY_AGENT = "AI_AGENT"

_YES = frozenset({"yes", "true", "1", "on"})
_NO = frozenset({"", "no", "false", "0", "off"})
# No dot, slash, colon or at sign: what passes is no host name, address, path or e-mail address.
_WORD = re.compile(r"[a-z0-9][a-z0-9_+-]{0,31}", re.ASCII)
_PART = re.compile(r"[^\s;,]+")
_VENDOR_NAMES = {name: vendor.name for vendor in CI_VENDORS for name in (vendor.name, *vendor.also)}
_AGENT_NAMES = {name: agent.name for agent in AGENTS for name in (agent.name, *agent.also)}


def detect(environ: Mapping[str, str]) -> Surroundings:
    """Where a command with this environment runs. `CI=false` says that it is not in CI, whatever else is set.

    An agent is named only where the signs of exactly one are there: one that starts another is not told from it.
    """
    vendor = next((vendor.name for vendor in CI_VENDORS if _shows(environ, vendor.signs)), "")
    ci = bool(vendor) or _shows(environ, _CI_SIGNS)
    if "CI" in environ and environ["CI"].strip().lower() in _NO - {""}:
        ci, vendor = False, ""
    agents = {agent.name for agent in AGENTS if _shows(environ, agent.signs)}
    if named := agent_word(environ.get(_ANY_AGENT, "")):
        agents.add(named)
    return Surroundings(ci, vendor, agents.pop() if len(agents) == 1 else "")


def render_surroundings(environ: Mapping[str, str]) -> str:
    """The value of the header for what `environ` tells; "" where it tells nothing."""
    found = detect(environ)
    parts = []
    if found.ci:
        parts.append(f"ci={found.ci_vendor or 'yes'}")
    if found.agent:
        parts.append(f"agent={found.agent}")
    return "; ".join(parts)


def parse_surroundings(said: str) -> Surroundings:
    """What a text says by its words `ci=` and `agent=`, between blanks, semicolons or commas. Of each, the first that
    is a clean word counts; all else is passed over. Takes any text and never raises."""
    return _parse(said[:LONGEST_TEXT])


def with_surroundings(client: Client, said: str) -> Client:
    """The client, with what a `Mainstay-Client` header says of where it runs."""
    return place(client, parse_surroundings(said))


def place(client: Client, where: Surroundings) -> Client:
    """The client in its surroundings. These know better than the client; where they are silent, it is kept.

    What an agent starts is of class `agent`. What runs in CI is `ci`, unless it is a mirror, a scanner or an updater:
    these are that wherever they run.
    """
    if not where.ci and not where.agent:
        return client
    vendor = where.ci_vendor or client.ci_vendor
    kind = "ci" if where.ci and client.kind in ("person", "unknown") else client.kind
    return msgspec.structs.replace(
        client,
        kind="agent" if where.agent else kind,
        ci=where.ci or client.ci,
        ci_vendor=vendor,
        agent=where.agent or client.agent,
    )


def clean_word(text: str) -> str:
    """`text` in lower case if it is one plain word of at most 32 characters, else ""."""
    word = text.lower()
    return word if _WORD.fullmatch(word) else ""


def ci_word(text: str) -> str:
    """The CI system that a word names, by the name used here for it; "" for a word that is not clean or names none."""
    word = clean_word(text)
    return "" if word in _YES | _NO | {"ci", "custom"} else _VENDOR_NAMES.get(word, word)


def agent_word(text: str) -> str:
    """The same for an agent, whose version after an `@` is left out. A mere yes is an agent without a name."""
    name, at, version = text.partition("@")
    word = "" if at and not version[:1].isdecimal() else clean_word(name)
    return UNNAMED if word in _YES else "" if word in _NO else _AGENT_NAMES.get(word, word)


@lru_cache(maxsize=512)
def _parse(said: str) -> Surroundings:
    ci, vendor, agent = False, "", ""
    for part in _PART.findall(said):
        name, _, value = part.partition("=")
        if name == "ci" and not ci:
            vendor = ci_word(value)
            ci = bool(vendor) or value.lower() in _YES
        elif name == "agent" and not agent:
            agent = agent_word(value)
    return Surroundings(ci, vendor, agent)


def _shows(environ: Mapping[str, str], signs: tuple[str, ...]) -> bool:
    return any(all(_is_set(environ, part) for part in sign.split()) for sign in signs)


def _is_set(environ: Mapping[str, str], part: str) -> bool:
    name, _, wanted = part.partition("=")
    value = environ.get(name, "").strip().lower()
    return value == wanted if wanted else value not in _NO
