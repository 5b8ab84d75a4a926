"""The clients of this machine: whether they ask the gateway, and whether they can go past it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mainstay.clients.disk import Disk
from mainstay.clients.places import Machine
from mainstay.clients.setup import set_up
from mainstay.clients.targets import Target
from mainstay.config import Config
from mainstay.doctor.finding import Finding, ok, warning
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import ConfigError
from mainstay.model import ClientSetup, Found
from mainstay.upstream.addresses import host_and_port, origin_of
from mainstay.upstream.discover import own_addresses

_WAY_IN = "`mainstay run` needs no setting"


@dataclass(frozen=True, slots=True)
class Doors:
    """Where this machine's gateways are: host and port of each, what its paths begin with, its address as setup would
    write it."""

    own: frozenset[tuple[str, int]]
    paths: Mapping[tuple[str, int], str]
    addresses: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, shared: str) -> Doors:
        """The gateway of these settings, and the one that MAINSTAY_URL names (`shared`, may be "")."""
        named = [url for url in (shared, config.public_url) if urlsplit(url).hostname]
        paths = {host_and_port(url): urlsplit(url).path.rstrip("/") for url in named}
        own = own_addresses(config)
        scheme = "https" if config.server.tls_cert else "http"
        listening = [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host, port in sorted(own)]
        return cls(own | paths.keys(), paths, (*named, *listening))

    def lead(self, url: str) -> bool:
        """Whether this address is a gateway's."""
        try:
            return host_and_port(url) in self.own
        except ValueError:
            return False

    def mount(self, url: str, ecosystem: Ecosystem) -> str:
        """Where at that gateway the ecosystem is: a path that ends in a slash."""
        return f"{self.paths.get(host_and_port(url), '')}/{ecosystem.mount}/"


def check_clients(
    ecosystem: Ecosystem, found: Mapping[str, str], doors: Doors, ready: Collection[str] = ()
) -> list[Finding]:
    """What the clients' configuration says, as `Ecosystem.discovery` found it. `ready` are those that are set up."""
    mains = [entry for entry in ecosystem.find_upstreams(found) if not entry.extra]
    findings = [_check_main(ecosystem, entry, doors) for entry in mains]
    findings += _check_silent(ecosystem, mains, ready)
    if ready or any(doors.lead(entry.url) for entry in mains):
        past = [entry for entry in ecosystem.fallbacks(found) if not doors.lead(entry.url)]
        findings += [_warn_fallback(ecosystem, entry) for entry in past]
    return findings


def find_ready(ecosystem: Ecosystem, doors: Doors) -> set[str]:
    """The installed clients whose configuration is what `mainstay setup` would write for one of the gateways."""
    machine = Machine(os.environ, Path.home(), sys.platform)
    return {
        client.name
        for gateway in doors.addresses
        for client in _installed(ecosystem)
        if _is_ready(Target(client, ecosystem.mount), gateway, machine)
    }


def _is_ready(target: Target, gateway: str, machine: Machine) -> bool:
    try:
        outcomes = set_up([target], gateway, machine, Disk(only_look=True))
    except ConfigError:  # not an address that setup could have written
        return False
    return all(outcome.action == "unchanged" for outcome in outcomes)


def _check_main(ecosystem: Ecosystem, entry: Found, doors: Doors) -> Finding:
    if not doors.lead(entry.url):
        text = f"{_shown(entry.url)} is asked, not the gateway ({entry.why})"
        return warning("client", ecosystem.id, text, f"{_advice(ecosystem, entry.why)}; {_WAY_IN}.")
    mount = doors.mount(entry.url, ecosystem)
    if not urlsplit(entry.url).path.startswith(mount):
        text = f"{_shown(entry.url)} is at the gateway, but {ecosystem.label} is below {mount} ({entry.why})"
        return warning("client", ecosystem.id, text, f"{_advice(ecosystem, entry.why)}.")
    return ok("client", ecosystem.id, f"the gateway is asked ({entry.why})")


def _check_silent(ecosystem: Ecosystem, mains: list[Found], ready: Collection[str]) -> list[Finding]:
    """The installed clients of which no setting speaks, so that they ask their own default."""
    installed = _installed(ecosystem)
    told = [client for client in installed if client.name in ready or any(_is_of(client, entry.why) for entry in mains)]
    # npm's file is pnpm's too: what tells the one tells the other.
    files = {file for client in told for file in client.files}
    silent = [client.name for client in installed if client not in told and files.isdisjoint(client.files)]
    if silent:
        text = f"{', '.join(silent)}: no registry is set, so the default is asked, not the gateway"
        hint = f"`mainstay setup {' '.join(silent)}` points it here; {_WAY_IN}."
        return [warning("client", ecosystem.id, text, hint)]
    if not mains and ready:
        return [ok("client", ecosystem.id, f"the gateway is asked ({', '.join(sorted(ready))})")]
    text = f"no client of {ecosystem.label} was found, nor a setting for one"
    return [] if mains else [ok("client", ecosystem.id, text)]


def _warn_fallback(ecosystem: Ecosystem, entry: Found) -> Finding:
    names = f" for {', '.join(entry.namespaces)}" if entry.namespaces else ""
    text = f"{_shown(entry.url)} is set beside the gateway{names} ({entry.why}): what is had from there goes past it"
    hint = f"Remove it there; where it is needed, let the gateway ask it: [ecosystems.{ecosystem.id}] upstream."
    return warning("fallback", ecosystem.id, text, hint)


def _advice(ecosystem: Ecosystem, why: str) -> str:
    if why in ecosystem.discovery.env:
        return f"Unset the variable {why}, which goes before every file"
    names = [client.name for client in _installed(ecosystem) if _is_of(client, why)]
    return f"`mainstay setup{''.join(f' {name}' for name in names[:1])}` points it here"


def _installed(ecosystem: Ecosystem) -> list[ClientSetup]:
    return [client for client in ecosystem.clients if any(map(shutil.which, client.programs))]


def _is_of(client: ClientSetup, why: str) -> bool:
    """Whether a setting that was found there (a command, a variable or a file) is this client's."""
    if why.partition(" ")[0] in client.programs:
        return True
    names = {os.path.basename(place) for file in client.files for place in file.places}
    return os.path.basename(why) in names or any(why in file.variables for file in client.files)


def _shown(url: str) -> str:
    """An address without credentials; another word as it is."""
    return f"{origin_of(url)}{urlsplit(url).path}" if urlsplit(url).hostname else url
