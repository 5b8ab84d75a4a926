"""The variables of a run, by client."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.intercept.trust import RunFiles
from mainstay.intercept.variables import CLIENTS, build_environment

PROXY = "http://127.0.0.1:4711"
FILES = RunFiles(
    bundle=Path("/run/bundle.pem"),
    openssl=Path("/run/openssl.pem"),
    node_extra=Path("/run/node-extra.pem"),
    npm_cafile=None,
    yarn_cafile=None,
    truststore=Path("/run/truststore.p12"),
    wgetrc=Path("/run/wgetrc"),
)
KNOWN = ["registry.example", "files.example:8443"]


def build(environ=None, files=FILES, *, sealed=False):
    """The environment made from `environ`."""
    return build_environment(environ or {}, PROXY, files, KNOWN, sealed=sealed)


@pytest.mark.parametrize(
    "name", ["HTTPS_PROXY", "https_proxy", "PIP_PROXY", "npm_config_https_proxy", "YARN_HTTPS_PROXY"]
)
def test_each_way_to_name_a_proxy_names_ours(name):
    """Also where the user had named another one."""
    assert build({name: "http://corp:1"})[name] == PROXY


@pytest.mark.parametrize(
    "name", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO"]
)
def test_each_replacing_variable_gets_the_whole_bundle(name):
    """It holds what the user had."""
    assert build({name: "/corp.pem"})[name] == "/run/bundle.pem"


def test_ssl_cert_file_gets_a_file_of_its_own():
    """Which is as narrow as the user made it."""
    assert build({"SSL_CERT_FILE": "/corp.pem"})["SSL_CERT_FILE"] == "/run/openssl.pem"


def test_node_gets_only_what_it_had_and_the_authority():
    """Node appends it to its own set."""
    assert build()["NODE_EXTRA_CA_CERTS"] == "/run/node-extra.pem"


def test_a_cafile_is_set_only_where_there_was_one():
    """A client parses it again for each connection, and it switches NODE_EXTRA_CA_CERTS off."""
    assert "npm_config_cafile" not in build()
    assert "YARN_HTTPS_CA_FILE_PATH" not in build()
    files = RunFiles(**{**{n: getattr(FILES, n) for n in FILES.__slots__}, "npm_cafile": Path("/run/n.pem")})
    assert build(files=files)["npm_config_cafile"] == "/run/n.pem"


def test_a_second_spelling_of_an_npm_variable_does_not_win():
    """It reads `NPM_CONFIG_HTTPS_PROXY` and `npm_config_https-proxy` as well."""
    result = build({"NPM_CONFIG_HTTPS_PROXY": "http://corp:1", "npm_config_https-proxy": "http://corp:2"})
    assert {name: value for name, value in result.items() if name.lower().startswith("npm_config_https")} == {
        "npm_config_https_proxy": PROXY
    }


@pytest.mark.parametrize("name", ["MAVEN_OPTS", "GRADLE_OPTS", "SBT_OPTS"])
def test_jvm_options_are_appended_to_the_users_own(name):
    """Of two equal properties the last one counts."""
    result = build({name: "-Xmx1g"})[name]
    assert result.startswith("-Xmx1g -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=4711 ")
    assert "-Djavax.net.ssl.trustStore=/run/truststore.p12" in result
    assert "|" not in result


def test_maven_is_told_to_go_by_the_proxy_of_its_jvm():
    """Version 3.9 goes past it otherwise, and warns of it in many lines where it is not told to be silent."""
    options = build()["MAVEN_OPTS"].split()
    assert "-Daether.connector.http.useSystemProperties=true" in options
    assert [option for option in options if option.endswith("HttpTransporter=error")]
    assert "aether" not in build()["GRADLE_OPTS"]


def test_no_proxy_keeps_what_leads_past_no_registry():
    """Loopback first; entries that cover a known host are dropped, also by a suffix or a star."""
    entries = "intra.corp,example,*.example,files.example:443,10.0.0.0/8"
    assert build({"no_proxy": entries})["NO_PROXY"] == "127.0.0.1,localhost,intra.corp,files.example:443,10.0.0.0/8"
    assert build({"no_proxy": "*"})["no_proxy"] == "127.0.0.1,localhost"


def test_a_sealed_command_gets_no_exceptions():
    """It cannot reach those hosts by itself."""
    assert build({"no_proxy": "intra.corp"}, sealed=True)["NO_PROXY"] == "127.0.0.1,localhost"


def test_everything_else_of_the_user_stays():
    """The index address above all: the user's own configuration is what makes lock files equal."""
    own = {"PIP_INDEX_URL": "https://corp.example/simple/", "PATH": "/bin", "UV_INDEX": "x"}
    assert own.items() <= build(own).items()


def test_yarn_gets_no_setting_that_it_does_not_know():
    """Version 4 stops on one."""
    names = {name for client in CLIENTS for name in client.variables}
    assert "YARN_CAFILE" not in names


def test_no_variable_stands_in_two_rows():
    """The table would contradict itself."""
    names = [name for client in CLIENTS for name in client.variables]
    assert len(names) == len(set(names))
