from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mainstay.config import UpstreamSetting
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError, NotFound
from mainstay.upstream.addresses import host_and_port
from mainstay.upstream.registry import Registry, Upstream, build_upstream, storage_key

PYPI, NPM, CARGO = (ecosystems()[name] for name in ("pypi", "npm", "cargo"))


def make(url: str, ecosystem: Any = PYPI, **setting: Any) -> Upstream:
    """An upstream from its setting."""
    return build_upstream(ecosystem, UpstreamSetting(url=url, **setting), "a test")


PUBLIC = make("https://registry.example/simple/")
MIRROR = make("https://mirror.example/simple/")
PRIVATE = make("https://private.example/simple/", private=True)
CLAIMS = make("https://acme.example/simple/", namespaces=("acme-*", "secret-tool"))
REGISTRY = Registry({"pypi": (PUBLIC, CLAIMS, MIRROR, PRIVATE)})


def test_private_upstreams_are_asked_before_public_ones() -> None:
    """Whatever the order in the file; among equals the file's order holds."""
    assert REGISTRY.of("pypi") == (CLAIMS, PRIVATE, PUBLIC, MIRROR)
    assert REGISTRY.of("npm") == ()


@pytest.mark.parametrize("project", ["acme-core", "acme_core", "ACME-core", "secret_tool"])
def test_a_claim_holds_for_every_spelling_of_a_name(project: str) -> None:
    """cargo tries `-` and `_` in turn, and a registry has one crate of both."""
    claims = make("https://acme.example/", CARGO, namespaces=("acme-*", "secret-tool"))
    public = make("https://registry.example/", CARGO)
    registry = Registry({"cargo": (public, claims)})
    assert registry.for_project("cargo", project) == (claims,)
    assert registry.for_project("cargo", "acmecore") == (public,)


@pytest.mark.parametrize("project", ["acme-core", "acme-", "secret-tool"])
def test_a_claimed_name_is_asked_of_its_owner_alone(project: str) -> None:
    """A public release of that name is not even looked for (dependency confusion)."""
    assert REGISTRY.for_project("pypi", project) == (CLAIMS,)


@pytest.mark.parametrize("project", ["flask", "acme", "secret-tool-2", ""])
def test_other_names_are_not_asked_of_an_upstream_with_namespaces(project: str) -> None:
    """It holds its own names and nothing else."""
    assert REGISTRY.for_project("pypi", project) == (PRIVATE, PUBLIC, MIRROR)


def test_private_names_are_those_that_others_claim() -> None:
    """What must not be sent to the public registry may be sent to the owner."""
    assert "acme-core" in REGISTRY.private_names("pypi", PUBLIC)
    assert "secret-tool" in REGISTRY.private_names("pypi", MIRROR)
    assert "acme-core" not in REGISTRY.private_names("pypi", CLAIMS)
    assert "flask" not in REGISTRY.private_names("pypi", PUBLIC)


def test_a_url_is_located_by_its_longest_base() -> None:
    """Two upstreams on one host, one below the other: each URL goes to its own."""
    outer, inner = make("https://registry.example/simple/"), make("https://registry.example/simple/team/simple/")
    registry = Registry({"pypi": (outer, inner)})
    found = registry.locate("https://registry.example/simple/team/simple/demo/")
    assert found is not None and (found.upstream, found.raw_path) == (inner, "simple/demo/")
    found = registry.locate("https://registry.example/simple/demo%2d/")
    assert found is not None and (found.upstream, found.raw_path, found.path) == (
        outer,
        "simple/demo%2d/",
        "simple/demo-/",
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.example.evil.example/simple/demo/",
        "https://registry.example:8443/simple/demo/",
        "http://registry.example/simple/demo/",
        "https://other.example/",
        "",
    ],
)
def test_a_url_of_another_origin_is_not_located(url: str) -> None:
    """The scheme, the whole host and the port count."""
    assert Registry({"pypi": (PUBLIC,)}).locate(url) is None


def test_file_hosts_are_learned_once_and_never_over_what_is_configured() -> None:
    """An index cannot move another upstream's addresses to itself."""
    registry = Registry({"pypi": (PUBLIC, PRIVATE)})
    assert registry.learn("https://files.example/", PUBLIC)
    assert not registry.learn("https://files.example/", PRIVATE)
    assert not registry.learn("https://private.example/simple/", PUBLIC)
    assert registry.learned(PUBLIC) == ["https://files.example/"] and registry.learned(PRIVATE) == []
    place = registry.locate("https://files.example/packages/aa/demo-1.0.tar.gz")
    assert place is not None and place.upstream is PUBLIC
    assert place.raw_path == "files/packages/aa/demo-1.0.tar.gz"
    assert ("files.example", 443) in registry.hosts()
    moved = registry.locate("https://private.example/simple/acme/")
    assert moved is not None and moved.upstream is PRIVATE


