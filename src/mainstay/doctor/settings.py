"""The configuration: whether it reads, where it is, and whether the certificate that it names can be used."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainstay.config import Config
from mainstay.doctor.finding import Finding, ok, problem, warning
from mainstay.errors import ConfigError
from mainstay.settings import load_config

_CHECK = "configuration"
_USUAL_NAME = "mainstay.toml"
_PREFIX = "MAINSTAY_"
_SETTINGS = ("MAINSTAY_DATA", "MAINSTAY_PUBLIC_URL")
_OTHERS = ("MAINSTAY_URL", "MAINSTAY_TOKEN", "MAINSTAY_BOOT")
"""Variables of other parts of the program."""
_DEPENDENT = "What rests on the settings was not looked at."


def load_settings(
    path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any], known_ecosystems: tuple[str, ...]
) -> tuple[Config | None, list[Finding]]:
    """The configuration in force, None where it cannot be read, and what was found about it."""
    where = str(path.absolute()) if path else ""
    try:
        config = load_config(path, environ, flags, known_ecosystems)
    except ConfigError as error:
        return None, [problem(_CHECK, where, error.message, f"{error.hint} {_DEPENDENT}".strip())]
    return config, [_origin(where, environ), *_unread(environ), *_certificate(config)]


def _origin(where: str, environ: Mapping[str, str]) -> Finding:
    variables = sorted(name for name in environ if name in _SETTINGS or (name.startswith(_PREFIX) and "__" in name))
    also = f", and from {', '.join(variables)}" if variables else ""
    if where:
        return ok(_CHECK, where, f"read from there{also}")
    if Path(_USUAL_NAME).is_file():
        found = str(Path(_USUAL_NAME).absolute())
        return warning(_CHECK, found, "lies here and is not read", f"Name it: --config {_USUAL_NAME}.")
    return ok(_CHECK, "", f"the built-in defaults{also}; no file is named with --config")


def _unread(environ: Mapping[str, str]) -> list[Finding]:
    """Variables that look like settings: one underscore too few is the usual slip."""
    names = sorted(name for name in environ if name.startswith(_PREFIX) and "__" not in name)
    hint = "Between table and key are two underscores: MAINSTAY_SERVER__PORT."
    return [
        warning(_CHECK, name, "this variable is read by nothing", hint)
        for name in names
        if name not in (*_SETTINGS, *_OTHERS)
    ]


def _certificate(config: Config) -> list[Finding]:
    cert, key = config.server.tls_cert, config.server.tls_key
    if not cert:
        return []
    try:
        # An empty password, or OpenSSL would ask the terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:
        hint = "Name a certificate and its own key in server.tls_cert and server.tls_key, as PEM, without a password."
        reason = error.strerror or error
        return [problem("certificate", cert, f"it cannot be used with the key {key}: {reason}", hint)]
    return [ok("certificate", cert, f"it fits the key {key}")]
