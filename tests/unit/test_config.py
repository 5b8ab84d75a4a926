from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from architecture.tree import ROOT
from doubles.gateway import clean_environ
from mainstay import config as config_module
from mainstay.config import Config, Section, default_data_path, parse_rates, parse_size
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.settings import load_config

KNOWN = tuple(ecosystems())


def load(
    tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Config:
    """The settings of this file, environment and flags."""
    path = tmp_path / "mainstay.toml"
    path.write_text(text)
    return load_config(path, environ or {}, flags or {}, KNOWN)


def refused(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    """The words with which these settings are refused."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    assert caught.value.exit_code == 2
    return caught.value.diagnostics()


def test_without_anything_the_defaults_hold() -> None:
    """No file, no variable, no flag."""
    assert load_config(None, {}, {}, KNOWN) == Config()


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    """Each only for what it names; tables merge, lists replace."""
    text = """
    data = "/file"
    public_url = "http://file.example"
    [server]
    port = 1
    workers = 1
    host = "file.example"
    trusted_proxies = ["10.0.0.1", "10.0.0.2"]
    """
    environ = {
        "MAINSTAY_DATA": "/environment",
        "MAINSTAY_PUBLIC_URL": "http://environment.example",
        "MAINSTAY_SERVER__PORT": "2",
        "MAINSTAY_SERVER__WORKERS": "2",
        "MAINSTAY_SERVER__TRUSTED_PROXIES": "10.0.0.3,10.0.0.4",
        "MAINSTAY_LOG__ACCESS": "false",
        "MAINSTAY_BOOT": "{}",
        "MAINSTAY_TOKEN": "x",
        "OTHER__PORT": "9",
    }
    config = load(tmp_path, text, environ, {"server": {"port": 3}})
    assert (config.server.port, config.server.workers, config.server.host) == (3, 2, "file.example")
    assert config.server.trusted_proxies == ("10.0.0.3", "10.0.0.4")
    assert (config.data, config.public_url, config.log.access) == ("/environment", "http://environment.example", False)


def test_an_ecosystem_can_be_set_by_one_variable(tmp_path: Path) -> None:
    """As containers do."""
    name = f"MAINSTAY_ECOSYSTEMS__{KNOWN[0].upper()}__UPSTREAM"
    config = load(tmp_path, environ={name: "http://registry.example/"})
    assert config.ecosystems[KNOWN[0]].upstream == "http://registry.example/"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", ["server.prot", "Did you mean server.port?"]),
        ("[sever]\nport = 1", ["sever", "Did you mean server?"]),
        ("zzz = 1", ["zzz", "Allowed here:", "public_url"]),
        ("[cache]\nttl = 1", ["cache.ttl", "document_ttl_s"]),
        ("[ecosystems.pypi]\nupstrem = 'x'", ["ecosystems.pypi.upstrem", "upstream"]),
        (
            "[[ecosystems.pypi.upstream]]\nurl = 'http://a.example'\nnamespace = ['x']",
            ["upstream[0].namespace", "namespaces"],
        ),
        ("[ecosystems.pypii]\nupstream = 'http://a.example'", ["ecosystems.pypii", "Did you mean ecosystems.pypi?"]),
        ("[ecosystems.zzz]\nupstream = 'http://a.example'", ["ecosystems.zzz", "Allowed:", "pypi"]),
        ("[tiers.gold]\nrequest = '1/day'", ["tiers.gold.request", "Did you mean tiers.gold.requests?"]),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_neighbour(text: str, words: list[str], tmp_path: Path) -> None:
    """Nothing is ignored silently."""
    told = refused(tmp_path, text)
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nport = 'x'", ["server.port", "'x'", "int"]),
        ("[server]\nport = 70000", ["server.port", "70000", "65535"]),
        ("[server]\nport = 0", ["server.port", "0", ">= 1"]),
        ("[server]\nhost = ''", ["server.host", "0.0.0.0"]),
        ("[cache]\nsize = '9999999999999999 TB'", ["cache.size", "9999999999999999 TB"]),
        ("[server]\nworkers = -1", ["server.workers", "-1", "0"]),
        ("server = 5", ["server", "5", "object"]),
        ("data = 5", ["data", "5", "str"]),
        ("[fetch]\nattempts = 0", ["fetch.attempts", "0", "1"]),
        ("[cache]\ndocument_ttl_s = -1", ["cache.document_ttl_s", "-1", "0"]),
        ("[cache]\nsize = 'big'", ["cache.size", "'big'", "GB"]),
        ("[cache]\nmax_document = '-1 GB'", ["cache.max_document", "-1 GB"]),
        ("[cache]\nmax_artifact = '1 XB'", ["cache.max_artifact", "1 XB", "GiB"]),
        ("[cache]\ndocument_memory = ''", ["cache.document_memory", "''"]),
        ("[server]\nmax_body = '1 stone'", ["server.max_body", "stone"]),
        ("[log]\nlevel = 'loud'", ["log.level", "'loud'", "debug, info, warning, error"]),
        ("public_url = 'packages.example'", ["public_url", "packages.example", "http://"]),
        ("public_url = 'http://'", ["public_url", "http://"]),
        ("public_url = 'http://a.example:99999'", ["public_url", "99999"]),
        ("[server]\ntls_cert = 'a.pem'", ["server.tls_cert", "server.tls_key"]),
        ("[server]\ntls_key = 'a.pem'", ["server.tls_cert", "server.tls_key"]),
        ("[server]\ntrusted_proxies = ['proxy.example']", ["server.trusted_proxies", "proxy.example", "10.0.0.0/8"]),
        ("[server]\ntrusted_proxies = ['10.0.0.0/99']", ["server.trusted_proxies", "10.0.0.0/99"]),
        ("[ecosystems.pypi]\nupstream = 'ftp://a.example'", ["ecosystems.pypi.upstream", "ftp", "http"]),
        ("[ecosystems.pypi]\nupstream = ''", ["ecosystems.pypi.upstream"]),
        ("[[ecosystems.pypi.upstream]]\nurl = 'x'", ["ecosystems.pypi.upstream[0].url", "'x'"]),
        ("[[ecosystems.pypi.upstream]]\nprivate = true", ["url"]),
        ("[[ecosystems.pypi.upstream]]\nurl = 'http://a.example'\nprivate = 'maybe'", ["private", "bool"]),
        ("[ecosystems.pypi]\nupstream = 5", ["ecosystems", "upstream", "str"]),
        ("[ecosystems]\npypi = 5", ["ecosystems", "object"]),
        ("ecosystems = 5", ["ecosystems", "5", "object"]),
        ("tiers = 5", ["tiers", "5", "object"]),
        ("[tiers]\ngold = 5", ["tiers.gold = 5", "object"]),
        ("[tiers.free]\n[tiers.gold]\nweight = 'x'", ["tiers.gold.weight", "'x'", "float"]),
        ("[tiers.gold]\nweight = 0", ["tiers.gold.weight", "0", ">= 0.01"]),
        ("[tiers.gold]\nweight = nan", ["tiers.gold.weight", "nan"]),
        ("[tiers.gold]\nconcurrency = -1", ["tiers.gold.concurrency", "-1", ">= 0"]),
        ("[tiers.gold]\nmax_wait_s = -1", ["tiers.gold.max_wait_s", "-1", ">= 0"]),
        ("[tiers.gold]\ncharge = 'none'", ["tiers.gold.charge", "'none'", "upstream, all"]),
        ("[tiers.gold]\nmode = 'on'", ["tiers.gold.mode", "'on'", "evaluate, enforce, off"]),
        ("[tiers.gold]\npriority = 'high'", ["tiers.gold.priority", "'high'", "client, interactive, ci, bulk"]),
        ("[tiers.gold]\nrequests = '600'", ["tiers.gold.requests", "'600'", "second, minute, hour or day"]),
        ("[tiers.gold]\nrequests = '600/week'", ["tiers.gold.requests", "'600/week'", "second, minute, hour or day"]),
        ("[tiers.gold]\nrequests = '0/day'", ["tiers.gold.requests", "'0/day'", "above 0"]),
        ("[tiers.gold]\nrequests = '-1/day'", ["tiers.gold.requests", "'-1/day'"]),
        ("[tiers.gold]\nrequests = '1.5/day'", ["tiers.gold.requests", "1.5"]),
        ("[tiers.gold]\nrequests = '1e9/day'", ["tiers.gold.requests", "1e9"]),
        ("[tiers.gold]\nrequests = ''", ["tiers.gold.requests", "''"]),
        ("[tiers.gold]\nrequests = ['1/day', '2/day']", ["tiers.gold.requests", "'2/day'", "at most once"]),
        ("[tiers.gold]\nrequests = [5]", ["tiers.gold.requests", "5", "str"]),
        ("[tiers.gold]\nbytes = '10/day/day'", ["tiers.gold.bytes", "10/day/day"]),
        ("[tiers.gold]\nbytes = '10 stone/day'", ["tiers.gold.bytes", "stone", "GiB"]),
        ("[tiers.Gold]\nweight = 1", ["tiers.Gold", "lower case"]),
        ("[tiers.'']\nweight = 1", ["tiers.", "lower case"]),
        (f"[tiers.{'a' * 41}]\nweight = 1", ["tiers.aaa", "40"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(text: str, words: list[str], tmp_path: Path) -> None:
    """So that it can be put right without the manual."""
    told = refused(tmp_path, text)
    assert all(word in told for word in words), told


def test_a_tier_can_be_set_by_variables(tmp_path: Path) -> None:
    """As containers do; numbers are read as such."""
    environ = {"MAINSTAY_TIERS__FREE__REQUESTS": "600/minute", "MAINSTAY_TIERS__FREE__WEIGHT": "2"}
    free = load(tmp_path, "[tiers.free]\nmode = 'enforce'", environ).tiers["free"]
    assert (free.requests, free.weight, free.mode) == ("600/minute", 2.0, "enforce")


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ("600/minute", ((600, 60),)),
        ((" 7 / hour ", "5/second"), ((5, 1), (7, 3600))),
        ((), ()),
    ],
)
def test_rates_are_read_with_the_shortest_time_first(
    given: str | tuple[str, ...], rates: tuple[tuple[int, int], ...]
) -> None:
    """One, several or none."""
    assert parse_rates(given, int) == rates


@pytest.mark.parametrize(
    "credential",
    [
        "token_env = 'T'",
        "token_file = 'f'",
        "username = 'u'",
        "password_file = 'f'",
        "url = 'https://u:hunter2@a.example'",
    ],
)
def test_a_private_upstream_has_no_credential_of_the_gateways(credential: str, tmp_path: Path) -> None:
    """Else a caller who shows none would be served with the gateway's own."""
    url = "" if "url" in credential else "url = 'https://a.example'\n"
    upstream = f"[[ecosystems.pypi.upstream]]\n{url}{credential}\n"
    told = refused(tmp_path, upstream + "private = true")
    assert "ecosystems.pypi.upstream[0].private" in told and "credential" in told and "hunter2" not in told
    assert load(tmp_path, upstream).ecosystems["pypi"].upstream


@pytest.mark.parametrize(
    "environ",
    [
        {"MAINSTAY_SERVER__PORT": "x"},
        {"MAINSTAY_SERVER__PROT": "1"},
        {"MAINSTAY_CACHE__SIZE": "1 GB", "MAINSTAY_CACHE__SIZE__UNIT": "x"},
        {"MAINSTAY_CACHE__SIZE__UNIT": "x", "MAINSTAY_CACHE__SIZE": "1 GB"},
        {"MAINSTAY_SERVER__": "1"},
        {"MAINSTAY___": "1"},
        {"MAINSTAY_DATA__X": "1", "MAINSTAY_DATA": "/data"},
        {"MAINSTAY_DATA": "/data", "MAINSTAY_DATA__X": "1"},
    ],
    ids="+".join,
)
def test_a_wrong_variable_is_a_config_error(environ: dict[str, str], tmp_path: Path) -> None:
    """Never a traceback."""
    assert refused(tmp_path, "", environ)


@pytest.mark.parametrize("url", ["ftp://user:hunter2@a.example/", "http://user:hunter2@/x", "user:hunter2@a.example"])
def test_a_credential_in_a_refused_address_is_not_repeated(url: str, tmp_path: Path) -> None:
    """The words go to logs and screens."""
    for text in (f"public_url = '{url}'", f"[ecosystems.pypi]\nupstream = '{url}'"):
        assert "hunter2" not in refused(tmp_path, text)


@pytest.mark.parametrize("text", ["[server", "a = ", "port = 1\nport = 2", "\x00", "a = 1 b = 2"])
def test_what_is_no_toml_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    """The file's name and what the parser says."""
    told = refused(tmp_path, text)
    assert "mainstay.toml" in told and "TOML" in told


def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    """Absent, a folder, or no text."""
    (tmp_path / "latin").write_bytes(b"a = '\xff'")
    for path in (tmp_path / "absent.toml", tmp_path, tmp_path / "latin"):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {}, {}, KNOWN)
        assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("10", 10), ("10 B", 10), ("1kB", 1000), ("1 KB", 1000), (" 1.5 MB ", 1_500_000), ("2 GiB", 2 << 30),
     ("1 TB", 10**12)],
)  # fmt: skip
def test_a_size_is_read_in_decimal_and_binary_units(text: str, size_bytes: int) -> None:
    """kB is 1000, KiB is 1024."""
    assert parse_size(text) == size_bytes


