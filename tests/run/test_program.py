"""`mainstay run` itself, with a gateway of its own or a shared one, and a registry on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from doubles.faults import WrongDigest
from doubles.gateway import Gateway, Serve, Setting, Tree, render_toml
from doubles.registry import content
from doubles.upstream import Upstream, wait_until
from run.conftest import Finished

PROGRAMS = ("cat", "curl", "env", "false", "ls", "sh", "true")
CURL = ("curl", "--silent", "--show-error", "--fail", "--max-time", "20")
RIGHT = content(300_000)
Run = Callable[..., Finished]


@pytest.fixture
def registry() -> Iterator[Upstream]:
    """A public registry. On 127.0.0.2, because 127.0.0.1 never goes through a proxy."""
    with Upstream(files_on_index_host=True, address="127.0.0.2") as double:
        double.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
        yield double


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH without package managers, whose settings would lead to the registries that this machine uses."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        found = next(Path(place) / name for place in ("/usr/bin", "/bin") if (Path(place) / name).exists())
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def run(environ: dict[str, str], programs: Path, tmp_path: Path) -> Run:
    """`run("--strict", "--", "true", pypi=[...], extra={...})`: the finished program."""

    def start(*arguments: str, pypi: str | list[Setting] = "", extra: dict[str, str] | None = None) -> Finished:
        config = tmp_path / "mainstay.toml"
        nowhere = "http://registry.invalid/"
        upstreams: Tree = {"pypi": {"upstream": pypi or nowhere}, "npm": {"upstream": nowhere}}
        config.write_text("".join(render_toml({"ecosystems": upstreams})))
        command = Gateway.command("run", "--config", str(config), *arguments)
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environ | {"PATH": str(programs)} | (extra or {}),
            cwd=tmp_path,
            timeout=60,
        )

    return start


def addresses(registry: Upstream, project: str = "demo") -> tuple[str, str]:
    """The index of a project at the registry, and its file."""
    [file] = registry.project(project).releases["1.0"]
    return f"{registry.simple_url}{project}/", file.url


def test_data_is_kept_in_the_users_data_folder_and_nothing_else_is_left(run, registry, home, environ):
    """XDG_DATA_HOME's default, for the next run to find. The user's own settings are as they were, byte for byte."""
    own = {".npmrc": "cafile=none.pem\n", ".wgetrc": "tries = 1\n", ".gitconfig": "[core]\n", ".pip/pip.conf": "[x]\n"}
    for name, text in own.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    done = run("--", *CURL, *zip_output(addresses(registry)), pypi=registry.simple_url)
    assert done.returncode == 0, done.stderr
    kept = home / ".local/share/mainstay"
    assert (kept / "mainstay.db").exists()
    assert [path.stat().st_size for path in (kept / "blobs").rglob("*") if path.is_file()].count(len(RIGHT)) == 1
    others = {path for path in home.rglob("*") if path.is_file() and not path.is_relative_to(kept)}
    assert {str(path.relative_to(home)): path.read_text() for path in others} == own
    assert os.listdir(environ["TMPDIR"]) == []


def test_the_receipt_tells_what_was_served_from_where_and_what_it_saved(run, registry, receipt, tmp_path):
    """The registry's own count and sizes are the judge, cold and again with the registry gone."""
    index, file = addresses(registry)
    fetch = ("--", *CURL, "--output", "one", index, "--output", "two", file)
    cold = run(*fetch, pypi=registry.simple_url)
    assert (tmp_path / "two").read_bytes() == RIGHT, cold.stderr
    served = len(RIGHT) + (tmp_path / "one").stat().st_size
    asked = registry.seen()
    assert [seen.path for seen in asked] == ["/simple/demo/", registry.project("demo").releases["1.0"][0].path]
    rows = receipt(cold)
    assert rows[0] == f"served: 1 file, {served / 1000:.1f} kB in 2 requests"
    assert rows[1] == "from cache: 0 B"
    assert rows[2].endswith(" in 2 requests") and rows[3] == "upstream saved: 0 requests, 0 B"
    registry.down()
    warm = receipt(run(*fetch, pypi=registry.simple_url))
    assert (tmp_path / "two").read_bytes() == RIGHT
    assert warm[:4] == [
        rows[0],
        f"from cache: {served / 1000:.1f} kB",
        "from upstream: 0 B in 0 requests",
        f"upstream saved: 2 requests, {served / 1000:.1f} kB",
    ]
    assert warm[-1].startswith("time: ") and len(warm) == 5


