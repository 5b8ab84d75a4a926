"""What an administrator can do, from a page or by the API: each is written to the log with who did it, and every worker
follows with its next request. No token is in the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from packageurl import PackageURL

from mainstay.access import consumers as access
from mainstay.access.consumers import Listed
from mainstay.access.tiers import FREE
from mainstay.config import Config
from mainstay.db.consumers import Consumer
from mainstay.db.takedowns import Takedown, lift_takedowns, load_takedowns
from mainstay.errors import RequestError
from mainstay.gateway.visitors import parse_agent
from mainstay.store.shared import Shared
from mainstay.telemetry.log import get_logger

if TYPE_CHECKING:
    from mainstay.web.site import Site

_log = get_logger("mainstay.web")


def list_tiers(config: Config) -> list[str]:
    """The tiers that a consumer may have."""
    return sorted({FREE, *config.tiers})


async def load_listed(site: Site) -> list[Listed]:
    """Every consumer with its tokens' hints, by name."""
    return await asyncio.to_thread(access.list_consumers, site.config)


async def find_listed(site: Site, name: str) -> Listed | None:
    """One consumer, None where there is none of that name."""
    return next((entry for entry in await load_listed(site) if entry.consumer.name == name), None)


async def add(
    site: Site, by: str, name: str, tier: str, networks: Sequence[str], *, is_admin: bool, agent: str
) -> tuple[Consumer, str, str]:
    """Add a consumer; it, its first token, which can be had only now, and the agent that the token is for.

    Raises:
        ConfigError: a value that is not allowed, or a name or network that is taken.
    """
    word = parse_agent(agent) if agent.strip() else ""

    def work() -> tuple[Consumer, str]:
        return access.add_consumer(site.config, name, tier, networks, is_admin=is_admin, agent=word)

    entry, token = await asyncio.to_thread(work)
    _note("a consumer was added", by, entry, agent=word)
    return entry, token, word


async def change(
    site: Site, by: str, name: str, tier: str | None, networks: Sequence[str] | None, is_admin: bool | None
) -> Consumer:
    """Give a consumer another tier, other networks, or the administrator's mark; None leaves as it is.

    Raises:
        ConfigError: nothing is to be changed, no such consumer, or as `add`.
    """
    entry = await asyncio.to_thread(access.change_consumer, site.config, name, tier, networks, is_admin)
    _note("a consumer was changed", by, entry)
    return entry


async def remove(site: Site, by: str, name: str) -> list[str]:
    """Remove a consumer; the hints of its tokens, which are revoked.

    Raises:
        ConfigError: no such consumer.
    """
    hints = await asyncio.to_thread(access.remove_consumer, site.config, name)
    _log.info("a consumer was removed", by=by, consumer=name, hints=hints)
    return hints


async def issue(site: Site, by: str, name: str, agent: str) -> tuple[str, str]:
    """Another token for a consumer, which can be had only now, and the agent that it is for.

    Raises:
        ConfigError: no such consumer, or no name of an agent.
    """
    word = parse_agent(agent) if agent.strip() else ""
    token = await asyncio.to_thread(access.issue_token, site.config, name, word)
    _log.info("a token was made", by=by, consumer=name, agent=word, hint=token[:8])
    return token, word


async def revoke(site: Site, by: str, name: str, hint: str | None) -> list[str]:
    """Revoke a consumer's tokens with this hint, with None all; the hints of those that were in force.

    Raises:
        ConfigError: no such consumer.
    """
    hints = await asyncio.to_thread(access.revoke_tokens, site.config, name, hint)
    if hints:
        _log.info("tokens were revoked", by=by, consumer=name, hints=hints)
    return hints


async def load_blocks(site: Site) -> list[Takedown]:
    """The takedowns in force."""
    return await site.database.read(load_takedowns)


async def unblock(site: Site, by: str, text: str) -> int:
    """Lift the blocks that a package URL names; without a version all of its project. Returns how many there were.

    Raises:
        RequestError: not a package URL.
    """
    try:
        wanted = PackageURL.from_string(text.strip())
    except ValueError as error:
        raise RequestError(f"{text!r} is not a package URL: {error}.", hint="Write pkg:TYPE/NAME@VERSION.") from error
    lifted, now = 0, time.time()
    projects = {(entry.ecosystem, entry.project) for entry in await load_blocks(site) if _is_meant(entry, wanted)}
    for ecosystem, project in sorted(projects):
        lifted += await site.database.run(lift_takedowns, ecosystem, project, wanted.version, by, now)
    if lifted:
        shared = Shared(site.data / "shared.bin")
        shared.bump()
        shared.close()
        _log.info("takedowns were lifted", by=by, purl=str(wanted), lifted=lifted)
    return lifted


def purl_of(entry: Takedown) -> str:
    """The package URL of what a takedown blocks, without a version where it blocks every one."""
    return str(_purl(entry.ecosystem, entry.project, entry.version or None))


def _is_meant(entry: Takedown, wanted: PackageURL) -> bool:
    """Compared as package URLs are, which have one form for each name."""
    same = _purl(entry.ecosystem, entry.project, None)
    return (same.type, same.namespace, same.name) == (wanted.type, wanted.namespace, wanted.name)


def _purl(ecosystem: str, project: str, version: str | None) -> PackageURL:
    namespace, _, name = project.rpartition("/")
    return PackageURL(ecosystem, namespace or None, name, version)


def _note(event: str, by: str, entry: Consumer, **more: str) -> None:
    networks = list(entry.networks)
    _log.info(event, by=by, consumer=entry.name, tier=entry.tier, networks=networks, is_admin=entry.is_admin, **more)