def test_a_named_role_may_lie_inside_the_upstreams_own_address_and_in_no_other() -> None:
    """A registry's description says where its parts are, and cannot take another registry's place."""
    registry = Registry({"pypi": (PUBLIC, PRIVATE)})
    assert registry.learn("https://registry.example/simple/parts/", PUBLIC, "files")
    assert not registry.learn("https://private.example/simple/parts/", PUBLIC, "files")
    assert not registry.learn("https://registry.example/simple/parts/", PUBLIC, "files")
    place = registry.locate("https://registry.example/simple/parts/demo-1.0.tar.gz")
    assert place is not None and (place.role, place.raw_path) == ("files", "files/demo-1.0.tar.gz")
    assert registry.base(PUBLIC, "files") == "https://registry.example/simple/parts/"
    assert registry.base(PUBLIC, "simple") == "https://registry.example/simple/"
    with pytest.raises(NotFound, match="no known place"):
        registry.base(PRIVATE, "files")


def test_only_hosts_of_the_learned_role_are_told_as_file_hosts() -> None:
    """`run --gateway` sends their files below that role's path."""
    registry = Registry({"pypi": (PUBLIC,)})
    assert registry.learn("https://other.example/json/", PUBLIC, "root")
    assert registry.learn("https://files.example/", PUBLIC)
    assert registry.learned(PUBLIC) == ["https://files.example/"]


def test_an_ecosystem_without_a_learned_role_learns_nothing() -> None:
    """Its files are below its configured address."""
    upstream = make("https://registry.example/", NPM)
    assert not Registry({"npm": (upstream,)}).learn("https://files.example/", upstream)


def test_the_table_says_where_everything_is_and_nothing_secret() -> None:
    """What `run --gateway` reads."""
    upstream = make("https://user:hunter2@registry.example/simple")
    (row,) = Registry({"pypi": (upstream,)}).table()
    assert row["upstream"] == "https://registry.example/simple/"
    assert {"url": "https://registry.example/simple/", "path": "/pypi/simple/"} in row["bases"]  # type: ignore[operator]
    assert row["learns"] == "/pypi/files/"
    assert "hunter2" not in str(row) and "hunter2" not in repr(upstream) and "dXNlcjpodW50ZXIy" not in repr(upstream)


def test_credentials_come_from_the_variable_the_file_or_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A token becomes Bearer, a name and password Basic; white space around them does not count."""
    monkeypatch.setenv("TOKEN", " hunter2\n")
    (tmp_path / "token").write_text("hunter3\n")
    url = "https://registry.example/simple/"
    assert make(url, token_env="TOKEN").authorization == "Bearer hunter2"
    assert make(url, CARGO, token_env="TOKEN").authorization == "hunter2"
    assert make(url, token_file=str(tmp_path / "token")).authorization == "Bearer hunter3"
    assert make(url, username="user", password_env="TOKEN").authorization == "Basic dXNlcjpodW50ZXIy"
    assert make(url, username="user", password_file=str(tmp_path / "token")).authorization == "Basic dXNlcjpodW50ZXIz"
    assert make("https://us%40er:p%3Aw@registry.example/").authorization == "Basic dXNAZXI6cDp3"
    assert make(url).authorization == ""


@pytest.mark.parametrize("key", ["token", "password"])
def test_a_credential_that_is_missing_is_a_config_error(key: str, tmp_path: Path) -> None:
    """Which names where it was looked for, and the upstream without its own secrets."""
    url = "https://user:hunter2@registry.example/simple/"
    for setting, place in ((f"{key}_env", "NO_SUCH_VARIABLE"), (f"{key}_file", str(tmp_path / "absent"))):
        with pytest.raises(ConfigError) as caught:
            make(url, **{setting: place})
        assert place in caught.value.message and "https://registry.example" in caught.value.message
        assert "hunter2" not in caught.value.diagnostics()


def test_a_file_that_is_no_text_is_a_config_error(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        make("https://registry.example/", token_file=str(tmp_path / "token"))


def test_host_and_port_fill_in_what_the_scheme_says() -> None:
    """Upper case and default ports make no other host."""
    assert host_and_port("https://Registry.EXAMPLE/x") == host_and_port("https://registry.example:443/") != ("", 443)
    assert host_and_port("http://registry.example") == ("registry.example", 80)


def test_a_storage_key_is_a_safe_file_name_for_any_text() -> None:
    """Odd characters, and parts that would run together."""
    keys = [storage_key("a", "bc"), storage_key("ab", "c"), storage_key("../x"), storage_key("\udcff"), storage_key("")]
    assert len(set(keys)) == 5
    assert all(key.isalnum() and len(key) == 40 for key in keys)
