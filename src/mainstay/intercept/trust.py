"""Whom the command will trust: the run's authority beside everybody whom the user trusted before."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi
from cryptography.hazmat.primitives.serialization import Encoding

from mainstay.intercept.javastore import load_java_trusted, named_stores, parse_pem, render_store
from mainstay.intercept.settings import ClientSettings, load_client_settings

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_NODE = "NODE_EXTRA_CA_CERTS"
_REPLACING = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", _NODE)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of one run. All hold public certificates; none holds a key.

    `bundle` is everything that any of the user's clients trusted and the run's authority; `openssl` the same for those
    that go by SSL_CERT_FILE, whose user may have narrowed them down. `node_extra`, `npm_cafile` and `yarn_cafile` hold
    only what the user had set for that one setting, and the authority; the last two are None where nothing was set,
    because a client that is given such a file parses all of it for every connection.
    """

    bundle: Path
    openssl: Path
    node_extra: Path
    npm_cafile: Path | None
    yarn_cafile: Path | None
    truststore: Path
    wgetrc: Path


def save_run_files(
    folder: Path, authority_pem: bytes, environ: Mapping[str, str], settings: ClientSettings, home: Path
) -> RunFiles:
    """Write the run's files into `folder`, which is the user's alone."""
    own = _PEM.findall(authority_pem)
    trusted = load_trusted(environ, settings)
    node_extra = environ.get(_NODE)
    files = RunFiles(
        bundle=_save(folder / "bundle.pem", [*_unique([*trusted, *_blocks(_system_files())]), *own]),
        openssl=_save(folder / "openssl.pem", [*trusted, *own]),
        node_extra=_save(folder / "node-extra.pem", [*_certificates([node_extra] if node_extra else []), *own]),
        npm_cafile=_append(folder / "node-cafile.pem", settings.npm_cafile, own),
        yarn_cafile=_append(folder / "yarn-cafile.pem", settings.yarn_cafile, own),
        truststore=folder / "truststore.p12",
        wgetrc=folder / "wgetrc",
    )
    everybody = [*parse_pem([*trusted, *own]), *load_java_trusted(environ, settings.jvm_options)]
    files.truststore.write_bytes(render_store(everybody))
    _save_wgetrc(files, Path(environ.get("WGETRC") or home / ".wgetrc"))
    return files


def load_trusted(environ: Mapping[str, str], settings: ClientSettings) -> list[bytes]:
    """Every certificate (PEM, each once) that the user chose to trust.

    SSL_CERT_FILE and SSL_CERT_DIR replace the system's store, so where one is set the store is left out; the files
    that single clients were given come on top.
    """
    paths = [environ[name] for name in ("SSL_CERT_FILE",) if environ.get(name)]
    paths += _folder_files(environ.get("SSL_CERT_DIR", ""))
    if not paths:
        paths = _system_files()
    paths += [environ[name] for name in _REPLACING if environ.get(name)]
    named = (settings.pip_cert, settings.npm_cafile, settings.yarn_cafile, settings.cargo_cainfo, settings.git_cainfo)
    return _certificates([*paths, *(path for path in named if path)])


def load_user_trust(environ: Mapping[str, str]) -> bytes:
    """The same as one text, by the settings that are in force here: what any of the user's clients trusts upstream to
    be, whoever stands in for that client must trust as well."""
    settings = load_client_settings(environ, Path.home(), Path.cwd())
    return b"\n".join([*load_trusted(environ, settings), *_java_chosen(environ, settings)])


def _java_chosen(environ: Mapping[str, str], settings: ClientSettings) -> list[bytes]:
    """What somebody made the JVM trust: a store that was named, or what was added to the JDK's own. The system's and
    the public authorities in that one came with it, and say nothing of whom this user trusts."""
    named = named_stores(environ, settings.jvm_options)
    usual = set(parse_pem(_blocks([] if named else [*_system_files(), certifi.where()])))
    trusted = [item for item in load_java_trusted(environ, settings.jvm_options) if item not in usual]
    return [item.public_bytes(Encoding.PEM) for item in trusted]


def _system_files() -> list[str]:
    """Where this machine's own store is, whatever the variables say (git and requests do not read them)."""
    defaults = ssl.get_default_verify_paths()
    if Path(defaults.openssl_cafile).is_file():
        return [defaults.openssl_cafile]
    return _folder_files(defaults.openssl_capath) or [certifi.where()]


def _folder_files(folders: str) -> list[str]:
    """The files in a list of folders as OpenSSL takes it, a file with several names (hash links) once."""
    found = [path.resolve() for folder in folders.split(":") if folder for path in _entries(Path(folder))]
    return [str(path) for path in dict.fromkeys(found) if path.is_file()]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _certificates(paths: Iterable[str]) -> list[bytes]:
    return _unique(_blocks(dict.fromkeys(paths)))


def _blocks(paths: Iterable[str]) -> Iterator[bytes]:
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError:  # the client it was meant for could not have read it either
            continue
        yield from _PEM.findall(content)


def _unique(blocks: Iterable[bytes]) -> list[bytes]:
    found: dict[bytes, bytes] = {}
    for block in blocks:
        found.setdefault(b"".join(block.split()), block)
    return list(found.values())


def _append(path: Path, users: str, own: list[bytes]) -> Path | None:
    return _save(path, [*_certificates([users]), *own]) if users else None


def _save(path: Path, blocks: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(block + b"\n" for block in blocks))
    return path


def _save_wgetrc(files: RunFiles, users: Path) -> None:
    """wget takes its authorities from this file alone; it has no include, so the user's own lines are copied."""
    lines = users.read_bytes() if users.is_file() else b""
    files.wgetrc.touch(mode=0o600)
    files.wgetrc.write_bytes(lines.rstrip(b"\n") + f"\nca_certificate = {files.bundle}\n".encode())
