"""`mainstay setup` as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def call(tmp_path):
    """Run it in a home folder of its own, with the variables given and none of this machine's."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*words, **environ):
        return subprocess.run(
            [sys.executable, "-m", "mainstay", "setup", *words],
            env={"HOME": str(home), "PATH": os.devnull, **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.home = home
    return run


def test_the_outcome_is_one_json_document(call):
    """With client, file, action and text for each file."""
    done = call("go", "cargo", "--json", "--gateway", "https://gateway.example/", MAINSTAY_TOKEN="t0ken")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert {(entry["client"], entry["action"]) for entry in document["clients"]} == {
        ("go", "written"),
        ("cargo", "written"),
    }
    assert all(entry.keys() == {"client", "file", "action", "text"} for entry in document["clients"])
    written = "".join(path.read_text() for path in call.home.rglob("*") if path.is_file())
    assert "GOPROXY=https://gateway.example/go\n" in written
    assert "t0ken" not in written
    assert "MAINSTAY_TOKEN is not written" in document["notes"][0]


def test_printing_shows_the_change_without_secrets_and_writes_nothing(call):
    """In the manner of a diff."""
    npmrc = call.home / ".npmrc"
    npmrc.write_text("registry=https://me:secret@corp.example/\n//corp.example/:_authToken=secret\n")
    before = npmrc.read_bytes()
    done = call("npm", "--print", "--gateway", "https://gateway.example")
    assert done.returncode == 0, done.stderr
    assert "+registry=https://gateway.example/npm/" in done.stdout
    assert "-registry=https://" in done.stdout
    assert "secret" not in done.stdout
    assert npmrc.read_bytes() == before


def test_the_gateway_is_the_one_of_the_settings(call, tmp_path):
    """MAINSTAY_URL, else the public address, else where the settings let it listen."""
    config = tmp_path / "mainstay.toml"
    env = call.home / ".config/go/env"
    config.write_text("[server]\nport = 4999\n")
    call("go", "--config", str(config))
    assert "GOPROXY=http://127.0.0.1:4999/go\n" in env.read_text()
    config.write_text('public_url = "https://public.example/base"\n')
    call("go", "--config", str(config))
    assert "GOPROXY=https://public.example/base/go\n" in env.read_text()
    call("go", "--config", str(config), MAINSTAY_URL="https://shared.example")
    assert "GOPROXY=https://shared.example/go\n" in env.read_text()
    assert call("--undo").returncode == 0
    assert not env.exists()


def test_exit_codes(call):
    """2 for wrong use, 3 where a file could not be changed or there is no client."""
    unknown = call("pipp", "--gateway", "https://gateway.example")
    assert unknown.returncode == 2
    assert "'pipp' is no client" in unknown.stderr and "pip, " in unknown.stderr
    assert call("pip", "--gateway", "https://u:p@gateway.example").returncode == 2
    assert call("--gateway", "https://gateway.example").returncode == 3
    (call.home / ".npmrc").mkdir()
    done = call("npm", "go", "--gateway", "https://gateway.example")
    assert done.returncode == 3
    assert "not a regular file" in done.stdout
    assert (call.home / ".config/go/env").is_file()
