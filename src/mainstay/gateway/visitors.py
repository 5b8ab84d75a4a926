"""Who is at the other end of a request: the consumer that calls, and the program that it calls with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mainstay.access.identity import Caller, Callers
from mainstay.access.tokens import find_token
from mainstay.errors import ConfigError
from mainstay.usage.event import Client
from mainstay.usage.recognise import recognise
from mainstay.usage.surroundings import CLIENT_HEADER, Surroundings, agent_word, place, with_surroundings


@dataclass(frozen=True, slots=True)
class Visitor:
    """`caller` is None where only the address of the connection says who it is. `authorization` is a credential that
    the caller shows and that is none of ours: it is for upstream."""

    caller: Caller | None
    client: Client
    authorization: str = ""


class Visitors:
    """Recognises callers by what their requests say."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    @property
    def is_current(self) -> bool:
        """Whether `current` would take in nothing."""
        return self._callers.is_current

    async def current(self) -> None:
        """Take in what has changed of consumers and tokens."""
        await self._callers.refresh()

    def visitor(self, headers: Mapping[str, str], path_token: str = "") -> Visitor:
        """From headers, by their lower-case names, and the token in the path. The agent that a token is for counts
        before all that the program says of one.

        Raises:
            UnknownToken: it shows a token of ours that is not in force.
        """
        token = path_token or find_token(headers) or ""
        caller = self._callers.by_token(token) if token else None
        authorization = headers.get("authorization", "")
        if authorization and find_token({"authorization": authorization}):
            authorization = ""
        client = recognise(headers.get("user-agent", ""))
        if said := headers.get(CLIENT_HEADER):
            client = with_surroundings(client, said)
        if caller is not None and caller.agent:
            # Whoever gave the token out knows better than the program that was given it.
            client = place(client, Surroundings(agent=caller.agent))
        return Visitor(caller, client, authorization)

    def at(self, address: str) -> Caller:
        """Who calls from there, where nothing else says it."""
        return self._callers.by_address(address)


def parse_agent(text: str) -> str:
    """The coding agent that a person says a token is for, by the name that is used here for it.

    Raises:
        ConfigError: not one plain word.
    """
    if word := agent_word(text.strip()):
        return word
    raise ConfigError(
        f"{text!r} is not an agent's name.",
        hint="Write one word such as claude-code: at most 32 letters, digits, dashes, underscores and plus signs.",
    )
