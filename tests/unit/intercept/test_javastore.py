"""Java trust stores, read and written; the JDK's own tool is the judge."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from shutil import which

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
from hypothesis import given
from hypothesis import strategies as st

from mainstay.intercept.javastore import STORE_PASSWORD, load_java_trusted, parse_store, render_store

PASSWORD = "secret-of-the-store"


@pytest.fixture(scope="module")
def corp():
    """A company's certificate."""
    return x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes())


@pytest.fixture(params=["JKS", "PKCS12"])
def store(request, tmp_path, corp):
    """A store of either format that holds it."""
    path = tmp_path / "store"
    path.write_bytes(_jks(corp) if request.param == "JKS" else _pkcs12(corp))
    return path


def _jks(certificate: x509.Certificate) -> bytes:
    der = certificate.public_bytes(Encoding.DER)
    entry = struct.pack(">IH4sQH5sI", 2, 4, b"corp", 0, 5, b"X.509", len(der)) + der
    body = struct.pack(">III", 0xFEEDFEED, 2, 1) + entry
    return body + hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def _pkcs12(certificate: x509.Certificate) -> bytes:
    return serialize_java_truststore(
        [PKCS12Certificate(certificate, b"corp")], BestAvailableEncryption(PASSWORD.encode())
    )


@pytest.mark.skipif(
    which("keytool") is None and "CI" not in os.environ, reason="no JDK here; hand-made stores are checked"
)
@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_the_jdks_own_tool_makes_what_we_read_and_reads_what_we_make(tmp_path, corp, kind):
    """It is the judge of both formats."""
    (tmp_path / "corp.pem").write_bytes(corp.public_bytes(Encoding.PEM))
    command = ["keytool", "-importcert", "-noprompt", "-alias", "corp", "-file", str(tmp_path / "corp.pem")]
    command += ["-storetype", kind, "-storepass", PASSWORD, "-keystore", str(tmp_path / "theirs")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert parse_store((tmp_path / "theirs").read_bytes(), PASSWORD) == [corp]
    (tmp_path / "ours").write_bytes(render_store([corp]))
    command = ["keytool", "-list", "-storepass", STORE_PASSWORD, "-keystore", str(tmp_path / "ours")]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert listed.stdout.count("trustedCertEntry") == 1, listed.stdout + listed.stderr


def test_a_store_of_the_user_is_read(store, corp):
    """Both formats."""
    assert parse_store(store.read_bytes(), PASSWORD) == [corp]


def test_the_store_named_in_the_options_is_trusted_and_the_jdks_own_is_not(store, corp):
    """It replaces the JDK's."""
    options = f"-Xmx1g -Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword={PASSWORD}"
    assert load_java_trusted({"MAVEN_OPTS": options, "PATH": "/usr/bin:/bin"}) == [corp]


def test_a_store_named_in_a_file_counts_as_one_in_a_variable(store, corp):
    """Maven's `.mvn/jvm.config` for one; of two stores the last one is the JVM's."""
    options = f"-Djavax.net.ssl.trustStore=/x -Djavax.net.ssl.trustStore={store}\n"
    options += f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"
    assert load_java_trusted({"PATH": ""}, [options]) == [corp]


def test_the_jdks_own_store_is_read(tmp_path, corp):
    """A company may have put its CA there and nowhere else."""
    folder = tmp_path / "jdk/lib/security"
    folder.mkdir(parents=True)
    (folder / "cacerts").write_bytes(render_store([corp, corp]))
    assert load_java_trusted({"JAVA_HOME": str(tmp_path / "jdk")}) == [corp]


def test_a_wrong_password_leaves_a_pkcs12_store_out(corp):
    """The JVM says so itself when it uses it."""
    assert parse_store(render_store([corp]), "wrong") == []


def test_no_java_is_no_store():
    """An ordinary machine."""
    assert load_java_trusted({"PATH": ""}) == []


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_empty_store(content):
    """Also behind the mark of a JKS store."""
    assert parse_store(content, "x") == []
    assert parse_store(b"\xfe\xed\xfe\xed" + content, "x") == []
