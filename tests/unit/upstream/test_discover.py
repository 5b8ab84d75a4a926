from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from mainstay.config import Config, EcosystemSetting, UpstreamSetting
from mainstay.ecosystems.base import Ecosystem
from mainstay.model import Artifact, Discovery, File, Found, Index, Listing, Request, Resource, Source
from mainstay.upstream import discover as discover_module
from mainstay.upstream.discover import discover, read_configuration
from mainstay.upstream.registry import Registry

DEFAULT = "https://default.example/simple/"
VARIABLE = "TOY_REGISTRY"


class Toy(Ecosystem):
    """An ecosystem whose clients are set by one variable: a word for each registry, `+` before an extra one."""

    id, osv, label, mount = "toy", "Toy", "Toy", "toy"
    roles: ClassVar[Mapping[str, str]] = {"simple": "simple/"}
    discovery = Discovery(env=(VARIABLE,))

    def default_upstream(self) -> str:
        """The public registry."""
        return DEFAULT

    def bases(self, upstream: str) -> Mapping[str, str]:
        """One role."""
        return {"simple": upstream}

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """The words of the variable."""
        return [Found(word.lstrip("+"), word.startswith("+"), why=VARIABLE) for word in found.get(VARIABLE, "").split()]

    def route(self, request: Request) -> Resource:
        """Not asked for here."""
        raise NotImplementedError

    def index_of(self, artifact: Artifact) -> Index:
        """Not asked for here."""
        raise NotImplementedError

    def open(self, index: Index, source: Source) -> Listing:
        """Not asked for here."""
        raise NotImplementedError

    def path(self, file: File) -> str:
        """Not asked for here."""
        raise NotImplementedError


def found(config: Config | None = None, *, own: tuple[tuple[str, int], ...] = (), extras: bool = False) -> list[str]:
    """The upstreams in force, each with its reason."""
    registry: Registry = discover(config or Config(), {"toy": Toy()}, own=frozenset(own), extras=extras)
    return [f"{upstream.id} {upstream.why}" for upstream in registry.of("toy")]


def configured(*urls: str) -> Config:
    """mainstay.toml with these upstreams."""
    entries = tuple(UpstreamSetting(url=url) for url in urls)
    return Config(ecosystems={"toy": EcosystemSetting(upstream=entries)})


def test_the_settings_beat_the_machine_which_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each says where it came from."""
    assert found() == [f"{DEFAULT} public default"]
    monkeypatch.setenv(VARIABLE, "https://machine.example/simple")
    assert found() == ["https://machine.example/simple/ TOY_REGISTRY"]
    assert found(configured("https://own.example/")) == ["https://own.example/ mainstay.toml"]
    one = Config(ecosystems={"toy": EcosystemSetting(upstream="https://own.example/")})
    assert found(one) == ["https://own.example/ mainstay.toml"]


def test_mainstays_own_address_is_no_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose client points at the gateway already would make it ask itself."""
    monkeypatch.setenv(VARIABLE, "http://LOCALHOST:4480/toy/simple/")
    assert found(own=(("localhost", 4480),)) == [f"{DEFAULT} public default"]
    assert found(own=(("localhost", 80),)) == ["http://localhost:4480/toy/simple/ TOY_REGISTRY"]


def test_extra_registries_count_for_a_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service is not to ask what one person's file names; a run must answer for all of them, each once."""
    monkeypatch.setenv(VARIABLE, f"+https://extra.example/ +https://extra.example/ {DEFAULT}")
    assert found() == [f"{DEFAULT} TOY_REGISTRY"]
    assert found(extras=True) == [f"{DEFAULT} TOY_REGISTRY", "https://extra.example/ TOY_REGISTRY"]
    assert found(configured("https://own.example/"), extras=True)[0] == "https://own.example/ mainstay.toml"


def test_no_upstream_at_all_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway starts, and says on request what to set."""
    monkeypatch.setattr(Toy, "default_upstream", lambda self: "")
    assert found() == []


def read(tmp_path: Path, **discovery: tuple[object, ...]) -> dict[str, str]:
    """What is found, with an empty environment."""
    return read_configuration(Discovery(**discovery), {}, tmp_path)  # type: ignore[arg-type]


def test_a_command_that_fails_hangs_or_is_absent_counts_as_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others still count, and a hanging one costs its time-out only."""
    monkeypatch.setattr(discover_module, "COMMAND_TIMEOUT_S", 0.5)
    good = (sys.executable, "-c", "print('https://machine.example/')")
    bad = ((sys.executable, "-c", "print('x'); raise SystemExit(1)"), ("/no/such/command",), ("sleep", "30"))
    begun_s = time.monotonic()
    assert read(tmp_path, commands=(*bad, good)) == {" ".join(good): "https://machine.example/\n"}
    assert time.monotonic() - begun_s < 5


def test_a_command_cannot_ask_the_terminal_a_question(tmp_path: Path) -> None:
    """Its standard input is empty."""
    command = (sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))")
    assert read(tmp_path, commands=(command,)) == {" ".join(command): "''\n"}


def test_files_are_looked_for_in_the_folder_its_parents_and_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest one counts; ~ is the home folder; what cannot be read is not there."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "toyrc").write_text("far")
    (tmp_path / "a" / "toyrc").write_text("near")
    (tmp_path / "a" / "folder.rc").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    found = read(inner, files=("toyrc", "~/toyrc", "folder.rc", "absent.rc"))
    assert found == {"toyrc": "near", "~/toyrc": "far"}


def test_a_folder_that_a_variable_names_is_looked_into(tmp_path: Path) -> None:
    """Where the variable is not set, nothing is there."""
    (tmp_path / "toyrc").write_text("there")
    discovery = Discovery(files=("$TOY_HOME/toyrc", "$OTHER_HOME/toyrc"))
    assert read_configuration(discovery, {"TOY_HOME": str(tmp_path)}, tmp_path) == {"$TOY_HOME/toyrc": "there"}


def test_odd_bytes_and_huge_files_do_no_harm(tmp_path: Path) -> None:
    """Text that is no UTF-8 is read as far as it is; a huge file only in part."""
    (tmp_path / "odd").write_bytes(b"a\xffb")
    (tmp_path / "huge").write_bytes(b"x" * 1_000_000)
    found = read(tmp_path, files=("odd", "huge"))
    assert found["odd"] == "a\ufffdb" and len(found["huge"]) == discover_module.MAX_CONFIG_BYTES
