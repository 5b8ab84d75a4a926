"""Reads the settings: where each value comes from, and what is refused.

Precedence: built-in default < file < environment (`MAINSTAY_SECTION__KEY`) < command-line flag. Tables merge; scalars
and lists replace. An unknown key or a wrong value is refused with a `ConfigError` that names it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mainstay.config import Config, EcosystemSetting, Section, TierSetting, UpstreamSetting, parse_rates, parse_size
from mainstay.errors import ConfigError

_PLAIN_VARIABLES = {"MAINSTAY_DATA": "data", "MAINSTAY_PUBLIC_URL": "public_url"}
_NAMED: dict[str, type[Section]] = {"tiers": TierSetting, "ecosystems": EcosystemSetting}
"""Tables whose entries have names of the user's own."""


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
    if config.web.reading:
        _check_word("web.reading", config.web.reading, "open closed")
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