@given(st.text(max_size=12))
def test_what_is_no_size_is_a_value_error(text: str) -> None:
    """And nothing else."""
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 0


def test_the_data_folder_follows_the_users_base_folders(tmp_path: Path) -> None:
    """XDG_DATA_HOME, else ~/.local/share; ~ in the setting is the home folder."""
    assert default_data_path({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "mainstay"
    assert default_data_path({}).parts[-3:] == (".local", "share", "mainstay")
    assert default_data_path({"XDG_DATA_HOME": ""}) == default_data_path({})
    assert Config(data="~/x").data_path == Path.home() / "x"


def sections() -> list[type[Section]]:
    """Every table of mainstay.toml."""
    values = vars(config_module).values()
    return [
        value for value in values if isinstance(value, type) and issubclass(value, Section) and value is not Section
    ]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_setting_is_explained_in_the_source_and_in_the_docs(section: type[Section]) -> None:
    """A docstring below it, and its name in docs/configuration.md."""
    source = Path(config_module.__file__).read_text("utf-8")
    body = re.split(r"\nclass \w+\(", source.partition(f"\nclass {section.__name__}(")[2])[0]
    docs = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for field in msgspec.structs.fields(section):
        assert (
            re.search(rf"\n    {field.name}: [^\n]+\n    \"\"\"", body)
            or field.default_factory is not msgspec.NODEFAULT
        ), field.name
        assert field.name in docs, field.name


@pytest.mark.parametrize(
    "arguments",
    [["serve", "--prot", "1"], ["serve", "--port", "x"], ["serve", "extra"], ["sevre"],
     ["serve", "--config", "absent.toml"], ["serve", "--port", "70000"], ["serve", "--workers", "-1"],
     ["serve", "--host", "no.such.host.invalid"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_exits_with_2_and_says_what_was_wrong(arguments: list[str], tmp_path: Path) -> None:
    """A few words on standard error, nothing on standard output, no traceback, no data folder."""
    environ = clean_environ() | {"XDG_DATA_HOME": str(tmp_path), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "mainstay", *arguments]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert 10 < len(done.stderr) < 1500 and "Traceback" not in done.stderr
    assert arguments[-1].lstrip("-") in done.stderr or arguments[1].lstrip("-") in done.stderr
    assert list(tmp_path.iterdir()) == []
