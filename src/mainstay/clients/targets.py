"""Which clients are meant, and which gateway they are to use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shutil import which

from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import ConfigError, MainstayError
from mainstay.model import ClientSetup
from mainstay.telemetry.log import hide_in_text

_PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4}"
_URL = re.compile(rf"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?:{_PORT}))?(?:/[A-Za-z0-9._~@+-]+)*")


@dataclass(frozen=True, slots=True)
class Target:
    """A client, and the mount that serves it."""

    client: ClientSetup
    mount: str

    def is_called(self, name: str) -> bool:
        """Whether a person means it by that name: its own, or a program's."""
        return name == self.client.name or name in self.client.programs


def choose_targets(
    ecosystems: Iterable[Ecosystem], names: Sequence[str], environ: Mapping[str, str] | None = None
) -> list[Target]:
    """The clients of these names; without names those with a program on the PATH of `environ`, or all without that.

    Raises:
        ConfigError: a name that no client has. MainstayError: none is on PATH.
    """
    known = [Target(client, adapter.mount) for adapter in ecosystems for client in adapter.clients]
    listed = ", ".join(target.client.name for target in known)
    for name in names:
        if not any(target.is_called(name) for target in known):
            raise ConfigError(f"{name!r} is no client that setup knows.", hint=f"It knows {listed}.")
    if names or environ is None:
        return [target for target in known if not names or any(map(target.is_called, names))]
    path = environ.get("PATH")
    found = [target for target in known if any(which(name, path=path) for name in target.client.programs)]
    if not found:
        raise MainstayError("none of the clients that setup knows is on PATH.", hint=f"Name one: {listed}.")
    return found


def check_gateway(url: str) -> str:
    """The gateway's address without a slash at its end, sound in the syntax of every client's configuration.

    Raises:
        ConfigError: it is none, or has a credential in it, which would be written into files that others may read.
    """
    base = url.rstrip("/")
    if not _URL.fullmatch(base):
        raise ConfigError(
            f"{hide_in_text(url)!r} cannot be written as the gateway's address: http:// or https://, a host, and no"
            " user name, password, query or other characters than those of plain paths."
        )
    return base
