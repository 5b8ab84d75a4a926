"""What the doctor says of the clients' configuration."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.clients.disk import Disk
from mainstay.clients.places import Machine
from mainstay.clients.setup import set_up
from mainstay.clients.targets import Target
from mainstay.config import Config, Server
from mainstay.doctor import examine
from mainstay.doctor.clients import Doors, check_clients, find_ready
from mainstay.doctor.finding import Finding, Result
from mainstay.ecosystems import ecosystems
from mainstay.model import Discovery
from mainstay.upstream.discover import read_configuration

GATEWAY = "http://127.0.0.1:4480"
SHARED = "https://gateway.example/all"
ELSEWHERE = "https://registry.example"
EXTRA = "https://extra.example/"

Case = tuple[str, dict[str, str], list[Result], list[str]]
"""Ecosystem, texts as discovery finds them, what is said of the clients, and what they may ask past the gateway."""


def maven_settings(mirror_of: str) -> str:
    """settings.xml with the gateway as a mirror of these."""
    mirror = f"<mirror><id>here</id><mirrorOf>{mirror_of}</mirrorOf><url>{GATEWAY}/maven/</url></mirror>"
    return f"<settings><mirrors>{mirror}</mirrors></settings>"


def maven_project(name: str) -> str:
    """pom.xml with a repository of this id."""
    repository = f"<repository><id>{name}</id><url>{EXTRA}</url></repository>"
    return f"<project><repositories>{repository}</repositories></project>"


CASES: dict[str, Case] = {
    "pip elsewhere": ("pypi", {"PIP_INDEX_URL": f"{ELSEWHERE}/simple/"}, [Result.WARNING], []),
    "pip": ("pypi", {"PIP_INDEX_URL": f"{GATEWAY}/pypi/simple/"}, [Result.OK], []),
    "pip by another name of loopback": (
        "pypi",
        {"PIP_INDEX_URL": "http://localhost:4480/pypi/simple"},
        [Result.OK],
        [],
    ),
    "pip at a wrong path": ("pypi", {"PIP_INDEX_URL": f"{GATEWAY}/simple/"}, [Result.WARNING], []),
    "pip elsewhere with a second index": (
        "pypi",
        {"PIP_INDEX_URL": f"{ELSEWHERE}/simple/", "PIP_EXTRA_INDEX_URL": EXTRA},
        [Result.WARNING],
        [],
    ),
    "pip with a second index": (
        "pypi",
        {"pip config list": f"global.index-url='{GATEWAY}/pypi/simple/'\nglobal.extra-index-url='{EXTRA}'\n"},
        [Result.OK],
        [EXTRA],
    ),
    "pip here and uv elsewhere": (
        "pypi",
        {"PIP_INDEX_URL": f"{GATEWAY}/pypi/simple/", "UV_DEFAULT_INDEX": f"{ELSEWHERE}/simple/"},
        [Result.OK, Result.WARNING],
        [],
    ),
    "npm elsewhere": ("npm", {".npmrc": f"registry={ELSEWHERE}/\n"}, [Result.WARNING], []),
    "npm with a scope elsewhere": (
        "npm",
        {".npmrc": f"registry={GATEWAY}/npm/\n@acme:registry={EXTRA}\n"},
        [Result.OK],
        [EXTRA],
    ),
    "npm with a scope at the gateway too": (
        "npm",
        {".npmrc": f"registry={GATEWAY}/npm/\n@acme:registry={GATEWAY}/npm/\n"},
        [Result.OK],
        [],
    ),
    "npm with yarn elsewhere": (
        "npm",
        {"npm_config_registry": f"{GATEWAY}/npm/", "YARN_REGISTRY": EXTRA},
        [Result.OK],
        [EXTRA],
    ),
    "go": ("golang", {"go env GOPROXY": f"{GATEWAY}/go"}, [Result.OK], []),
    "go that falls back to each module's origin": (
        "golang",
        {"go env GOPROXY": f"{GATEWAY}/go,direct\n"},
        [Result.OK],
        ["direct"],
    ),
    "go that falls back after any failure": ("golang", {"GOPROXY": f"{GATEWAY}/go|direct"}, [Result.OK], ["direct"]),
    "go that falls back to another proxy and then ends": (
        "golang",
        {"~/.config/go/env": f"GOPROXY={GATEWAY}/go,{EXTRA},off\n"},
        [Result.OK],
        [EXTRA],
    ),
    "go that falls back by a file which a variable overrides": (
        "golang",
        {"GOPROXY": f"{GATEWAY}/go", "~/.config/go/env": f"GOPROXY={GATEWAY}/go,direct\n"},
        [Result.OK],
        [],
    ),
    "go elsewhere": ("golang", {"GOPROXY": f"{ELSEWHERE},direct"}, [Result.WARNING], []),
    "cargo with a second registry": (
        "cargo",
        {
            "~/.cargo/config.toml": '[source.crates-io]\nreplace-with = "here"\n[source.here]\n'
            f'registry = "sparse+{GATEWAY}/cargo/"\n[registries.acme]\nindex = "sparse+{EXTRA}"\n'
        },
        [Result.OK],
        [EXTRA],
    ),
    "Maven with a mirror of everything": (
        "maven",
        {"~/.m2/settings.xml": maven_settings("*"), "pom.xml": maven_project("acme")},
        [Result.OK],
        [],
    ),
    "Maven with a mirror of the default alone": (
        "maven",
        {"~/.m2/settings.xml": maven_settings("central"), "pom.xml": maven_project("acme")},
        [Result.OK],
        [EXTRA],
    ),
    "Maven with a mirror of all but one": (
        "maven",
        {"~/.m2/settings.xml": maven_settings("*,!acme"), "pom.xml": maven_project("acme")},
        [Result.OK],
        [EXTRA],
    ),
    "Gradle, which knows no mirrors": (
        "maven",
        {"~/.m2/settings.xml": maven_settings("*"), "build.gradle": f'repositories {{ maven {{ url "{EXTRA}" }} }}\n'},
        [Result.OK],
        [EXTRA],
    ),
    "a shared gateway": ("npm", {".npmrc": f"registry={SHARED}/npm/\n"}, [Result.OK], []),
    "a shared gateway at a wrong path": (
        "npm",
        {".npmrc": "registry=https://gateway.example/npm/\n"},
        [Result.WARNING],
        [],
    ),
}


def look(ecosystem: str, texts: dict[str, str], config: Config | None = None) -> list[Finding]:
    """What is said of these texts."""
    return check_clients(ecosystems()[ecosystem], texts, Doors.of(config or Config(), SHARED))


@pytest.fixture(autouse=True)
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("name", CASES)
def test_each_main_registry_is_judged_and_each_way_past_it_named(name: str) -> None:
    """Ways past the gateway are told only of clients that use it."""
    ecosystem, texts, results, past = CASES[name]
    found = look(ecosystem, texts)
    assert [entry.result for entry in found if entry.check == "client"] == results
    ways = [entry for entry in found if entry.check == "fallback"]
    assert [(entry.result, url in entry.text) for entry, url in zip(ways, past, strict=True)] == [
        (Result.WARNING, True) for _ in past
    ]


def test_the_address_that_clients_are_given_counts_as_the_gateways() -> None:
    """public_url, with a path of its own."""
    config = Config(public_url="https://mainstay.example/cache")
    [finding] = look("npm", {".npmrc": "registry=https://mainstay.example/cache/npm/\n"}, config)
    assert finding.result is Result.OK
    [finding] = look("npm", {".npmrc": "registry=https://mainstay.example/npm/\n"}, config)
    assert finding.result is Result.WARNING and "/cache/npm/" in finding.text


def test_a_variable_that_points_elsewhere_is_to_be_unset() -> None:
    """No file of a client's can go before it."""
    [finding] = look("pypi", {"PIP_INDEX_URL": f"{ELSEWHERE}/simple/"})
    assert "PIP_INDEX_URL" in finding.hint and "setup" not in finding.hint