def test_a_file_that_comes_with_the_commands_last_breath_is_kept(run, registry):
    """The command has its last byte and ends before the file is in its place: the run waits for that."""
    for number in range(3):
        name = f"last{number}"
        registry.project(name).release("1.0", {f"{name}-1.0.tar.gz": content(300_000, seed=50 + number)})
        _, file = addresses(registry, name)
        for _ in range(2):
            done = run("--", *CURL, "--output", os.devnull, file, pypi=registry.simple_url)
            assert done.returncode == 0, done.stderr
        assert len(registry.seen(f"*/{name}-1.0.tar.gz")) == 1


def test_a_refusal_is_on_the_receipt_with_its_reason(run, registry, receipt):
    """A file whose bytes are not those that the index promises is broken off, and said."""
    registry.on("*.tar.gz").fault(WrongDigest())
    index, file = addresses(registry)
    done = run("--", *CURL, *zip_output((index, file)), pypi=registry.simple_url)
    assert done.returncode != 0
    assert [row for row in receipt(done) if row.startswith("refused: ") and "demo-1.0.tar.gz" in row], done.stderr


def test_a_name_that_a_private_registry_claims_is_never_asked_of_a_public_one(run, registry):
    """At its own address the private registry answers; at the public one's the name does not exist, unasked."""
    with Upstream(files_on_index_host=True, address="127.0.0.3") as private:
        private.project("acme-core").release("1.0", {"acme_core-1.0.tar.gz": RIGHT})
        registry.project("acme-core").release("6.6.6")
        upstreams = [
            {"url": registry.simple_url},
            {"url": private.simple_url, "private": True, "namespaces": ["acme-*"]},
        ]
        good = run("--", *CURL, f"{private.simple_url}acme-core/", pypi=upstreams)
        assert b"acme_core-1.0.tar.gz" in good.stdout, good.stderr
        bad = run("--", *CURL, f"{registry.simple_url}acme-core/", pypi=upstreams)
        assert bad.returncode == 22 and b"404" in bad.stderr
    assert registry.seen() == []


def test_a_second_index_that_the_project_names_is_answered_too(run, registry, receipt, tmp_path):
    """Found in the folder in which the command runs; without Mainstay's file saying a word of it."""
    with Upstream(files_on_index_host=True, address="127.0.0.3") as extra:
        extra.project("other").release("1.0", {"other-1.0.tar.gz": RIGHT})
        (tmp_path / "requirements.txt").write_text(f"--extra-index-url {extra.simple_url}\nother==1.0\n")
        index, file = addresses(extra, "other")
        done = run("--", *CURL, *zip_output((index, file)), pypi=registry.simple_url)
        assert done.returncode == 0, done.stderr
    assert receipt(done)[0].startswith("served: 1 file, ")
    assert not [row for row in receipt(done) if row.startswith("past")]


def test_options_after_the_command_are_the_commands(run):
    """With and without the two dashes; its exit code is the program's."""
    assert run("ls", "--strict").returncode == 2  # of `ls`, which does not know it
    assert run("--", "sh", "-c", "exit 7").returncode == 7
    assert run("sh", "-c", 'echo "$@"', "sh", "--sealed").stdout == b"--sealed\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), b"COMMAND"),
        (("--no-such-flag", "true"), b"--no-such-flag"),
        (("--gateway", "nowhere", "--", "true"), b"'nowhere'"),
    ],
)
def test_wrong_use_is_2_with_words(run, arguments, words):
    """And nothing runs."""
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("mode", [(), ("--sealed",)])
def test_a_shared_gateway_is_named_by_variables_and_does_the_same(run, registry, serve: Serve, receipt, home, mode):
    """MAINSTAY_URL and MAINSTAY_TOKEN: the same bytes and, warm, the same receipt as of a gateway of one's own."""
    gateway = serve(pypi=registry.simple_url)
    token = json.loads(gateway.run("consumer", "add", "the-run", "--json").stdout)["token"]
    shared = {"MAINSTAY_URL": gateway.url, "MAINSTAY_TOKEN": token}
    command = (*mode, "--", *CURL, *zip_output(addresses(registry)))
    for _ in range(2):
        through = run(*command, extra=shared)
        assert through.returncode == 0, through.stderr
        assert not (home / ".local").exists()
        wait_until(lambda: not [*(gateway.data / "fills").glob("*.head")], "the file to be published")
    assert len(registry.seen()) == 2
    own = [run(*command, pypi=registry.simple_url) for _ in range(2)]
    assert receipt(through)[:4] == receipt(own[1])[:4]
    assert token.encode() not in through.stdout + through.stderr
    wait_until(lambda: len(gateway.access_lines()) >= 6, "the access log")
    assert {line["consumer"] for line in gateway.access_lines() if line.get("ecosystem")} == {"the-run"}


def zip_output(urls: Iterable[str]) -> list[str]:
    """curl's arguments to throw away what these addresses give."""
    return [word for url in urls for word in ("--output", os.devnull, url)]
