"""What is no registry goes past the gateway, is named on the receipt, and is stopped by --strict and --sealed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.lane import PREFIXES, Lane, read_receipt
from clients.packages import Forge
from clients.proxy import Authority, Proxy
from clients.recipes import BY_NAME, Client
from clients.stage import MAINSTAY, Outcome, difference
from clients.test_surroundings import trusting
from doubles.upstream import Upstream

REPOSITORY = "git+https://forge.example/sample.git"
GIT_NPM = json.dumps({"name": "sample", "version": "1.0.0", "dependencies": {"forged": f"{REPOSITORY}#main"}}).encode()
FROM_GIT = (
    (BY_NAME["pip-newest"], {"requirements.txt": f"{REPOSITORY}@main\n".encode()}),
    (BY_NAME["npm-install"], {"package.json": GIT_NPM}),
)


@pytest.fixture(scope="module")
def forge(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """A git forge."""
    with Forge(tmp_path_factory.mktemp("forge"), lane.tools.git) as made:
        yield made


@pytest.fixture(scope="module")
def network(forge: Forge, authority: Authority) -> Iterator[Proxy]:
    """The only way to the forge."""
    with Proxy(authority=authority, routes={"forge.example": forge.port}) as proxy:
        yield proxy


def install(lane: Lane, network: Proxy, client: Client, files: dict[str, bytes], prefix: tuple[str, ...]) -> Outcome:
    """Install what the forge has."""
    assert network.authority is not None
    environ = network.variables | trusting(network.authority.bundle)
    environ |= {"MAINSTAY_DATA": str(lane.root / "data" / "forge")}
    return lane.perform(client, prefix, files, **environ)


@pytest.mark.parametrize("mode", ["run", "sealed"])
@pytest.mark.parametrize(("client", "files"), FROM_GIT, ids=["pip", "npm"])
def test_a_dependency_from_a_git_forge_is_tunnelled_and_named_on_the_receipt(
    lane: Lane, forge: Forge, network: Proxy, client: Client, files: dict[str, bytes], mode: str
) -> None:
    """git over https works as in a direct run, and the person can see where it went."""
    expected = install(lane, network, client, files, ())
    before = len(forge.requests)
    found = install(lane, network, client, files, PREFIXES[mode])
    assert len(forge.requests) > before
    assert difference(expected.tree, found.tree, client.excluded) == []
    assert found.locks == expected.locks
    past = read_receipt(found.stderr)["past the gateway"]
    assert [row for row in past if row.startswith("forge.example:443: ")], past


def test_strict_refuses_a_forge_and_says_so(lane: Lane, forge: Forge, network: Proxy) -> None:
    """With --strict only registries are reached; the receipt names what was refused."""
    assert network.authority is not None
    lane.stage.reset("python")
    environ = lane.stage.environ(
        **network.variables, **trusting(network.authority.bundle), MAINSTAY_DATA=str(lane.root / "data" / "strict")
    )
    before = len(forge.requests)
    command = [*MAINSTAY, "run", "--strict", "--", lane.tools.git, "clone", REPOSITORY.removeprefix("git+"), "there"]
    done = lane.stage.call(command, environ)
    assert done.returncode == 128, done.stderr
    assert read_receipt(done.stderr)["refused"] == ["forge.example:443: no registry, 1 attempt"]
    assert len(forge.requests) == before


FETCH = "fetch(process.argv[1]).then(r => r.text()).then(() => 0, () => process.exit(7))"


@pytest.mark.parametrize(("mode", "code", "seen"), [("run", 0, 1), ("sealed", 7, 0)])
def test_a_client_that_ignores_proxies_gets_past_run_and_not_out_of_sealed(
    lane: Lane, tmp_path: Path, mode: str, code: int, seen: int
) -> None:
    """Node's own `fetch` knows no proxy variables here; in the sealed namespace there is nothing else to reach."""
    lane.stage.reset("node")
    with Upstream() as elsewhere:
        elsewhere.project("demo").release("1.0")
        command = [*PREFIXES[mode], lane.tools.node, "-e", FETCH, elsewhere.simple_url + "demo/"]
        done = lane.stage.call(command, lane.stage.environ(MAINSTAY_DATA=str(tmp_path)))
        assert (done.returncode, len(elsewhere.seen())) == (code, seen), done.stderr


def test_a_client_whose_environment_was_cleared_cannot_leave_sealed(lane: Lane, tmp_path: Path) -> None:
    """`env -i` drops every variable; then nothing is installed rather than something unseen."""
    lane.stage.reset("python")
    pip = [lane.tools.pip_newest, "download", "--retries", "0", "--timeout", "3", "--no-deps", "itsdangerous"]
    command = [*PREFIXES["sealed"], "/usr/bin/env", "-i", f"HOME={lane.stage.home}", *pip]
    done = lane.stage.call(command, lane.stage.environ(MAINSTAY_DATA=str(tmp_path)))
    assert done.returncode == 1, done.stderr
    assert list(lane.stage.project.glob("*.whl")) == []