def test_no_credential_of_a_clients_configuration_is_shown() -> None:
    """Neither of the registry nor of the one beside it."""
    secret = "https://me:hunter2@extra.example/simple/"
    texts = [{"PIP_INDEX_URL": secret}, {"PIP_INDEX_URL": f"{GATEWAY}/pypi/", "PIP_EXTRA_INDEX_URL": secret}]
    found = [finding for text in texts for finding in look("pypi", text)]
    assert [finding.check for finding in found if "extra.example" in finding.text] == ["client", "fallback"]
    assert not [finding for finding in found if "hunter2" in finding.text + finding.hint]


def test_where_neither_client_nor_setting_is_there_all_is_well() -> None:
    """Nobody goes past a gateway that nobody needs."""
    assert [look(name, {})[0].result for name in ecosystems()] == [Result.OK] * len(ecosystems())


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., None]:
    """Put programs on PATH that do nothing."""

    def place(*names: str) -> None:
        for name in names:
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)

    return place


def test_an_installed_client_without_a_setting_asks_its_default(install: Callable[..., None]) -> None:
    """That is not the gateway."""
    install("npm")
    [finding] = look("npm", {})
    assert finding.result is Result.WARNING and "mainstay setup npm" in finding.hint


def test_a_client_beside_one_that_asks_the_gateway_is_named_alone(install: Callable[..., None]) -> None:
    """What pip is set to says nothing of uv."""
    install("pip", "uv")
    pip, uv = look("pypi", {"pip config list": f"global.index-url='{GATEWAY}/pypi/simple/'\n"})
    assert pip.result is Result.OK
    assert uv.result is Result.WARNING and uv.hint.startswith("`mainstay setup uv`")


