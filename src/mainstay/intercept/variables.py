"""The variables that point each client at the proxy and make it trust the run's authority."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import urlsplit

from mainstay.intercept.javastore import STORE_PASSWORD
from mainstay.intercept.trust import RunFiles
from mainstay.upstream.proxies import LOOPBACK, covers, no_proxy_entries


class Value(Enum):
    """What a variable is set to. A value that does not exist in this run leaves the user's own in place."""

    PROXY = auto()
    NO_PROXY = auto()
    BUNDLE = auto()
    NODE_EXTRA = auto()
    NPM_CAFILE = auto()
    YARN_CAFILE = auto()
    WGETRC = auto()
    JVM_OPTIONS = auto()
    ONE = auto()


@dataclass(frozen=True, slots=True)
class Client:
    """One row of the table: a client and what it needs beyond the rows above it, also of JVM options."""

    name: str
    variables: Mapping[str, Value] = field(default_factory=dict)
    options: tuple[str, ...] = ()


# Maven 3.8 and the usual transport of Maven 4 go by the JVM's proxy. That of 3.9, and the other one of Maven 4, want to
# be told to, and then warn of it in lines that are not there without us.
_MAVEN = (
    "-Daether.connector.http.useSystemProperties=true",
    "-Daether.transport.apache.useSystemProperties=true",
    "-Dorg.slf4j.simpleLogger.log.org.eclipse.aether.transport.http.HttpTransporter=error",
    "-Dorg.slf4j.simpleLogger.log.org.eclipse.aether.transport.apache.ApacheTransporter=error",
)
CLIENTS: tuple[Client, ...] = (
    Client(
        "most programs (uv, cargo, Go, curl, git, requests, gem, composer)",
        {
            "HTTPS_PROXY": Value.PROXY,
            "https_proxy": Value.PROXY,
            "HTTP_PROXY": Value.PROXY,
            "http_proxy": Value.PROXY,
            "ALL_PROXY": Value.PROXY,
            "all_proxy": Value.PROXY,
            "NO_PROXY": Value.NO_PROXY,
            "no_proxy": Value.NO_PROXY,
            "SSL_CERT_FILE": Value.BUNDLE,
        },
    ),
    Client("Python requests", {"REQUESTS_CA_BUNDLE": Value.BUNDLE}),
    Client("pip", {"PIP_PROXY": Value.PROXY, "PIP_CERT": Value.BUNDLE}),
    Client("curl", {"CURL_CA_BUNDLE": Value.BUNDLE}),
    Client("git", {"GIT_SSL_CAINFO": Value.BUNDLE}),
    Client("cargo (Rust)", {"CARGO_HTTP_PROXY": Value.PROXY, "CARGO_HTTP_CAINFO": Value.BUNDLE}),
    # Node before 24 takes no proxy from the environment: plain programs then go past, which --sealed makes an error.
    Client("Node", {"NODE_EXTRA_CA_CERTS": Value.NODE_EXTRA, "NODE_USE_ENV_PROXY": Value.ONE}),
    Client(
        "npm, pnpm, yarn 1",
        {
            "npm_config_proxy": Value.PROXY,
            "npm_config_https_proxy": Value.PROXY,
            "npm_config_noproxy": Value.NO_PROXY,
            "npm_config_cafile": Value.NPM_CAFILE,
        },
    ),
    # Never YARN_CAFILE: yarn 4 stops on a YARN_ setting that it does not know.
    Client(
        "yarn 4",
        {
            "YARN_HTTPS_PROXY": Value.PROXY,
            "YARN_HTTP_PROXY": Value.PROXY,
            "YARN_HTTPS_CA_FILE_PATH": Value.YARN_CAFILE,
        },
    ),
    # Not JAVA_TOOL_OPTIONS: it makes each JVM print a line of its own on the command's standard error.
    Client("Maven", {"MAVEN_OPTS": Value.JVM_OPTIONS}, _MAVEN),
    Client("Gradle", {"GRADLE_OPTS": Value.JVM_OPTIONS}),
    Client("sbt", {"SBT_OPTS": Value.JVM_OPTIONS}),
    Client("wget", {"WGETRC": Value.WGETRC}),
)


def build_environment(
    environ: Mapping[str, str], proxy_url: str, files: RunFiles, known_hosts: Iterable[str], *, sealed: bool
) -> dict[str, str]:
    """The command's whole environment: the user's, with the table's variables replaced or appended to.

    `known_hosts` are names, with a port where it is not 443. The user's NO_PROXY entries stay, except those that would
    lead past the gateway; a sealed command cannot reach any of them by itself, so it gets none.
    """
    entries = () if sealed else kept_entries(environ, known_hosts)
    values: dict[Value, str | None] = {
        Value.PROXY: proxy_url,
        Value.NO_PROXY: ",".join(dict.fromkeys((*LOOPBACK, *entries))),
        Value.BUNDLE: str(files.bundle),
        Value.NODE_EXTRA: str(files.node_extra),
        Value.NPM_CAFILE: str(files.npm_cafile) if files.npm_cafile else None,
        Value.YARN_CAFILE: str(files.yarn_cafile) if files.yarn_cafile else None,
        Value.WGETRC: str(files.wgetrc),
        Value.JVM_OPTIONS: None,  # follows the user's own: see below
        Value.ONE: "1",
    }
    result = dict(environ)
    for client in CLIENTS:
        for name, value in client.variables.items():
            text = values[value]
            if value is Value.JVM_OPTIONS:  # of two equal -D options the last one counts
                text = " ".join([environ.get(name, ""), _jvm_options(proxy_url, files), *client.options]).strip()
            if text is not None:
                _replace(result, name, text)
    # Who pointed it at a few authorities gets no more of them; git and requests, which do not read it, lose none.
    result["SSL_CERT_FILE"] = str(files.openssl)
    return result


def kept_entries(environ: Mapping[str, str], known_hosts: Iterable[str]) -> list[str]:
    """The user's NO_PROXY entries that cover none of the known hosts."""
    hosts = [_host_and_port(text) for text in known_hosts]
    return [entry for entry in no_proxy_entries(environ) if not any(covers(entry, *host) for host in hosts)]


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or 443


def _jvm_options(proxy_url: str, files: RunFiles) -> str:
    """System properties of the JVM. It leaves loopback out by itself; all other hosts come to the proxy, which sends
    those that the user wanted direct on directly: a list of them would need `|`, which some start scripts evaluate."""
    proxy = urlsplit(proxy_url)
    properties = {
        "https.proxyHost": proxy.hostname,
        "https.proxyPort": proxy.port,
        "http.proxyHost": proxy.hostname,
        "http.proxyPort": proxy.port,
        "javax.net.ssl.trustStore": files.truststore,
        "javax.net.ssl.trustStorePassword": STORE_PASSWORD,
        "javax.net.ssl.trustStoreType": "PKCS12",
    }
    return " ".join(f"-D{name}={value}" for name, value in properties.items())


def _replace(result: dict[str, str], name: str, text: str) -> None:
    """Set one variable. npm reads its own in any spelling, so a second one must not be left to win."""
    if name.startswith("npm_config_"):
        for other in [key for key in result if key.lower().replace("-", "_") == name]:
            del result[other]
    result[name] = text
