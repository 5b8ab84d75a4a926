"""The files of a run."""

from __future__ import annotations

import shutil
import ssl

import certifi
import pytest
import trustme

from mainstay.intercept.authority import Authority
from mainstay.intercept.javastore import STORE_PASSWORD, parse_pem, parse_store, render_store
from mainstay.intercept.settings import ClientSettings
from mainstay.intercept.trust import load_user_trust, save_run_files


@pytest.fixture
def corp(tmp_path):
    """A company CA: (PEM text, file)."""
    pem = trustme.CA().cert_pem.bytes()
    path = tmp_path / "corp.pem"
    path.write_bytes(pem)
    return pem.strip(), path


@pytest.fixture
def save(tmp_path):
    """Save the files for an environment."""
    folder = tmp_path / "run"
    folder.mkdir()
    authority = Authority()

    def run(environ, settings=None):
        files = save_run_files(folder, authority.pem, environ, settings or ClientSettings(), tmp_path)
        return files, authority.pem.strip()

    return run


def test_without_settings_the_bundle_is_the_systems_store_and_the_authority(save):
    """Tunnelled hosts must be trusted as before."""
    files, own = save({})
    for path in (files.bundle, files.openssl):
        text = path.read_bytes()
        assert text.strip().endswith(own)
        assert text.count(b"BEGIN CERTIFICATE") > 50
    ssl.create_default_context(cafile=str(files.bundle))


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"])
def test_a_single_clients_file_comes_on_top(save, corp, name):
    """The system's store stays, for the other clients."""
    text = save({name: str(corp[1])})[0].bundle.read_bytes()
    assert corp[0] in text
    assert text.count(b"BEGIN CERTIFICATE") > 50


def test_ssl_cert_file_replaces_the_systems_store(save, corp):
    """For the clients that go by it: a user who narrowed the trust down gets no more than that."""
    files, own = save({"SSL_CERT_FILE": str(corp[1])})
    assert files.openssl.read_bytes().split() == corp[0].split() + own.split()


def test_ssl_cert_file_does_not_take_the_systems_store_from_clients_that_do_not_read_it(save, corp):
    """git and requests reach a public forge with the system's store, whatever Go or uv were told."""
    text = save({"SSL_CERT_FILE": str(corp[1])})[0].bundle.read_bytes()
    assert corp[0] in text
    assert text.count(b"BEGIN CERTIFICATE") > 50


def test_ssl_cert_dir_is_read_and_a_certificate_with_two_names_counts_once(save, corp, tmp_path):
    """Folders of that kind are full of hash links."""
    folder = tmp_path / "certs"
    folder.mkdir()
    shutil.copy(corp[1], folder / "corp.pem")
    (folder / "5a3f.0").symlink_to("corp.pem")
    files, own = save({"SSL_CERT_DIR": f"{folder}:/nonexistent"})
    assert files.openssl.read_bytes().split() == corp[0].split() + own.split()


@pytest.mark.parametrize("name", ["pip_cert", "npm_cafile", "yarn_cafile", "cargo_cainfo", "git_cainfo"])
def test_what_clients_were_told_in_their_files_is_in_the_bundle(save, corp, name):
    """The variables override those files."""
    assert corp[0] in save({}, ClientSettings(**{name: str(corp[1])}))[0].bundle.read_bytes()


def test_node_files_hold_only_what_was_set_for_them(save, corp):
    """Small, because a client parses them again and again."""
    files, own = save({"SSL_CERT_FILE": certifi.where()})
    assert files.node_extra.read_bytes().split() == own.split()
    assert files.npm_cafile is None
    files, own = save({"NODE_EXTRA_CA_CERTS": str(corp[1])}, ClientSettings(npm_cafile=str(corp[1])))
    assert files.node_extra.read_bytes().split() == corp[0].split() + own.split()
    assert files.npm_cafile is not None
    assert files.npm_cafile.read_bytes().split() == corp[0].split() + own.split()


def test_a_file_that_is_not_there_is_left_out(save):
    """The client it was meant for would have failed with it; the others go on."""
    files, own = save({"REQUESTS_CA_BUNDLE": "/nonexistent.pem"})
    assert files.bundle.read_bytes().strip().endswith(own)


def test_the_java_store_holds_all_of_the_bundle(save, corp):
    """The user's and the authority."""
    files, _ = save({"SSL_CERT_FILE": str(corp[1]), "PATH": ""})
    assert len(parse_store(files.truststore.read_bytes(), STORE_PASSWORD)) == 2


def test_the_java_store_holds_what_the_users_jvm_trusted(save, corp, tmp_path):
    """The store that a project's file names, beside the run's authority."""
    store = tmp_path / "corp.p12"
    store.write_bytes(render_store(parse_pem([corp[0]])))
    settings = ClientSettings(jvm_options=(f"-Xmx1g -Djavax.net.ssl.trustStore={store}",))
    files, own = save({"SSL_CERT_FILE": "/nonexistent.pem", "PATH": ""}, settings)
    stored = parse_store(files.truststore.read_bytes(), STORE_PASSWORD)
    assert set(parse_pem([corp[0], own])) <= set(stored)


@pytest.mark.parametrize("named", [True, False])
def test_who_only_the_jvm_trusts_is_trusted_upstream(corp, tmp_path, monkeypatch, named):
    """Under `run` it is Mainstay that meets a company's authority; the public ones in the JDK's store add nothing."""
    monkeypatch.setattr("mainstay.intercept.trust.load_client_settings", lambda *places: ClientSettings())
    public = next(_certificates(certifi.contents().encode()))
    (company,) = parse_pem([corp[0]])
    folder = tmp_path / "jdk/lib/security"
    folder.mkdir(parents=True)
    (folder / "cacerts").write_bytes(render_store([public, company]))
    options = f"-Djavax.net.ssl.trustStore={folder / 'cacerts'}" if named else ""
    environ = {"SSL_CERT_FILE": "/nonexistent.pem", "MAVEN_OPTS": options, "JAVA_HOME": str(tmp_path / "jdk")}
    trusted = list(_certificates(load_user_trust(environ)))
    assert trusted == ([public, company] if named else [company])


def _certificates(text):
    return parse_pem(part + b"-----END CERTIFICATE-----" for part in text.split(b"-----END CERTIFICATE-----")[:-1])


def test_wget_keeps_the_users_own_settings(save, tmp_path):
    """The file has no include, so they are copied; nobody else may read them."""
    (tmp_path / ".wgetrc").write_text("user = ada")
    files, _ = save({})
    assert files.wgetrc.read_text() == f"user = ada\nca_certificate = {files.bundle}\n"
    assert files.wgetrc.stat().st_mode & 0o777 == 0o600


def test_no_file_holds_a_key(save, tmp_path):
    """Certificates only."""
    save({})
    for path in (tmp_path / "run").iterdir():
        assert b"PRIVATE" not in path.read_bytes()
