"""The typed tree of mainstay.toml: every setting, its default and its meaning.

Precedence: built-in default < file < environment (`MAINSTAY_SECTION__KEY`) < command-line flag. Tables merge; scalars
and lists replace. An unknown key or a wrong value is refused with a `ConfigError` that names it.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from mainstay.errors import ConfigError

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]

_PLAIN_VARIABLES = {"MAINSTAY_DATA": "data", "MAINSTAY_PUBLIC_URL": "public_url"}
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


_NAMED: dict[str, type[Section]] = {"tiers": TierSetting, "ecosystems": EcosystemSetting}
"""Tables whose entries have names of the user's own."""


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


def load_config(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any], known_ecosystems: tuple[str, ...]
) -> Config:
    """The configuration in force. `flags` is a tree like the file's, holding only what was given.

    Raises:
        ConfigError: with the key, its value and what is allowed.
    """
    where = str(path or "the settings")
    tree = _merge(_merge(_read(path) if path else {}, _from_environ(environ)), flags)
    _refuse_unknown(Config, tree, "", where)
    config: Config = _convert(Config, tree, "", where)
    _check(config, known_ecosystems)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.", hint="Name an existing file with --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in environ.items():
        if name in _PLAIN_VARIABLES and value:
            _plant(tree, [_PLAIN_VARIABLES[name]], value, name)
        elif name.startswith("MAINSTAY_") and "__" in name:
            section, _, key = name.removeprefix("MAINSTAY_").lower().partition("__")
            parts = [section, *key.split("__")]
            _plant(tree, parts, value.split(",") if parts[-1] == "trusted_proxies" else value, name)
    return tree


def _plant(tree: dict[str, Any], parts: list[str], value: Any, name: str) -> None:
    node = tree
    for part in parts[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{name}: another variable sets {part} itself, which has no settings below it.")
    if parts[-1] in node:
        raise ConfigError(f"{name}: another variable sets something below {parts[-1]}, which is one value.")
    node[parts[-1]] = value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _refuse_unknown(kind: Any, tree: Any, prefix: str, where: str) -> None:
    """Walk the tree beside the structs, so that an unknown key is named with its nearest neighbour."""
    if not isinstance(tree, Mapping):
        return
    fields = {item.encode_name: item.type for item in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"Did you mean {prefix}{near[0]}?" if near else f"Allowed here: {', '.join(fields)}."
            raise ConfigError(f"{where}: unknown setting {prefix}{key}.", hint=hint)
        if kind is Config and key in _NAMED and isinstance(value, Mapping):
            for name, entry in value.items():
                _refuse_unknown(_NAMED[key], entry, f"{key}.{name}.", where)
                _convert(_NAMED[key], entry, f"{key}.{name}", where)
        elif key == "upstream" and isinstance(value, list):
            for number, entry in enumerate(value):
                _refuse_unknown(UpstreamSetting, entry, f"{prefix}upstream[{number}].", where)
        elif isinstance(fields[key], type) and issubclass(fields[key], Section):
            _refuse_unknown(fields[key], value, f"{prefix}{key}.", where)


def _convert(kind: type[Section], tree: Any, prefix: str, where: str) -> Any:
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        text, _, at = str(error).partition(" - at `$")
        key = at.strip(".`")
        value = tree
        for part in re.findall(r"[^.\[\]]+", key):
            value = value.get(part) if isinstance(value, Mapping) else value[int(part)]
        raise ConfigError(f"{where}: {f'{prefix}.{key}'.strip('.')} = {value!r} is not allowed: {text}.") from None


def _check(config: Config, known: tuple[str, ...]) -> None:
    for key in ("size", "max_document", "max_artifact", "document_memory"):
        _check_parses(f"cache.{key}", getattr(config.cache, key), parse_size)
    _check_parses("server.max_body", config.server.max_body, parse_size)
    _check_word("log.level", config.log.level, "debug info warning error")
    if config.public_url:
        _check_url("public_url", config.public_url)
    if not config.server.host:
        raise ConfigError("server.host = '' is not allowed: an address or a name; 0.0.0.0 for every address.")
    if bool(config.server.tls_cert) != bool(config.server.tls_key):
        raise ConfigError("server.tls_cert and server.tls_key go together: one of them is missing.")
    if config.server.workers < 0:
        raise ConfigError(f"server.workers = {config.server.workers} is not allowed: 0 (one per core) or more.")
    _check_networks(config.server.trusted_proxies)
    for name, tier in config.tiers.items():
        _check_tier(f"tiers.{name}", name, tier)
    for name, setting in config.ecosystems.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"ecosystems.{name} is not an ecosystem that this version serves.",
                hint=f"Did you mean ecosystems.{near[0]}?" if near else f"Allowed: {', '.join(known)}.",
            )
        if isinstance(setting.upstream, str):
            _check_url(f"ecosystems.{name}.upstream", setting.upstream)
        else:
            for number, entry in enumerate(setting.upstream):
                _check_upstream(f"ecosystems.{name}.upstream[{number}]", entry)


def _check_parses(key: str, value: Any, parse: Callable[[Any], object]) -> None:
    try:
        parse(value)
    except ValueError as error:
        raise ConfigError(f"{key} = {value!r} is not allowed: {error}.") from None


def _check_word(key: str, word: str, allowed: str) -> None:
    if word not in allowed.split():
        raise ConfigError(f"{key} = {word!r} is not allowed: one of {', '.join(allowed.split())}.")


def _check_tier(key: str, name: str, tier: TierSetting) -> None:
    if re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name) is None:
        raise ConfigError(f"{key}: {name!r} is not allowed: at most 40 letters, digits and -, in lower case.")
    _check_word(f"{key}.charge", tier.charge, "upstream all")
    _check_word(f"{key}.mode", tier.mode, "evaluate enforce off")
    _check_word(f"{key}.priority", tier.priority, "client interactive ci bulk")
    _check_parses(f"{key}.requests", tier.requests, lambda given: parse_rates(given, int))
    _check_parses(f"{key}.bytes", tier.bytes, lambda given: parse_rates(given, parse_size))


def _check_networks(networks: tuple[str, ...]) -> None:
    for text in networks:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(
                f"server.trusted_proxies: {text!r} is not allowed: an address or a network such as 10.0.0.0/8."
            ) from None


def _check_upstream(key: str, entry: UpstreamSetting) -> None:
    _check_url(f"{key}.url", entry.url)
    given = (entry.token_env, entry.token_file, entry.username, entry.password_env, entry.password_file)
    if entry.private and (any(given) or "@" in urlsplit(entry.url).netloc):
        raise ConfigError(
            f"{key}.private = True is not allowed beside a credential: who shows none would be served with that one.",
            hint="Leave out private (then everybody who reaches the gateway is served) or the credential.",
        )


def _check_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        shown = re.sub(r"[^/\s]*@", "", url)
        raise ConfigError(f"{key} = {shown!r} is not allowed: an http:// or https:// address.")