def test_clients_that_share_a_file_are_told_together(install: Callable[..., None]) -> None:
    """pnpm reads npm's."""
    install("npm", "pnpm")
    [finding] = look("npm", {"npm config list --json": f'{{"registry": "{GATEWAY}/npm/"}}'})
    assert finding.result is Result.OK


@pytest.mark.parametrize("name", ecosystems())
def test_clients_that_were_set_up_are_fine(
    name: str, install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client of each ecosystem after `mainstay setup`; before it, and for another address, they are not."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home), "PATH": str(tmp_path)}
    monkeypatch.setattr(os, "environ", environ)
    adapter = ecosystems()[name]
    install(*(program for client in adapter.clients for program in client.programs))
    doors = Doors.of(Config(), "")
    assert find_ready(adapter, doors) == set()
    targets = [Target(client, adapter.mount) for client in adapter.clients]
    outcomes = set_up(targets, GATEWAY, Machine(environ, home), Disk())
    assert {outcome.action for outcome in outcomes} <= {"written", "unchanged"}
    assert find_ready(adapter, Doors.of(Config(server=Server(port=44800)), "")) == set()
    ready = find_ready(adapter, doors)
    assert ready == {client.name for client in adapter.clients}
    found = read_configuration(Discovery(files=adapter.discovery.files), environ, home)
    assert {entry.result for entry in check_clients(adapter, found, doors, ready)} == {Result.OK}


def test_what_looks_like_an_address_and_is_none_is_no_gateway() -> None:
    """Nor the end of the doctor."""
    doors = Doors.of(Config(), "not an address")
    assert not doors.lead("http://127.0.0.1:port/")
    assert not doors.lead("direct")


@pytest.mark.parametrize("name", ecosystems())
def test_no_ecosystem_has_ways_past_the_gateway_where_nothing_is_set(name: str) -> None:
    """Each adapter's answer to an empty machine."""
    assert ecosystems()[name].fallbacks({}) == []


def test_where_the_clients_settings_cannot_be_read_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for the folder in which their programs may write, say."""

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(examine, "read_configuration", fail)
    found = examine.examine(None, {}, offline=True)
    assert {entry.result for entry in found if entry.check == "client"} == {Result.WARNING}
    assert [entry.result for entry in found if entry.check == "upstream"] == [Result.OK] * len(ecosystems())
