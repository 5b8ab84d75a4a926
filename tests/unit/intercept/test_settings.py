"""Certificate files and local folders from the clients' own configuration files."""

from __future__ import annotations

import pytest

from mainstay.intercept.settings import load_client_settings


@pytest.fixture
def load(tmp_path):
    """Read the settings for a home and a project that the test filled."""
    (tmp_path / "home").mkdir()
    (tmp_path / "project/deep").mkdir(parents=True)

    def run(**environ):
        # An empty PATH: no git and no Node of this machine with settings of their own.
        return load_client_settings({"PATH": "", **environ}, tmp_path / "home", tmp_path / "project/deep")

    return run


@pytest.fixture
def write(tmp_path):
    """Write a file below the test's folder."""

    def run(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return run


def test_pip_certificate_and_local_folders(load, write):
    """From the user's file; a variable wins."""
    write("home/.config/pip/pip.conf", "[global]\ncert = /corp.pem\nfind-links =\n    /a\n    https://x.example/b\n")
    assert load().pip_cert == "/corp.pem"
    assert load().find_links == ("/a",)
    assert load(PIP_CERT="/own.pem", PIP_FIND_LINKS="/c").find_links == ("/c",)
    assert load(PIP_CERT="/own.pem").pip_cert == "/own.pem"


def test_a_pip_file_named_by_variable_wins(load, write):
    """PIP_CONFIG_FILE is read last."""
    write("home/.config/pip/pip.conf", "[global]\ncert = /corp.pem\n")
    named = write("other.conf", "[install]\ncert = /named.pem\n")
    assert load(PIP_CONFIG_FILE=str(named)).pip_cert == "/named.pem"


def test_a_broken_pip_file_is_left_to_pip(load, write):
    """Its words are better than ours."""
    write("home/.config/pip/pip.conf", "cert = /no/section.pem\n")
    assert load().pip_cert != "/no/section.pem"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("home/.npmrc", "cafile=/corp.pem\n", "/corp.pem"),
        ("home/.npmrc", 'x=y\n cafile = "/corp.pem"\n', "/corp.pem"),
        ("project/.npmrc", "cafile=${CORP}/ca.pem\n", "/opt/ca.pem"),
        ("home/.yarnrc", 'cafile "/corp.pem"\n', "/corp.pem"),
        ("home/.npmrc", "; cafile=/corp.pem\n", ""),
        ("home/.npmrc", "ca=null\n", ""),
    ],
)
def test_node_clients_cafile(load, write, name, text, expected):
    """From the user's or a project's file, with variables filled in."""
    write(name, text)
    assert load(CORP="/opt").npm_cafile == expected


def test_node_clients_cafile_by_variable_in_any_case(load):
    """As it reads its variables."""
    assert load(NPM_CONFIG_CAFILE="/corp.pem").npm_cafile == "/corp.pem"


def test_node_clients_global_file_stands_beside_node(load, write, tmp_path):
    """Where a company's image puts it."""
    write("prefix/bin/node", "").chmod(0o755)
    write("prefix/etc/npmrc", "cafile=/global.pem\n")
    assert load(PATH=str(tmp_path / "prefix/bin")).npm_cafile == "/global.pem"


def test_yarn_certificate_is_relative_to_its_file(load, write, tmp_path):
    """And only the top-level one: those of single hosts are theirs."""
    write("project/.yarnrc.yml", "nodeLinker: x\nhttpsCaFilePath: ./corp.pem\n")
    assert load().yarn_cafile == str(tmp_path / "project/corp.pem")


def test_cargo_certificate_is_relative_to_its_file(load, write, tmp_path):
    """The nearest file that has one."""
    write("home/.cargo/config.toml", '[http]\ncainfo = "/far.pem"\n')
    assert load().cargo_cainfo == "/far.pem"
    write("project/.cargo/config.toml", '[http]\ncainfo = "near.pem"\n')
    assert load().cargo_cainfo == str(tmp_path / "project/.cargo/near.pem")


def test_maven_options_of_the_project(load, write):
    """In the nearest folder `.mvn`, as Maven's start script looks for it."""
    write("project/.mvn/jvm.config", "-Xmx1g\n-Djavax.net.ssl.trustStore=/corp.p12\n")
    write("project/deep/.mvn/maven.config", "--batch-mode\n")
    assert load().jvm_options == ()
    (write("project/deep/.mvn/maven.config", "").parent / "jvm.config").write_text("-Dx=y")
    assert load().jvm_options == ("-Dx=y",)


def test_gradle_options_of_the_user_and_the_project(load, write, tmp_path):
    """Its JVM's options, and those system properties that name a trust store."""
    write(
        "home/.gradle/gradle.properties",
        "systemProp.javax.net.ssl.trustStore=/corp.p12\nsystemProp.javax.net.ssl.trustStorePassword = secret\n"
        "systemProp.https.proxyHost=corp\n",
    )
    write("project/gradle.properties", "org.gradle.jvmargs=-Xmx1g -Dx=y\n")
    store = "-Djavax.net.ssl.trustStore=/corp.p12 -Djavax.net.ssl.trustStorePassword=secret"
    assert load().jvm_options == (store, "-Xmx1g -Dx=y")
    assert load(GRADLE_USER_HOME=str(tmp_path)).jvm_options == ("-Xmx1g -Dx=y",)


def test_nothing_set_is_nothing_found(load):
    """An ordinary machine."""
    settings = load()
    assert (settings.npm_cafile, settings.yarn_cafile, settings.cargo_cainfo, settings.git_cainfo) == ("", "", "", "")
    assert settings.jvm_options == ()
