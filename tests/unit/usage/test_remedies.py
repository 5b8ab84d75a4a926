from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest

from mainstay.ecosystems import ecosystems
from mainstay.usage.remedies import ANY, ANYBODY, BYPASS, REDUNDANT, REVALIDATION, Remedy, find_remedy, load_remedies

GATEWAY = "https://mainstay.example:4480"
CLASSES = {"person", "ci", "mirror", "scanner", "updater", "agent", "unknown"}
KINDS = (REDUNDANT, REVALIDATION, BYPASS)
CLIENTS = tomllib.loads(files("mainstay.usage").joinpath("_clients.toml").read_text("utf-8"))


def rows() -> Iterator[tuple[str, Remedy]]:
    """Every row of the data, by its key."""
    listed = load_remedies()
    for kind, table in ((REDUNDANT, listed.redundant), (REVALIDATION, listed.revalidation), (BYPASS, listed.bypass)):
        for client, by_class in table.items():
            for name, remedy in by_class.items():
                yield f"{kind}.{client}.{name}", remedy


def read_shell(line: str) -> None:
    """A command, or an assignment, that a shell can read."""
    assert shlex.split(line)
    subprocess.run(["sh", "-n"], input=line, text=True, check=True, timeout=10)


def read_dockerfile(line: str) -> None:
    """A RUN with a cache mount, whose folder is the one that the command is told of."""
    match = re.fullmatch(r"RUN --mount=type=cache,target=(/[\w/.-]+) (.+)", line)
    assert match and match[1] in match[2]
    read_shell(match[2])


