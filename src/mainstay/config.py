"""The typed tree of mainstay.toml: every setting, its default and its meaning. `settings.py` reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from mainstay.errors import ConfigError

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]

WINDOWS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?\s*")
_UNIT = {None: 1, "B": 1} | {
    name: base**power
    for power, letters in enumerate(("kK", "M", "G", "T"), 1)
    for letter in letters
    for name, base in ((f"{letter}B", 1000), (f"{letter}iB", 1024))
}


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of mainstay.toml."""


class Server(Section, frozen=True):
    """How `mainstay serve` listens."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback opens the gateway to others."""
    port: Port = 4480
    """Port to listen on."""
    workers: int = 0
    """Worker processes; 0 means one per core."""
    tls_cert: str = ""
    """PEM certificate chain to serve HTTPS with."""
    tls_key: str = ""
    """PEM private key of `tls_cert`."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (CIDR) of reverse proxies whose X-Forwarded-* and Forwarded headers are believed."""
    max_body: str = "4 MB"
    """Largest request body (an audit call) that is read."""


class Cache(Section, frozen=True):
    """What is kept, and for how long it counts as fresh."""

    size: str = "20 GB"
    """Budget for everything stored; the least recently used goes first."""
    document_ttl_s: Seconds = 300
    """How long an index is served without asking upstream whether it changed."""
    negative_ttl_s: Seconds = 30
    """How long "upstream has no such thing" is remembered. Failures are never remembered."""
    max_document: str = "512 MB"
    """Largest index accepted from upstream, decompressed."""
    max_artifact: str = "20 GB"
    """Largest file accepted from upstream."""
    document_memory: str = "192 MB"
    """Budget per worker for documents being parsed or rendered at one time."""


class Fetch(Section, frozen=True):
    """How upstream is asked."""

    connect_timeout_s: Seconds = 10
    """Longest wait for a connection."""
    read_timeout_s: Seconds = 30
    """Longest silence in the middle of a reply."""
    document_timeout_s: Seconds = 120
    """Longest time for one whole index."""
    attempts: Count = 3
    """How often one thing is tried before the client is told of the failure."""
    ca_file: str = ""
    """PEM file with certificate authorities to trust beside the system's."""
    contact: str = ""
    """Address or URL that registry operators can write to; goes into the User-Agent."""


class Log(Section, frozen=True):
    """What is written down."""

    level: str = "info"
    """debug, info, warning or error."""
    access: bool = True
    """Whether each reply leaves a JSON line in `access.jsonl` of the data folder."""


class Usage(Section, frozen=True):
    """The ledger: who used what."""

    ledger: bool = True
    """Whether each reply leaves an event in the ledger, which `mainstay usage` reads. No address and no user agent is
    in it."""
    keep_days: Count = 400
    """Days, counted in UTC, after which events are removed."""


class Web(Section, frozen=True):
    """The pages at `/` and the JSON API below `/api/v1/`."""

    reading: str = ""
    """open: everybody who reaches the gateway may read them; closed: only who shows a consumer's token; empty: open
    on the machine itself while the gateway listens on loopback, closed otherwise, and to who comes by another name or
    through a proxy. Changes always need an administrator's token."""


class UpstreamSetting(Section, frozen=True):
    """One registry of an ecosystem."""

    url: str
    """Its address, as a client would be given it."""
    namespaces: tuple[str, ...] = ()
    """Names that belong to it alone: `acme-core`, `acme-*`, `@acme/*`. Never asked of a later upstream."""
    private: bool = False
    """Whether callers must show upstream's own authorisation, on a cached file too. Not beside a credential below."""
    token_env: str = ""
    """Environment variable with a bearer token to send."""
    token_file: str = ""
    """File with a bearer token to send."""
    username: str = ""
    """User name for Basic authentication."""
    password_env: str = ""
    """Environment variable with the password for `username`."""
    password_file: str = ""
    """File with the password for `username`."""


