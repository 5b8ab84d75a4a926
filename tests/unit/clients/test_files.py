"""Which files setup writes, and what becomes of everything about them but their text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mainstay.clients.disk import LARGEST_BYTES, Disk
from mainstay.clients.places import Machine
from mainstay.clients.setup import set_up, take_back
from mainstay.clients.targets import check_gateway, choose_targets
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError, MainstayError

URL = "http://127.0.0.1:4480"


@pytest.fixture
def home(tmp_path):
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def setup(home):
    """`setup("pip", undo=True)` with only these variables; gives the outcomes."""

    def run(*names, undo=False, url=URL, disk=None, platform="linux", **environ):
        targets = choose_targets(ecosystems().values(), names)
        machine, disk = Machine(environ, home, platform), disk or Disk()
        return take_back(targets, machine, disk) if undo else set_up(targets, url, machine, disk)

    return run


def write(path, text=""):
    """A file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def actions(outcomes):
    """Each outcome's action."""
    return [outcome.action for outcome in outcomes]


def tree(folder):
    """Every file below a folder with its bytes, every other thing with None."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_every_client_is_written_and_taken_back_with_nothing_left(setup, home):
    """Files and folders that were not there before are gone again."""
    assert set(actions(setup())) == {"written", "unchanged"}
    written = [path for path, body in tree(home).items() if body]
    assert len(written) == 10
    assert set(actions(setup())) == {"unchanged"}
    assert "refused" not in actions(setup(undo=True))
    assert tree(home) == {}
    assert set(actions(setup(undo=True))) == {"unchanged"}


def test_a_file_that_setup_made_stays_where_the_user_wrote_into_it(setup, home):
    """Only our lines go."""
    setup("npm")
    with (home / ".npmrc").open("a") as file:
        file.write("fund=false\n")
    setup("npm", undo=True)
    assert (home / ".npmrc").read_text() == "fund=false\n"


def test_an_empty_file_and_folders_of_the_user_stay(setup, home):
    """They were there before."""
    write(home / ".npmrc")
    (home / ".config/uv").mkdir(parents=True)
    setup("npm", "uv")
    setup("npm", "uv", undo=True)
    assert (home / ".npmrc").read_bytes() == b""
    assert (home / ".config/uv").is_dir()


def test_a_second_setup_remembers_that_the_file_was_made(setup, home):
    """Also with another gateway."""
    setup("cargo")
    assert actions(setup("cargo", url="https://other.example")) == ["written"]
    assert b"other.example" in (home / ".cargo/config.toml").read_bytes()
    setup("cargo", undo=True)
    assert tree(home) == {}


def test_a_new_file_is_for_its_owner_alone(setup, home):
    """Package managers put tokens into these files later."""
    setup("npm")
    assert stat.S_IMODE((home / ".npmrc").stat().st_mode) == 0o600


def test_mode_and_owner_stay(setup, home):
    """Also where root runs setup for somebody."""
    path = write(home / ".npmrc", "a=b\n")
    owner = 4242 if os.geteuid() == 0 else os.geteuid()
    os.chown(path, owner, -1)
    path.chmod(0o640)
    setup("npm")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_uid == owner


def test_a_link_stays_a_link(setup, home):
    """Dotfiles live in a repository elsewhere."""
    real = write(home / "dotfiles/npmrc", "a=b\n")
    (home / ".npmrc").symlink_to(real)
    setup("npm")
    assert (home / ".npmrc").is_symlink()
    assert b"registry=" in real.read_bytes()
    setup("npm", undo=True)
    assert (home / ".npmrc").is_symlink()
    assert real.read_text() == "a=b\n"


def test_a_link_that_leads_nowhere_yet_stays_one(setup, home):
    """The file is made where it leads, and deleted there."""
    (home / ".npmrc").symlink_to(home / "dotfiles/npmrc")
    setup("npm")
    assert b"registry=" in (home / "dotfiles/npmrc").read_bytes()
    setup("npm", undo=True)
    assert (home / ".npmrc").is_symlink()
    assert not (home / "dotfiles").exists()


def test_a_failed_replacement_leaves_the_file_and_nothing_beside_it(setup, home, monkeypatch):
    """The disk is full, say."""
    path = write(home / ".npmrc", "a=b\n")

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    [outcome] = setup("npm")
    assert outcome.action == "refused"
    assert "No space left on device" in outcome.text
    assert tree(home) == {path: b"a=b\n"}


def test_what_is_no_regular_file_of_sensible_size_is_refused(setup, home):
    """And undo finds nothing there."""
    assert actions(setup("pip", PIP_CONFIG_FILE=os.devnull)) == ["refused"]
    assert actions(setup("pip", undo=True, PIP_CONFIG_FILE=os.devnull)) == ["unchanged"]
    (home / ".npmrc").write_bytes(b"\n" * (LARGEST_BYTES + 1))
    assert actions(setup("npm")) == ["refused"]
    write(home / ".m2")
    assert actions(setup("maven")) == ["refused"]


def test_a_refusal_says_what_to_write_by_hand(setup, home):
    """A person can do what setup did not dare to."""
    write(home / ".m2/settings.xml", "<settings>")
    [outcome] = setup("maven")
    assert outcome.action == "refused"
    assert "below settings / mirrors" in outcome.text
    assert f"<url>{URL}/maven/</url>" in outcome.text
    assert (home / ".m2/settings.xml").read_text() == "<settings>"


def test_only_looking_writes_nothing_and_counts_what_would_be_written(setup, home):
    """npm and pnpm share a file."""
    disk = Disk(only_look=True)
    assert actions(setup("npm", "pnpm", disk=disk)) == ["written", "unchanged"]
    assert tree(home) == {}
    assert actions(setup("npm", disk=Disk())) == ["written"]
    before = tree(home)
    assert actions(setup("npm", "pnpm", undo=True, disk=Disk(only_look=True))) == ["removed", "unchanged"]
    assert tree(home) == before


@pytest.mark.parametrize(
    ("name", "environ", "there", "expected"),
    [
        ("pip", {}, [], ".config/pip/pip.conf"),
        ("pip", {"XDG_CONFIG_HOME": "{home}/xdg"}, [], "xdg/pip/pip.conf"),
        ("pip", {"PIP_CONFIG_FILE": "{home}/own.conf"}, [".config/pip/pip.conf"], "own.conf"),
        ("npm", {"NPM_CONFIG_USERCONFIG": "{home}/own"}, [".npmrc"], "own"),
        ("cargo", {}, [], ".cargo/config.toml"),
        ("cargo", {}, [".cargo/config", ".cargo/config.toml"], ".cargo/config"),
        ("cargo", {"CARGO_HOME": "{home}/rust"}, [".cargo/config"], "rust/config.toml"),
        ("go", {"XDG_CONFIG_HOME": "{home}/xdg"}, [], "xdg/go/env"),
        ("go", {"GOENV": "{home}/goenv"}, [], "goenv"),
        ("gradle", {"GRADLE_USER_HOME": "{home}/g"}, [], "g/init.d/mainstay.init.gradle"),
    ],
)
def test_the_file_is_the_one_that_the_client_reads(setup, home, name, environ, there, expected):
    """By its variables, and by what exists."""
    for path in there:
        write(home / path)
    [outcome] = setup(name, **{key: value.format(home=home) for key, value in environ.items()})
    assert Path(outcome.file) == home / expected
    assert (home / expected).is_file()


def test_on_macos_go_has_its_own_folder(setup, home):
    """And uv has none."""
    [go] = setup("go", platform="darwin")
    assert Path(go.file) == home / "Library/Application Support/go/env"
    [uv] = setup("uv", platform="darwin")
    assert Path(uv.file) == home / ".config/uv/uv.toml"


def test_a_variable_that_names_no_path_is_refused(setup, home):
    """`GOENV=off` means that Go reads none."""
    [outcome] = setup("go", GOENV="off")
    assert outcome.action == "refused"
    assert "GOENV" in outcome.text
    assert Path(outcome.file) == home / ".config/go/env"
    assert tree(home) == {}


def test_a_variable_that_goes_before_the_file_is_told(setup):
    """Else the file would seem to have no effect."""
    [outcome] = setup("go", GOPROXY="https://elsewhere.example")
    assert outcome.text == "GOPROXY is set and goes before this file"


def test_without_names_the_clients_on_path_are_meant(tmp_path):
    """By any of their programs."""
    program = write(tmp_path / "bin/pip3", "#!/bin/sh\n")
    program.chmod(0o755)
    found = choose_targets(ecosystems().values(), [], {"PATH": str(program.parent)})
    assert [target.client.name for target in found] == ["pip"]
    with pytest.raises(MainstayError, match="none of the clients"):
        choose_targets(ecosystems().values(), [], {"PATH": ""})


def test_a_client_may_be_called_by_its_program():
    """`mvn` is Maven's."""
    assert choose_targets(ecosystems().values(), ["mvn"]) == choose_targets(ecosystems().values(), ["maven"])


def test_an_unknown_client_is_refused_with_the_known_ones():
    """A person has mistyped it."""
    with pytest.raises(ConfigError) as caught:
        choose_targets(ecosystems().values(), ["pip", "nmp"])
    assert "'nmp'" in caught.value.message
    assert all(f"{name}," in caught.value.hint for name in ("pip", "npm", "cargo", "go", "maven"))


@pytest.mark.parametrize(
    "url", ["https://gateway.example/", "http://[::1]:4480", "http://h:65535/a/b-c", "http://127.0.0.1"]
)
def test_a_plain_address_is_taken(url):
    """Without the slash at its end."""
    assert check_gateway(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "gateway.example",
        "ftp://gateway.example",
        "http://",
        "http://h:65536",
        "http://u:secret@gateway.example",
        "http://h/?q",
        "http://h/a b",
        "http://h/'",
        'http://h/"',
        "http://h/\n",
        "http://h/&amp;",
    ],
)
def test_an_address_that_cannot_stand_in_every_file_is_refused(url):
    """Least of all one with a password, which is not repeated either."""
    with pytest.raises(ConfigError) as caught:
        check_gateway(url)
    assert "secret" not in caught.value.message