def read_ini(line: str) -> None:
    """One key of a section."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(f"[section]\n{line}\n")
    assert all(parser["section"].values()) and len(parser["section"]) == 1


def read_clojure(line: str) -> None:
    """One map, closed where it was opened."""
    bare = re.sub(r'"[^"]*"', "", line)
    assert bare.startswith("{") and bare.endswith("}") and bare.count("{") == bare.count("}")
    assert line.count('"') % 2 == 0 and not set(bare) - set("{}:abcdefghijklmnopqrstuvwxyz- ")


def read_words(line: str) -> None:
    """A sentence, or a field of a form with its value."""
    assert line.endswith(".") or re.fullmatch(r"[A-Z][\w ]+: \S+", line)


READERS: dict[str, Callable[[str], object]] = {
    "shell": read_shell,
    "dockerfile": read_dockerfile,
    "toml": tomllib.loads,
    "ini": read_ini,
    "npmrc": lambda line: re.fullmatch(r"[a-z-]+=\S+", line)[0],
    "env": lambda line: re.fullmatch(r"[A-Z]+=\S+", line)[0],
    "xml": ET.fromstring,
    "clojure": read_clojure,
    "words": read_words,
}


@pytest.mark.parametrize("key", [key for key, _ in rows()])
def test_each_line_is_one_that_its_file_can_have(key):
    """Its form's own reader takes it, with the gateway's address in it."""
    remedy = dict(rows())[key]
    line = remedy.change.replace("{url}", f"{GATEWAY}/mount")
    assert "\n" not in line and line == line.strip() and remedy.where
    READERS[remedy.form](line)


def test_every_package_manager_that_we_serve_can_be_told_what_to_change():
    """Those of _clients.toml that speak of CI or are silent have a row, or are said to need none; nobody else is."""
    listed, known = load_remedies(), {*CLIENTS["tells_ci"], *CLIENTS["silent"]}
    has_row = {*listed.redundant, *listed.same_as}
    assert known - has_row == set(listed.elsewhere)
    assert len(listed.elsewhere) == len(set(listed.elsewhere))
    assert set(listed.same_as.values()) <= set(listed.redundant)


def test_every_row_is_of_a_program_that_can_be_recognised():
    """By the name that the ledger has, and of a class that there is."""
    tables = ("tells_ci", "silent", "person", "mirror", "scanner", "updater", "agent", "unknown")
    known = {name for table in tables for name in CLIENTS[table]} | {ANYBODY}
    listed = load_remedies()
    for table in (listed.redundant, listed.revalidation, listed.bypass):
        assert set(table) <= known
        assert all(set(by_class) <= CLASSES | {ANY} for by_class in table.values())
    assert {*listed.same_as, *listed.set_up_as} <= known
    setups = {setup.name for adapter in ecosystems().values() for setup in adapter.clients}
    assert set(listed.set_up_as.values()) <= setups


def test_whoever_may_waste_has_a_change_for_each_kind():
    """Programs nobody knows too; without the address of a gateway as well."""
    for kind in KINDS:
        for client in ("", "curl", "pip", *load_remedies().redundant):
            for client_class in CLASSES:
                for ecosystem in (*ecosystems(), "another"):
                    for gateway in ("", GATEWAY):
                        remedy = find_remedy(kind, client, client_class, ecosystem, gateway)
                        assert remedy.change and remedy.where and "{url}" not in remedy.change
                        assert "\n" not in remedy.change


@pytest.mark.parametrize(
    ("client", "client_class", "change"),
    [
        ("pip", "ci", 'export PIP_CACHE_DIR="$PWD/.cache/pip"'),
        ("pip", "person", "RUN --mount=type=cache,target=/var/cache/pip PIP_CACHE_DIR=/var/cache/pip"),
        ("gradle-wrapper", "ci", 'export GRADLE_USER_HOME="$PWD/.gradle-home"'),
        ("setuptools", "ci", "python -m pip install ."),
        ("curl", "ci", "Keep the folder in which it caches downloads from one job to the next."),
        ("curl", "agent", "Let it keep what it has downloaded: a cache folder on a volume that stays."),
    ],
)
def test_the_closest_row_is_the_one(client, client_class, change):
    """Of the program and the class, else of the program, else of the class, else of all."""
    assert find_remedy(REDUNDANT, client, client_class, "pypi", GATEWAY).change.startswith(change)


def test_a_client_that_keeps_files_keeps_the_answers_about_them():
    """Without a row of its own, a revalidation has that of redundant files; with one it has that."""
    poetry = find_remedy(REVALIDATION, "poetry", "ci", "pypi", GATEWAY)
    assert poetry == find_remedy(REDUNDANT, "poetry", "ci", "pypi", GATEWAY)
    assert find_remedy(REVALIDATION, "npm", "ci", "npm", GATEWAY).change == "prefer-offline=true"
    assert find_remedy(REVALIDATION, "curl", "ci", "npm", GATEWAY).form == "words"


@pytest.mark.parametrize(
    ("client", "client_class", "ecosystem", "change", "where"),
    [
        ("pip", "person", "pypi", f"index-url = {GATEWAY}/pypi/simple/", "~/.config/pip/pip.conf, [global]"),
        ("pip", "ci", "pypi", f"export PIP_INDEX_URL={GATEWAY}/pypi/simple/", "of the CI job"),
        ("pdm", "unknown", "pypi", f'url = "{GATEWAY}/pypi/simple"', "~/.config/pdm/config.toml, [pypi]"),
        ("uv", "ci", "pypi", f"export UV_DEFAULT_INDEX={GATEWAY}/pypi/simple/", "of the CI job"),
        ("uv", "person", "pypi", f"mainstay setup uv --gateway {GATEWAY}", "a shell"),
        ("npm", "person", "npm", f"registry={GATEWAY}/npm/", "~/.npmrc"),
        ("npm", "ci", "npm", f"export npm_config_registry={GATEWAY}/npm/", "of the CI job"),
        ("yarn", "unknown", "npm", f"mainstay setup yarn --gateway {GATEWAY}", "a shell"),
        ("got", "unknown", "npm", f"mainstay setup yarn --gateway {GATEWAY}", "a shell"),
        ("go-http-client", "unknown", "golang", f"GOPROXY={GATEWAY}/go", "~/.config/go/env"),
        ("mvnd", "unknown", "maven", f"mainstay setup maven --gateway {GATEWAY}", "a shell"),
        ("cargo", "unknown", "cargo", f"mainstay setup cargo --gateway {GATEWAY}", "a shell"),
        ("bun", "unknown", "npm", f'registry = "{GATEWAY}/npm/"', "bunfig.toml, [install]"),
        ("curl", "unknown", "golang", f"GOPROXY={GATEWAY}/go go build", "the command line"),
        ("curl", "unknown", "another", f"mainstay setup --gateway {GATEWAY}", "a shell"),
    ],
)
def test_a_client_past_the_gateway_is_pointed_at_it(client, client_class, ecosystem, change, where):
    """By the line that setup would write, where that is one; else by the command that writes it."""
    remedy = find_remedy(BYPASS, client, client_class, ecosystem, f"{GATEWAY}/")
    assert remedy.change == change
    assert where in remedy.where


@pytest.mark.parametrize(
    ("gateway", "change"),
    [
        ("http://127.0.0.1:4480", "index-url = http://127.0.0.1:4480/pypi/simple/"),
        ("http://localhost:4480", "index-url = http://localhost:4480/pypi/simple/"),
        ("http://mainstay.example:4480", "mainstay setup pip --gateway http://mainstay.example:4480"),
        ("", "index-url = https://GATEWAY/pypi/simple/"),
    ],
)
def test_a_gateway_that_needs_a_second_line_needs_setup(gateway, change):
    """pip must be told as well that a host may be asked by plain http, unless it is this machine."""
    assert find_remedy(BYPASS, "pip", "person", "pypi", gateway).change == change


def test_the_data_says_when_it_was_looked_at():
    """Clients change what they are told by."""
    assert load_remedies().as_of.year >= 2026
