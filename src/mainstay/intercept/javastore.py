"""Java trust stores: what the user's JVM trusts, and a store for the run."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shutil import which

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PKCS12Certificate,
    load_pkcs12,
    serialize_java_truststore,
)
from cryptography.utils import CryptographyDeprecationWarning

STORE_PASSWORD = "changeit"  # noqa: S105  the JDK's own default; such a store holds public certificates only
JVM_OPTION_VARIABLES = ("MAVEN_OPTS", "GRADLE_OPTS", "SBT_OPTS", "JAVA_TOOL_OPTIONS")
_JKS_MAGIC = 0xFEEDFEED
_TRUSTED_ENTRY = 2
_STORE = re.compile(r"-Djavax\.net\.ssl\.trustStore=(\S+)")
_PASSWORD = re.compile(r"-Djavax\.net\.ssl\.trustStorePassword=(\S+)")


def load_java_trusted(environ: Mapping[str, str], options: Iterable[str] = ()) -> list[x509.Certificate]:
    """What the user's JVM trusts: the stores that its option variables (or `options`, texts of the same kind) name, or
    else the JDK's own `cacerts`."""
    stores = named_stores(environ, options) or [(path, STORE_PASSWORD) for path in _own_stores(environ)]
    found: list[x509.Certificate] = []
    for path, password in stores:
        if path.is_file():
            found += parse_store(path.read_bytes(), password)
    return found


def named_stores(environ: Mapping[str, str], options: Iterable[str] = ()) -> list[tuple[Path, str]]:
    """Each trust store that takes the place of the JDK's own, with its password."""
    texts = [*(environ.get(name, "") for name in JVM_OPTION_VARIABLES), *options]
    return [_named_store(text) for text in texts if _STORE.search(text)]


def parse_store(content: bytes, password: str) -> list[x509.Certificate]:
    """The trusted certificates of a JKS or PKCS #12 store. Empty where it cannot be opened: the JVM will say why."""
    with warnings.catch_warnings():
        # The user's old roots are not ours to complain about on the command's standard error.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            if content[:4] == _JKS_MAGIC.to_bytes(4, "big"):
                return [x509.load_der_x509_certificate(der) for der in _parse_jks(content)]
            store = load_pkcs12(content, password.encode())
        except (ValueError, struct.error):  # another password, another format
            return []
        return [entry.certificate for entry in store.additional_certs]


def render_store(certificates: Iterable[x509.Certificate]) -> bytes:
    """A PKCS #12 store with `STORE_PASSWORD`, as the JDK reads it since version 9."""
    entries = [PKCS12Certificate(item, str(number).encode()) for number, item in enumerate(dict.fromkeys(certificates))]
    return serialize_java_truststore(entries, BestAvailableEncryption(STORE_PASSWORD.encode()))


def parse_pem(blocks: Iterable[bytes]) -> Iterator[x509.Certificate]:
    """Parse PEM certificates, leaving out those that are not strict DER: the JDK would refuse them as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in blocks:
            try:
                yield x509.load_pem_x509_certificate(block)
            except ValueError:
                continue


def _named_store(options: str) -> tuple[Path, str]:
    """The last of two counts, as for the JVM."""
    stores, passwords = _STORE.findall(options), _PASSWORD.findall(options)
    return Path(stores[-1]), passwords[-1] if passwords else STORE_PASSWORD


def _own_stores(environ: Mapping[str, str]) -> list[Path]:
    java = which("java", path=environ.get("PATH"))
    homes = [Path(environ["JAVA_HOME"])] if environ.get("JAVA_HOME") else []
    homes += [Path(java).resolve().parent.parent] if java else []
    return [path for home in homes[:1] for path in (home / "lib/security/cacerts", home / "jre/lib/security/cacerts")]


def _parse_jks(content: bytes) -> Iterator[bytes]:
    """DER certificates of the trusted entries, by the layout in the JDK's sun.security.provider.JavaKeyStore.

    Big-endian: magic, version, count; each entry a tag, an alias (2-byte length), a date (8 bytes); a trusted entry
    then a certificate type (2-byte length, in version 2) and the certificate (4-byte length).
    """
    version, count = struct.unpack_from(">II", content, 4)
    at = 12
    for _ in range(count):
        tag, alias_length = struct.unpack_from(">IH", content, at)
        at += 6 + alias_length + 8
        if tag != _TRUSTED_ENTRY:
            return  # a private key: no trust store
        if version == 2:
            at += 2 + struct.unpack_from(">H", content, at)[0]
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 4 + length]
        at += 4 + length