class EcosystemSetting(Section, frozen=True):
    """Where an ecosystem's packages come from."""

    upstream: str | tuple[UpstreamSetting, ...] = ()
    """An address, or a list of upstreams in the order in which they are asked; empty: found on this machine."""


class TierSetting(Section, frozen=True):
    """What each consumer of a tier may use. Tier `free` is that of everybody who has no other; it need not be set."""

    charge: str = "upstream"
    """upstream: what the store answers is never counted or refused; all: every reply counts."""
    requests: str | tuple[str, ...] = ()
    """As "600/minute", in a second, minute, hour or day; or a list of such limits, one for each of these times."""
    bytes: str | tuple[str, ...] = ()
    """As "10 GB/day", in the same way. Charged when a reply has ended; the next waits for what was too much."""
    concurrency: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Most fetches from one registry at a time, shared out among the workers, at least one each; 0: no limit."""
    weight: Annotated[float, msgspec.Meta(ge=0.01, le=100)] = 1
    """Share of the queue for a registry, against the weights of others that wait there."""
    priority: str = "client"
    """interactive, ci or bulk, which come in this order in that queue; client: by what each says of itself."""
    max_wait_s: Seconds = 10
    """Longest time that a request over a limit is held back; one that would wait longer is refused with 429."""
    mode: str = "evaluate"
    """evaluate: limits are only recorded; enforce: they hold; off: they are not even counted."""


class Config(Section, frozen=True):
    """The whole of mainstay.toml."""

    data: str = ""
    """One folder that holds everything; default: the user's data folder. Also MAINSTAY_DATA."""
    public_url: str = ""
    """Address that clients reach the gateway by; links are built from it where a protocol needs them absolute. Also
    MAINSTAY_PUBLIC_URL."""
    server: Server = msgspec.field(default_factory=Server)
    cache: Cache = msgspec.field(default_factory=Cache)
    fetch: Fetch = msgspec.field(default_factory=Fetch)
    log: Log = msgspec.field(default_factory=Log)
    usage: Usage = msgspec.field(default_factory=Usage)
    web: Web = msgspec.field(default_factory=Web)
    tiers: dict[str, TierSetting] = msgspec.field(default_factory=dict)
    ecosystems: dict[str, EcosystemSetting] = msgspec.field(default_factory=dict)

    @property
    def data_path(self) -> Path:
        """The data folder.

        Raises:
            ConfigError: it lies in a home folder that this user, or the user named, does not have.
        """
        try:
            return Path(self.data).expanduser() if self.data else default_data_path(os.environ)
        except RuntimeError as error:
            raise ConfigError(f"data = {self.data!r}: {error}", hint="Name another folder with --data.") from None


def default_data_path(environ: Mapping[str, str]) -> Path:
    """The user's data folder for Mainstay (XDG Base Directory specification)."""
    return Path(environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "mainstay"


def parse_size(text: str) -> int:
    """Bytes in `text` such as "20 GB" (decimal) or "512 MiB" (binary).

    Raises:
        ValueError: not a size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write a number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
    return int(float(match[1]) * _UNIT[match[2]])


def parse_rates(given: str | tuple[str, ...], parse: Callable[[str], int]) -> tuple[tuple[int, int], ...]:
    """Limits such as "600/minute" as (quantity, seconds), the shortest time first. `parse` reads a quantity.

    Raises:
        ValueError: not one, or two for one time.
    """
    found: dict[int, int] = {}
    for text in (given,) if isinstance(given, str) else given:
        quantity, _, window = text.partition("/")
        window_s = WINDOWS_S.get(window.strip(), 0)
        if not window_s or window_s in found or not 0 < (count := parse(quantity)) < 10**15:
            raise ValueError(f"{text!r}: a quantity above 0, / and second, minute, hour or day, each at most once")
        found[window_s] = count
    return tuple((count, window_s) for window_s, count in sorted(found.items()))
